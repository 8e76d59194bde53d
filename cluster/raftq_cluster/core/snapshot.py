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
    from raftq_cluster.core.doc_store import Doc, DocSet
    from raftq_cluster.core.keys import KeyRecord
    from raftq_cluster.core.state import State
    from raftq_cluster.core.task import Task

Record: TypeAlias = tuple[Any, ...]

VERSION: Final = 3
VERSIONS_READ: Final = (2, 3)  # 1 had no chain, 2 no docs

# The first item of each record.
HEAD: Final = 0  # version, index, now_ms, seq, chain
SETTING: Final = 1  # a SettingsRow, without its bounds where it has none
QUEUE: Final = 2  # name, next_serial, serial_born; the tasks that follow are in it
READY: Final = 3  # seq, TaskRow
WAITING: Final = 4  # seq, TaskRow
KEY: Final = 5  # key, mark, expires_at, size_bytes, name of the outcome's class, the outcome
END: Final = 6  # count of the records before it
DOC_SET: Final = (
    7  # namespace, key, version, claimant, at, modified; the docs that follow are in it
)
DOC: Final = 8  # a Doc without its key
# Behind the head, if there is or was one: id of the file, parts taken, why it failed, whether it is over.
IMPORT: Final = 9


class Keeper:
    """Rows of tasks that were changed before the snapshot of ``epoch`` came to them.

    ``older`` is that of the snapshot that was begun before and is still being taken.
    """

    __slots__ = ("_rows", "epoch", "older")

    def __init__(self, epoch: int, older: "Keeper | None") -> None:
        self.epoch = epoch
        self.older = older
        self._rows: dict[Task, Record] = {}  # never iterated: the order of objects is no state

    def save(self, task: "Task") -> None:
        """Take the task as it is now."""
        self._rows[task] = (task.seq, task.row())

    def take(self, task: "Task") -> Record:
        """Give a saved row."""
        return self._rows.pop(task)


def keep(keeper: Keeper | None, task: "Task") -> None:
    """Let a snapshot and all older ones that have not taken the task yet take it as it is.

    ``task.epoch`` is that of the last snapshot that has it, and all older ones have it too.
    """
    while keeper is not None and task.epoch < keeper.epoch:
        keeper.save(task)
        keeper = keeper.older


class Snapshot:
    """An iterator over chunks of records. Close it if it is not consumed to its end.

    Several may be taken at once, each of its own moment.
    """

    def __init__(self, state: "State", chunk_records: int) -> None:
        self._state = state
        self._chunk_records = chunk_records
        state.epoch += 1
        state.keeper = self._keeper = Keeper(state.epoch, state.keeper)
        self.index = state.index
        self._count = 0
        self._records = self._generate(
            [
                (HEAD, VERSION, state.index, state.now_ms, state.seq, state.chain),
                *import_records(state),
            ],
            [setting_record(row) for row in state.settings.rows()],
            [
                (
                    (QUEUE, queue.name, queue.next_serial, queue.serial_born),
                    list(queue.ready),
                    list(queue.waiting_tasks()),
                )
                for queue in state.queues.values()
            ],
            [(set_record(docs), list(docs.docs.values())) for docs in state.docs.sets()],
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
        self._records = iter(())
        state, mine = self._state, self._keeper
        if state.keeper is mine:
            state.keeper = mine.older
            return
        newer = state.keeper
        while newer is not None and newer.older is not mine:
            newer = newer.older
        if newer is not None:
            newer.older = mine.older

    def _generate(
        self,
        heads: list[Record],
        settings: list[Record],
        queues: "list[tuple[Record, list[Task], list[Task]]]",
        doc_sets: "list[tuple[Record, list[Doc]]]",
        keys: "list[tuple[str, KeyRecord]]",
    ) -> Iterator[Record]:
        for record in heads:
            yield self._counted(record)
        for record in settings:
            yield self._counted(record)
        for queue_record, ready, waiting in queues:
            yield self._counted(queue_record)
            for task in ready:
                yield self._counted((READY, *self._take(task)))
            for task in waiting:
                yield self._counted((WAITING, *self._take(task)))
        for docs_record, docs in doc_sets:
            yield self._counted(docs_record)
            for doc in docs:
                yield self._counted((DOC, doc[0], *doc[2:]))
        for key, record in keys:
            yield self._counted(key_record(key, record))
        yield (END, self._count)

    def _take(self, task: "Task") -> Record:
        keeper = self._keeper
        if task.epoch >= keeper.epoch:
            return keeper.take(task)
        keep(keeper.older, task)
        task.epoch = keeper.epoch
        return (task.seq, task.row())

    def _counted(self, record: Record) -> Record:
        self._count += 1
        return record


def import_records(state: "State") -> list[Record]:
    """Write what is to be known of an import."""
    unfinished = state.importing
    if unfinished is not None:
        return [(IMPORT, unfinished.id, unfinished.parts, unfinished.failure, False)]
    return [(IMPORT, state.imported, 0, "", True)] if state.imported else []


def setting_record(row: outcomes.SettingsRow) -> Record:
    """Write the settings of a pattern; without bounds of leases as versions that knew none wrote them."""
    is_bounded = row.lease_ms_min is not None or row.lease_ms_max is not None
    return (SETTING, *(row if is_bounded else row[:4]))


def set_record(docs: "DocSet") -> Record:
    """Write the lock of a set of docs."""
    return (DOC_SET, docs.namespace.name, docs.key, *docs.lock)


def key_record(key: str, record: "KeyRecord") -> Record:
    """Write an idempotency record."""
    mark, expires_at, outcome, size_bytes = record
    return (KEY, key, mark, expires_at, size_bytes, type(outcome).__name__, tuple(outcome))


def outcome_of(name: str, fields: tuple[Any, ...]) -> outcomes.Outcome:
    """Read back an outcome; its rows and parts may have become plain tuples on the way."""
    if name not in _OUTCOMES:
        raise ValueError(f"no outcome is called {name}")
    type_, items = _OUTCOMES[name]
    outcome: outcomes.Outcome = type_(
        *[
            field if item is None else _rebuilt(item, field)
            for item, field in zip(items, fields, strict=True)
        ]
    )
    return outcome


def _rebuilt(item: Any, field: Any) -> Any:
    if isinstance(item, list):
        return tuple([item[0](*row) for row in field])
    return item(*field)


def _failed(*fields: Any) -> outcomes.Failed:
    is_doc = len(fields) == len(outcomes.FailedDoc._fields)
    return outcomes.FailedDoc(*fields) if is_doc else outcomes.FailedPart(*fields)


# Of each outcome that is remembered: what its fields are. A list: a tuple of those; None: a plain value.
_OUTCOMES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "Claimed": (outcomes.Claimed, ([outcomes.TaskRow],)),
    "Modified": (outcomes.Modified, ([outcomes.TaskRow], [outcomes.TaskRow])),
    "Renewed": (outcomes.Renewed, ([outcomes.TaskRow], [outcomes.LostTask])),
    "Settled": (outcomes.Settled, (outcomes.TaskRow,)),
    "Done": (outcomes.Done, ()),
    "Refused": (outcomes.Refused, (None, None, [_failed], None, None)),
    "Transacted": (
        outcomes.Transacted,
        (
            [outcomes.TaskRow],
            [outcomes.TaskRow],
            [outcomes.DocRow],
            [outcomes.DocRow],
            [outcomes.SetRow],
        ),
    ),
    "DocsClaimed": (outcomes.DocsClaimed, ([outcomes.SetRow], [outcomes.DocRow])),
}
