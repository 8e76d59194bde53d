"""One run: form a cluster, let clients and faults loose, heal everything, demand progress, and judge.

Safety phase: anything may fail, nothing acknowledged may be lost. Liveness phase: all is well again, and within bounds
of virtual time every node must serve, every caller must be told, and all states must be equal.
"""

import asyncio
import gc
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final

from raftq_cluster.core.outcomes import TaskRow
from raftq_cluster.core.queries import Queues, Tasks
from raftq_cluster.service.facade import Service
from tests.simulation.checkers import linearizability, tasks
from tests.simulation.clients.client import Client
from tests.simulation.clients.gateway import Gateway
from tests.simulation.clients.kinds import (
    Configurer,
    Litterer,
    Poller,
    Producer,
    Reader,
    Tagging,
    Tags,
    Worker,
)
from tests.simulation.clients.small import DocClient, RegisterClient, Shared, SmallQueueClient
from tests.simulation.clients.taskq import TaskqClient
from tests.simulation.cluster import Cluster
from tests.simulation.coverage import Coverage
from tests.simulation.faults.scene import Scene
from tests.simulation.faults.schedule import Planned, carry_out, plan
from tests.simulation.history import DONE, History
from tests.simulation.node import SimNode
from tests.simulation.options import Options
from tests.simulation.probes import probing
from tests.simulation.process import ProcessLoop
from tests.simulation.world import World

CLIENTS_AFTER_S: Final = 1.2
FORMING_FAULTS_AFTER_S: Final = 0.05  # in some runs, faults begin while the cluster forms
# After healing, every member serves by then. A node whose disk was full takes no snapshot for half a minute.
SERVE_S: Final = 45.0
REPLACE_S: Final = 60.0  # and a damaged one is replaced
QUIET_S: Final = 12.0  # for clients to finish what they are at
EQUAL_S: Final = 6.0  # for states to become equal
LISTING_MAX: Final = 10_000
LISTINGS_MAX: Final = 20  # times, until nothing was applied meanwhile
LISTING_MS: Final = 600  # what it takes
SETTLE_S: Final = 10.0  # for what becomes due after all has ended
CLOSES_MAX: Final = 20


@dataclass
class Result:
    """What came of a run."""

    options: Options
    temper: str
    broken: list[str]
    trace_hash: str
    tail: list[str]
    seconds: float  # of virtual time
    planned: list[Planned]
    clients: int
    coverage: Coverage
    counts: Counter[str] = field(default_factory=Counter)


class Simulation:
    """See ``run``."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.world = World(f"{options.seed}/{options.nodes}/{options.seconds:g}")
        self.cluster = Cluster(self.world, options.nodes)
        self.scene = Scene(self.cluster)
        self.history = History()
        self.gateway = Gateway(self.cluster)
        self.clients = self._make_clients()
        chance = self.world.random("plan")
        from_s = FORMING_FAULTS_AFTER_S if chance.random() < 0.25 else CLIENTS_AFTER_S + 1.0
        self.temper, self.planned = plan(chance, from_s, options.seconds)

    def _make_clients(self) -> list[Client]:
        chance, gateway, history = self.world.random("clients"), self.gateway, self.history
        tags, register, queue = Tags(), Shared("r"), Shared("q")
        tagging: list[type[Tagging]] = [*[Producer] * 4, *[Worker] * 4, *[Poller] * 2]

        def tagger(kind: type[Tagging], name: str) -> Client:
            return kind(gateway, history, name, self._stream(name), tags)

        makers: list[Callable[[str], Client]] = [partial(tagger, kind) for kind in tagging]
        makers += [lambda name: Reader(gateway, history, name, self._stream(name))] * 2
        makers += [lambda name: Configurer(gateway, history, name, self._stream(name))]
        makers += [
            lambda name: RegisterClient(gateway, history, name, self._stream(name), register)
        ] * 3
        makers += [
            lambda name: SmallQueueClient(gateway, history, name, self._stream(name), queue)
        ] * 3
        makers += [lambda name: Litterer(gateway, history, name, self._stream(name))]
        docs = Shared("d")
        makers += [lambda name: DocClient(gateway, history, name, self._stream(name), docs)] * 2
        makers += [lambda name: TaskqClient(gateway, history, name, self._stream(name), tags)] * 2
        clients = [make(f"c{number}") for number, make in enumerate(makers)]
        pace = chance.choice((1.0, 2.0, 2.0, 4.0))
        for client in clients:
            client.think_s *= pace
        chosen = self.options.clients
        return [c for number, c in enumerate(clients) if chosen is None or number in chosen]

    def _stream(self, name: str) -> Random:
        return self.world.random(f"client/{name}")

    # --- the phases -----------------------------------------------------------------------------

    def run(self) -> Result:
        """Carry it out, up to the first broken promise or the end."""
        self.begin()
        self.until(self.options.seconds)
        self.finish()
        return self._result()

    def begin(self) -> None:
        """Have nodes, clients and faults begin when it is their time."""
        cluster, world, options = self.cluster, self.world, self.options
        for node in list(cluster.nodes.values()):
            world.after_s(cluster.chance.random() * 0.3, node.start)
        for client in self.clients:
            world.after_s(CLIENTS_AFTER_S, partial(self.gateway.process.spawn, client.run))
        world.after_s(1.0, self._note_load)
        chosen = options.faults
        carry_out(self.scene, [f for f in self.planned if chosen is None or f.number in chosen])

    def _note_load(self) -> None:
        """Each second: whether there was anybody to lead, without whom no work is done."""
        if not self.scene.is_over:
            self.cluster.coverage.counts["seconds before healing"] += 1
            self.cluster.coverage.counts["seconds of them with a leader"] += (
                self.cluster.leader is not None
            )
            self.world.after_s(1.0, self._note_load)

    def finish(self) -> None:
        """Mend everything and demand progress, up to the first broken promise."""
        for phase in (self._heal, self._serve, self._quieten, self._equal, self._list, self._check):
            if self.cluster.judge.is_broken:
                break
            phase()

    def until(self, at_s: float, done: Callable[[], bool] | None = None) -> None:
        """Let time pass up to a moment, ``done``, or a broken promise."""
        broken = self.cluster.judge.sentences.__len__  # asked after every event
        self.world.run_until(at_s, (lambda: broken() or done()) if done else broken)

    def _within(self, seconds: float, done: Callable[[], bool], what: Callable[[], str]) -> None:
        """Let time pass until something is so; it must be within so many seconds."""
        end_s = self.world.now_s + seconds
        while not done() and not self.cluster.judge.is_broken:
            if self.world.now_s >= end_s:
                self.cluster.judge.blame(
                    f"no progress: after {seconds:g} s without faults {what()}"
                )
                return
            self.until(min(end_s, self.world.now_s + 0.25))

    def _heal(self) -> None:
        """Everything that failed is mended at once."""
        self.scene.is_over = self.cluster.is_closing = True
        self.world.note("healed")
        self.cluster.note_clocks()
        self.cluster.fabric.mend()
        for node in self.cluster.nodes.values():
            node.disk.mend()
            node.clock.mend()
            if node.lives:
                node.process.resume()
            node.start_later(0.1)

    def _serve(self) -> None:
        """Members come back and serve; those with damaged directories are replaced."""
        for node in self.cluster.nodes.values():
            if not (node.is_serving or node.is_first):
                self.cluster.order(partial(self.cluster.let_in, node))
        self._within(SERVE_S, self._is_well, lambda: f"these do not serve: {self._unwell()}")
        damaged = [n for n in self.scene.members() if n.is_damaged and not n.is_serving]
        for node in damaged:
            self._replace(node)
        if damaged:
            self._within(REPLACE_S, lambda: self._is_well() and not any(
                node.name in self.cluster.member_ids() for node in damaged),
                lambda: "a damaged node is not replaced")  # fmt: skip

    def _replace(self, node: SimNode) -> None:
        node.may_start = False
        cluster = self.cluster

        async def replace() -> None:
            new = cluster.new_node()
            assert new is not None
            while node.name in cluster.member_ids():
                await cluster.replace_by(node.name, new)

        cluster.order(replace)

    def _unwell(self) -> list[str]:
        expected = self.scene.members()
        return [node.name for node in expected if not node.is_damaged and not (
            node.is_alive and node.is_serving and node.engine.is_serving)]  # fmt: skip

    def _is_well(self) -> bool:
        return self.cluster.leader is not None and not self._unwell()

    def _quieten(self) -> None:
        """Work goes on for a while without faults, then clients finish what they are at."""
        before = self.gateway.written
        self.until(self.world.now_s + 3.0)
        is_whole = self.options.clients is None  # some kinds have nothing to write for longer
        if is_whole and self.gateway.written == before and not self.cluster.judge.is_broken:
            self.cluster.judge.blame("no progress: nothing was written in 3 s without faults")
        for client in self.clients:
            client.is_stopping = True
        self.until(self.world.now_s + QUIET_S, lambda: not self._busy())
        self._within(0.0, lambda: not self._busy(), lambda: f"{self._busy()} are still at a call")
        self.gateway.check_told()

    def _busy(self) -> list[str]:
        return [client.name for client in self.clients if not client.is_done]

    def _equal(self) -> None:
        """All members have the same state."""

        def are_equal() -> bool:
            return len(set(self._entries().values())) == 1

        self._within(EQUAL_S, are_equal, lambda: "members are at different entries")
        for node in self._serving():
            replica = node.running.replica
            self.cluster.raft.digest(node.process.name, replica.index, replica.machine)

    def _list(self) -> None:
        """Every member lists all tasks, and all list the same.

        Lists of different moments may differ: what is collected by time goes on. So all are asked again
        if an entry was applied meanwhile.
        """
        for _ in range(LISTINGS_MAX):
            self._settle()
            before, listings = self._entries(), self._listings()
            if self.cluster.judge.is_broken:
                return
            if self._entries() == before and len(set(before.values())) == 1:
                break
        else:
            self.cluster.judge.blame("no progress: entries are applied without end")
        if len({tuple(sorted(rows.items())) for rows in listings.values()}) > 1:
            self.cluster.judge.blame("members list different tasks")
        self.history.left = next(iter(listings.values()), {})

    def _settle(self) -> None:
        """Let time go on until nothing is about to become due, and compare states again."""
        is_still = False

        async def wait(node: SimNode) -> None:
            nonlocal is_still
            while not is_still:
                await self.gateway.read(node.name, Queues((), (), 1))  # lets arrive what is due
                due_ms = node.backend.next_due_ms()
                is_still = due_ms is None or due_ms > node.backend.now_ms() + LISTING_MS
                await asyncio.sleep(0.2)

        self.gateway.process.spawn(partial(wait, self._serving()[0]))
        self.until(self.world.now_s + SETTLE_S, lambda: is_still)
        is_still = True  # or it never is
        self._equal()

    def _serving(self) -> list[SimNode]:
        return [node for node in self.scene.members() if node.is_serving]

    def _entries(self) -> dict[str, int]:
        """Which entry each member has applied."""
        return {node.name: node.running.replica.index for node in self._serving()}

    def _listings(self) -> dict[str, dict[str, TaskRow]]:
        """What each member tells of all tasks."""
        listings: dict[str, dict[str, TaskRow]] = {}

        async def list_all(name: str) -> None:
            queues = await self.gateway.read(name, Queues((), (), LISTING_MAX))
            rows: dict[str, TaskRow] = {}
            for queue in queues.value if queues.status == DONE else ():
                told = await self.gateway.read(
                    name, Tasks(queue.name, "", (), LISTING_MAX, omit_values=False)
                )
                rows.update((row.id, row) for row in told.value)
            listings[name] = rows

        names = [node.name for node in self._serving()]
        for name in names:
            self.gateway.process.spawn(partial(list_all, name))
        self._within(8.0, lambda: len(listings) == len(names), lambda: "tasks cannot be listed")
        return listings

    # --- the verdict ----------------------------------------------------------------------------

    def _check(self) -> None:
        self.history.clock_spread_ns = self.cluster.clock_spread_ns
        blame, counts = self.cluster.judge.blame, self.cluster.coverage.counts
        for check in tasks.CHECKS:
            for sentence in check(self.history):
                blame(sentence)
        for what, records, start, model in (
            ("register", self.history.registers, None, linearizability.register),
            ("small queue", self.history.small_queues, frozenset(), linearizability.small_queue),
        ):
            for name, steps in records.items():
                found = linearizability.is_linearizable(steps, start, model)
                if found is False:
                    blame(f"not linearizable: {what} {name}: {steps}")
                counts[
                    "histories without a verdict" if found is None else "linearizable histories"
                ] += 1

    def _services(self) -> list[Service]:
        """The services of all lives."""
        running = [node.service for node in self.cluster.nodes.values() if node.is_alive]
        return [
            s for s in (*running, *(life[2] for life in self.cluster.graveyard)) if s is not None
        ]

    def _result(self) -> Result:
        cluster, coverage = self.cluster, self.cluster.coverage
        counts = tasks.counts(self.history)
        counts["requests"] = self.gateway.requests
        counts["collected tasks"] = sum(service.collecting.tasks for service in self._services())
        counts["frames"] = cluster.fabric.frames
        counts["late frames"] = cluster.fabric.counts["late"]
        counts["committed entries"] = len(cluster.raft.committed)
        counts["digests compared"] = cluster.raft.digests_compared
        counts["leaderships"] = len(cluster.raft._leaders)
        counts["orders of the operator"] = cluster.orders
        counts["faults"] = sum(count for name, count in coverage.faults.items() if name[0] != "(")
        counts["lives"] = coverage.lives
        counts.update(coverage.counts)
        counts["events"] = self.world.events
        return Result(
            self.options, self.temper, cluster.judge.sentences, self.world.trace_hash(),
            list(self.world.tail), self.world.now_s, self.planned, len(self.clients), coverage, counts,
        )  # fmt: skip


def simulate(options: Options, *, is_last: bool = False) -> Result:
    """Run one simulation, and leave nothing of it behind; unless it is the ``is_last`` thing its process does."""
    with undisturbed(is_last=is_last):
        return Simulation(options).run()


@contextmanager
def undisturbed(*, is_last: bool = False) -> Iterator[None]:
    """Nothing from outside gets into what is simulated, and nothing of that gets out.

    ``is_last``: the process ends, or simulates more. What is left stays as it is: to free it takes longer than to end.
    """
    logging.disable(logging.CRITICAL)
    gc.disable()  # a collection could come at any moment, and costs more than all else
    try:
        with probing():
            yield
    finally:
        ProcessLoop.leave_all()
        logging.disable(logging.NOTSET)
        if not is_last:
            _forget()
            gc.enable()


def _forget() -> None:
    """Free what dead processes had under way; what their coroutines say at that concerns nobody."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _args: None
    try:
        with warnings.catch_warnings():
            # What was handed to a task that never ran, or is begun by one that ends here.
            warnings.filterwarnings("ignore", ".* was never awaited", RuntimeWarning)
            _end_tasks()
            gc.collect()
    finally:
        sys.unraisablehook = hook


def _end_tasks() -> None:
    for task in ProcessLoop.end_all():
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        _close(task.get_coro())


def _close(work: Any) -> None:
    """End a coroutine. One that awaits something at its end has to be told several times."""
    for _ in range(CLOSES_MAX):
        try:
            work.close()
        except RuntimeError:  # it goes on awaiting
            continue
        except BaseException:  # noqa: BLE001 - its process is gone: whatever it says, it has ended
            return
        return
