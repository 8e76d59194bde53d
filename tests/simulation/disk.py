"""The disk of one machine under virtual time: the power-cut disk, with syncs that take their time.

What a sync covers is on disk at its end; a power cut before loses any part of it. ``SimDisk`` tells at once
when its power is cut in the middle of a call.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from raftq_cluster.backends.raft.storage.files import File
from raftq_cluster.backends.raft.storage.syncer import Done, Job
from tests.simulation.process import ProcessLoop
from tests.support.virtual_disk import PowerCut, VirtualDisk


class SimDisk(VirtualDisk):
    """``on_cut`` is told in the call that the cut interrupts. ``sync_s``: how long syncs take."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.sync_s = (0.0002, 0.002)
        self.on_cut: Callable[[], None] = lambda: None
        self.on_call: Callable[[str], None] = lambda _call: (
            None
        )  # before each that changes anything
        self.cut_in = ""  # the next call of this name is where the power fails

    def call(self, call: str, path: Path, *, sized: int = 0) -> OSError | None:
        if call not in self._READING:
            self.on_call(call)
        if self.cut_in == call:
            self.cut_in = ""
            self.cut_at = self.calls + 1
        try:
            return super().call(call, path, sized=sized)
        except PowerCut:
            self.on_cut()
            raise

    def mend(self) -> None:
        """No fault is left, and there is room."""
        self.faults.clear()
        self.capacity_bytes = None
        self.cut_at = None
        self.cut_in = ""
        self.sync_s = (0.0002, 0.002)

    def duration_s(self, chance: Random) -> float:
        low, high = self.sync_s
        return low + (high - low) * chance.random()


class SimRunner:
    """Carries out syncs one after the other, each at the end of its time."""

    def __init__(
        self, process: ProcessLoop, disk: SimDisk, chance: Random, watch: Callable[[], Done]
    ) -> None:
        self._process = process
        self._disk = disk
        self._chance = chance
        self._watch = watch  # called when a sync begins; what it gives is called when it has ended
        self._jobs: deque[tuple[Job, Done, Done]] = deque()

    def submit(self, job: Job, done: Done, only_file: File | None = None) -> None:
        self._jobs.append((job, done, self._watch()))
        if len(self._jobs) == 1:
            self._begin()

    def _begin(self) -> None:
        world = self._process.world
        delay_s = self._disk.duration_s(self._chance)
        world.after_s(delay_s, lambda: self._process.deliver(self._finish))

    def _finish(self) -> None:
        if not self._jobs:
            return
        job, done, watcher = self._jobs[0]
        try:
            job()
        except Exception as error:  # noqa: BLE001 - whatever it is, the owner is told
            result: Exception | None = error
        else:
            result = None
        self._jobs.popleft()
        watcher(result)
        done(result)
        if self._jobs:
            self._begin()

    def close(self) -> None:
        while self._jobs:
            self._jobs.popleft()[0]()


def in_thread(
    process: ProcessLoop, disk: SimDisk, chance: Random
) -> Callable[[Callable[[], Any]], Awaitable[Any]]:
    """Blocking jobs, each carried out after some time."""

    async def run(job: Callable[[], Any]) -> Any:
        done = process.create_future()
        delay_s = disk.duration_s(chance)
        process.world.after_s(
            delay_s, lambda: process.deliver(lambda: done.done() or done.set_result(None))
        )
        await done
        return job()

    return run
