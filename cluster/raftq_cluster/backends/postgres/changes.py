"""What a batch did to its working set, as the columns that ``store`` takes.

One list per column and no object per row: PostgreSQL's driver packs lists of plain values quickest.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from raftq_cluster.backends.postgres.doc_part import DocChanges
from raftq_cluster.backends.postgres.floors import POSITION_BITS
from raftq_cluster.backends.postgres.working_set import WorkingSet, pack_outcome
from raftq_cluster.core.ready import FIFO, RANDOM
from raftq_cluster.core.task import GONE, Task

_UPDATE_COLUMNS: Final = 9
_LAST: Final = (2**63, 0)  # behind every place
_INSERT_COLUMNS: Final = 17


class Changes:
    """The difference between a working set before and after its batch."""

    def __init__(self, working_set: WorkingSet, draw: Callable[[int], int]) -> None:
        self._draw = draw
        machine = working_set.machine
        self._position = machine.now_ms << POSITION_BITS
        self.ready: list[tuple[str, tuple[int, int]]] = []  # queues and places of ready tasks
        self.returned: dict[str, tuple[int, int]] = {}  # the first places that nobody expects
        self._seq_before = working_set.seq_before
        self._seq_after = machine.seq
        self.deleted: list[str] = []
        self.updates: list[tuple[Any, ...]] = []
        self.inserts: list[tuple[Any, ...]] = []
        self.next_due_ms: int | None = None  # of the tasks that were written
        for task, before in working_set.touched.before.items():
            if task.pos == GONE:
                self.deleted.append(task.id)
            elif _is_light(before, task):
                self._update(task)
            else:
                self.deleted.append(task.id)
                self._insert(task)
        before_seq = working_set.seq_before
        if machine.seq > before_seq:
            for task in machine.tasks.values():
                if task.seq > before_seq:
                    self._insert(task)
        for task in working_set.arriving:
            if task not in working_set.touched.before:
                self._update(task)
        taken = working_set.taken.values()
        self.tasks = len(machine.tasks) - working_set.tasks_before
        self.tasks += sum([tasks for tasks, _ in taken])
        self.value_bytes = machine.value_bytes - working_set.value_bytes_before
        self.value_bytes += sum([size for _, size in taken])
        self.docs: DocChanges | None = None
        if working_set.docs is not None:
            self.docs = DocChanges(working_set.docs)
            self.value_bytes += self.docs.size_bytes
        self._keys(working_set)
        self._numbers(working_set)

    def is_nothing(self) -> bool:
        """Tell whether there is nothing to write."""
        return not (
            self.deleted or self.updates or self.inserts or self.keys[0] or self.keys[1] or self.numbers[0]
            or (self.docs and not self.docs.is_nothing())
        )  # fmt: skip

    def arguments(self) -> list[Any]:
        """Give the lists for ``store``, in its order."""
        return [
            self.deleted,
            *_columns(self.updates, _UPDATE_COLUMNS),
            *_columns(self.inserts, _INSERT_COLUMNS),
            *self.keys,
            *self.numbers,
        ]

    def _place(self, task: Task) -> tuple[int | None, int | None]:
        """Tell where a task stands in the order of its queue; None: it waits."""
        if task.pos < 0:
            at = task.at
            if self.next_due_ms is None or at < self.next_due_ms:
                self.next_due_ms = at
            return None, None
        queue = task.queue
        order = queue.order
        if order == RANDOM:
            place = (0, self._position + self._draw(1 << POSITION_BITS))
        else:
            place = ((0 if order == FIFO else -task.priority), task.seq)
            is_new = self._seq_before < task.seq <= self._seq_after
            if (order != FIFO or not is_new) and place < self.returned.get(queue.name, _LAST):
                self.returned[queue.name] = place
        self.ready.append((queue.name, place))
        return place

    def _update(self, task: Task) -> None:
        lane, pos = self._place(task)
        self.updates.append((
            task.id, task.version, task.at, lane, pos, task.claimant, task.claims, task.modified, task.serial
        ))  # fmt: skip

    def _insert(self, task: Task) -> None:
        lane, pos = self._place(task)
        self.inserts.append((
            task.id, task.seq, lane, pos, task.version, task.queue.name, task.at, task.value, task.kind,
            task.claimant, task.claims, task.attempt, task.priority, task.err.encode(), task.created,
            task.modified, task.serial,
        ))  # fmt: skip

    def _keys(self, working_set: WorkingSet) -> None:
        left = working_set.machine.keys
        new = working_set.new_keys()
        gone = [key for key in working_set.keys_before if left.get(key) is None or key in new]
        gone += [key for key in working_set.needs.forgets if key not in working_set.keys_before]
        records = new.values()
        self.keys: tuple[list[Any], ...] = (
            gone,
            list(new),
            [record.mark for record in records],
            [record.expires_at for record in records],
            [record.size_bytes for record in records],
            [pack_outcome(record.outcome) for record in records],
        )

    def _numbers(self, working_set: WorkingSet) -> None:
        before, queues = working_set.numbers_before, working_set.machine.queues
        given = [
            queues[name]
            for name in working_set.needs.numbering
            if name in queues and queues[name].next_serial != before.get(name, 1)
        ]
        self.numbers: tuple[list[Any], ...] = (
            [queue.name for queue in given],
            [before.get(queue.name, 0) for queue in given],
            [queue.next_serial for queue in given],
            [queue.serial_born for queue in given],
        )


def _is_light(before: Sequence[Any], task: Task) -> bool:
    return (
        before[2] == task.queue.name
        and before[4] is task.value
        and before[5] == task.kind
        and before[8] == task.attempt
        and before[9] == task.priority
        and before[10] == task.err
    )


def _columns(rows: list[tuple[Any, ...]], count: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * count
