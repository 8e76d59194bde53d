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
from typing import Any, Final

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
        process = await asyncio.create_subprocess_shell(
            self._command,
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self._environ, **_facts(task)},
            process_group=0,  # a Ctrl-C is for the worker, which lets the command finish
        )
        try:
            _, tail = await asyncio.gather(_feed(process, stdin_of(task)), _pass_on(process))
            code = await process.wait()
        finally:
            await _end(process)
        if code == TRY_AGAIN:
            raise RetryError(_err(code, tail))
        if code:
            raise MoveError(_err(code, tail))


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


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    with suppress(ConnectionError):  # a command need not read
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _pass_on(process: asyncio.subprocess.Process) -> bytes:
    """Copy stderr to this process's own, and give its end."""
    assert process.stderr is not None
    tail = b""
    while piece := await process.stderr.read(_PIECE_BYTES):
        sys.stderr.buffer.write(piece)
        sys.stderr.flush()
        tail = (tail + piece)[-ERR_BYTES_MAX:]
    return tail


def _err(code: int, tail: bytes) -> str:
    said = tail.decode(errors="replace").strip()
    how = f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"
    return f"{how}\n{said}" if said else how


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the command and whatever it started; does nothing if it has ended."""
    if process.returncode is not None:
        return
    _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(_END_S):
            await process.wait()
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def environment(url: str) -> dict[str, Any]:
    """Give the environment that a command starts from: this process's own, and where the nodes are."""
    return {**os.environ, "RAFTQ_URL": url}
