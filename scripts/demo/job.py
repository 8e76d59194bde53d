"""The job from outside: fills the queue, watches, kills a worker, recognises the end.

All it knows of the work's state is what the queues say. A file's task turns into a partial result, or
moves to quarantine, in one step, and so does a merge; so at each moment

    files inserted = waiting files + files in partial results + files in quarantine

and the job is done when no file waits and one partial result is left. Nobody has to tell that they have
finished, so nobody can die before telling.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.counting import Partial
from demo.queues import FILES, PARTIALS, QUARANTINE
from demo.workers import WorkerProcess, Workforce
from raftq import AsyncClient, DependencyError, Insert, Task

MAPPERS: Final = 3
REDUCERS: Final = 2
LOOK_S: Final = 0.1
LOOKS_A_LINE: Final = 8
TIME_LIMIT_S: Final = 150.0  # the library takes a tenth of it on two cores


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What the queues hold at one log index."""

    waiting: int
    partials: int
    quarantined: int

    @property
    def is_done(self) -> bool:
        return self.waiting == 0 and self.partials == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """How it ended."""

    result: Partial
    quarantined: Sequence[Task]
    abandoned: Sequence[Task]  # what the killed worker held
    took_s: float

    @property
    def lost_leases(self) -> int:
        """How often a lease ran out on a file, counted or quarantined."""
        # Of a quarantined task each failed try had a claim; the other claims led to nothing.
        failed = sum(task.claims - task.attempt for task in self.quarantined)
        return self.result.lost_leases + failed


async def run(
    url: str,
    paths: Sequence[Path],
    log_dir: Path,
    say: Callable[[str], None],
    disturb: Callable[[], Awaitable[None]] | None = None,
) -> Finished:
    """Do the whole job on files nobody has inserted yet, and tell how it went through ``say``.

    ``disturb`` is called once in the middle of it.

    Raises:
        TimeoutError: it did not end in ``TIME_LIMIT_S``.
        WorkerDiedError: a worker ended that nobody killed.
    """
    clock = asyncio.get_running_loop().time
    async with AsyncClient(url) as client, asyncio.timeout(TIME_LIMIT_S):
        begin_s = clock()
        await client.put_many(Insert(FILES, str(path)) for path in paths)
        say(f"{len(paths)} files in {FILES}; {MAPPERS} mappers and {REDUCERS} reducers start")
        with Workforce(url, log_dir) as workforce:
            mappers = [workforce.hire("mapper", f"mapper-{n + 1}") for n in range(MAPPERS)]
            for n in range(REDUCERS):
                workforce.hire("reducer", f"reducer-{n + 1}")
            watch = Watch(client, workforce, len(paths), say)
            await watch.until(lambda progress: progress.waiting <= len(paths) * 2 // 3)
            abandoned = await kill_at_work(client, workforce, mappers[0])
            say(
                f"killed {mappers[0].name} (kill -9, process {mappers[0].pid}) with"
                f" {len(abandoned)} task in hand: others get it when its lease has run out"
            )
            workforce.hire("mapper", f"mapper-{MAPPERS + 1}")
            if disturb is not None:
                await watch.until(lambda progress: progress.waiting <= len(paths) // 3)
                await disturb()
            await watch.until(lambda progress: progress.is_done)
            took_s = clock() - begin_s
        (last,) = await client.tasks(PARTIALS)
        return Finished(
            result=last.value_as(Partial),
            quarantined=await client.tasks(QUARANTINE),
            abandoned=abandoned,
            took_s=took_s,
        )


class Watch:
    """Looks at the queues every now and then, and says what has changed."""

    def __init__(
        self, client: AsyncClient, workforce: Workforce, files: int, say: Callable[[str], None]
    ) -> None:
        self._client = client
        self._workforce = workforce
        self._files = files
        self._say = say

    async def until(self, is_reached: Callable[[Progress], bool]) -> None:
        """Wait until the queues are as wanted; fails if a worker dies meanwhile."""
        looks = 0
        while not is_reached(progress := await look(self._client)):
            self._workforce.check()
            if looks % LOOKS_A_LINE == 0:
                self._say(self._describe(progress))
            looks += 1
            await asyncio.sleep(LOOK_S)
        self._say(self._describe(progress))

    def _describe(self, progress: Progress) -> str:
        counted = self._files - progress.waiting - progress.quarantined
        return (
            f"{counted:5} of {self._files} files counted, {progress.partials:3} partial results,"
            f" {progress.quarantined} in quarantine"
        )


async def look(client: AsyncClient) -> Progress:
    """Count what is in the queues: one answer, so one moment."""
    tasks = dict.fromkeys((FILES, PARTIALS, QUARANTINE), 0)
    for queue in await client.queues(exact=list(tasks)):
        tasks[queue.name] = queue.tasks
    return Progress(waiting=tasks[FILES], partials=tasks[PARTIALS], quarantined=tasks[QUARANTINE])


async def kill_at_work(
    client: AsyncClient, workforce: Workforce, worker: WorkerProcess
) -> list[Task]:
    """Kill a worker at a moment when it holds a task; give what it held.

    It is frozen first, so that it does not finish while we look, and let go on if it holds nothing.
    Gives nothing if the files have run out before.
    """
    while True:
        worker.freeze()
        held = await still_held(client, worker)
        if held or not (await look(client)).waiting:
            workforce.kill(worker)
            return held
        worker.thaw()
        await asyncio.sleep(LOOK_S)


async def still_held(client: AsyncClient, worker: WorkerProcess) -> list[Task]:
    """What a frozen worker holds, and will hold until its lease runs out.

    It may have sent a task's end just before it froze. A modify that only depends comes behind that in
    the log, and fails if the task has another version by then.
    """
    held = await client.tasks(FILES, claimant=worker.name)
    try:
        if held:
            await client.modify(depends=held)
    except DependencyError:
        return []
    return held
