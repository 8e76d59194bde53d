"""Run a shell command on a task: the handler behind ``raftq work --exec``.

The value goes to its stdin, facts about the task to ``RAFTQ_TASK_…`` variables, and its exit code decides.
A command whose task is lost, or handed back, is ended with all its children.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from tempfile import TemporaryFile
from typing import Any, Final, Self

from raftq.tasks import Task
from raftq.worker import MoveError, RetryError

TRY_AGAIN: Final = 75  # EX_TEMPFAIL of sysexits.h
ERR_BYTES_MAX: Final = 8 * 1024  # of stderr that a task keeps: its end says what went wrong
_PIECE_BYTES: Final = 64 * 1024
_END_S: Final = 5.0  # between SIGTERM and SIGKILL


class Executor:
    """Runs one command per task; its instances are handlers.

    Args:
        command: a line for ``/bin/sh -c``.
        environ: what the command's environment starts from.
    """

    def __init__(self, command: str, environ: Mapping[str, str]) -> None:
        self._command = command
        self._environ = environ

    async def __call__(self, task: Task) -> None:
        """Run the command.

        Raises:
            RetryError: it exited with 75.
            MoveError: it exited with anything else but 0, or a signal ended it.
        """
        with _Stderr() as stderr:
            process = await self._start(task, stderr)
            copying = asyncio.create_task(stderr.pass_on())
            try:
                code = await process.wait()
            finally:
                await _end(process)
                tail = await _finish(copying)
        if code == TRY_AGAIN:
            raise RetryError(_err(code, tail))
        if code:
            raise MoveError(_err(code, tail))

    async def _start(self, task: Task, stderr: "_Stderr") -> asyncio.subprocess.Process:
        """Start the command; a cancel in between must not leave it running."""
        starting = asyncio.ensure_future(self._spawn(task, stderr))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _end(await starting)
            raise

    async def _spawn(self, task: Task, stderr: "_Stderr") -> asyncio.subprocess.Process:
        # A file for stdin and a pipe of our own for stderr: with pipes of asyncio's, whatever the
        # command leaves running would keep its end from being noticed.
        with TemporaryFile() as stdin:
            stdin.write(stdin_of(task))
            stdin.seek(0)
            process = await asyncio.create_subprocess_shell(
                self._command,
                stdin=stdin,
                stderr=stderr.take_write_end(),
                env={**self._environ, **_facts(task)},
                process_group=0,  # a Ctrl-C is for the worker, which lets the command finish
            )
        stderr.close_write_end()
        return process


class _Stderr:
    """The pipe that a command's stderr goes through."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close_write_end()
        os.close(self._read_end)

    def take_write_end(self) -> int:
        """Give the end that the command writes to."""
        return self._write_end

    def close_write_end(self) -> None:
        """Leave the write end to the command alone, so that its end can be seen. Idempotent."""
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1

    async def pass_on(self) -> bytes:
        """Copy what comes to this process's own stderr, and give its end."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        with os.fdopen(os.dup(self._read_end), "rb") as pipe:
            transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), pipe
            )
            tail = b""
            try:
                while piece := await reader.read(_PIECE_BYTES):
                    with suppress(OSError):  # nobody may be reading ours
                        sys.stderr.buffer.write(piece)
                        sys.stderr.flush()
                    tail = (tail + piece)[-ERR_BYTES_MAX:]
            except asyncio.CancelledError:
                return tail  # what has come by now has to do
            finally:
                transport.close()
        return tail


def stdin_of(task: Task) -> bytes:
    """Give what the command reads: bytes as they are, JSON as a line of text."""
    if isinstance(task.value, bytes):
        return task.value
    return bytes(task.value_json) + b"\n" if task.value_json else b""


def _facts(task: Task) -> dict[str, str]:
    facts = {
        "ID": task.id,
        "QUEUE": task.queue,
        "VERSION": task.version,
        "ATTEMPT": task.attempt,
        "CLAIMS": task.claims,
        "AT": task.at,
        "ERR": task.err.replace("\0", ""),  # a variable cannot hold it
    }
    return {f"RAFTQ_TASK_{name}": str(fact) for name, fact in facts.items()}


def _err(code: int, tail: bytes) -> str:
    said = tail.decode(errors="replace").strip()
    how = f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"
    return f"{how}\n{said}" if said else how


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the command and whatever it has left running."""
    _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(_END_S):
            await process.wait()
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        await process.wait()


async def _finish(copying: "asyncio.Task[bytes]") -> bytes:
    """Give the end of stderr; something that escaped may hold the pipe open, so not for ever."""
    await asyncio.wait({copying}, timeout=_END_S)
    copying.cancel()
    return await copying


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def environment(url: str) -> dict[str, Any]:
    """Give the environment that a command starts from: this process's own, and where the nodes are."""
    return {**os.environ, "RAFTQ_URL": url}
