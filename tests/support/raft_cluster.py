"""Several RaftBackends in one loop, over real loopback connections and disks in memory.

cluster = RaftCluster()
await cluster.form(3)
told = await cluster.do("n2", put("a"))
await cluster.end("n1"); await cluster.start("n1")
"""

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from free_ports import free_address
from raftq_cluster.backends.raft.backend import RaftBackend
from raftq_cluster.backends.raft.formation import Alone, Initial, Join, Plan
from raftq_cluster.backends.raft.log_clock import LogClock, wall_ns
from raftq_cluster.backends.raft.running import Outside
from raftq_cluster.backends.raft.storage.syncer import InlineRunner, Job
from raftq_cluster.backends.raft.transport.network import PeerNetwork
from raftq_cluster.backends.raft.transport.tls import PeerTls
from raftq_cluster.backends.raft.upkeep import Bounds
from raftq_cluster.codec.formats import FORMATS, Formats
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Outcome
from raftq_cluster.core.queries import Digest
from tests.support.raft_node import DIRECTORY, NS_PER_MS, in_turn
from tests.support.virtual_disk import VirtualDisk

WAIT_S = 15.0


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so that no event tells of: sockets are real here."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)


class RaftCluster:
    """Nodes by id. Small bounds, so that snapshots and compaction come soon.

    ``clock`` gives the log's time in ms in the place of this machine's clocks; elections go by the machine's.
    """

    def __init__(
        self,
        *,
        snapshot_bytes: int = 1 << 20,
        entries_kept: int = 1_000,
        bytes_lagging: int = 5_000,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.addresses: dict[str, str] = {}
        self.disks: dict[str, VirtualDisk] = {}
        self.backends: dict[str, RaftBackend] = {}
        self.fatal: dict[str, list[str]] = {}
        self.plans: dict[str, Plan] = {}
        self.tls: dict[str, PeerTls] = {}
        self.formats: dict[str, Formats] = {}  # of nodes of another version
        self.wall_offset_ms: dict[str, int] = {}  # of nodes whose wall clock is wrong
        self._clock = clock
        self._bounds = Bounds(
            bytes_between_min=snapshot_bytes, entries_kept=entries_kept, bytes_lagging=bytes_lagging
        )

    async def form(self, count: int) -> None:
        """Start so many new nodes with the same list."""
        ids = [f"n{number + 1}" for number in range(count)]
        self.addresses = {id_: free_address() for id_ in ids}
        plan = Initial(dict(self.addresses))
        await asyncio.gather(*(self.start(id_, plan) for id_ in ids))

    def make(self, node_id: str, plan: Plan | None = None) -> RaftBackend:
        loop = asyncio.get_running_loop()
        self.addresses.setdefault(node_id, free_address())
        self.plans[node_id] = plan or self.plans.get(node_id, Alone())
        host, _, port = self.addresses[node_id].rpartition(":")
        random = Random(f"{node_id}{len(self.fatal.get(node_id, []))}{loop.time()}")
        fatal = self.fatal.setdefault(node_id, [])

        def soon(job: Job) -> None:
            loop.call_soon(job)

        backend = RaftBackend(
            DIRECTORY,
            node_id=node_id,
            on_fatal=fatal.append,
            outside=Outside(
                files=self.disks.setdefault(node_id, VirtualDisk()),
                runner=lambda: InlineRunner(soon),
                random=random,
                in_thread=in_turn,
                clock=self._log_clock(node_id),
                network=PeerNetwork(
                    (host, int(port)), tls=self.tls.get(node_id), random=random.random
                ),
                plan=self.plans[node_id],
                bounds=self._bounds,
                segment_bytes=64 << 10,
                formats=self.formats.get(node_id, FORMATS),
            ),
        )
        self.backends[node_id] = backend
        return backend

    def _log_clock(self, node_id: str) -> LogClock:
        clock = self._clock
        if clock is None:
            return LogClock(lambda: wall_ns() + self.wall_offset_ms.get(node_id, 0) * NS_PER_MS)
        return LogClock(lambda: clock() * NS_PER_MS, lambda: clock() * NS_PER_MS)

    async def form_around(self, node_id: str, count: int) -> RaftBackend:
        """Start all nodes of a new cluster but this one, which is made and joins them when it is started.

        Another one leads them, without the time that an election takes to begin.
        """
        ids = [f"n{number + 1}" for number in range(count)]
        self.addresses = {id_: free_address() for id_ in ids}
        plan = Initial(dict(self.addresses))
        first, *others = [id_ for id_ in ids if id_ != node_id]
        starting = [asyncio.create_task(self.start(id_, plan)) for id_ in (first, *others)]
        await self.until(lambda: self._is_connected(first, others))
        engine = self.running(first).engine
        engine.core.postpone_election(0)
        engine._wake()
        await asyncio.gather(*starting)
        return self.make(node_id, plan)

    def _is_connected(self, node_id: str, others: Sequence[str]) -> bool:
        running = self.running(node_id) if node_id in self.backends else None
        return running is not None and all(running._network.is_up(other) for other in others)

    async def start(self, node_id: str, plan: Plan | None = None) -> RaftBackend:
        backend = self.make(node_id, plan)
        async with asyncio.timeout(WAIT_S):
            await backend.start()
        return backend

    async def join(self, node_id: str, through: str) -> RaftBackend:
        return await self.start(node_id, Join((self.addresses[through],)))

    async def stop(self, node_id: str) -> None:
        """End a node as SIGTERM does; ``start`` brings it back."""
        await self.backends.pop(node_id).stop()

    async def end(self, node_id: str) -> None:
        """End a node at once: its connections close, nobody is told."""
        running = self.backends.pop(node_id)._running
        assert running is not None
        running.engine.stop("the process is gone")
        await running.close(0.0)

    async def close(self) -> None:
        for node_id in list(self.backends):
            await self.end(node_id)

    async def do(self, node_id: str, *operations: Operation) -> Sequence[Outcome]:
        done: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()
        self.backends[node_id].submit(operations, lambda _index, told: done.set_result(told))
        async with asyncio.timeout(WAIT_S):
            return await done

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition)

    async def digests(self) -> set[str]:
        answers = [await backend.read(Digest()) for backend in self.backends.values()]
        return {answer.value for answer in answers}

    def leader(self) -> str:
        return next((b.status().leader for b in self.backends.values() if b.status().leader), "")

    def running(self, node_id: str) -> Any:
        return self.backends[node_id]._running
