"""The leases of a worker's tasks: renewed together, before half of the shortest is over.

Tells each task's job at once when its lease is lost, and gives it a version that stands still for the commit. Knows
neither handlers nor commits.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from typing import Any, Final, Literal, TypeVar

from raftq.backoff import Backoff
from raftq.client import AsyncClient
from raftq.clock import Clock
from raftq.errors import OutcomeUnknown, RaftqError
from raftq.tasks import Renewed, Task
from raftq.worker.counts import Counts
from raftq.worker.handlers import Context

T = TypeVar("T")

EARLIEST: Final = 1 / 3  # of a lease must be over for its task to join a renewal
LATEST: Final = 1 / 2  # of a lease is over when its task's renewal begins
BATCH_MAX: Final = 1_000  # tasks of one renewal: what a node accepts
RETRY: Final = Backoff(0.05, 1.0)  # of renewals that fail: within the remaining half of the lease

Ending = Literal["lost", "timeout", "drain"]

_log = logging.getLogger("raftq.worker")


class Lease:
    """One claimed task. ``task`` is its newest version; ``ending`` why its work is to end early."""

    __slots__ = (
        "context",
        "ended",
        "ending",
        "expires_at",
        "granted_s",
        "is_frozen",
        "is_renewing",
        "task",
    )

    def __init__(self, task: Task, now: float) -> None:
        self.task = task
        self.context = Context(task)
        self.granted_s = max(0.001, (task.at - task.modified) / 1_000)
        self.expires_at = now + self.granted_s
        self.is_frozen = False
        self.is_renewing = False
        self.ending: Ending | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, ending: Ending) -> None:
        """Say that the work is to end early. The first reason stands."""
        if self.ending is None:
            self.ending = ending
            self.context.lost.set()
            self.ended.set_result(None)

    def due_at(self, part: float) -> float:
        """Tell when that part of the lease is over."""
        return self.expires_at - self.granted_s * (1 - part)


class Leases:
    """All leases of one worker."""

    def __init__(self, client: AsyncClient, lease_ms: int, clock: Clock, counts: Counts) -> None:
        self._client = client
        self._lease_ms = lease_ms
        self._clock = clock
        self._counts = counts
        self._leases: dict[str, Lease] = {}
        self._something_held = asyncio.Event()
        self._round_over = asyncio.Event()

    def __iter__(self) -> Iterator[Lease]:
        return iter(list(self._leases.values()))

    def hold(self, task: Task) -> Lease:
        """Begin to renew a task that was claimed just now."""
        lease = Lease(task, self._clock.monotonic())
        self._leases[task.id] = lease
        self._something_held.set()
        return lease

    def drop(self, lease: Lease) -> None:
        """End the renewals of a task."""
        if self._leases.get(lease.task.id) is lease:
            del self._leases[lease.task.id]

    async def freeze(self, lease: Lease) -> None:
        """Pause the renewals of a task, and wait until its version is known and stands still."""
        lease.is_frozen = True
        while lease.is_renewing:
            await self._round_over.wait()

    def thaw(self, lease: Lease) -> None:
        """Go on with the renewals of a task."""
        lease.is_frozen = False
        self._something_held.set()

    async def run(self) -> None:
        """Renew for ever."""
        while True:
            active = self._active()
            if not active:
                self._something_held.clear()
                await self._something_held.wait()
                continue
            next_at = min(lease.due_at(LATEST) for lease in active)
            await self._clock.sleep(max(0.0, next_at - self._clock.monotonic()))
            now = self._clock.monotonic()
            batch = [lease for lease in self._active() if lease.due_at(EARLIEST) <= now]
            if batch:
                await self._renew(batch[:BATCH_MAX])

    def _active(self) -> list[Lease]:
        return [
            lease for lease in self._leases.values() if not lease.is_frozen and lease.ending is None
        ]

    async def _renew(self, batch: list[Lease]) -> None:
        for lease in batch:
            lease.is_renewing = True
        self._round_over.clear()
        try:
            renewed = await self._until_over(batch, self._ask(batch))
        finally:
            for lease in batch:
                lease.is_renewing = False
            self._round_over.set()
        if renewed is not None:
            self._take(batch, renewed)

    async def _ask(self, batch: list[Lease]) -> Renewed:
        """Renew, however often it takes."""
        tasks = [lease.task for lease in batch]
        key = ""
        tries = 0
        while True:
            try:
                return await self._client.renew(tasks, self._lease_ms, idempotency_key=key)
            except RaftqError as error:
                if isinstance(error, OutcomeUnknown):
                    key = error.idempotency_key
                self._counts.failed_renewals += 1
                _log.warning("renewal of %d leases failed, trying again: %s", len(tasks), error)
                await self._clock.sleep(RETRY.pause_s(tries))
                tries += 1

    async def _until_over(self, batch: list[Lease], asking: Coroutine[Any, Any, T]) -> T | None:
        """Wait for an answer, and end each lease whose time passes meanwhile; None: all have ended."""
        answer = asyncio.ensure_future(asking)
        try:
            while not answer.done():
                live = [lease for lease in batch if lease.ending != "lost"]
                if not live:
                    return None
                expiry = min(lease.expires_at for lease in live)
                await _either(answer, self._clock.sleep(expiry - self._clock.monotonic()))
                if not answer.done():
                    self._end_expired(live)
            return answer.result()
        finally:
            answer.cancel()

    def _end_expired(self, live: list[Lease]) -> None:
        now = self._clock.monotonic()
        for lease in live:
            if lease.expires_at <= now:
                _log.warning("the lease of task %s ended unrenewed", lease.task.id)
                lease.end("lost")

    def _take(self, batch: list[Lease], renewed: Renewed) -> None:
        now = self._clock.monotonic()
        leases = {lease.task.id: lease for lease in batch}
        for task in renewed.renewed:
            lease = leases[task.id]
            lease.task = task
            lease.expires_at = now + lease.granted_s
            self._counts.renewed += 1
        for lost in renewed.lost:
            _log.warning("task %s is not held any more: %s", lost.id, lost.reason)
            leases[lost.id].end("lost")


async def _either(answer: asyncio.Future[T], other: Coroutine[Any, Any, None]) -> None:
    """Wait for the first of two; the second is cancelled, the answer is left alone."""
    waiting = asyncio.ensure_future(other)
    both: set[asyncio.Future[Any]] = {answer, waiting}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
