"""The part of the state that one batch looks at, as a machine of the core, and what the batch did to it.

The rows that ``gather`` gave are put into a fresh machine, the core decides on exactly those, and the
difference is read off: PostgreSQL behaves as the core does because the core is what runs. The machine
is told of rows before it changes them, as by a snapshot (copy before write).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from raftq_cluster.backends.postgres.configuring import Known
from raftq_cluster.backends.postgres.doc_part import PartOfDocs
from raftq_cluster.backends.postgres.needs import INSERTS_MAX, Needs
from raftq_cluster.backends.postgres.tallies import ZERO, Counts
from raftq_cluster.codec.snapshots import decode_chunk, encode_chunk
from raftq_cluster.core.keys import KEY_BYTES_MAX, KEYS_MAX, KeyRecord, KeyTable
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Claimed, DocsClaimed, Outcome, Refused, TaskRow
from raftq_cluster.core.queue_state import QueueState
from raftq_cluster.core.snapshot import Keeper, Record, outcome_of
from raftq_cluster.core.task import Task, task_of

(
    _HEAD, _NAMED, _CANDIDATE, _KEY, _QUEUE, _FIRST_NUMBER, _DOC_SET, _DOC, _DOC_HEAD
) = range(9)  # fmt: skip
_RETURNED, _SESSION, _FIRST_READY, _TAKEN = range(9, 13)
_KINDS: Final = 13
ARRIVALS_MAX: Final = 1_000  # of one gather
_LOADED: Final = 0  # the epoch of tasks that were read
_TOUCHED: Final = 1  # of those that the batch has changed or inserted
_LAST_INDEX: Final = 0


class Head(NamedTuple):
    """What ``gather`` says besides rows. Times in ms since the epoch."""

    now_ms: int
    settings_version: int
    seq_block: int
    tasks: int
    value_bytes: int
    keys: int
    key_bytes: int
    next_due_ms: int  # of the tasks that wait; -1: none does, -2: not looked for
    nodes: int
    log_index: int
    log_ms: int  # the last time that any batch used
    is_dirty: int  # 1: something was cleaned up, and must be committed
    server: int  # another number: another server answers, or this one has started again
    bound_ms: int  # what others write and is not seen yet has this time or a later one, and
    bound_block: int  # insertion numbers of this block or a later one
    waiting_ms: int  # nothing waits for this time or an earlier one
    keys_ms: int  # no idempotency record expires then or earlier
    keys_gone: int  # idempotency records that were cleaned up
    key_bytes_gone: int
    taken: int  # no transaction before this one inserted what is not counted


class _Touched(Keeper):
    """Remembers what tasks were before the batch changed them."""

    __slots__ = ("before",)

    def __init__(self) -> None:
        super().__init__(_TOUCHED, None)
        self.before: dict[Task, TaskRow] = {}

    def save(self, task: Task) -> None:
        self.before[task] = task.row()

    def take(self, task: Task) -> Record:
        return (task.seq, self.before[task])


class _PartOfKeys(KeyTable):
    """The records that a batch names, in a table that is as full as the whole."""

    __slots__ = ("_others",)

    def __init__(self, others: int, other_bytes: int) -> None:
        super().__init__()
        self._others = others
        self.size_bytes = other_bytes

    def is_full(self) -> bool:
        return len(self) + self._others >= KEYS_MAX or self.size_bytes >= KEY_BYTES_MAX

    def refusal(self) -> Refused:
        name, limit = "keys_held_max", KEYS_MAX
        if len(self) + self._others < limit:
            name, limit = "key_bytes_held_max", KEY_BYTES_MAX
        return Refused("store_full", f"the limit {name} is {limit}", limit_name=name, limit=limit)


class _PartOfState(Machine):
    """A machine that knows how queues began that it has not seen."""

    def __init__(self, known: Known) -> None:
        super().__init__()
        self.settings = known.settings
        self._numbered = known.numbered

    def queue_for(self, name: str, serial_born: bool = False) -> QueueState:
        return super().queue_for(name, self._numbered.get(name, serial_born))


class WorkingSet:
    """A machine with what was gathered. Use it for one batch, then :meth:`close` it."""

    def __init__(self, needs: Needs, known: Known, rows: Sequence[Any]) -> None:
        self.needs = needs
        self.head = Head(*rows[-1][3])
        self.machine = machine = _PartOfState(known)
        self.touched = machine.keeper = _Touched()
        machine.epoch = _TOUCHED
        machine.now_ms = self.head.log_ms
        machine.seq = self.seq_before = self.head.seq_block * INSERTS_MAX
        self.numbers_before: dict[str, int] = {}  # queue -> next integer id
        self.keys_before: dict[str, KeyRecord] = {}
        self.arriving: list[Task] = []
        self.docs: PartOfDocs | None = None  # None: no docs are named
        self.taken: dict[str, tuple[int, int]] = {}  # queue -> tasks and bytes of programs
        self.first_ready: dict[str, tuple[int, int] | None] = {}
        self._load(rows)
        self._counts_before = self._counts()
        self.tasks_before = len(machine.tasks)
        self.value_bytes_before = machine.value_bytes

    def _load(self, gathered: Sequence[Any]) -> None:
        by_kind: list[list[Any]] = [[] for _ in range(_KINDS)]
        for row in gathered:
            by_kind[row[0]].append(row)
        machine = self.machine
        for row in by_kind[_QUEUE]:  # before their tasks, which would make them queues of no ids
            queue = machine.queue_for(row[6], serial_born=row[2])
            queue.next_serial = self.numbers_before[row[6]] = row[17]
        now_ms = self.head.now_ms
        for rows in (by_kind[_NAMED], by_kind[_CANDIDATE]):
            for row in rows:
                if row[4] not in machine.tasks:
                    self._load_task(row, now_ms)
        for row in by_kind[_FIRST_NUMBER]:
            if row[1]:  # it exists, and not because of integer ids
                machine.queue_for(row[6]).size = row[1]
        self._load_keys(by_kind[_KEY])
        self.sessions = {row[1]: row[7] for row in by_kind[_SESSION]}
        self.returned = [(row[6], tuple(row[3])) for row in by_kind[_RETURNED]]
        for row in by_kind[_FIRST_READY]:
            lane, pos = row[3]
            self.first_ready[row[6]] = None if lane is None else (lane, pos)
        self.taken = {row[6]: (row[1], row[7]) for row in by_kind[_TAKEN]}
        if by_kind[_DOC_HEAD]:
            sets, docs, (head,) = by_kind[_DOC_SET], by_kind[_DOC], by_kind[_DOC_HEAD]
            machine.docs = self.docs = PartOfDocs(sets, docs, head)

    def is_dirty(self) -> bool:
        """Tell whether ``gather`` cleaned something up, which must be committed."""
        return bool(self.head.is_dirty or (self.docs is not None and self.docs.is_dirty))

    def _load_keys(self, rows: Sequence[Any]) -> None:
        for row in rows:
            self.keys_before[row[4]] = KeyRecord(row[14], row[7], _outcome_of(row[8]), row[1])
        head, mine = self.head, self.keys_before
        mine_bytes = sum([record.size_bytes for record in mine.values()])
        keys = self.machine.keys = _PartOfKeys(head.keys - len(mine), head.key_bytes - mine_bytes)
        for key, record in mine.items():
            keys.restore(key, record)

    def _load_task(self, row: Any, now_ms: int) -> None:
        machine = self.machine
        _, seq, is_ready, _, *fields = row
        fields[10] = fields[10].decode() if fields[10] else ""
        task_row = TaskRow._make(fields)
        queue = machine.queue_for(task_row[2])
        task = task_of(task_row, queue, seq, _LOADED)
        machine.tasks[task.id] = task
        machine.value_bytes += len(task.value) + len(task.err)
        queue.size += 1
        if task.serial:
            queue.serials[task.serial] = task
        if task.claims:
            queue.count_claims(0, task.claims)
        if is_ready:
            queue.add_ready(task)
            return
        if task.claimant and task.version:
            queue.held += 1
        if task.at <= now_ms:
            self.arriving.append(task)
        machine.calendar.add(task)

    def is_complete(self) -> bool:
        """Tell whether all is there that answers to repeated claims show; else name it in the needs."""
        needs, tasks = self.needs, self.machine.tasks
        ids: dict[str, None] = {}
        sets: dict[tuple[str, str], bool] = {}
        for record in self.keys_before.values():
            outcome = record.outcome
            if isinstance(outcome, Claimed):
                named = [row.id for row in outcome.tasks]
                ids |= {id_: None for id_ in named if id_ not in needs.ids and id_ not in tasks}
            elif isinstance(outcome, DocsClaimed):
                sets |= {(row.namespace, row.key): False for row in outcome.sets}
                sets |= {(row.namespace, row.key): True for row in outcome.docs}
        sets = {name: whole for name, whole in sets.items() if needs.sets.get(name, -1) < whole}
        needs.ids |= ids
        needs.sets |= sets
        return not ids and not sets

    def apply(self, operations: Sequence[Operation], seed: int) -> tuple[list[Outcome], Any]:
        """Do the operations; give their outcomes, and what became claimable (queue -> count)."""
        applied = self.machine.apply(_LAST_INDEX + 1, self.head.now_ms, seed, [operations])
        return applied.outcomes[0], applied.ready

    def cleaned(self) -> tuple[int, int, dict[str, tuple[int, int]]]:
        """Tell what ``gather`` took away: idempotency records, their bytes, and what programs had inserted."""
        return self.head.keys_gone, self.head.key_bytes_gone, self.taken

    def count_cleaned(self, cleaned: Sequence[tuple[int, int, dict[str, tuple[int, int]]]]) -> None:
        """Count also what was taken away before, in the same transaction."""
        for keys, key_bytes, taken in cleaned:
            head = self.head
            self.head = head._replace(
                keys_gone=head.keys_gone + keys,
                key_bytes_gone=head.key_bytes_gone + key_bytes,
                is_dirty=int(head.is_dirty or keys > 0 or bool(taken)),
            )
            for queue, (tasks, size) in taken.items():
                others = self.taken.get(queue, (0, 0))
                self.taken[queue] = (others[0] + tasks, others[1] + size)

    def _counts(self) -> dict[str, Counts]:
        return {
            name: Counts(queue.size, len(queue.ready), queue.held, queue.claim_counts())
            for name, queue in self.machine.queues.items()
        }

    def deltas(self) -> dict[str, Counts]:
        """Tell by how much the batch changed the counts of which queues."""
        before, after = self._counts_before, self._counts()
        found = {
            name: after.get(name, ZERO).plus(before.get(name, ZERO), -1)
            for name in {**before, **after}
            if after.get(name, ZERO) != before.get(name, ZERO)
        }
        for name, (tasks, _) in self.taken.items():
            found[name] = found.get(name, ZERO).plus(Counts(tasks, 0, 0, {}))
        return found

    def new_keys(self) -> Mapping[str, KeyRecord]:
        """Give the records that the batch made."""
        before = self.keys_before
        return {
            key: record
            for key, record in self.machine.keys.items()
            if before.get(key) is not record
        }

    def close(self) -> None:
        """Free the memory now: machine, queues and tasks know each other."""
        self.machine.keeper = None
        self.machine.dismantle()


def pack_outcome(outcome: Outcome) -> bytes:
    """Write the outcome of an idempotency record."""
    return encode_chunk([(type(outcome).__name__, tuple(outcome))])


def _outcome_of(data: bytes) -> Outcome:
    ((name, fields),) = decode_chunk(data)
    return outcome_of(name, fields)
