"""``raftqd dev``: nodes, a worker and three tasks, for the first five minutes.

Everything is a process of its own, started as a user would start it. A process that ends is told of, and
the rest goes on while a node lives; SIGUSR1 brings back what has ended. The user stops it, or the last
node ends: all are stopped.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from raftq_cluster.config import EXIT_ERROR, StartError
from raftq_cluster.dev import words
from raftq_cluster.dev.children import Child
from raftq_cluster.dev.places import DevOptions, Place, check, held_places

_SAMPLES = (
    '{"to": "ada@example.org", "subject": "first"}',
    '{"to": "grace@example.org", "subject": "second"}',
    '{"to": "nowhere", "subject": "this one fails on purpose"}',
)
_HANDLER = "raftq.cli.sample:send"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
_MEMORY_BYTES_MIN = (
    256 * 2**20
)  # for each node: the log between snapshots, and what it must leave free


def run_dev(options: DevOptions) -> int:
    """Run everything until Ctrl-C or until the last node ends; give the exit code.

    Raises:
        StartError: what was asked for cannot be, or a process did not start.
    """
    check(options)
    with _folder(options) as folder, held_places(options, folder) as places:
        return asyncio.run(Session(options, places).run())


@contextmanager
def _folder(options: DevOptions) -> Iterator[Path]:
    if options.data_dir:
        folder = Path(options.data_dir).resolve()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"--data-dir: {folder} cannot be made: {error.strerror}") from error
        yield folder
        return
    with tempfile.TemporaryDirectory(
        prefix="raftq-dev-", dir=_memory(options.nodes) if options.memory else None
    ) as name:
        yield Path(name)


def _memory(nodes: int) -> Path | None:
    """Give the file system in memory that several nodes write to; one node needs none."""
    if nodes == 1:
        return None
    needed = nodes * _MEMORY_BYTES_MIN
    try:
        status = os.statvfs(_MEMORY)
    except OSError as error:
        raise StartError(f"--memory: {_MEMORY} cannot be used: {error.strerror}") from error
    free = status.f_bavail * status.f_frsize
    if free < needed:
        raise StartError(
            f"--memory: {nodes} nodes need {needed >> 20} MiB in {_MEMORY}, and {free >> 20} are free;"
            " leave it out"
        )
    return _MEMORY


class Session:
    """All processes of one ``raftqd dev``."""

    def __init__(self, options: DevOptions, places: list[Place]) -> None:
        self._options = options
        self._places = places
        self._url = words.url(places)
        self._nodes = [_node(options, place, places) for place in places]
        self._worker = Child(
            "the worker",
            ["raftq.cli", "work", words.QUEUE, "--handler", _HANDLER, "--url", self._url],
            is_node=False,
        )
        self._stopping = asyncio.Event()
        self._ended: asyncio.Queue[tuple[Child, int]] = asyncio.Queue()
        self._returns: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Start, watch, stop; give the exit code."""
        self._mind_signals()
        stopped = asyncio.create_task(self._stopping.wait())
        going = asyncio.create_task(self._go())
        try:
            await asyncio.wait({stopped, going}, return_when=asyncio.FIRST_COMPLETED)
            return going.result() if going.done() else 0
        finally:
            self._stopping.set()
            for task in (stopped, going, *self._returns):
                task.cancel()
            await asyncio.gather(stopped, going, *self._returns, return_exceptions=True)
            # The worker first, so that a node is there to take its tasks back.
            await self._worker.stop()
            await asyncio.gather(*(node.stop() for node in self._nodes))

    def _mind_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup's wish
            loop.add_signal_handler(signal.SIGHUP, self._stop)
        loop.add_signal_handler(signal.SIGUSR1, self._bring_back_all)

    def _stop(self) -> None:
        if self._stopping.is_set():  # the user does not want to wait
            for child in (self._worker, *self._nodes):
                child.kill()
        self._stopping.set()

    async def _go(self) -> int:
        for node in self._nodes:
            await node.start(self._on_end)
        async with asyncio.TaskGroup() as group:
            for node in self._nodes:
                group.create_task(node.until_ready())
        await _put_samples(self._url)
        await self._worker.start(self._on_end)
        pids = [node.pid for node in self._nodes]
        click.echo(words.welcome(self._options, self._places, pids))
        return await self._watch()

    def _on_end(self, child: Child, exit_code: int) -> None:
        if not self._stopping.is_set():
            self._ended.put_nowait((child, exit_code))

    async def _watch(self) -> int:
        """Tell who ended, until no node is left; then give the exit code of the last."""
        while True:
            child, exit_code = await self._ended.get()
            alive = sum(node.is_alive for node in self._nodes)
            click.echo(words.ended(child.name, exit_code))
            if not alive:
                return max(exit_code, EXIT_ERROR)
            click.echo(words.left(alive, len(self._nodes)))

    def _bring_back_all(self) -> None:
        for child in (*self._nodes, self._worker):
            if not child.is_alive and not self._stopping.is_set():
                task = asyncio.create_task(self._bring_back(child))
                self._returns.add(task)
                task.add_done_callback(self._returns.discard)

    async def _bring_back(self, child: Child) -> None:
        await child.start(self._on_end)
        if child.is_node:
            try:
                await child.until_ready()
            except StartError as error:
                click.echo(f"raftqd: {error.sentence}", err=True)
                return
        click.echo(f"{child.name} is back (process {child.pid})")


def _node(options: DevOptions, place: Place, places: list[Place]) -> Child:
    # Nodes warn of each other's comings and goings, which are the point here.
    level = "warning" if len(places) == 1 else "error"
    flags = [
        "--node-id", place.node_id, "--log-level", level, "--log-format", "text",
        "--http", str(place.http), "--text", str(place.text), "--peer", str(place.peer),
    ]  # fmt: skip
    if options.memory and len(places) == 1:
        flags += ["--backend", "memory"]
    else:
        flags += ["--data-dir", str(place.data_dir)]
    if len(places) > 1:
        members = ",".join(f"{one.node_id}={one.peer}" for one in places)
        flags += ["--initial-cluster", members]
    folder = place.data_dir if len(places) == 1 else place.data_dir.parent
    return Child(place.node_id, ["raftq_cluster", *flags], folder=folder, is_node=True)


async def _put_samples(url: str) -> None:
    command = ["raftq.cli", "put", words.QUEUE, "--lines", "--quiet", "-o", "id", "--url", url]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await child.communicate("\n".join(_SAMPLES).encode())
    if child.returncode:
        raise StartError("the sample tasks could not be put", exit_code=EXIT_ERROR)
