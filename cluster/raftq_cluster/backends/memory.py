"""The state machine in this process and nowhere else: for tests, trials and ``--backend memory``.

Operations are applied as they come; nothing survives the process, and ``status`` says so.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from random import Random

from raftq_cluster.backends.api import (
    SAME,
    Answer,
    BackendError,
    Incoming,
    Load,
    MemberChange,
    MemberDigest,
    MemberStatus,
    Ready,
    Sink,
    Status,
    Verification,
)
from raftq_cluster.backends.counting import counted
from raftq_cluster.backends.taking_in import abandon, refuse_unfinished, take_in
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.operations import CLAIM, Claim, Operation, Tick
from raftq_cluster.core.outcomes import Claimed
from raftq_cluster.core.queries import Query, Time
from raftq_cluster.core.snapshot import Record
from raftq_cluster.version import VERSION

_NOTHING = Claimed(())


def wall_clock_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class MemoryBackend:
    """A Backend without a log on disk.

    Args:
        clock: gives ms since the epoch; time that goes back is held.
        node_id: the node's name in ``status``.
        seed: of the generator of entry seeds; the same seed gives the same choices.
    """

    def __init__(
        self,
        clock: Callable[[], int] = wall_clock_ms,
        node_id: str = "n1",
        seed: int | None = None,
    ) -> None:
        self._clock = clock
        self._node_id = node_id
        self._random = Random(seed)  # noqa: S311 - it chooses tasks, it guards nothing
        self._machine = Machine()
        self._listener: Callable[[Ready], None] | None = None

    async def start(self) -> None:
        """Nothing has to be opened."""

    async def stop(self) -> None:
        """Nothing has to be closed."""

    def submit(self, operations: Sequence[Operation], sink: Sink) -> None:
        """Apply operations at once."""
        machine = self._machine
        now_ms = self._clock()
        if self._finds_nothing(operations, now_ms):
            sink(machine.index, [_NOTHING])
            return
        seed = self._random.getrandbits(64)
        applied = machine.apply(machine.index + 1, now_ms, seed, [operations])
        sink(machine.index, applied.outcomes[0])
        if self._listener is not None:
            self._listener(applied.ready)

    async def read(self, query: Query, *, stale: bool = False) -> Answer:
        """Answer from the state, after letting time pass for what is due."""
        if not stale and self._machine.due(self._clock()):
            self.submit([Tick()], lambda _index, _outcomes: None)
        if not isinstance(query, Time):
            refuse_unfinished(self._machine)
        return Answer(self._machine.index, self._machine.query(query, self.now_ms()))

    def next_due_ms(self) -> int | None:
        """Ask the machine."""
        return self._machine.next_due_ms()

    def now_ms(self) -> int:
        """The clock's time, never below the last entry's."""
        return max(self._clock(), self._machine.now_ms)

    def on_ready(self, listener: Callable[[Ready], None]) -> None:
        """Set the listener."""
        self._listener = listener

    def load(self) -> Load:
        """Ask the machine."""
        return Load(*self._machine.load())

    def advertise(self, http: str, text: str) -> None:
        """There are no other members to tell."""

    def status(self) -> Status:
        """One member, which leads."""
        index = self._machine.index
        member = MemberStatus(self._node_id, "leader", "", "", "", index, 0, 0, VERSION, "ok", 0)
        return Status(
            "memory", self._node_id, "memory", "memory", 1, self._node_id, index, True, (member,)
        )

    async def change_members(self, change: MemberChange) -> None:
        """Refuse: there is nobody to change."""
        del change
        raise BackendError("change_refused", "a node in memory has no other members")

    async def verify(self, entry: int) -> Verification:
        """Digest the state as it is now: there is nobody to differ from."""
        del entry
        index, digesting = self._machine.index, self._machine.digesting()
        for _ in digesting:
            await asyncio.sleep(0)
        return Verification(index, (MemberDigest(self._node_id, SAME, digesting.result),))

    async def export(self) -> AsyncIterator[Sequence[Record]]:
        """Give the state, record by record. See ``Backend``."""
        await self.read(Time())  # what is due has arrived
        refuse_unfinished(self._machine)
        with closing(counted(self._machine)) as portions:
            for records in portions:
                yield records

    async def take_in(self, incoming: Incoming) -> None:
        """Become what another store was. See ``Backend``."""
        await take_in(self.submit, lambda: self._machine, incoming)

    async def abandon_import(self) -> None:
        """Drop what an unfinished import has left. See ``Backend``."""
        await abandon(self.submit)

    def _finds_nothing(self, operations: Sequence[Operation], now_ms: int) -> bool:
        if len(operations) != 1 or operations[0][0] != CLAIM:
            return False
        claim: Claim = operations[0]  # type: ignore[assignment] # its kind says so
        if claim[1] and self._machine.keys.get(claim[1]) is not None:
            return False  # a repeated claim is answered as it was
        return not self._machine.claimable(claim[4], now_ms)
