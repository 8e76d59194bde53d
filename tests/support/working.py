"""Workers in tests: one that serves in the background, handlers that wait to be told, and patience without sleeping."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from raftq import Modification, Task, Worker

PATIENCE_S: Final = 20.0  # a loaded machine gets there well within it


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator["asyncio.Task[None]"]:
    """Let a worker work; stop it at the end if it has not stopped, and pass on what it raised."""
    running = asyncio.create_task(worker.serve())
    try:
        await until(lambda: worker.state != "new" or running.done())
        yield running
        worker.stop_now()
        async with asyncio.timeout(PATIENCE_S):
            await running
    finally:
        running.cancel()
        await asyncio.wait({running})


class Held:
    """An async handler whose every call waits until the test lets it go on."""

    def __init__(self, result: Modification | None = None) -> None:
        self.result = result
        self.error: Exception | None = None
        self.started: list[Task] = []
        self.cancelled: list[Task] = []
        self.go_on = asyncio.Event()

    async def __call__(self, task: Task) -> Modification | None:
        """Wait, then return or raise what the test has set."""
        self.started.append(task)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.append(task)
            raise
        if self.error is not None:
            raise self.error
        return self.result


def values(tasks: list[Task]) -> list[Any]:
    """The values of tasks, sorted."""
    return sorted(task.value for task in tasks)
