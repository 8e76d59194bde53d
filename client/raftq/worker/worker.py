"""The worker: claims as much as it has room for, for ever, and ends without losing or repeating a thing.

Knows when to claim and when to stop; a task's own way is :mod:`raftq.worker.jobs`.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar

from raftq.backoff import Backoff
from raftq.blocking import Client
from raftq.client import AsyncClient
from raftq.clock import Clock
from raftq.errors import InvalidRequest, RaftqError
from raftq.worker.counts import Counts
from raftq.worker.handlers import DependencyHandler, Function, Handler, function_of
from raftq.worker.jobs import Job, Tools
from raftq.worker.leases import Leases
from raftq.worker.threads import Threads
from raftq.worker.verdicts import Policy, error_queue_of

HandlerT = TypeVar("HandlerT", bound=Handler)

LEASE_MS: Final = 30_000
WAIT_MS: Final = 60_000  # of one claim; then it claims again
DRAIN_S: Final = 20.0  # service managers kill after 30: keep time to hand tasks back
GRACE_S: Final = 5.0  # for handing tasks back after the drain
MAX_ATTEMPTS: Final = 20  # with the backoff below: about nine hours of failing
MAX_CLAIMS: Final = 10  # claims without a recorded end: more than a few deploys, fewer than a loop
RETRY_MS: Final = 1_000
RETRY_MS_MAX: Final = 3_600_000
CONCURRENCY_MAX: Final = 1_000  # tasks of one claim, and of one renewal
RECONNECT: Final = Backoff(0.1, 5.0)  # of claims that fail

State = Literal["new", "running", "retrying", "draining", "stopped"]

_log = logging.getLogger("raftq.worker")


class Worker:
    """Works on the tasks of some queues.

        worker = raftq.Worker("raftq://127.0.0.1:7979", "/mail/out", concurrency=8)

        @worker.handler
        def send(task):
            smtp.send(task.value["to"])

        worker.run()

    The handler takes the task, and a :class:`~raftq.worker.Context` if it has a second argument; it
    may be ``async def``, or runs in a thread. If it returns None the task is deleted; a
    :class:`~raftq.Modification` is committed together with that deletion, or with what it does
    to the task itself. It may raise RetryError, MoveError, StopWorker or FatalWorker; any other
    exception is a retry with growing pauses, and, at ``max_attempts``, a move to the error queue.

    Args:
        client: where to work: URLs, an :class:`~raftq.AsyncClient`, or a :class:`~raftq.Client`
            (whose arguments are used for a client of the worker's own).
        queues: at least one.
        concurrency: tasks in hand at once, 1 to 1,000. None is claimed before there is room for it.
        lease_ms: of claims; renewed in the background while the handler runs.
        max_attempts: failed tries before the error queue; 0: without limit.
        max_claims: claims that ended with neither an error nor a commit, as of a task that kills
            its worker, before the error queue; 0: without limit.
        retry_ms: pause after the first failure, doubled after each, up to an hour.
        error_queue: from a queue to its error queue, as a mapping or a function; else ``QUEUE/err``.
        work_timeout_s: after which a handler is ended and its task retried; None: never.
        drain_s: how long handlers may go on after :meth:`stop`; then their tasks are handed back.
        on_dependency: called with the task and the DependencyError when a commit fails by another
            part than the task itself; returns and raises what a handler may.
        clock: of leases and pauses; the client's unless given.
    """

    def __init__(  # noqa: PLR0913 - options with defaults; callers name what they need
        self,
        client: str | AsyncClient | Client | None,
        *queues: str,
        handler: Handler | None = None,
        concurrency: int = 1,
        lease_ms: int = LEASE_MS,
        max_attempts: int = MAX_ATTEMPTS,
        max_claims: int = MAX_CLAIMS,
        retry_ms: int = RETRY_MS,
        error_queue: Mapping[str, str] | Callable[[str], str] | None = None,
        work_timeout_s: float | None = None,
        drain_s: float = DRAIN_S,
        on_dependency: DependencyHandler | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not queues:
            raise InvalidRequest("a worker needs at least one queue")
        if not 1 <= concurrency <= CONCURRENCY_MAX:
            raise InvalidRequest(f"concurrency is 1 to {CONCURRENCY_MAX}")
        self.queues = queues
        self.counts = Counts()
        self.state: State = "new"
        self.last_error: RaftqError | None = None  # of claiming; None since the last success
        self._client = client
        self._clock = clock
        self._handler = None if handler is None else function_of(handler)
        self._on_dependency = None if on_dependency is None else function_of(on_dependency)
        self._concurrency = concurrency
        self._lease_ms = lease_ms
        self._work_timeout_s = work_timeout_s
        self._drain_s = drain_s
        self._policy = Policy(
            max_attempts=max_attempts,
            max_claims=max_claims,
            retry_ms_first=retry_ms,
            retry_ms_max=RETRY_MS_MAX,
            error_queue=error_queue_of(error_queue),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_asked = asyncio.Event()
        self._drain_over = asyncio.Event()
        self._room = asyncio.Event()
        self._jobs: dict[asyncio.Task[None], Job] = {}
        self._fatal: Exception | None = None

    def handler(self, function: HandlerT) -> HandlerT:
        """Make a function the handler; a decorator."""
        self._handler = function_of(function)
        return function

    def run(self) -> None:
        """Work until stopped, in an event loop of its own.

        In the main thread SIGTERM and SIGINT stop the worker; a second one ends the drain at once.

        Raises:
            FatalWorker: a handler raised it.
            RaftqError: the queues can not be worked on, as of a bad name or of missing rights.
        """
        asyncio.run(self._run_under_signals())

    def stop(self) -> None:
        """Claim no more, let handlers end within ``drain_s``, hand back the rest. From any thread."""
        self._from_any_thread(self._stop_asked.set)

    def stop_now(self) -> None:
        """Stop, and end the drain at once."""
        self.stop()
        self._from_any_thread(self._drain_over.set)

    async def serve(self) -> None:
        """Work until stopped, in the running event loop. Raises as :meth:`run`.

        Cancelling it cancels the handlers; their tasks come back when their leases end.
        """
        if self._handler is None:
            raise InvalidRequest("a worker needs a handler")
        if self.state != "new":
            raise InvalidRequest("a worker works once; make another")
        self._loop = asyncio.get_running_loop()
        client = self._client
        owned: AsyncClient | None = None
        if isinstance(client, Client):
            client = owned = client.open_async()
        elif not isinstance(client, AsyncClient):
            client = owned = AsyncClient(client)
        threads = Threads()
        try:
            await self._serve(self._tools(client, threads, self._handler))
        finally:
            self.state = "stopped"
            threads.stop()
            if owned is not None:
                await owned.close()
        if self._fatal is not None:
            raise self._fatal

    # --- inside -------------------------------------------------------------------------------

    def _tools(self, client: AsyncClient, threads: Threads, handler: Function) -> Tools:
        clock = self._clock or client.clock
        return Tools(
            client=client,
            leases=Leases(client, self._lease_ms, clock, self.counts),
            threads=threads,
            counts=self.counts,
            clock=clock,
            policy=self._policy,
            handler=handler,
            on_dependency=self._on_dependency,
            work_timeout_s=self._work_timeout_s,
        )

    async def _serve(self, tools: Tools) -> None:
        _log.info("working on %s, %d at once", ", ".join(self.queues), self._concurrency)
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(tools.leases.run())
            claiming = group.create_task(self._claim_for_ever(tools, group))
            await self._stop_asked.wait()
            self.state = "draining"
            claiming.cancel()
            await asyncio.wait({claiming})
            await self._drain(tools)
            renewing.cancel()
        _log.info("stopped: %s", self.counts)

    async def _claim_for_ever(self, tools: Tools, group: asyncio.TaskGroup) -> None:
        failures = 0
        self.state = "running"
        while True:
            self._room.clear()
            room = self._concurrency - len(self._jobs)
            if room <= 0:
                await self._room.wait()
                continue
            try:
                tasks = await tools.client.claim(
                    *self.queues, lease_ms=self._lease_ms, wait_ms=WAIT_MS, limit=room
                )
            except RaftqError as error:
                self._note_failure(error)
                if _is_hopeless(error):
                    return
                await tools.clock.sleep(RECONNECT.pause_s(failures))
                failures += 1
                continue
            failures = 0
            self.state, self.last_error = "running", None
            for task in tasks:
                self._start(Job(tools, task), group)

    def _note_failure(self, error: RaftqError) -> None:
        self.counts.failed_claims += 1
        self.last_error = error
        if _is_hopeless(error):
            _log.error("cannot claim, stopping: %s", error)
            self._fatal = error
            self.stop()
        else:
            self.state = "retrying"
            _log.warning("cannot claim, trying again: %s", error)

    def _start(self, job: Job, group: asyncio.TaskGroup) -> None:
        self.counts.claimed += 1
        running = group.create_task(self._run_job(job))
        self._jobs[running] = job
        running.add_done_callback(self._on_job_over)

    async def _run_job(self, job: Job) -> None:
        try:
            await job.run()
        except Exception as error:  # noqa: BLE001 - FatalWorker or a defect: both end the worker loudly
            self._fatal = self._fatal or error
            self.stop()
        if job.wants_stop:
            self.stop()

    def _on_job_over(self, running: asyncio.Task[None]) -> None:
        del self._jobs[running]
        self._room.set()

    async def _drain(self, tools: Tools) -> None:
        """Let jobs end; after ``drain_s`` make them hand their tasks back; then leave."""
        await self._wait_for_jobs(tools, self._drain_s, self._drain_over)
        for running, job in self._jobs.items():
            if job.is_settled:
                running.cancel()
            else:
                job.lease.end("drain")
        await self._wait_for_jobs(tools, GRACE_S, asyncio.Event())
        for running in list(self._jobs):
            running.cancel()

    async def _wait_for_jobs(self, tools: Tools, seconds: float, enough: asyncio.Event) -> None:
        if not self._jobs:
            return
        waits = {
            asyncio.ensure_future(asyncio.wait(list(self._jobs))),
            asyncio.ensure_future(tools.clock.sleep(seconds)),
            asyncio.ensure_future(enough.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _run_under_signals(self) -> None:
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._on_signal)
        await self.serve()

    def _on_signal(self) -> None:
        if self._stop_asked.is_set():
            self.stop_now()
        else:
            _log.info("asked to stop: claiming no more")
            self.stop()

    def _from_any_thread(self, action: Callable[[], Any]) -> None:
        if self._loop is None:
            action()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(action)


def _is_hopeless(error: RaftqError) -> bool:
    """Tell whether claiming again could never help: the request itself is refused."""
    return error.decisive or error.code in {"forbidden", "unauthenticated", "misuse"}
