"""What this backend does not do yet is refused before it is tried: a batch's machine would do it, and forget it."""

from collections.abc import Sequence
from typing import Any, Final

from raftq_cluster.backends.api import Sink
from raftq_cluster.core import operations as op
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Outcome, Refused

NO_DOCS: Final = Refused("invalid", "this node's backend, PostgreSQL, keeps no docs yet")


def is_about_docs(operation: Any) -> bool:
    """Tell whether an operation would read or write docs."""
    inner = operation[4] if operation[0] == op.GUARD else operation
    return inner[0] == op.CLAIM_DOCS or (inner[0] == op.TRANSACT and any(inner[10]))


def admitted(operations: Sequence[Operation], sink: Sink) -> tuple[Sequence[Operation], Sink]:
    """Give the operations that can be done, and a sink that answers the others in their places."""
    refused = [is_about_docs(operation) for operation in operations]
    if not any(refused):
        return operations, sink

    def told(index: int, outcomes: Sequence[Outcome]) -> None:
        answers = iter(outcomes)
        sink(index, [NO_DOCS if is_refused else next(answers) for is_refused in refused])

    done = [item for item, is_refused in zip(operations, refused, strict=True) if not is_refused]
    return done, told
