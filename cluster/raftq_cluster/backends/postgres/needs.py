"""What a batch of operations may look at: said before anything is read, so that one question fetches it.

Knows the shapes of operations and nothing of SQL. An operation that is added to the core must be
added here too: what is not named is not there.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from raftq_cluster.core import operations as op
from raftq_cluster.core.operations import Operation

INSERTS_MAX: Final = 65_536  # of one batch: the block of insertion numbers that it gets
_KEYLESS: Final = frozenset({op.TICK, op.FORGET, op.VERIFY, op.COLLECT, op.COLLECT_DOCS})


class Needs:
    """Everything that a batch names."""

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}
        self.settles: dict[tuple[str, int], None] = {}
        self.claims: dict[str, int] = {}  # queue -> tasks at most
        self.numbering: dict[str, bool] = {}  # queue -> whether a new task may get the number
        self.keys: dict[str, None] = {}
        self.forgets: list[str] = []
        self.docs: dict[tuple[str, str], None] = {}  # namespaces and ids
        self.sets: dict[tuple[str, str], bool] = {}  # namespaces and keys -> whether with all docs
        self.is_alone = False  # settings change: no other batch may run meanwhile

    def is_about_docs(self) -> bool:
        """Tell whether docs or sets of docs are named."""
        return bool(self.docs or self.sets)


def needs_of(operations: Sequence[Operation]) -> Needs:
    """Collect what these operations name."""
    needs = Needs()
    operation: Any  # its kind says which
    for operation in operations:
        kind = operation[0]
        take = _TAKERS.get(kind)
        if take is not None:
            take(needs, operation)
            if kind not in _KEYLESS and operation[1]:
                needs.keys[operation[1]] = None
    if needs.settles:
        _count_settled(needs)
    return needs


def _count_settled(needs: Needs) -> None:
    """Let claims find as many more: what is named by integer id may be among their candidates, and be gone by then."""
    claims = needs.claims
    for queue, _ in needs.settles:
        if queue in claims:
            claims[queue] += 1


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


def _transact(needs: Needs, operation: Any) -> None:
    _modify(needs, operation)
    inserts, changes, deletes, depends, leases = operation[10]
    docs, sets = needs.docs, needs.sets
    for namespace, key, _, id_, *_ in inserts:
        docs[namespace, id_] = None
        sets.setdefault((namespace, key), False)
    for namespace, id_, *_ in (*changes, *deletes):
        docs[namespace, id_] = None
    for namespace, id_, _, key in depends:
        if id_:
            docs[namespace, id_] = None
        else:
            sets.setdefault((namespace, key), False)
    for namespace, key, *_ in leases:
        sets.setdefault((namespace, key), False)


def _claim_docs(needs: Needs, operation: Any) -> None:
    _, _, _, _, claims, _, (task_id, _, _) = operation
    if task_id:
        needs.ids[task_id] = None
    sets = needs.sets
    for namespace, key, omit_docs in claims:
        sets[namespace, key] = sets.get((namespace, key), False) or not omit_docs


def _renew(needs: Needs, operation: Any) -> None:
    for target in operation[4]:
        needs.ids[target[0]] = None


def _settle(needs: Needs, operation: Any) -> None:
    needs.settles[operation[4], operation[5]] = None


def _configure(needs: Needs, operation: Any) -> None:
    del operation
    needs.is_alone = True


def _collect(needs: Needs, operation: Any) -> None:
    _, name, limit = operation
    needs.claims[name] = needs.claims.get(name, 0) + limit


def _collect_docs(needs: Needs, operation: Any) -> None:
    _, namespace, key, ids = operation
    needs.sets.setdefault((namespace, key), False)
    for id_ in ids:
        needs.docs[namespace, id_] = None


def _forget(needs: Needs, operation: Any) -> None:
    needs.forgets += operation[1]


def _guard(needs: Needs, operation: Any) -> None:
    inner = operation[4]
    _TAKERS[inner[0]](needs, inner)


_TAKERS: Final[dict[int, Callable[[Needs, Any], None]]] = {
    op.GUARD: _guard,
    op.CLAIM: _claim,
    op.MODIFY: _modify,
    op.TRANSACT: _transact,
    op.CLAIM_DOCS: _claim_docs,
    op.RENEW: _renew,
    op.SETTLE: _settle,
    op.CONFIGURE: _configure,
    op.CONFIGURE_BOUNDED: _configure,
    op.COLLECT: _collect,
    op.COLLECT_DOCS: _collect_docs,
    op.FORGET: _forget,
}
