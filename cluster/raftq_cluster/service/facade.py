"""The Service: what every server and dialect calls. See the package for what it knows.

Two entrances: ``submit`` for batches on the hot path, which makes no future, coroutine or
timer per operation, and ``run``, ``wait_claim`` and ``read`` for those who can await.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from raftq.wire.export_file import AbandonReply, ImportReply
from raftq_cluster.backends.api import (
    Answer,
    Backend,
    BackendError,
    Load,
    MemberChange,
    Sink,
    Status,
    Verification,
)
from raftq_cluster.core.operations import GUARD, MODIFY, TRANSACT, Claim, Operation
from raftq_cluster.core.outcomes import Outcome, Refused, Unfinished
from raftq_cluster.core.queries import Query
from raftq_cluster.service.collecting import Collecting
from raftq_cluster.service.ids import id_source
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.moving import IncomingFile, export_file
from raftq_cluster.service.refusals import Refusal, over_limit, refusal_of
from raftq_cluster.service.waiters import Waiters

# What a task takes in memory besides its value and error text (scripts/bench, core): without it,
# tasks that hold nothing could be inserted for ever.
TASK_BYTES: Final = 400
EXPORTS_MAX: Final = 2  # at one time: each keeps what changes meanwhile
STOPPING: Final = Unfinished("unavailable", "the node is stopping")


class Service:
    """One node's service over one backend.

    Args:
        backend: keeps the tasks; the service starts and stops it.
        limits: what is refused.
        ids: gives a new task id at each call; unique over all nodes and restarts.
    """

    def __init__(
        self, backend: Backend, limits: Limits | None = None, ids: Callable[[], str] | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.new_id: Callable[[], str] = ids or id_source()
        self._backend = backend
        self._waiters = Waiters(backend, self._submit_claims)
        self.collecting: Final = Collecting(backend)
        self._stopping = False
        self._exports = 0  # under way
        self._http = ""
        self._text = ""

    def advertise(self, http: str, text: str) -> None:
        """Tell where this node's servers listen (``HOST:PORT``), for :meth:`cluster`."""
        self._http = http
        self._text = text
        self._backend.advertise(http, text)

    async def start(self) -> None:
        """Start the backend. Raises what it raises."""
        self._backend.on_ready(self._waiters.on_ready)
        await self._backend.start()
        self.collecting.start()

    def drain(self) -> None:
        """Take no more operations and answer those that wait. Idempotent."""
        self._stopping = True
        self._waiters.answer_all()

    async def stop(self) -> None:
        """Drain, then stop the backend. Idempotent."""
        self.drain()
        await self.collecting.stop()
        await self._backend.stop()

    def submit(self, operations: Sequence[Operation], sink: Sink) -> None:
        """Have operations done in order; ``sink(index, outcomes)`` is called exactly once.

        Refusals come as outcomes. Claims do not wait here; see :meth:`claim`.
        """
        if self._stopping:
            sink(self._backend.status().index, [STOPPING] * len(operations))
            return
        full = self._full()
        if full is None:
            self._backend.submit(operations, sink)
        else:
            self._submit_when_full(operations, sink, full)

    def claim(self, claim: Claim, wait_ms: int, sink: Sink) -> Callable[[], None]:
        """Claim, and wait up to ``wait_ms`` (1 or more) for a task to arrive.

        ``sink`` gets one outcome. The returned function gives the wait up, see
        :meth:`Waiters.add`.
        """
        if self._stopping:
            sink(self._backend.status().index, [STOPPING])
            return _nothing_to_give_up
        if len(self._waiters) >= self.limits.waiters_max:
            refused = _over_limit("too_busy", "waiters_max", self.limits.waiters_max)
            sink(self._backend.status().index, [refused])
            return _nothing_to_give_up
        return self._waiters.add(claim, wait_ms, sink)

    async def run(self, operations: Sequence[Operation]) -> tuple[int, Sequence[Outcome]]:
        """Do operations in order and wait for their outcomes."""
        future = asyncio.get_running_loop().create_future()

        def told(index: int, outcomes: Sequence[Outcome]) -> None:
            if not future.done():
                future.set_result((index, outcomes))

        self.submit(operations, told)
        result: tuple[int, Sequence[Outcome]] = await future
        return result

    async def wait_claim(self, claim: Claim, wait_ms: int) -> tuple[int, Outcome]:
        """Claim as :meth:`claim` does; cancelling gives the wait up."""
        return await self.awaited(claim, partial(self.claim, claim, wait_ms))

    async def awaited(
        self, claim: Claim, begin: Callable[[Sink], Callable[[], None]]
    ) -> tuple[int, Outcome]:
        """Wait for a claim that ``begin`` begins as :meth:`claim` does; cancelling gives it up."""
        future = asyncio.get_running_loop().create_future()

        def told(index: int, outcomes: Sequence[Outcome]) -> None:
            if future.cancelled():
                self._waiters.give_back(claim, outcomes[0])
            else:
                future.set_result((index, outcomes[0]))

        give_up = begin(told)
        try:
            result: tuple[int, Outcome] = await future
        except asyncio.CancelledError:
            give_up()
            if not future.cancelled():  # it was told in the very moment of the cancellation
                self._waiters.give_back(claim, future.result()[1])
            raise
        return result

    async def read(self, query: Query, *, stale: bool = False) -> Answer:
        """Answer a query.

        Raises:
            Refusal: ``unavailable``: nobody could confirm that the answer is fresh.
        """
        try:
            return await self._backend.read(query, stale=stale)
        except BackendError as error:
            raise Refusal(error.code, error.detail) from error

    def status(self) -> Status:
        """Tell about the cluster, as this node sees it."""
        return self._backend.status()

    def cluster(self) -> Status:
        """Tell about the cluster with the addresses of this node's servers."""
        status = self._backend.status()
        members = tuple(
            member._replace(http=self._http, text=self._text)
            if member.id == status.node
            else member
            for member in status.members
        )
        return replace(status, members=members)

    async def change_members(self, change: MemberChange) -> None:
        """Change who is a member of the cluster, or who leads it; done on return.

        Raises:
            Refusal: see :meth:`Backend.change_members`.
        """
        try:
            await self._backend.change_members(change)
        except BackendError as error:
            raise Refusal(error.code, error.detail, index=self._backend.status().index) from error

    async def verify(self, entry: int) -> Verification:
        """Have all nodes digest their states, and compare; see :meth:`Backend.verify`.

        Raises:
            Refusal: ``unavailable`` or ``outcome_unknown``.
        """
        try:
            return await self._backend.verify(entry)
        except BackendError as error:
            raise Refusal(error.code, error.detail, index=self._backend.status().index) from error

    async def export(self) -> AsyncIterator[bytes]:
        """Give the whole state as a file, piece by piece. Close it if it is not used up.

        Raises:
            Refusal: ``too_busy``; ``unavailable``.
        """
        if self._exports >= EXPORTS_MAX:
            raise over_limit("too_busy", "others export too", "exports_max", EXPORTS_MAX)
        self._exports += 1
        pieces = export_file(self._backend)
        try:
            async for piece in pieces:
                yield piece
        finally:
            self._exports -= 1
            await pieces.aclose()  # type: ignore[attr-defined] # it is a generator

    async def take_in(self, chunks: AsyncIterator[bytes]) -> ImportReply:
        """Become what the store was that a file was made of; see :meth:`Backend.take_in`.

        Raises:
            Refusal: ``bad_request``, ``invalid``: the file is not good; ``import_refused``;
                ``store_full``; ``unavailable``; ``outcome_unknown``.
        """
        incoming = IncomingFile(chunks, self._check_room)
        await incoming.open()
        try:
            await self._backend.take_in(incoming)
        except BackendError as error:
            raise Refusal(error.code, error.detail, index=self._backend.status().index) from error
        footer = incoming.footer()
        return ImportReply(id=incoming.id, digest=footer.digest, counts=footer.counts)

    async def abandon_import(self) -> AbandonReply:
        """Drop what an unfinished import has left.

        Raises:
            Refusal: ``import_refused``: there is none; ``unavailable``; ``outcome_unknown``.
        """
        try:
            await self._backend.abandon_import()
        except BackendError as error:
            raise Refusal(error.code, error.detail, index=self._backend.status().index) from error
        return AbandonReply()

    def load(self) -> Load:
        """Tell how full the state is."""
        return self._backend.load()

    def waiting(self) -> int:
        """Count the claims that wait at this node."""
        return len(self._waiters)

    def check_due(self) -> None:
        """Let arrivals that are due happen; a timer calls it, and tests with a clock of their own."""
        self._waiters.check_due()

    def _submit_claims(self, claims: list[Claim], sink: Sink) -> None:
        self.submit(claims, sink)

    def _full(self) -> Refused | None:
        """Tell which limit lets nothing more in; None: there is room."""
        load, limits = self._backend.load(), self.limits
        if load.value_bytes + load.tasks * TASK_BYTES >= limits.bytes_held_max:
            return _over_limit("store_full", "bytes_held_max", limits.bytes_held_max)
        if load.disk_free_bytes < limits.disk_free_bytes_min:
            full = _over_limit("store_full", "disk_free_bytes_min", limits.disk_free_bytes_min)
            return full._replace(detail=f"the disk is nearly full: {full.detail}")
        return None

    def _check_room(self) -> None:
        full = self._full()
        if full is not None:
            raise refusal_of(full, self._backend.status().index)
        if self._stopping:
            raise refusal_of(STOPPING, self._backend.status().index)

    def _submit_when_full(
        self, operations: Sequence[Operation], sink: Sink, refused: Refused
    ) -> None:
        """Refuse what inserts, so that a full node can still be drained."""
        admitted = [item for item in operations if not _inserts(item)]

        def told(index: int, outcomes: Sequence[Outcome]) -> None:
            answers = iter(outcomes)
            sink(index, [refused if _inserts(item) else next(answers) for item in operations])

        if admitted:
            self._backend.submit(admitted, told)
        else:
            told(self._backend.status().index, ())


def _over_limit(code: str, name: str, limit: int) -> Refused:
    return Refused(code, f"the limit {name} is {limit}", limit_name=name, limit=limit)


def _inserts(operation: Operation) -> bool:
    if operation[0] == GUARD:
        return _inserts(operation[4])  # type: ignore[arg-type, misc]
    if operation[0] == TRANSACT:
        return bool(operation[4] or operation[10].inserts)  # type: ignore[misc]
    return operation[0] == MODIFY and bool(operation[4])  # type: ignore[misc]


def _nothing_to_give_up() -> None:
    """The wait is over already."""
