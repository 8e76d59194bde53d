"""What a node tells Prometheus: requests as they are answered, and the state as of a scrape.

A registry of its own, no globals. Knows readings, not where they come from. The labels are bounded: a
queue beyond the largest ``QUEUES_SHOWN_MAX`` is counted in one series whose name no queue can have.
Source: OpenMetrics 1.0 (base units, ``_total``, ``_seconds``).
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from raftq_cluster.backends.api import Load, MemberStatus, Status
from raftq_cluster.core.outcomes import QueueStats

QUEUES_SHOWN_MAX: Final = 100  # series a scrape must not grow without bound
OTHER_QUEUES: Final = "other queues"  # a queue's name has no space
LABELS_REMEMBERED_MAX: Final = 1_000  # (route, status) pairs; the route table bounds them far below
# A claim answered from memory takes 0.1 ms, a commit 1 ms, a long poll up to minutes.
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


# Below 1 ms nobody notices; above 100 ms the loop was stalled.
_DELAYS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)

_Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily | InfoMetricFamily


class Sweeps(NamedTuple):
    """What a node's collector has done since it started; ``malformed`` as of its last sweep."""

    tasks: int = 0
    docs: int = 0
    malformed: int = 0  # names
    sweeps: int = 0
    seconds: float = 0.0


class Reading(NamedTuple):
    """The state as of a scrape. ``now_ms`` is the log's time."""

    load: Load
    status: Status
    queues: Sequence[QueueStats]
    waiting: int  # claims
    connections: int
    now_ms: int
    refused: int = 0  # secrets that nobody has, and requests without one
    sweeps: Sweeps = Sweeps()


class Metrics:
    """Counts requests; writes the exposition of everything together with a reading."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "raftq_http_requests",
            "HTTP requests answered.",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "raftq_http_request_seconds",
            "Time from a request's head to its answer, long polls included.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.loop_delay: Final = Histogram(
            "raftq_event_loop_delay_seconds",
            "How late the event loop came to what was due, looked at 20 times a second.",
            buckets=_DELAYS,
            registry=self._registry,
        ).observe  # takes seconds
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._state = _State(version)
        self._registry.register(self._state)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request. ``route`` must come from a table, not from the caller."""
        children = self._children.get((route, status))
        if children is None:
            children = self._children[route, status] = (
                self._requests.labels(route, str(status)),
                self._seconds.labels(route),
            )
            assert len(self._children) <= LABELS_REMEMBERED_MAX
        children[0].inc()
        children[1].observe(seconds)

    def render(self, reading: Reading, accept: str) -> tuple[bytes, str]:
        """Write the exposition: OpenMetrics where ``accept`` names it; also give its content type."""
        self._state.reading = reading
        try:
            if "application/openmetrics-text" in accept:
                text = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
                return text, openmetrics.CONTENT_TYPE_LATEST
            return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4
        finally:
            self._state.reading = None


class _State(Collector):
    """Makes the gauges of a reading at the moment of a scrape."""

    def __init__(self, version: str) -> None:
        self._version = version
        self.reading: Reading | None = None

    def collect(self) -> Iterator[_Family]:
        """Give the families; none outside a scrape."""
        if self.reading is None:
            return
        yield from _node(self.reading, self._version)
        yield _refused(self.reading)
        yield from _sweeps(self.reading.sweeps)
        yield from _queues(self.reading)


def _node(reading: Reading, version: str) -> Iterator[_Family]:
    load, status = reading.load, reading.status
    build = {
        "version": version,
        "node": status.node,
        "backend": status.backend,
        "durability": status.durability,
    }
    yield InfoMetricFamily("raftq_build", "The node and what it is made of.", build)
    me = next((member for member in status.members if member.id == status.node), None)
    gauges = (
        ("raftq_tasks", "Tasks held.", load.tasks),
        ("raftq_value_bytes", "Bytes of values and error texts held.", load.value_bytes),
        ("raftq_idempotency_keys", "Idempotency records held.", load.keys),
        ("raftq_idempotency_key_bytes", "Bytes of idempotency records held.", load.key_bytes),
        ("raftq_raft_applied_index", "Log index applied by this node.", status.index),
        ("raftq_raft_term", "Term of the log.", status.term),
        ("raftq_raft_leader", "1 on the node that leads.", int(status.leader == status.node)),
        ("raftq_ready", "1 when this node can serve.", int(status.ready)),
        ("raftq_waiting_claims", "Claims that wait for a task at this node.", reading.waiting),
        ("raftq_http_connections", "HTTP connections open.", reading.connections),
    )
    for name, documentation, value in gauges:
        yield GaugeMetricFamily(name, documentation, value)
    yield CounterMetricFamily(
        "raftq_state_comparisons",
        "Comparisons of this node's state with another member's.",
        status.comparisons,
    )
    if me is not None:
        yield GaugeMetricFamily(
            "raftq_verified_index",
            "Log index up to which this node's state was last seen to be another member's.",
            me.verified,
        )
        yield from _clock(me)


def _clock(me: MemberStatus) -> Iterator[GaugeMetricFamily]:
    is_off = int(me.clock == "off")
    yield GaugeMetricFamily(
        "raftq_clock_off", "1 while this node does not lead because of its clock.", is_off
    )
    if me.clock_offset_ms is not None:
        yield GaugeMetricFamily(
            "raftq_clock_offset_seconds",
            "This node's clock minus the median of the voters'.",
            me.clock_offset_ms / 1_000,
        )


def _refused(reading: Reading) -> CounterMetricFamily:
    """Tell how often somebody could not say who it is."""
    about = "Requests without a token, and with one that is not known."
    return CounterMetricFamily("raftq_unauthenticated", about, reading.refused)


def _sweeps(sweeps: Sweeps) -> Iterator[_Family]:
    deleted = CounterMetricFamily(
        "raftq_gc_deleted", "Tasks and docs that this node has had collected.", labels=("kind",)
    )
    deleted.add_metric(["task"], sweeps.tasks)
    deleted.add_metric(["doc"], sweeps.docs)
    yield deleted
    about = "Names with a gc= that says no time, at the last sweep of this node."
    yield GaugeMetricFamily("raftq_gc_malformed", about, sweeps.malformed)
    yield CounterMetricFamily("raftq_gc_sweeps", "Sweeps of this node's collector.", sweeps.sweeps)
    about = "Time that these sweeps took."
    yield CounterMetricFamily("raftq_gc_sweep_seconds", about, sweeps.seconds)


def _queues(reading: Reading) -> Iterator[GaugeMetricFamily]:
    tasks = GaugeMetricFamily("raftq_queue_tasks", "Tasks in a queue.", labels=("queue", "state"))
    ages = GaugeMetricFamily(
        "raftq_queue_oldest_ready_age_seconds",
        "How long the oldest ready task has been claimable.",
        labels=("queue",),
    )
    by_size = sorted(reading.queues, key=lambda queue: (-queue.tasks, queue.name))
    for queue in by_size[:QUEUES_SHOWN_MAX]:
        _add_tasks(tasks, queue.name, [queue])
        if queue.oldest_ready_at is not None:
            ages.add_metric([queue.name], max(0, reading.now_ms - queue.oldest_ready_at) / 1_000)
    if len(by_size) > QUEUES_SHOWN_MAX:
        _add_tasks(tasks, OTHER_QUEUES, by_size[QUEUES_SHOWN_MAX:])
    yield tasks
    yield ages


def _add_tasks(family: GaugeMetricFamily, name: str, queues: Sequence[QueueStats]) -> None:
    family.add_metric([name, "ready"], sum(queue.ready for queue in queues))
    family.add_metric([name, "claimed"], sum(queue.claimed for queue in queues))
    family.add_metric([name, "delayed"], sum(queue.delayed for queue in queues))
