"""One queue: its ready and waiting tasks, its integer ids, its settings, its counts.

All counts are kept as tasks come and go, so that statistics of any queue cost no scan.
"""

from collections.abc import Iterator

from raftq_cluster.core.calendar import BUCKET_SHIFT
from raftq_cluster.core.gc_names import collected_from
from raftq_cluster.core.outcomes import QueueStats
from raftq_cluster.core.ready import FIFO, RANDOM, Ready, ready_of
from raftq_cluster.core.seeds import Seeds
from raftq_cluster.core.settings import Effective
from raftq_cluster.core.task import Task


class QueueState:
    """A queue while a task is in it, or while its integer ids must not repeat."""

    __slots__ = (
        "_ages",
        "_claim_counts",
        "_claimed_once",
        "collected_from",
        "effective",
        "has_lease_bounds",
        "held",
        "lease_ms",
        "name",
        "next_serial",
        "order",
        "paused",
        "ready",
        "serial_born",
        "serials",
        "size",
        "waiting",
    )

    def __init__(self, name: str, serial_born: bool, effective: Effective) -> None:
        self.name = name
        self.collected_from = collected_from(name)
        self.serial_born = serial_born  # first used by TaskQ: fifo unless settings say otherwise
        self.next_serial = 1
        self.serials: dict[int, Task] = {}
        self.order = effective.order or (FIFO if serial_born else RANDOM)
        self.paused = bool(effective.paused)
        self._follow_leases(effective)
        self.ready: Ready = ready_of(self.order, self)
        self.waiting: dict[int, dict[str, Task]] = {}  # kept by the calendar
        self.size = 0
        self.held = 0
        self._ages: dict[int, int] = {}  # arrival time >> BUCKET_SHIFT -> ready tasks
        self._claimed_once = 0  # tasks with one claim: most of those that have any
        self._claim_counts: dict[int, int] = {}  # claims (2 or more) -> tasks

    def add_ready(self, task: Task) -> None:
        """Take in a task that has arrived."""
        self.ready.add(task)
        age = task.at >> BUCKET_SHIFT
        try:
            self._ages[age] += 1
        except KeyError:
            self._ages[age] = 1

    def drop_ready(self, task: Task) -> None:
        """Take out a ready task; the caller sets its ``pos``."""
        self.ready.remove(task)
        self._forget_age(task.at >> BUCKET_SHIFT)

    def take_ready(self, seeds: Seeds) -> Task:
        """Take out the next of the ready tasks, of which there is one, and count one claim more.

        The caller sets its ``pos`` and ``claims``.
        """
        task = self.ready.take(seeds)
        self._forget_age(task.at >> BUCKET_SHIFT)
        if task.claims:
            self.count_claims(task.claims, task.claims + 1)
        else:
            self._claimed_once += 1
        return task

    def discard_ready(self, seeds: Seeds) -> Task:
        """Take out one of the ready tasks, of which there is one, for good. The caller sets its ``pos``."""
        task = self.ready.take(seeds)
        self._forget_age(task.at >> BUCKET_SHIFT)
        return task

    def _forget_age(self, age: int) -> None:
        ages = self._ages
        if ages[age] > 1:
            ages[age] -= 1
        else:
            del ages[age]

    def count_claims(self, before: int, after: int) -> None:
        """Note that a task's claim count went from ``before`` to ``after`` (0 also for none)."""
        counts = self._claim_counts
        if before == 1:
            self._claimed_once -= 1
        elif before:
            left = counts[before] - 1
            if left:
                counts[before] = left
            else:
                del counts[before]
        if after == 1:
            self._claimed_once += 1
        elif after:
            counts[after] = counts.get(after, 0) + 1

    def claim_counts(self) -> dict[int, int]:
        """Give number of claims -> tasks that have it, for all numbers but 0."""
        counts = dict(self._claim_counts)
        if self._claimed_once:
            counts[1] = self._claimed_once
        return counts

    def number(self, task: Task) -> None:
        """Give the task the next integer id."""
        task.serial = self.next_serial
        self.next_serial += 1
        self.serials[task.serial] = task

    def apply_settings(self, effective: Effective) -> None:
        """Follow changed settings. Changing the order is O(n log n) in the ready tasks."""
        order = effective.order or (FIFO if self.serial_born else RANDOM)
        self.paused = bool(effective.paused)
        self._follow_leases(effective)
        if order != self.order:
            self.order = order
            members = sorted(self.ready, key=lambda task: task.seq)
            self.ready = ready_of(order, self, members)

    def _follow_leases(self, effective: Effective) -> None:
        self.effective = effective
        self.has_lease_bounds = effective.has_bounds
        self.lease_ms = effective.granted_ms(0)  # of who names none

    def clear(self) -> None:
        """Let go of all tasks, without changing them: the end of this queue."""
        self.serials.clear()
        self.waiting.clear()
        self.ready = ready_of(self.order, self)

    def waiting_tasks(self) -> Iterator[Task]:
        """Go over the tasks that have not arrived."""
        for bucket in self.waiting.values():
            yield from bucket.values()

    def stats(self) -> QueueStats:
        """Count."""
        ready = len(self.ready)
        return QueueStats(
            name=self.name,
            tasks=self.size,
            ready=ready,
            claimed=self.held,
            delayed=self.size - ready - self.held,
            max_claims=max(self._claim_counts, default=1 if self._claimed_once else 0),
            oldest_ready_at=min(self._ages) << BUCKET_SHIFT if self._ages else None,
            order=self.order,
            paused=self.paused,
        )
