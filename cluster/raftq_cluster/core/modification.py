"""One modify operation: first every part is checked, then every part is done.

All failing parts are found and reported at once, so that a caller learns everything from one try.
Functions of a state and not an object: a modification is the hottest operation of all, and
most have one part (``scripts/bench``, core).
"""

from collections.abc import Container, Sequence
from itertools import chain
from typing import Final

from raftq_cluster.core import operations as op
from raftq_cluster.core.operations import ANONYMOUS
from raftq_cluster.core.outcomes import (
    CHANGE,
    CLAIMED,
    DELETE,
    DEPEND,
    EXISTS,
    INSERT,
    MISSING,
    VERSION,
    Failed,
    FailedPart,
    Modified,
    Outcome,
    Refused,
    TaskRow,
)
from raftq_cluster.core.state import State, arrival_ms
from raftq_cluster.core.task import WAITING, Task

_row = _new = tuple.__new__
_GIVES_BACK: Final = frozenset({op.AT, op.DELAY})
_NO_ROWS: Final[tuple[TaskRow, ...]] = ()
_ONLY_DELETES: Final = Modified((), ())
SAME_ID_TWICE: Final = Refused("invalid", "an id stands in more than one part of the modification")


def modify(state: State, operation: op.Modify) -> Outcome:
    """Do a modification, or refuse it.

    One insert and one delete, which nearly all modifications are, take a short way: it does what
    the long one would at half the price (``scripts/bench``, core).
    """
    _, _, _, claimant, inserts, changes, deletes, depends = operation
    if not changes and not depends:
        if not deletes and len(inserts) == 1:
            if inserts[0][1] not in state.tasks:
                return _new(Modified, ((state.insert(inserts[0]),), _NO_ROWS))
        elif not inserts and len(deletes) == 1:
            id_, version = deletes[0]
            task = state.tasks.get(id_)
            if task is not None and task.version == version:
                holder = task.claimant
                mine = claimant or ANONYMOUS
                if holder == mine or not holder or task.pos != WAITING or not version:
                    state.delete(task)
                    return _ONLY_DELETES
    return refusal(state, operation) or commit(state, operation)


def refusal(state: State, operation: op.Modify, hidden: Container[str] = ()) -> Refused | None:
    """Check every part; None means that all of them hold. Tasks of ``hidden`` ids do not exist."""
    if not are_distinct(operation):
        return SAME_ID_TWICE
    failed = failures(state, operation, hidden)
    return refused_for(failed, count_parts(operation)) if failed else None


def count_parts(operation: op.Modify) -> int:
    """Count the parts."""
    _, _, _, _, inserts, changes, deletes, depends = operation
    return len(inserts) + len(changes) + len(deletes) + len(depends)


def refused_for(failed: Sequence[Failed], count: int) -> Refused:
    """Make the refusal that names all failing ones of so many parts."""
    return Refused("dependency", f"{len(failed)} of {count} parts do not hold", tuple(failed))


def failures(state: State, operation: op.Modify, hidden: Container[str] = ()) -> list[FailedPart]:
    """Give the parts that do not hold, in the order of the request."""
    _, _, _, claimant, inserts, changes, deletes, depends = operation
    failed: list[FailedPart] = []
    claimant = claimant or ANONYMOUS
    if inserts:
        tasks = state.tasks
        for position, insert in enumerate(inserts):
            if insert[1] in tasks:
                version = tasks[insert[1]].version
                failed.append(FailedPart(INSERT, position, insert[1], EXISTS, version))
    if changes:
        _check(state, failed, CHANGE, changes, claimant, hidden)
    if deletes:
        _check(state, failed, DELETE, deletes, claimant, hidden)
    if depends:
        _check(state, failed, DEPEND, depends, claimant, hidden)
    return failed


def commit(state: State, operation: op.Modify) -> Modified:
    """Do every part of a modification that ``refusal`` let pass: deletes, changes, inserts."""
    _, _, _, claimant, inserts, changes, deletes, _ = operation
    tasks = state.tasks
    for target in deletes:
        state.delete(tasks[target[0]])
    if not inserts and not changes:
        return _ONLY_DELETES
    changed = _NO_ROWS
    if changes:
        changed = tuple([_change(state, change, claimant or ANONYMOUS) for change in changes])
    inserted = _NO_ROWS
    if inserts:
        inserted = tuple([state.insert(insert) for insert in inserts])
    return Modified(inserted, changed)


def preview(state: State, operation: op.Modify) -> Modified:
    """Tell what ``commit`` would answer, and change nothing. New integer ids are not foretold."""
    _, _, _, claimant, inserts, changes, _, _ = operation
    changed = [
        _changed_row(state.tasks[change[0]].row(), change, claimant or ANONYMOUS, state.now_ms)
        for change in changes
    ]
    inserted = [_new_row(insert, state.now_ms) for insert in inserts]
    return Modified(tuple(inserted), tuple(changed))


def _new_row(insert: op.Insert, now_ms: int) -> TaskRow:
    """Write the row of a task that is inserted at ``now_ms``."""
    queue, id_, arrival, ms, value, kind, attempt, priority, err, _ = insert
    at = arrival_ms(arrival, ms, now_ms)
    row: TaskRow = _row(
        TaskRow,
        (id_, 0, queue, at, value, kind, "", 0, attempt, priority, err, now_ms, now_ms, 0),
    )
    return row


def are_distinct(operation: op.Modify) -> bool:
    """Tell whether no id stands in two parts."""
    _, _, _, _, inserts, changes, deletes, depends = operation
    count = len(inserts) + len(changes) + len(deletes) + len(depends)
    if count < 2:
        return True
    ids = {insert[1] for insert in inserts}
    ids.update(change[0] for change in changes)
    ids.update(target[0] for target in chain(deletes, depends))
    return len(ids) == count


def _check(
    state: State,
    failed: list[FailedPart],
    part: str,
    items: Sequence[op.Change | op.Target],
    claimant: str,
    hidden: Container[str],
) -> None:
    tasks = state.tasks
    for position, item in enumerate(items):
        id_ = item[0]
        task = tasks.get(id_)
        if task is None or id_ in hidden:
            failed.append(FailedPart(part, position, id_, MISSING))
        elif task.version != item[1]:
            failed.append(FailedPart(part, position, id_, VERSION, task.version))
        elif (
            task.claimant != claimant
            and task.claimant
            and task.version
            and task.pos == WAITING  # held, and not by the caller
            and part != DEPEND
        ):
            failed.append(
                FailedPart(part, position, id_, CLAIMED, task.version, task.claimant, task.at)
            )


def _change(state: State, change: op.Change, claimant: str) -> TaskRow:
    task = state.tasks[change[0]]
    state.withdraw(task)
    old_bytes = len(task.value) + len(task.err)
    row = _changed_row(task.row(), change, claimant, state.now_ms)
    if row.queue != task.queue.name:
        state.leave_queue(task)
        state.enter_queue(task, row.queue)
    _overwrite(task, row)
    state.value_bytes += len(task.value) + len(task.err) - old_bytes
    state.place(task)
    return row


def _changed_row(row: TaskRow, change: op.Change, claimant: str, now_ms: int) -> TaskRow:
    _, _, queue, arrival, ms, value, kind, attempt, priority, err = change
    at, holder = row.at, row.claimant if row.version else ""
    if arrival in _GIVES_BACK:
        at, holder = (max(ms, now_ms) if arrival == op.AT else now_ms + ms), ""
    elif arrival == op.LEASE:
        at, holder = now_ms + ms, claimant
    elif arrival == op.HOLD_UNTIL:
        at, holder = (ms, claimant) if ms > now_ms else (now_ms, "")
    moved = queue is not None and queue != row.queue
    return row._replace(
        version=row.version + 1,
        queue=row.queue if queue is None else queue,
        at=at,
        claimant=holder,
        value=row.value if value is None else value,
        kind=row.kind if value is None else kind,
        attempt=row.attempt if attempt is None else attempt,
        priority=row.priority if priority is None else priority,
        err=row.err if err is None else err,
        modified=now_ms,
        serial=0 if moved else row.serial,
    )


def _overwrite(task: Task, row: TaskRow) -> None:
    task.version = row.version
    task.at = row.at
    task.claimant = row.claimant
    task.value = row.value
    task.kind = row.kind
    task.attempt = row.attempt
    task.priority = row.priority
    task.err = row.err
    task.modified = row.modified
