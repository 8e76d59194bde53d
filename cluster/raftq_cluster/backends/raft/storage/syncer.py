"""Making writes durable without stopping the event loop: one sync at a time, the rest waits together.

A ``Runner`` runs blocking jobs elsewhere (``ThreadRunner``) or here (``InlineRunner``: simulation and
tests); ``Syncer`` decides when a sync runs and is the same over both. Knows no formats.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Protocol, TypeAlias

# ruff: noqa: D102  # the protocols document what the classes below them do
from raftq_cluster.backends.raft.storage.errors import StorageFailedError, StorageFullError
from raftq_cluster.backends.raft.storage.files import File, Files

JOIN_TIMEOUT_S: Final = 10.0
"""How long ``close`` waits for the jobs that were submitted: a disk may hang, a node must end."""

Job: TypeAlias = Callable[[], None]
Done: TypeAlias = Callable[[Exception | None], None]


class Runner(Protocol):
    """Runs jobs one after the other, in the order of their submission."""

    def submit(self, job: Job, done: Done, only_file: File | None = None) -> None:
        """Run ``job``, then call ``done`` with None or what it raised, on the owner's thread.

        ``only_file``: the job is one ``sync_data`` of this file, and nothing else.
        """
        ...

    def close(self) -> None:
        """Finish what was submitted, without telling. Idempotent. Nothing may be submitted after."""
        ...


class InlineRunner:
    """Runs each job when ``schedule`` calls back; at once by default. Deterministic."""

    def __init__(self, schedule: Callable[[Job], None] = lambda job: job()) -> None:
        self._schedule = schedule
        self._jobs: deque[tuple[Job, Done]] = deque()

    def submit(self, job: Job, done: Done, only_file: File | None = None) -> None:
        del only_file
        self._jobs.append((job, done))
        self._schedule(self._run)

    def _run(self) -> None:
        if not self._jobs:
            return
        job, done = self._jobs.popleft()
        try:
            job()
        except Exception as error:  # noqa: BLE001  # whatever it is, the owner is told
            done(error)
        else:
            done(None)

    def close(self) -> None:
        while self._jobs:
            self._jobs.popleft()[0]()


class ThreadRunner:
    """Runs jobs in a thread of its own and tells the event loop through an eventfd.

    Where the system has no eventfd, ``call_soon_threadsafe`` does it, at about 30 µs more.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        *,
        join_timeout_s: float = JOIN_TIMEOUT_S,
    ) -> None:
        self._loop = loop
        self._join_timeout_s = join_timeout_s
        self._jobs: SimpleQueue[tuple[Job, Done] | None] = SimpleQueue()
        self._finished: deque[tuple[Done, Exception | None]] = deque()
        self._is_closed = False
        self._event: int | None = None
        if hasattr(os, "eventfd"):
            self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            loop.add_reader(self._event, self._tell)
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job, done: Done, only_file: File | None = None) -> None:
        del only_file
        self._jobs.put((job, done))

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            try:
                job()
            except Exception as error:  # noqa: BLE001  # whatever it is, the owner is told
                self._finished.append((done, error))
            else:
                self._finished.append((done, None))
            self._wake()

    def _wake(self) -> None:
        if self._event is not None:
            os.eventfd_write(self._event, 1)
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if self._event is not None:
            os.eventfd_read(self._event)
        while self._finished:
            done, error = self._finished.popleft()
            done(error)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._jobs.put(None)
        self._thread.join(self._join_timeout_s)
        if self._event is not None:
            self._loop.remove_reader(self._event)
            if not self._thread.is_alive():  # a thread that hangs in the disk still holds it
                os.close(self._event)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncPlan:
    """What one sync has to do, in this order, and the last write number that it then covers."""

    number: int
    files: tuple[File, ...]
    directories: tuple[Path, ...]
    layer: Files

    def run(self) -> None:
        """Carry it out. Blocks; may run in any thread."""
        for file in self.files:
            file.sync_data()
        for directory in self.directories:
            self.layer.sync_directory(directory)


class Syncable(Protocol):
    """Whatever has writes to make durable."""

    def begin_sync(self) -> SyncPlan:
        """Write everything out and tell what to sync. Raises ``StorageError``."""
        ...

    def end_sync(self, plan: SyncPlan) -> None:
        """The plan has been carried out."""
        ...

    def fail(self, error: StorageFailedError) -> None:
        """The plan could not be carried out."""
        ...


class Syncer:
    """Runs one sync at a time. Requests that come meanwhile are served together by the next.

    ``on_durable(number)`` is told after each sync: all writes up to ``number`` are durable.
    ``on_failed(error)`` is told once: storage has failed, nothing more becomes durable, stop the node.
    """

    def __init__(
        self,
        source: Syncable,
        runner: Runner,
        on_durable: Callable[[int], None],
        on_failed: Callable[[StorageFailedError], None],
    ) -> None:
        self._source = source
        self._runner = runner
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._running = False
        self._failed = False
        self._wanted = 0

    def request(self, number: int) -> None:
        """Have all writes up to ``number`` made durable, now or after the sync that is running.

        Raises:
            StorageFullError: no sync is running, and none could start: try again a little later.
        """
        self._wanted = max(self._wanted, number)
        if not self._running and not self._failed:
            self._start()

    def _start(self) -> None:
        try:
            plan = self._source.begin_sync()
        except StorageFailedError as error:
            self._fail(error)
            return
        self._running = True
        only_file = plan.files[0] if len(plan.files) == 1 and not plan.directories else None
        self._runner.submit(plan.run, lambda error: self._finish(plan, error), only_file)

    def _finish(self, plan: SyncPlan, error: Exception | None) -> None:
        self._running = False
        if error is not None:
            self._fail(_as_failure(error, plan))
            return
        self._source.end_sync(plan)
        self._on_durable(plan.number)
        if self._wanted > plan.number and not self._running and not self._failed:
            with suppress(StorageFullError):  # the next request tells
                self._start()

    def _fail(self, error: StorageFailedError) -> None:
        self._failed = True
        self._source.fail(error)
        self._on_failed(error)


def _as_failure(error: Exception, plan: SyncPlan) -> StorageFailedError:
    """Whatever kept a sync from completing is a failure."""
    if isinstance(error, StorageFailedError):
        return error
    return StorageFailedError(plan.files[-1].path, f"syncing failed: {error!r}")
