"""A memory backend whose clock stands still, and which holds submissions or their outcomes back.

    backend = HeldBackend()
    backend.hold_outcomes = True         # what is submitted is applied at once, and told later
    backend.tell()                       # now
    backend.hold_claims = True           # claims are not even applied
    backend.apply()                      # now; or: backend.fail(outcome)
    backend.hold_everything = True       # nor is anything else

It remembers every operation that was submitted.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from raftq_cluster.backends.api import (
    Answer,
    BackendError,
    Incoming,
    Load,
    MemberChange,
    Ready,
    Sink,
    Status,
    Verification,
)
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.core import operations as op
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Outcome, Unfinished
from raftq_cluster.core.queries import Query
from raftq_cluster.core.snapshot import Record

START_MS = 1_700_000_000_000


class HeldBackend:
    """See the module."""

    def __init__(self, seed: int = 1) -> None:
        self.clock_ms = START_MS
        self.submitted: list[Any] = []
        self.changes: list[MemberChange] = []
        self.hold_everything = False
        self.hold_claims = False
        self.hold_outcomes = False
        self.failure: Unfinished | None = None  # what every submission is answered
        self.read_failure: BackendError | None = None
        self.is_started = False
        self._memory = MemoryBackend(clock=lambda: self.clock_ms, seed=seed)
        self._waiting: list[tuple[Sequence[Operation], Sink]] = []
        self._untold: list[Callable[[], None]] = []

    # --- for the test -------------------------------------------------------------------------

    def apply(self) -> None:
        """Apply what was held back, in order."""
        waiting, self._waiting = self._waiting, []
        for operations, sink in waiting:
            self._memory.submit(operations, self._held(sink))

    def fail(self, failure: Unfinished) -> None:
        """Answer what was held back with a failure."""
        waiting, self._waiting = self._waiting, []
        for operations, sink in waiting:
            sink(self._memory.status().index, [failure] * len(operations))

    def tell(self) -> None:
        """Tell the outcomes that were held back, in order."""
        untold, self._untold = self._untold, []
        for told in untold:
            told()

    def kinds(self) -> list[int]:
        """Kinds of the operations submitted so far."""
        return [operation[0] for operation in self.submitted]

    def claims(self) -> list[op.Claim]:
        return [operation for operation in self.submitted if operation[0] == op.CLAIM]

    # --- Backend --------------------------------------------------------------------------------

    async def start(self) -> None:
        self.is_started = True

    async def stop(self) -> None:
        self.is_started = False

    def submit(self, operations: Sequence[Operation], sink: Sink) -> None:
        self.submitted += operations
        if self.failure is not None:
            sink(self._memory.status().index, [self.failure] * len(operations))
        elif self.hold_everything or (self.hold_claims and operations[0][0] == op.CLAIM):
            self._waiting.append((operations, sink))
        else:
            self._memory.submit(operations, self._held(sink))

    async def read(self, query: Query, *, stale: bool = False) -> Answer:
        if self.read_failure is not None and not stale:
            raise self.read_failure
        return await self._memory.read(query, stale=stale)

    def next_due_ms(self) -> int | None:
        return self._memory.next_due_ms()

    def now_ms(self) -> int:
        return self._memory.now_ms()

    def on_ready(self, listener: Callable[[Ready], None]) -> None:
        self._memory.on_ready(listener)

    def load(self) -> Load:
        return self._memory.load()

    def advertise(self, http: str, text: str) -> None:
        del http, text

    async def change_members(self, change: MemberChange) -> None:
        self.changes.append(change)
        if self.read_failure is not None:
            raise self.read_failure

    async def verify(self, entry: int) -> Verification:
        if self.read_failure is not None:
            raise self.read_failure
        return await self._memory.verify(entry)

    def export(self) -> AsyncIterator[Sequence[Record]]:
        return self._memory.export()

    async def take_in(self, incoming: Incoming) -> None:
        await self._memory.take_in(incoming)

    async def abandon_import(self) -> None:
        await self._memory.abandon_import()

    def status(self) -> Status:
        return self._memory.status()

    def _held(self, sink: Sink) -> Sink:
        if not self.hold_outcomes:
            return sink

        def hold(index: int, outcomes: Sequence[Outcome]) -> None:
            self._untold.append(lambda: sink(index, outcomes))

        return hold
