"""What a batch of operations may look at: said before anything is read, so that one question fetches it.

Knows the shapes of operations and nothing of SQL. An operation that is added to the core must be
added here too: what is not named is not there.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from raftq_cluster.core import operations as op
from raftq_cluster.core.operations import Operation

INSERTS_MAX: Final = 65_536  # of one batch: the block of insertion numbers that it gets


class Needs:
    """Everything that a batch names."""

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}
        self.settles: dict[tuple[str, int], None] = {}
        self.claims: dict[str, int] = {}  # queue -> tasks at most
        self.numbering: dict[str, bool] = {}  # queue -> whether a new task may get the number
        self.keys: dict[str, None] = {}
        self.forgets: list[str] = []
        self.is_alone = False  # settings change: no other batch may run meanwhile


def needs_of(operations: Sequence[Operation]) -> Needs:
    """Collect what these operations name."""
    needs = Needs()
    operation: Any  # its kind says which
    for operation in operations:
        kind = operation[0]
        take = _TAKERS.get(kind)
        if take is not None:
            take(needs, operation)
            if (kind < op.TICK or kind == op.TRANSACT) and operation[1]:
                needs.keys[operation[1]] = None
    return needs


def _claim(needs: Needs, operation: Any) -> None:
    _, _, _, _, names, _, limit, serial = operation
    claims = needs.claims
    for name in names if len(names) == 1 else dict.fromkeys(names):
        claims[name] = claims.get(name, 0) + limit
        if serial:
            needs.numbering.setdefault(name, False)


def _modify(needs: Needs, operation: Any) -> None:
    _, _, _, _, inserts, changes, deletes, depends = operation[:8]  # a transaction's too
    ids = needs.ids
    for insert in inserts:
        ids[insert[1]] = None
        if insert[9]:
            needs.numbering[insert[0]] = True
    for change in changes:
        ids[change[0]] = None
    for target in deletes:
        ids[target[0]] = None
    for target in depends:
        ids[target[0]] = None


def _renew(needs: Needs, operation: Any) -> None:
    for target in operation[4]:
        needs.ids[target[0]] = None


def _settle(needs: Needs, operation: Any) -> None:
    needs.settles[operation[4], operation[5]] = None


def _configure(needs: Needs, operation: Any) -> None:
    del operation
    needs.is_alone = True


def _forget(needs: Needs, operation: Any) -> None:
    needs.forgets += operation[1]


def _guard(needs: Needs, operation: Any) -> None:
    inner = operation[4]
    (_renew if inner[0] == op.RENEW else _modify)(needs, inner)


_TAKERS: Final[dict[int, Callable[[Needs, Any], None]]] = {
    op.GUARD: _guard,
    op.CLAIM: _claim,
    op.MODIFY: _modify,
    op.TRANSACT: _modify,
    op.RENEW: _renew,
    op.SETTLE: _settle,
    op.CONFIGURE: _configure,
    op.FORGET: _forget,
}
