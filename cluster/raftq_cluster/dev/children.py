"""A process that ``raftqd dev`` starts: on a leash, told of when it is ready and when it has ended.

Knows command lines and ready lines, as a user would. A child gets no Ctrl-C of its own: dev passes it on.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from raftq_cluster.config import EXIT_ERROR, StartError
from raftq_cluster.dev.leash import leashed

READY: Final = b"raftq ready "
START_S: Final = 60.0  # a loaded machine takes a tenth of it
STOP_S: Final = 20.0  # longer than a node drains
LINE_BYTES_MAX: Final = 64 * 1024  # of a log line; a longer one comes in pieces


class Child:
    """One module run as a process, again if need be.

    Args:
        name: what the user reads.
        command: module and arguments.
        folder: where it runs; a node finds no settings file of the user's there. None: here.
        is_node: it says when it is ready, and its log lines are shown with its name.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, folder: Path | None = None, is_node: bool
    ) -> None:
        self.name = name
        self.is_node = is_node
        self._command = [sys.executable, "-m", *command]
        self._folder = folder
        self._process: Process | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs, as far as is known."""
        return self._process is not None and self._process.returncode is None

    async def start(self, ended: Callable[["Child", int], None]) -> None:
        """Start it. ``ended`` is called once with its exit code, negative for a signal."""
        process = await asyncio.create_subprocess_exec(
            *leashed(self._command),
            stdin=DEVNULL,
            stdout=PIPE if self.is_node else None,
            stderr=PIPE if self.is_node else None,
            process_group=0,
            cwd=self._folder,
            env=_environment(),
            limit=LINE_BYTES_MAX,
        )
        self._process = process
        self._keep(self._watch(process, ended))
        if process.stderr is not None:
            self._keep(self._relay(process.stderr))

    async def until_ready(self) -> None:
        """Wait until a node serves.

        Raises:
            StartError: it ended instead, or is not ready in time.
        """
        process = self._process
        assert process is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                line = await process.stdout.readline()
        except TimeoutError:
            raise StartError(f"{self.name} is not ready after {START_S:.0f} s") from None
        if not line.startswith(READY):
            # It has said why on stderr, which was shown.
            raise StartError(
                f"{self.name} did not start", exit_code=max(EXIT_ERROR, await process.wait())
            )

    async def stop(self) -> None:
        """Have it finish and end; end it the hard way if it does not."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            for number in (signal.SIGTERM, signal.SIGCONT):  # a frozen process hears nothing
                with suppress(ProcessLookupError):
                    process.send_signal(number)
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
            except TimeoutError:
                click.echo(f"raftqd: {self.name} did not stop in time and is killed", err=True)
                self.kill()
                await process.wait()
        await asyncio.gather(*self._tasks)

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def _keep(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, process: Process, ended: Callable[["Child", int], None]) -> None:
        ended(self, await process.wait())

    async def _relay(self, lines: asyncio.StreamReader) -> None:
        while line := await _line(lines):
            click.echo(f"{self.name}: {line.decode(errors='replace').rstrip()}", err=True)


async def _line(lines: asyncio.StreamReader) -> bytes:
    try:
        return await lines.readuntil()
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await lines.read(error.consumed)


def _environment() -> dict[str, str]:
    """This environment without settings: nodes follow the flags of dev alone."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAFTQ_")}
