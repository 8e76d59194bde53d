"""A snapshot: the whole state as of one log index, taken while the machine goes on.

Records are tuples of plain values, in an order that restores the state exactly: ready tasks of a
random queue in the order of their positions. The lists of what must be taken are copied at the
beginning (references only: about 20 ms for a million tasks); a task that is changed before its turn
is copied just before the change (copy before write), so nothing is doubled and no pause is long.
"""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from raftq_cluster.core import outcomes

if TYPE_CHECKING:
    from raftq_cluster.core.keys import KeyRecord
    from raftq_cluster.core.state import State
    from raftq_cluster.core.task import Task

Record: TypeAlias = tuple[Any, ...]

VERSION: Final = 2  # 1 had no chain

# The first item of each record.
HEAD: Final = 0  # version, index, now_ms, seq, chain
SETTING: Final = 1  # a SettingsRow
QUEUE: Final = 2  # name, next_serial, serial_born; the tasks that follow are in it
READY: Final = 3  # seq, TaskRow
WAITING: Final = 4  # seq, TaskRow
KEY: Final = 5  # key, mark, expires_at, size_bytes, name of the outcome's class, the outcome
END: Final = 6  # count of the records before it


class Keeper:
    """Rows of tasks that were changed before the snapshot came to them."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[Task, Record] = {}  # never iterated: the order of objects is no state

    def save(self, task: "Task") -> None:
        """Take the task as it is now."""
        self._rows[task] = (task.seq, task.row())

    def take(self, task: "Task") -> Record:
        """Give a saved row."""
        return self._rows.pop(task)


class Snapshot:
    """An iterator over chunks of records. Close it if it is not consumed to its end."""

    def __init__(self, state: "State", chunk_records: int) -> None:
        if state.keeper is not None:
            raise RuntimeError("a snapshot is being taken already")
        self._state = state
        self._chunk_records = chunk_records
        state.epoch += 1
        state.keeper = self._keeper = Keeper()
        self.index = state.index
        self._count = 0
        self._records = self._generate(
            (HEAD, VERSION, state.index, state.now_ms, state.seq, state.chain),
            [(SETTING, *row) for row in state.settings.rows()],
            [
                (
                    (QUEUE, queue.name, queue.next_serial, queue.serial_born),
                    list(queue.ready),
                    list(queue.waiting_tasks()),
                )
                for queue in state.queues.values()
            ],
            state.keys.items(),
        )

    def __iter__(self) -> "Snapshot":
        return self

    def __next__(self) -> list[Record]:
        chunk = list(islice(self._records, self._chunk_records))
        if not chunk:
            self.close()
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Let the machine forget about this snapshot. Idempotent."""
        if self._state.keeper is self._keeper:
            self._state.keeper = None
        self._records = iter(())

    def _generate(
        self,
        head: Record,
        settings: list[Record],
        queues: "list[tuple[Record, list[Task], list[Task]]]",
        keys: "list[tuple[str, KeyRecord]]",
    ) -> Iterator[Record]:
        yield self._counted(head)
        for record in settings:
            yield self._counted(record)
        for queue_record, ready, waiting in queues:
            yield self._counted(queue_record)
            for task in ready:
                yield self._counted((READY, *self._take(task)))
            for task in waiting:
                yield self._counted((WAITING, *self._take(task)))
        for key, record in keys:
            yield self._counted(key_record(key, record))
        yield (END, self._count)

    def _take(self, task: "Task") -> Record:
        if task.epoch == self._state.epoch:
            return self._keeper.take(task)
        task.epoch = self._state.epoch
        return (task.seq, task.row())

    def _counted(self, record: Record) -> Record:
        self._count += 1
        return record


def key_record(key: str, record: "KeyRecord") -> Record:
    """Write an idempotency record."""
    mark, expires_at, outcome, size_bytes = record
    return (KEY, key, mark, expires_at, size_bytes, type(outcome).__name__, tuple(outcome))


def outcome_of(name: str, fields: tuple[Any, ...]) -> outcomes.Outcome:
    """Read back an outcome; its rows and parts may have become plain tuples on the way."""
    rows = outcomes.TaskRow
    match name, fields:
        case "Claimed", (tasks,):
            return outcomes.Claimed(tuple(rows(*row) for row in tasks))
        case "Modified", (inserted, changed):
            return outcomes.Modified(
                tuple(rows(*row) for row in inserted), tuple(rows(*row) for row in changed)
            )
        case "Renewed", (renewed, lost):
            return outcomes.Renewed(
                tuple(rows(*row) for row in renewed),
                tuple(outcomes.LostTask(*item) for item in lost),
            )
        case "Settled", (row,):
            return outcomes.Settled(rows(*row))
        case "Done", ():
            return outcomes.Done()
        case "Refused", (code, detail, failed, limit_name, limit):
            parts = tuple(outcomes.FailedPart(*part) for part in failed)
            return outcomes.Refused(code, detail, parts, limit_name, limit)
        case _:
            raise ValueError(f"no outcome is called {name}")
