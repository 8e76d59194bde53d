"""A RaftBackend over a disk in memory, with clocks and chance by hand: no thread, no real file.

node = RaftNode(VirtualDisk())
await node.start()
told = node.submit(put("a"))
await node.settle()
node = await node.after_power_cut(Loss.EVERYTHING)
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Self

from raftq_cluster.backends.raft.backend import RaftBackend
from raftq_cluster.backends.raft.log_clock import LogClock
from raftq_cluster.backends.raft.running import Outside
from raftq_cluster.backends.raft.storage.syncer import InlineRunner, Job
from raftq_cluster.backends.raft.upkeep import Bounds
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.queries import Digest
from tests.support.raft_operations import Told
from tests.support.virtual_disk import Loss, PowerCut, VirtualDisk

DIRECTORY = Path("/node")
EPOCH_MS = 1_700_000_000_000
NS_PER_MS = 1_000_000
TURNS_MAX = 10_000


async def in_turn(job: Callable[[], Any]) -> Any:
    """Run a blocking job in one of the loop's next turns."""
    await asyncio.sleep(0)
    return job()


class Hands:
    """A wall clock and a monotonic clock that a test moves."""

    def __init__(self, wall_ms: int = EPOCH_MS) -> None:
        self.wall_ms = wall_ms
        self.monotonic_ms = 5_000

    def pass_ms(self, ms: int) -> None:
        self.wall_ms += ms
        self.monotonic_ms += ms

    def clock(self) -> LogClock:
        return LogClock(lambda: self.wall_ms * NS_PER_MS, lambda: self.monotonic_ms * NS_PER_MS)


class RaftNode:
    """One life of a node."""

    def __init__(
        self,
        disk: VirtualDisk,
        *,
        seed: int = 1,
        hands: Hands | None = None,
        snapshot_bytes_min: int = 1 << 20,
        segment_bytes: int = 64 << 10,
        node_id: str = "n1",
        schedule: Callable[[Job], None] | None = None,
    ) -> None:
        self.disk = disk
        self.hands = hands or Hands()
        self.fatal: list[str] = []
        self.power_is_cut = False
        self._options: dict[str, Any] = {
            "snapshot_bytes_min": snapshot_bytes_min,
            "segment_bytes": segment_bytes,
            "node_id": node_id,
            "seed": seed,
        }
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_exception)

        def soon(job: Job) -> None:
            loop.call_soon(job)

        self.backend = RaftBackend(
            DIRECTORY,
            node_id=node_id,
            on_fatal=self.fatal.append,
            outside=Outside(
                files=disk,
                runner=lambda: InlineRunner(schedule or soon),
                clock=self.hands.clock(),
                random=Random(seed),
                in_thread=in_turn,
                bounds=Bounds(bytes_between_min=snapshot_bytes_min),
                segment_bytes=segment_bytes,
            ),
        )

    async def start(self) -> Self:
        """Start; a power cut on the way is raised here, wherever it came."""
        starting = asyncio.ensure_future(self.backend.start())
        while not starting.done():
            if self.power_is_cut:
                starting.cancel()
                await asyncio.wait([starting])
                raise PowerCut
            await asyncio.sleep(0)
        await starting
        return self

    def submit(self, *operations: Operation) -> Told:
        told = Told()
        self.backend.submit(operations, told)
        return told

    async def do(self, *operations: Operation) -> Told:
        """Submit and wait for the outcomes."""
        told = self.submit(*operations)
        await self.until(lambda: bool(told.calls))
        return told

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(TURNS_MAX):
            if condition() or self.power_is_cut:
                return
            await asyncio.sleep(0)
        raise AssertionError("it does not happen")

    async def digest(self) -> str:
        digest: str = (await self.backend.read(Digest())).value
        return digest

    async def restarted(self, **changes: Any) -> "RaftNode":
        """The next life, after a clean stop."""
        await self.backend.stop()
        return await self.reborn(**changes).start()

    async def killed(self, **changes: Any) -> "RaftNode":
        """The next life, after the process was killed: what it wrote is there."""
        self.disk.kill()
        await self.die()
        return await self.reborn(**changes).start()

    async def after_power_cut(self, loss: Loss, **changes: Any) -> "RaftNode":
        """The next life, after a power cut."""
        self.disk.cut_power(loss)
        await self.die()
        return await self.reborn(**changes).start()

    def reborn(self, **changes: Any) -> "RaftNode":
        hands = Hands(self.hands.wall_ms)
        return RaftNode(self.disk, **{"hands": hands, **self._options, **changes})

    async def die(self) -> None:
        """Let nothing of this life run any more, as its process is gone."""
        running = self.backend._running
        if running is not None:
            running.engine.stop("the process is gone")
            if running._timer is not None:
                running._timer.cancel()
            if running._upkeep._task is not None:
                running._upkeep._task.cancel()
        for _ in range(3):  # what it had handed to the loop finds its files gone
            await asyncio.sleep(0)

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), PowerCut):
            self.power_is_cut = True
        else:
            loop.default_exception_handler(context)
