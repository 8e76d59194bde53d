"""One claimed task from its claim to its commit: run the handler under the lease, then commit what it says.

The order is what keeps the promise of one commit: end the renewals, know the version, and then one
modification, repeated under one idempotency key until its outcome is known. See ``worker/DESIGN.md``.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final

from raftq.backoff import Backoff
from raftq.client import AsyncClient
from raftq.clock import Clock
from raftq.errors import DependencyError, OutcomeUnknown, RaftqError
from raftq.tasks import Modification, Task
from raftq.worker.counts import Counts
from raftq.worker.handlers import Function
from raftq.worker.leases import Leases
from raftq.worker.threads import Threads
from raftq.worker.verdicts import FatalWorker, Policy, StopWorker, Verdict, release

COMMITS_MAX: Final = 3  # what was decided; what the dependency handler says; a retry with the error
RETRY: Final = Backoff(0.1, 5.0)  # of commits that no node can do now

_log = logging.getLogger("raftq.worker")


class WorkTimeoutError(Exception):
    """The handler did not end in the time that the worker gives it."""


class HandlerCancelledError(Exception):
    """The handler was cancelled, and not by the worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """What every job of a worker shares."""

    client: AsyncClient
    leases: Leases
    threads: Threads
    counts: Counts
    clock: Clock
    policy: Policy
    handler: Function
    on_dependency: Function | None
    work_timeout_s: float | None


class Job:
    """One task's way. ``wants_stop`` tells whether the worker is to stop after it.

    ``is_settled``: all is done but for a thread that goes on, with nobody to hear its result.
    """

    def __init__(self, tools: Tools, task: Task) -> None:
        self.wants_stop = False
        self.is_settled = False
        self.lease = tools.leases.hold(task)
        self._tools = tools
        self._work: asyncio.Future[Any] | None = None

    async def run(self) -> None:
        """Work on the task and settle it.

        Raises:
            FatalWorker: the handler said so; the task is left as it is.
        """
        try:
            verdict = self._tools.policy.before_work(self.lease.task)
            if verdict is None:
                verdict = await self._decide(self._tools.handler, self.lease.context)
            if verdict is not None:
                await self._settle(verdict)
        except FatalWorker:
            self._tools.counts.abandoned += 1
            raise
        finally:
            self._tools.leases.drop(self.lease)
        self.is_settled = True
        if self._work is not None and self.lease.ending != "drain":
            await asyncio.wait({self._work})  # nobody can stop a thread: it keeps the worker's room

    # --- work ---------------------------------------------------------------------------------

    async def _decide(self, function: Function, second: object) -> Verdict | None:
        """Run a function of the user on the task, until it ends or has to; None: the task is lost."""
        task = self.lease.context.task
        work = self._work = function.start(self._tools.threads, task, second)
        await self._watch(work)
        if self.lease.ending is None or (work.done() and self.lease.ending != "lost"):
            return self._after_work(work)
        work.add_done_callback(_ignore_result)
        if function.is_async:
            work.cancel()
            await asyncio.wait({work})
        return self._after_ending()

    async def _watch(self, work: asyncio.Future[Any]) -> None:
        """Wait until the work is done, or is to end early."""
        timer: asyncio.Future[None] | None = None
        try:
            if self._tools.work_timeout_s is not None:
                timer = asyncio.ensure_future(self._tools.clock.sleep(self._tools.work_timeout_s))
                timer.add_done_callback(self._on_time_over)
            await asyncio.wait({work, self.lease.ended}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            work.cancel()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _on_time_over(self, timer: asyncio.Future[None]) -> None:
        if not timer.cancelled():
            self.lease.end("timeout")

    def _after_ending(self) -> Verdict | None:
        task = self.lease.task
        if self.lease.ending == "timeout":
            error = WorkTimeoutError(f"no end within {self._tools.work_timeout_s:g} s")
            return self._tools.policy.after_error(task, error)
        if self.lease.ending == "drain":
            return release(task)
        self._tools.counts.lost += 1
        return None

    def _after_work(self, work: asyncio.Future[Any]) -> Verdict:
        task = self.lease.task
        if work.cancelled():
            return self._tools.policy.after_error(task, HandlerCancelledError())
        error = work.exception()
        if error is None:
            return self._tools.policy.after_result(task, work.result())
        if isinstance(error, FatalWorker):
            raise error
        if isinstance(error, StopWorker):
            return release(task, then_stop=True)
        _log.warning("task %s of %s failed: %r", task.id, task.queue, error)
        return self._tools.policy.after_error(task, error)

    # --- commit -------------------------------------------------------------------------------

    async def _settle(self, verdict: Verdict) -> None:
        counts = self._tools.counts
        asked = False
        decided: Verdict | None = verdict
        for _ in range(COMMITS_MAX):
            if decided is None:
                return
            await self._tools.leases.freeze(self.lease)
            if self.lease.ending == "lost":
                counts.lost += 1
                return
            try:
                await self._commit(decided)
            except DependencyError as error:
                if self._is_lost(error):
                    _log.warning(
                        "task %s was lost before its commit: %s", self.lease.task.id, error
                    )
                    counts.lost += 1
                    return
                decided = await self._after_dependency(error, asked=asked)
                asked = True
            except RaftqError as error:
                _log.warning("the commit of task %s was refused: %s", self.lease.task.id, error)
                decided = self._tools.policy.after_error(self.lease.task, error)
            else:
                setattr(counts, decided.kind, getattr(counts, decided.kind) + 1)
                self.wants_stop = decided.then_stop
                return
        _log.error("task %s cannot be committed; its lease will end", self.lease.task.id)
        counts.abandoned += 1

    def _is_lost(self, error: DependencyError) -> bool:
        """Tell whether it is the task itself that does not hold, and no doc that has the same id."""
        id_ = self.lease.task.id
        return any(part.id == id_ and not part.part.startswith("doc_") for part in error.failed)

    async def _after_dependency(self, error: DependencyError, *, asked: bool) -> Verdict | None:
        """Ask the user's handler what to do about parts that do not hold; without one, try later."""
        on_dependency = self._tools.on_dependency
        if on_dependency is None or asked:
            return self._tools.policy.after_error(self.lease.task, error)
        self._tools.leases.thaw(self.lease)
        return await self._decide(on_dependency, error)

    async def _commit(self, verdict: Verdict) -> None:
        """Commit once, however often it takes.

        Raises:
            RaftqError: refused, and certainly not done.
        """
        parts = verdict.for_version(self.lease.task.version, self.lease.task.id)
        key = ""
        tries = 0
        while True:
            try:
                await self._modify(parts, key)
            except RaftqError as error:
                if not error.retryable:
                    raise
                if isinstance(error, OutcomeUnknown):
                    key = error.idempotency_key
                self._tools.counts.repeated_commits += 1
                _log.warning("the commit of task %s waits: %s", self.lease.task.id, error)
                await self._tools.clock.sleep(RETRY.pause_s(tries))
                tries += 1
            else:
                return

    async def _modify(self, parts: Modification, key: str) -> None:
        await self._tools.client.modify(
            inserts=parts.inserts,
            changes=parts.changes,
            deletes=parts.deletes,
            depends=parts.depends,
            doc_inserts=parts.doc_inserts,
            doc_changes=parts.doc_changes,
            doc_deletes=parts.doc_deletes,
            doc_depends=parts.doc_depends,
            doc_leases=parts.doc_leases,
            idempotency_key=key,
        )


def _ignore_result(work: asyncio.Future[Any]) -> None:
    if not work.cancelled():
        work.exception()
