"""Transactions: one atomic set over tasks and docs, and claims of sets of docs.

Tasks are checked and changed by :mod:`raftq_cluster.core.modification`, docs by
:mod:`raftq_cluster.core.doc_modification`; here they become one operation.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from raftq_cluster.core import doc_modification, modification
from raftq_cluster.core import operations as op
from raftq_cluster.core.doc_modification import held_part
from raftq_cluster.core.doc_store import EMPTY_SETS_MAX, DocSet, DocStore, Lock
from raftq_cluster.core.operations import ANONYMOUS
from raftq_cluster.core.outcomes import (
    DOC_CLAIM,
    MISSING,
    TASK,
    VERSION,
    DocRow,
    DocsClaimed,
    Failed,
    FailedPart,
    Outcome,
    Refused,
    TaskRow,
    Transacted,
)
from raftq_cluster.core.settings import Effective
from raftq_cluster.core.state import State

CLAIM_BYTES_MAX: Final = 8 * 2**20  # of the docs in an answer: it must fit into a frame
_SAME_DOC_TWICE: Final = Refused(
    "invalid", "a doc or a set stands in more than one part of the modification"
)
_SAME_SET_TWICE: Final = Refused("invalid", "a set is claimed twice")
_NO_LEASE: Final = Refused("invalid", "the lease must be 1 ms or more")
_TOO_MANY_SETS: Final = Refused(
    "store_full",
    f"the limit empty_sets_max is {EMPTY_SETS_MAX}",
    limit_name="empty_sets_max",
    limit=EMPTY_SETS_MAX,
)
TOO_LARGE: Final = Refused(
    "too_large",
    f"the limit claim_bytes_max is {CLAIM_BYTES_MAX}: claim fewer sets, or without their docs",
    limit_name="claim_bytes_max",
    limit=CLAIM_BYTES_MAX,
)


def transact(
    state: State, operation: op.Transact, hidden: AbstractSet[str] = frozenset()
) -> Outcome:
    """Do a transaction, or refuse it. Tasks of ``hidden`` ids do not exist for its caller."""
    refused = _refusal(state, operation, hidden)
    if refused is not None:
        return refused
    claimant, resets, docs = operation[3], operation[9], operation[10]
    planned = doc_modification.plan(state.docs, docs, claimant or ANONYMOUS, state.now_ms)
    for id_ in resets:
        state.reset_claims(state.tasks[id_])
    inserted, changed = modification.commit(state, _modify(operation))
    inserted = _signed(inserted, operation)
    for row in inserted:
        if row.claimant:
            state.tasks[row.id].claimant = row.claimant
    doc_modification.carry_out(state.docs, planned)
    state.trail += doc_modification.trail_of(planned)
    return Transacted(inserted, changed, *planned.rows())


def preview(state: State, operation: op.Transact, hidden: AbstractSet[str]) -> Outcome:
    """Tell what ``transact`` would answer, and change nothing."""
    refused = _refusal(state, operation, hidden)
    if refused is not None:
        return refused
    claimant, resets, docs = operation[3], operation[9], operation[10]
    planned = doc_modification.plan(state.docs, docs, claimant or ANONYMOUS, state.now_ms)
    inserted, changed = modification.preview(state, _modify(operation))
    inserted = _signed(inserted, operation)
    changed = tuple([row._replace(claims=0) if row.id in resets else row for row in changed])
    return Transacted(inserted, changed, *planned.rows())


def claim_docs(state: State, operation: op.ClaimDocs, *, is_hidden: bool = False) -> Outcome:
    """Hold sets, all or none. ``is_hidden``: the named task does not exist for the caller."""
    _, _, _, claimant, sets, lease_ms, (task_id, task_version, queue) = operation
    claimant, now_ms, store = claimant or ANONYMOUS, state.now_ms, state.docs
    if len({(item[0], item[1]) for item in sets}) != len(sets):
        return _SAME_SET_TWICE
    if not task_id and not lease_ms:
        return _NO_LEASE
    failed: list[Failed] = []
    until = now_ms + _granted_ms(state, sets, lease_ms)
    if task_id:
        part = _task_failure(state, task_id, task_version, "" if is_hidden else queue, is_hidden)
        failed += [part] if part else []
        until = state.tasks[task_id].at if part is None else until
    found = [store.set_of(item[0], item[1]) for item in sets]
    for position, docs in enumerate(found):
        if docs is not None and docs.lock.is_held_by_other(claimant, now_ms):
            failed.append(held_part(DOC_CLAIM, position, docs, ""))
    if failed:
        return modification.refused_for(failed, len(sets) + bool(task_id))
    if not store.has_room_for(found.count(None)):
        return _TOO_MANY_SETS
    if _size_bytes(found, sets) > CLAIM_BYTES_MAX:
        return TOO_LARGE
    claimed = []
    for (namespace, key, _), docs in zip(sets, found, strict=True):
        version = 1 if docs is None else docs.lock.version + 1
        lock = Lock(version, claimant, until, now_ms)
        claimed.append(store.put_lock(namespace, key, lock))
        state.trail.append(doc_modification.set_trail(namespace, key, version))
    return _claimed(claimed, [item[2] for item in sets])


def _granted_ms(state: State, sets: Sequence[op.SetClaim], lease_ms: int) -> int:
    """Tell which lease is given for sets: the settings of all their namespaces bound it."""
    of_each = [state.settings.resolve(name) for name in dict.fromkeys(item[0] for item in sets)]
    floors = [one.lease_ms_min for one in of_each if one.lease_ms_min is not None]
    ceilings = [one.lease_ms_max for one in of_each if one.lease_ms_max is not None]
    bounds = Effective(
        lease_ms_min=max(floors, default=None), lease_ms_max=min(ceilings, default=None)
    )
    return bounds.granted_ms(lease_ms)


def docs_told_again(store: DocStore, outcome: DocsClaimed) -> DocsClaimed:
    """Give the remembered answer of a claim: the sets that nobody has written since."""
    with_docs = {(row.namespace, row.key) for row in outcome.docs}
    still = []
    for row in outcome.sets:
        docs = store.set_of(row.namespace, row.key)
        if docs is not None and docs.row() == row:
            still.append(docs)
    return _claimed(still, [(docs.namespace.name, docs.key) not in with_docs for docs in still])


def _claimed(claimed: Sequence[DocSet], omitted: Sequence[bool]) -> DocsClaimed:
    rows: list[DocRow] = []
    for docs, is_omitted in zip(claimed, omitted, strict=True):
        if not is_omitted:
            rows += [docs.doc_row(doc) for doc in docs.sorted_docs()]
    return DocsClaimed(tuple([docs.row() for docs in claimed]), tuple(rows))


def _size_bytes(found: Sequence[DocSet | None], sets: Sequence[op.SetClaim]) -> int:
    return sum(
        docs.answer_bytes()
        for docs, item in zip(found, sets, strict=True)
        if docs is not None and not item[2]
    )


def _task_failure(
    state: State, id_: str, version: int, queue: str, is_hidden: bool
) -> FailedPart | None:
    task = state.tasks.get(id_)
    if task is None or is_hidden or (queue and task.queue.name != queue):
        return FailedPart(TASK, 0, id_, MISSING)
    if task.version != version or not task.is_held():
        return FailedPart(TASK, 0, id_, VERSION, task.version)
    return None


def _signed(rows: tuple[TaskRow, ...], operation: op.Transact) -> tuple[TaskRow, ...]:
    """Write who inserted tasks into those that are inserted under its name."""
    claimant, inserts = operation[3] or ANONYMOUS, operation[4]
    if all(insert[2] not in op.SIGNED for insert in inserts):
        return rows
    return tuple([
        row._replace(claimant=claimant) if insert[2] in op.SIGNED else row
        for row, insert in zip(rows, inserts, strict=True)
    ])  # fmt: skip


def _modify(operation: op.Transact) -> op.Modify:
    """Give the part about tasks."""
    modify: op.Modify = operation[:8]  # type: ignore[assignment] # the same positions
    return modify


def _refusal(state: State, operation: op.Transact, hidden: AbstractSet[str]) -> Refused | None:
    modify, queues, resets, docs = _modify(operation), operation[8], operation[9], operation[10]
    if not modification.are_distinct(modify):
        return modification.SAME_ID_TWICE
    if not doc_modification.are_distinct(docs):
        return _SAME_DOC_TWICE
    changed = {change[0] for change in modify[5]}
    if any(id_ not in changed for id_ in resets):
        return Refused("invalid", "claims are reset of a task that is not changed")
    elsewhere = {id_ for id_, queue in queues if _is_elsewhere(state, id_, queue)}
    elsewhere |= hidden
    failed: list[Failed] = list(modification.failures(state, modify, elsewhere))
    failed += doc_modification.failures(state.docs, docs, operation[3] or ANONYMOUS, state.now_ms)
    if not failed:
        return None
    return modification.refused_for(failed, modification.count_parts(modify) + sum(map(len, docs)))


def _is_elsewhere(state: State, id_: str, queue: str) -> bool:
    task = state.tasks.get(id_)
    return task is not None and task.queue.name != queue
