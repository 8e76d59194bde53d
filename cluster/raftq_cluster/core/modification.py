"""One modify operation: first every part is checked, then every part is done.

All failing parts are found and reported at once, so that a caller learns everything from one try.
"""

from collections.abc import Iterator, Sequence
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
    FailedPart,
    Modified,
    Refused,
    TaskRow,
)
from raftq_cluster.core.state import State
from raftq_cluster.core.task import Task

_row = tuple.__new__
_GIVES_BACK: Final = frozenset({op.AT, op.DELAY})


class Modification:
    """A modify operation against a state. ``refusal`` must be None before ``commit`` is called."""

    __slots__ = ("_changes", "_claimant", "_deletes", "_depends", "_inserts", "_state")

    def __init__(self, state: State, operation: op.Modify) -> None:
        self._state = state
        _, _, _, claimant, self._inserts, self._changes, self._deletes, self._depends = operation
        self._claimant = claimant or ANONYMOUS

    def refusal(self) -> Refused | None:
        """Check every part; None means that all of them hold."""
        count = len(self._inserts) + len(self._changes) + len(self._deletes) + len(self._depends)
        if count > 1 and len(set(self._ids())) != count:
            return Refused("invalid", "an id stands in more than one part of the modification")
        failed = self._failed_parts()
        if failed:
            return Refused("dependency", f"{len(failed)} of {count} parts do not hold", failed)
        return None

    def commit(self) -> Modified:
        """Do every part: deletes, changes, inserts. No part's outcome depends on that order."""
        state = self._state
        for target in self._deletes:
            state.delete(state.tasks[target[0]])
        changed = [self._change(change) for change in self._changes]
        inserted = [
            state.insert(self._new_row(insert), insert[9]).row() for insert in self._inserts
        ]
        return Modified(tuple(inserted), tuple(changed))

    def preview(self) -> Modified:
        """Tell what ``commit`` would answer, and change nothing."""
        changed = []
        for change in self._changes:
            task = self._state.tasks[change[0]]
            changed.append(self._changed_row(task.row(), change))
        return Modified(tuple(self._new_row(insert) for insert in self._inserts), tuple(changed))

    def _ids(self) -> Iterator[str]:
        for insert in self._inserts:
            yield insert[1]
        for change in self._changes:
            yield change[0]
        for target in (*self._deletes, *self._depends):
            yield target[0]

    def _failed_parts(self) -> tuple[FailedPart, ...]:
        failed: list[FailedPart] = []
        tasks = self._state.tasks
        for index, insert in enumerate(self._inserts):
            task = tasks.get(insert[1])
            if task is not None:
                failed.append(FailedPart(INSERT, index, insert[1], EXISTS, task.version))
        self._check(failed, CHANGE, self._changes)
        self._check(failed, DELETE, self._deletes)
        self._check(failed, DEPEND, self._depends)
        return tuple(failed)

    def _check(
        self, failed: list[FailedPart], part: str, items: Sequence[op.Change | op.Target]
    ) -> None:
        tasks = self._state.tasks
        for index, item in enumerate(items):
            id_, version = item[0], item[1]
            task = tasks.get(id_)
            if task is None:
                failed.append(FailedPart(part, index, id_, MISSING))
            elif task.version != version:
                failed.append(FailedPart(part, index, id_, VERSION, task.version))
            elif part != DEPEND and task.is_held() and task.claimant != self._claimant:
                failed.append(
                    FailedPart(part, index, id_, CLAIMED, task.version, task.claimant, task.at)
                )

    def _new_row(self, insert: op.Insert) -> TaskRow:
        queue, id_, arrival, ms, value, kind, attempt, priority, err, _ = insert
        now_ms = self._state.now_ms
        at = now_ms
        if arrival == op.AT:
            at = max(ms, now_ms)
        elif arrival == op.DELAY:
            at = now_ms + ms
        row: TaskRow = _row(
            TaskRow,
            (id_, 0, queue, at, value, kind, "", 0, attempt, priority, err, now_ms, now_ms, 0),
        )
        return row

    def _change(self, change: op.Change) -> TaskRow:
        state = self._state
        task = state.tasks[change[0]]
        state.withdraw(task)
        old_bytes = len(task.value) + len(task.err)
        row = self._changed_row(task.row(), change)
        if row.queue != task.queue.name:
            state.leave_queue(task)
            state.enter_queue(task, row.queue)
        _overwrite(task, row)
        state.value_bytes += len(task.value) + len(task.err) - old_bytes
        state.place(task)
        return task.row()

    def _changed_row(self, row: TaskRow, change: op.Change) -> TaskRow:
        _, _, queue, arrival, ms, value, kind, attempt, priority, err = change
        at, claimant = self._arrival(row, arrival, ms)
        moved = queue is not None and queue != row.queue
        return row._replace(
            version=row.version + 1,
            queue=row.queue if queue is None else queue,
            at=at,
            claimant=claimant,
            value=row.value if value is None else value,
            kind=row.kind if value is None else kind,
            attempt=row.attempt if attempt is None else attempt,
            priority=row.priority if priority is None else priority,
            err=row.err if err is None else err,
            modified=self._state.now_ms,
            serial=0 if moved else row.serial,
        )

    def _arrival(self, row: TaskRow, arrival: int, ms: int) -> tuple[int, str]:
        """Give the new arrival time and claimant."""
        now_ms = self._state.now_ms
        if arrival in _GIVES_BACK:
            return (max(ms, now_ms) if arrival == op.AT else now_ms + ms), ""
        if arrival == op.LEASE:
            return now_ms + ms, self._claimant
        if arrival == op.HOLD_UNTIL:
            return (ms, self._claimant) if ms > now_ms else (now_ms, "")
        return row.at, row.claimant


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
