"""``raftqd dev``: a node, a worker and three tasks, for the first five minutes.

Everything is a process of its own, started as a user would start it: this module knows command lines
and ready lines, nothing of what is inside. One fails, or the user stops it: all are stopped.
"""

import asyncio
import shlex
import signal
import sys
from contextlib import suppress
from typing import Final, NamedTuple

import click

from raftq_cluster.config import EXIT_ERROR, EXIT_USAGE, StartError

QUEUE: Final = "emails"
_DATA_DIR: Final = "./raftq-dev"
_SAMPLES: Final = (
    '{"to": "ada@example.org", "subject": "first"}',
    '{"to": "grace@example.org", "subject": "second"}',
    '{"to": "nowhere", "subject": "this one fails on purpose"}',
)
_HANDLER: Final = "raftq.cli.sample:send"
_DEFAULT_TEXT: Final = "127.0.0.1:7979"
_STOP_S: Final = 20.0  # longer than a node drains


class DevOptions(NamedTuple):
    """What ``raftqd dev`` was told."""

    memory: bool
    data_dir: str | None
    nodes: int
    http: str
    text: str


def run_dev(options: DevOptions) -> int:
    """Run everything until Ctrl-C or until one of the processes ends; give the exit code.

    Raises:
        StartError: what was asked for is not there, or a process did not start.
    """
    if options.nodes != 1:
        raise StartError(
            "--nodes: several nodes are not part of this version yet; leave it out for one node",
            exit_code=EXIT_USAGE,
        )
    if options.memory and options.data_dir:
        raise StartError("--memory: nothing is kept, so --data-dir cannot be", exit_code=EXIT_USAGE)
    return asyncio.run(_run(options))


async def _run(options: DevOptions) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    children: list[asyncio.subprocess.Process] = []
    try:
        node = await _start(_node_command(options), children, stdout=asyncio.subprocess.PIPE)
        facts = await _facts(node)
        url = f"raftq://{facts['text']}"
        await _put_samples(url)
        worker = ["work", QUEUE, "--handler", _HANDLER, "--url", url]
        await _start(["raftq.cli", *worker], children)
        click.echo(_welcome(options, facts))
        return await _first_end(stopping, children)
    finally:
        await _stop(children)


def _node_command(options: DevOptions) -> list[str]:
    store = (
        ["--backend", "memory"] if options.memory else ["--data-dir", options.data_dir or _DATA_DIR]
    )
    listen = ["--http", options.http, "--text", options.text]
    return ["raftq_cluster", *store, *listen, "--log-level", "warning"]


async def _start(
    command: list[str],
    children: list[asyncio.subprocess.Process],
    stdout: int | None = None,
) -> asyncio.subprocess.Process:
    """Start a module as a process. It gets no Ctrl-C of its own: this process passes it on once."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, stdout=stdout, process_group=0
    )
    children.append(child)
    return child


async def _facts(node: asyncio.subprocess.Process) -> dict[str, str]:
    assert node.stdout is not None
    line = (await node.stdout.readline()).decode()
    if not line:
        # The node has said why on stderr, which is this process's own.
        raise StartError("the node did not start", exit_code=await node.wait())
    return dict(word.split("=", 1) for word in shlex.split(line)[2:])


async def _put_samples(url: str) -> None:
    command = ["raftq.cli", "put", QUEUE, "--lines", "--quiet", "-o", "id", "--url", url]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await child.communicate("\n".join(_SAMPLES).encode())
    if child.returncode:
        raise StartError("the sample tasks could not be put", exit_code=EXIT_ERROR)


def _welcome(options: DevOptions, facts: dict[str, str]) -> str:
    node = "" if facts["text"] == _DEFAULT_TEXT else f" --url raftq://{facts['text']}"
    durability = (
        "none: tasks are gone when it stops" if options.memory else "fdatasync before every answer"
    )
    return f"""
raftq runs on this machine: one node, one sample worker, three tasks (one fails on purpose)

  http        http://{facts["http"]}
  text        raftq://{facts["text"]}
  data        {facts["data"]}
  durability  {durability}

In another terminal:

  raftq put {QUEUE} '{{"to":"ada@example.org"}}'{node}
  raftq tasks {QUEUE}/err{node}
  raftq top{node}

Stop with Ctrl-C.
"""


async def _first_end(stopping: asyncio.Event, children: list[asyncio.subprocess.Process]) -> int:
    """Wait until the user stops it (0) or a process ends by itself (its exit code, at least 1)."""
    stop = asyncio.create_task(stopping.wait())
    ends = [asyncio.create_task(child.wait()) for child in children]
    try:
        await asyncio.wait([stop, *ends], return_when=asyncio.FIRST_COMPLETED)
        codes = [end.result() for end in ends if end.done()]
        return 0 if stop.done() else max(codes, key=abs) or EXIT_ERROR
    finally:
        for waiting in (stop, *ends):
            waiting.cancel()


async def _stop(children: list[asyncio.subprocess.Process]) -> None:
    """Stop the worker first, so that the node is there to take its tasks back."""
    for child in reversed(children):
        if child.returncode is not None:
            continue
        with suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_S):
                await child.wait()
        except TimeoutError:
            click.echo(f"raftqd: process {child.pid} did not stop in time and is killed", err=True)
            child.kill()
            await child.wait()
