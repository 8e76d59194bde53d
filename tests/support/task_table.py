"""A machine that tests talk to in a line: one entry per call, at a time and with a chance of their own."""

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.outcomes import (
    Claimed,
    Done,
    Failed,
    Modified,
    Outcome,
    QueueStats,
    Refused,
    Settled,
    TaskRow,
)

START_MS: Final = 1_700_000_000_000
LEASE_MS: Final = 30_000


class TaskTable:
    """A machine, a clock that stands until it is moved, and operations with defaults."""

    def __init__(self, seed: int = 1) -> None:
        self.machine = Machine()
        self.now_ms = START_MS
        self.ready: dict[str, int] = {}  # effect of the last entry
        self._random = Random(seed)
        self._ids = 0

    # --- entries --------------------------------------------------------------------------------

    def entry(self, *operations: Any) -> list[Outcome]:
        """Apply one entry of these operations."""
        seed = self._random.getrandbits(64)
        applied = self.machine.apply(self.machine.index + 1, self.now_ms, seed, [operations])
        self.ready = applied.ready
        return applied.outcomes[0]

    def do(self, operation: Any) -> Any:
        (outcome,) = self.entry(operation)
        return outcome

    def pass_ms(self, ms: int) -> None:
        """Let log time pass."""
        self.now_ms += ms
        assert self.do(op.Tick()) == Done()

    # --- operations -----------------------------------------------------------------------------

    def insert(self, queue: str, id_: str = "", *, value: bytes = b"", **fields: Any) -> TaskRow:
        self._ids += 1
        row = op.Insert(queue, id_ or f"id{self._ids}", value=value, **fields)
        modified = self.do(modify(inserts=[row]))
        assert isinstance(modified, Modified)
        return modified.inserted[0]

    def enq(self, queue: str, value: bytes = b"") -> TaskRow:
        return self.insert(queue, value=value, kind=op.BYTES, serial=True)

    def claim(self, *queues: str, claimant: str = "w1", **fields: Any) -> tuple[TaskRow, ...]:
        claimed = self.do(claim(*queues, claimant=claimant, **fields))
        assert isinstance(claimed, Claimed)
        return claimed.tasks

    def claim_one(self, *queues: str, **fields: Any) -> TaskRow:
        (row,) = self.claim(*queues, **fields)
        return row

    def deq(self, queue: str) -> TaskRow:
        return self.claim_one(queue, claimant="", lease_ms=0, serial=True)

    def change(self, row: TaskRow, *, claimant: str = "w1", **fields: Any) -> TaskRow:
        modified = self.do(modify(changes=[change(row, **fields)], claimant=claimant))
        assert isinstance(modified, Modified)
        return modified.changed[0]

    def delete(self, row: TaskRow, *, claimant: str = "w1") -> None:
        assert self.do(modify(deletes=[target(row)], claimant=claimant)) == Modified((), ())

    def refused(self, operation: op.Modify) -> tuple[Failed, ...]:
        """Do what must fail, and give the failing parts."""
        refused = self.do(operation)
        assert isinstance(refused, Refused)
        assert refused.code == "dependency"
        return refused.failed

    def settle(self, action: str, queue: str, serial: int, ms: int = 0) -> TaskRow:
        settled = self.do(settle(action, queue, serial, ms))
        assert isinstance(settled, Settled)
        return settled.row

    def configure(self, pattern: str, **fields: Any) -> None:
        assert self.do(configure(pattern, **fields)) == Done()

    # --- questions ------------------------------------------------------------------------------

    def ask(self, query: queries.Query) -> Any:
        return self.machine.query(query, self.now_ms)

    def queues(
        self, *prefixes: str, names: Sequence[str] = (), limit: int = 100
    ) -> list[QueueStats]:
        found: list[QueueStats] = self.ask(queries.Queues(prefixes, tuple(names), limit))
        return found

    def stats(self, queue: str) -> QueueStats:
        (row,) = self.queues(names=[queue])
        return row

    def tasks(
        self, queue: str = "", *, claimant: str = "", ids: Sequence[str] = (), limit: int = 100,
        omit_values: bool = False,
    ) -> list[TaskRow]:  # fmt: skip
        query = queries.Tasks(queue, claimant, tuple(ids), limit, omit_values)
        found: list[TaskRow] = self.ask(query)
        return found

    def task(self, id_: str) -> TaskRow:
        (row,) = self.tasks(ids=[id_])
        return row


def claim(
    *queues: str, claimant: str = "w1", lease_ms: int = LEASE_MS, limit: int = 1, serial: bool = False,
    key: str = "", mark: bytes = b"",
) -> op.Claim:  # fmt: skip
    return op.Claim(op.CLAIM, key, mark, claimant, queues, lease_ms, limit, serial)


def modify(
    *, inserts: Sequence[op.Insert] = (), changes: Sequence[op.Change] = (),
    deletes: Sequence[op.Target] = (), depends: Sequence[op.Target] = (), claimant: str = "w1",
    key: str = "", mark: bytes = b"",
) -> op.Modify:  # fmt: skip
    return op.Modify(op.MODIFY, key, mark, claimant, inserts, changes, deletes, depends)


def renew(
    *targets: op.Target,
    claimant: str = "w1",
    lease_ms: int = LEASE_MS,
    key: str = "",
    mark: bytes = b"",
) -> op.Renew:
    return op.Renew(op.RENEW, key, mark, claimant, targets, lease_ms)


def settle(action: str, queue: str, serial: int, ms: int = 0) -> op.Settle:
    return op.Settle(op.SETTLE, "", b"", action, queue, serial, ms)


def configure(
    pattern: str, *, order: str | None = None, paused: bool | None = None, lease_ms: int | None = None,
    key: str = "", mark: bytes = b"",
) -> op.Configure:  # fmt: skip
    return op.Configure(op.CONFIGURE, key, mark, pattern, order, paused, lease_ms)


def target(row: TaskRow) -> op.Target:
    return op.Target(row.id, row.version)


def change(row: TaskRow, **fields: Any) -> op.Change:
    return op.Change(row.id, row.version, **fields)
