"""What waits for its turn: submissions, cut into batches that one transaction does.

A submission may be part of several batches; its sink is told once, when the last of them is done.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import structlog

from raftq_cluster.backends.api import Sink
from raftq_cluster.backends.postgres.needs import INSERTS_MAX
from raftq_cluster.core import operations as op
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Outcome, Refused

BATCH_OPERATIONS_MAX: Final = 1_000  # some 20 ms of a transaction
BATCH_PARTS_MAX: Final = 10_000
BATCH_BYTES_MAX: Final = 8 * 2**20
_MODIFICATIONS: Final = (op.MODIFY, op.TRANSACT)
_CONFIGURES: Final = (op.CONFIGURE, op.CONFIGURE_BOUNDED)
_TOO_MANY_INSERTS: Final = Refused(
    "too_large",
    f"the limit inserts_max is {INSERTS_MAX}",
    limit_name="inserts_max",
    limit=INSERTS_MAX,
)

_log = structlog.get_logger(__name__)


class Submission:
    """Operations of one caller, and the outcomes that it has so far."""

    __slots__ = ("_sink", "index", "operations", "outcomes", "taken")

    def __init__(self, operations: Sequence[Operation], sink: Sink) -> None:
        self.operations = operations
        self.taken = 0  # operations that are in a batch already
        self.outcomes: list[Outcome] = []
        self.index = 0
        self._sink = sink

    def take(self, index: int, outcomes: Sequence[Outcome]) -> None:
        """Take the next outcomes, and tell all of them if these are the last."""
        self.outcomes += outcomes
        self.index = max(self.index, index)
        if len(self.outcomes) == len(self.operations):
            tell(self._sink, self.index, self.outcomes)


class Share(NamedTuple):
    """The part of a submission that is in a batch."""

    submission: Submission
    operations: int


class Batch(NamedTuple):
    """Operations of several callers, to be done in one transaction, in order."""

    operations: list[Operation]
    shares: list[Share]

    def tell(self, index: int, outcomes: Sequence[Outcome]) -> None:
        """Tell every caller its part."""
        begin = 0
        for submission, count in self.shares:
            submission.take(index, outcomes[begin : begin + count])
            begin += count

    def is_one(self) -> bool:
        """Whether it cannot be cut."""
        return len(self.operations) == 1

    def alone(self) -> "list[Batch]":
        """Give a batch for each operation, in order."""
        return [
            Batch([operation], [Share(submission, 1)])
            for (submission, operation) in zip(
                [share.submission for share in self.shares for _ in range(share.operations)],
                self.operations,
                strict=True,
            )
        ]


class Submissions:
    """All that was submitted and is in no batch yet, in order."""

    def __init__(self) -> None:
        self._waiting: deque[Submission] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, operations: Sequence[Operation], sink: Sink) -> None:
        """Let operations wait; there is at least one."""
        self._waiting.append(Submission(operations, sink))

    def next_batch(self) -> Batch:
        """Cut the next batch; something waits."""
        batch = Batch([], [])
        room = _Room()
        waiting = self._waiting
        while waiting:
            submission = waiting[0]
            operations = submission.operations
            begin = end = submission.taken
            while end < len(operations) and room.admits(operations[end]):
                end += 1
            if end > begin:
                batch.operations.extend(operations[begin:end])
                batch.shares.append(Share(submission, end - begin))
                submission.taken = end
            if end < len(operations):
                return batch
            waiting.popleft()
        return batch

    def abandon(self, index: int, outcome: Outcome) -> None:
        """Tell everybody who waits the same."""
        while self._waiting:
            submission = self._waiting.popleft()
            left = len(submission.operations) - submission.taken
            submission.taken = len(submission.operations)
            submission.take(index, [outcome] * left)


class _Room:
    """What a batch has room for. Settings change in batches of their own."""

    def __init__(self) -> None:
        self._operations = self._parts = self._bytes = 0
        self._is_closed = False

    def admits(self, operation: Operation) -> bool:
        """Tell whether an operation fits in, and count it if so."""
        kind = operation[0]
        is_first = not self._operations
        if kind in _CONFIGURES:
            self._is_closed, may = True, is_first
        elif self._is_closed:
            return False
        else:
            parts, size = _size_of(operation)
            self._parts += parts
            self._bytes += size
            may = is_first or (
                self._operations < BATCH_OPERATIONS_MAX
                and self._parts <= BATCH_PARTS_MAX
                and self._bytes <= BATCH_BYTES_MAX
            )
        self._operations += may
        return may


def refusal_of(operation: Any) -> Refused | None:
    """Refuse what no transaction could do."""
    inner = operation[4] if operation[0] == op.GUARD else operation
    is_too_large = inner[0] in _MODIFICATIONS and len(inner[4]) > INSERTS_MAX
    return _TOO_MANY_INSERTS if is_too_large else None


def _size_of(operation: Any) -> tuple[int, int]:
    """Count tasks and bytes of an operation, about."""
    kind = operation[0]
    if kind == op.CLAIM:
        return operation[6], 0
    if kind == op.COLLECT:
        return operation[2], 0
    inner = operation[4] if kind == op.GUARD else operation
    if inner[0] == op.CLAIM_DOCS:
        return len(inner[4]), 0
    if inner[0] not in _MODIFICATIONS:
        return 1, 0
    _, _, _, _, inserts, changes, deletes, depends = inner[:8]
    size = sum([len(insert[4]) for insert in inserts])
    size += sum([len(change[5] or b"") for change in changes])
    parts = len(inserts) + len(changes) + len(deletes) + len(depends)
    if inner[0] == op.TRANSACT and any(inner[10]):
        doc_inserts, doc_changes = inner[10][:2]
        size += sum([len(insert[6]) for insert in doc_inserts])
        size += sum([len(change[5] or b"") for change in doc_changes])
        parts += sum(map(len, inner[10]))
    return parts, size


def tell(sink: Sink, index: int, outcomes: Sequence[Outcome]) -> None:
    """Call a sink and survive it."""
    try:
        sink(index, outcomes)
    except Exception:  # noqa: BLE001 - one bad sink may not harm the other callers
        _log.exception("a sink has raised; its outcomes are lost to its caller")
