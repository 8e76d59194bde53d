"""The data of the machine and the few moves that keep it consistent.

Every task is in exactly one place: its queue's ready collection, or the calendar. The moves below are
the only ones that change that, and each says first to a running snapshot what it is about to change.
"""

from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from typing import Any, Final

from raftq_cluster.core.calendar import Calendar
from raftq_cluster.core.doc_store import DocStore
from raftq_cluster.core.keys import KeyTable
from raftq_cluster.core.marked import Marked
from raftq_cluster.core.operations import AT, DELAY, HOLD_UNTIL, KEEP, LEASE, Insert
from raftq_cluster.core.outcomes import TaskRow
from raftq_cluster.core.queue_state import QueueState
from raftq_cluster.core.seeds import Seeds
from raftq_cluster.core.settings import SettingsTable, matches
from raftq_cluster.core.snapshot import Keeper, keep
from raftq_cluster.core.task import GONE, WAITING, Task

FREED_MAX: Final = 1_000  # tasks and the like that go with one entry: half a millisecond
_row = tuple.__new__


class MachineError(Exception):
    """An invariant of the state machine is broken: the node must stop and serve nothing more."""


class UnfinishedImport:
    """An import that has begun; see :mod:`raftq_cluster.core.importing`."""

    __slots__ = ("failure", "id", "parts", "seqs")

    def __init__(self, id_: str, parts: int, failure: str) -> None:
        self.id = id_  # of the file
        self.parts = parts  # how many were taken
        self.failure = failure  # why it can only be abandoned; "" if it can go on
        self.seqs: set[int] = set()  # of its tasks; only ever asked for membership


class State:
    """The whole task table as of log index ``index`` and log time ``now_ms``."""

    def __init__(self) -> None:
        self.index = 0
        self.now_ms = 0
        self.seq = 0  # of the last inserted task
        self.epoch = 0  # of the last snapshot that was begun
        self.value_bytes = 0
        self.chain = 0  # see ``chain``
        self.trail: list[
            int
        ] = []  # tasks (``seq``) and docs that this entry has claimed and changed so far
        self.tasks: dict[str, Task] = {}
        self.queues: dict[str, QueueState] = {}
        self.marked = Marked()  # queues
        self.settings = SettingsTable()
        self.keys = KeyTable()
        self.docs = DocStore()
        self.calendar = Calendar()
        self.seeds = Seeds()
        self.keeper: Keeper | None = None  # of the newest snapshot that is being taken
        self.importing: UnfinishedImport | None = None  # while there is one, nothing else is done
        self.imported = ""  # id of the file whose import was finished last
        self._freeing: Iterator[None] | None = None
        self._ready: dict[str, int] = {}

    # --- one entry ----------------------------------------------------------------------------

    def begin(self, index: int, now_ms: int, seed: int) -> None:
        """Let the entry's time pass: leases end, delayed tasks arrive, old keys are forgotten."""
        if index <= self.index:
            raise MachineError(f"entry {index} came after entry {self.index}")
        self.index = index
        self.seeds.state = seed
        self.now_ms = max(self.now_ms, now_ms)
        for task in self.calendar.arrivals(self.now_ms):
            if task.claimant and task.version:
                task.queue.held -= 1
            self._arrive(task)
        if self.importing is None:
            self.keys.expire(self.now_ms)
            self.docs.expire(self.now_ms)
        if self._freeing is not None and next(self._freeing, True):
            self._freeing = None

    def take_effects(self) -> dict[str, int]:
        """Give what became claimable since the last call, per queue."""
        ready, self._ready = self._ready, {}
        return ready if self.importing is None else {}

    # --- moves --------------------------------------------------------------------------------

    def insert(self, insert: Insert) -> TaskRow:
        """Bring a new task into being, place it, and give its row. Its id is free.

        Written out, without ``task_of`` and ``place``: they made it half as dear again
        (``scripts/bench``, core).
        """
        name, id_, arrival, ms, value, kind, attempt, priority, err, serial = insert
        now_ms = self.now_ms
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queue_for(name, serial_born=serial)
        self.tasks[id_] = task = Task()
        self.seq = task.seq = self.seq + 1
        task.id = id_
        task.version = 0
        task.queue = queue
        task.at = at = now_ms if arrival == KEEP else arrival_ms(arrival, ms, now_ms)
        task.value = value
        task.kind = kind
        task.claimant = ""
        task.claims = 0
        task.attempt = attempt
        task.priority = priority
        task.err = err
        task.created = task.modified = now_ms
        task.serial = 0
        task.epoch = self.epoch
        if serial:
            queue.number(task)
        queue.size += 1
        self.value_bytes += len(value) + len(err)
        if at <= now_ms:
            self._arrive(task)
        else:
            self.calendar.add(task)
        return _row(
            TaskRow,
            (id_, 0, queue.name, at, value, kind, "", 0, attempt, priority, err,
             now_ms, now_ms, task.serial),
        )  # fmt: skip

    def place(self, task: Task) -> None:
        """Put a task that is in no place where its arrival time says."""
        if task.at <= self.now_ms:
            self._arrive(task)
            return
        if task.claimant:
            task.queue.held += 1
        self.calendar.add(task)

    def hold(self, task: Task, lease_ms: int) -> None:
        """Put a task that is in no place, and has a claimant, under a lease."""
        task.at = self.now_ms + lease_ms
        task.queue.held += 1
        self.calendar.add(task)

    def lease(self, queue: QueueState, claimant: str, lease_ms: int, serial: bool) -> TaskRow:
        """Take the next ready task of a queue that has one, and hold it for a claimant."""
        task = queue.take_ready(self.seeds)
        self.trail.append(task.seq)
        if self.keeper is not None:
            self.save(task)
        task.claims = claims = task.claims + 1
        task.version = version = task.version + 1
        task.claimant = claimant
        task.modified = now_ms = self.now_ms
        if lease_ms < 0 or queue.has_lease_bounds:
            lease_ms = queue.effective.granted_ms(lease_ms)
        task.at = at = now_ms + (lease_ms or queue.lease_ms)
        if serial and not task.serial:
            queue.number(task)
        queue.held += 1
        self.calendar.add(task)
        return _row(
            TaskRow,
            (task.id, version, queue.name, at, task.value, task.kind, claimant, claims,
             task.attempt, task.priority, task.err, task.created, now_ms, task.serial),
        )  # fmt: skip

    def withdraw(self, task: Task) -> None:
        """Take a task out of its place, to change it and place it again."""
        self.trail.append(task.seq)
        if self.keeper is not None:
            self.save(task)
        if task.pos == WAITING:
            self.calendar.remove(task)
            if task.claimant and task.version:
                task.queue.held -= 1
        else:
            task.queue.drop_ready(task)

    def delete(self, task: Task) -> None:
        """End a task."""
        if self.keeper is not None:
            self.save(task)
        queue = task.queue
        if task.pos == WAITING:
            self.calendar.remove(task)
            if task.claimant and task.version:
                queue.held -= 1
        else:
            queue.drop_ready(task)
        task.pos = GONE
        del self.tasks[task.id]
        self.value_bytes -= len(task.value) + len(task.err)
        self.leave_queue(task)

    def end_ready(self, queue: QueueState) -> None:
        """End one of the ready tasks of a queue that has one."""
        task = queue.discard_ready(self.seeds)
        self.trail.append(task.seq)
        if self.keeper is not None:
            self.save(task)
        task.pos = GONE
        del self.tasks[task.id]
        self.value_bytes -= len(task.value) + len(task.err)
        self.leave_queue(task)

    def leave_queue(self, task: Task) -> None:
        """Let a withdrawn task leave its queue; a queue that nothing needs any more ends."""
        queue = task.queue
        if task.claims:
            queue.count_claims(task.claims, 0)
        if task.serial:
            del queue.serials[task.serial]
        queue.size -= 1
        if not queue.size and queue.next_serial == 1:
            del self.queues[queue.name]
            if queue.collected_from is not None:
                self.marked.remove(queue.name, queue.collected_from)

    def enter_queue(self, task: Task, name: str) -> None:
        """Let a task that left its queue join another."""
        queue = self.queue_for(name)
        queue.size += 1
        task.queue = queue
        task.serial = 0
        if task.claims:
            queue.count_claims(0, task.claims)

    def reset_claims(self, task: Task) -> None:
        """Let the count of claims begin again."""
        self.save(task)
        if task.claims:
            task.queue.count_claims(task.claims, 0)
            task.claims = 0

    def save(self, task: Task) -> None:
        """Let the running snapshots, if any, take the task as it is, before it is changed."""
        keep(self.keeper, task)
        task.epoch = self.epoch

    # --- queues -------------------------------------------------------------------------------

    def queue_for(self, name: str, serial_born: bool = False) -> QueueState:
        """Find a queue, or make it."""
        queue = self.queues.get(name)
        if queue is None:
            queue = QueueState(name, serial_born, self.settings.resolve(name))
            self.queues[name] = queue
            if queue.collected_from is not None:
                self.marked.add(name, queue.collected_from)
        return queue

    def follow_settings(self, pattern: str) -> None:
        """Apply changed settings of a pattern to the queues that exist."""
        for queue in self.queues.values():
            if not matches(pattern, queue.name):
                continue
            was_paused = queue.paused
            queue.apply_settings(self.settings.resolve(queue.name))
            if was_paused and not queue.paused and queue.ready:
                self._ready[queue.name] = len(queue.ready)

    def claimable(self, names: Iterable[str], now_ms: int) -> bool:
        """Tell whether a claim could find a task, or be refused; False is certain."""
        if self.importing is not None:
            return True
        queues = self.queues
        for name in names:
            queue = queues.get(name)
            if queue is not None and queue.ready and not queue.paused:
                return True
        return self.calendar.is_due(now_ms)

    def due(self, now_ms: int) -> bool:
        """Tell whether tasks may have arrived that no entry has noticed yet."""
        return self.calendar.is_due(now_ms)

    def next_due_ms(self) -> int | None:
        """Give a log time before which no waiting task arrives; None: none waits."""
        return self.calendar.next_due_ms()

    def load(self) -> tuple[int, int, int, int]:
        """Count tasks, bytes of values, errors and docs, idempotency keys, and their bytes."""
        value_bytes = self.value_bytes + self.docs.size_bytes
        return len(self.tasks), value_bytes, len(self.keys), self.keys.size_bytes

    def announce_ready(self) -> None:
        """Let everybody hear of all that can be claimed."""
        self._ready = {
            name: len(queue.ready)
            for name, queue in self.queues.items()
            if queue.ready and not queue.paused
        }

    def discard(self) -> None:
        """Begin anew with nothing. The memory is given back bit by bit, with the entries to come."""
        for queue in self.queues.values():
            queue.clear()
        old: list[MutableMapping[Any, Any]] = [self.queues, self.tasks]
        old += [*self.marked.tables(), *self.keys.tables(), *self.docs.tables()]
        self._freeing = _freed(old)
        self.queues, self.tasks, self.calendar = {}, {}, Calendar()
        self.marked = Marked()
        self.settings, self.keys, self.docs = SettingsTable(), KeyTable(), DocStore()
        self.value_bytes = 0
        self._ready = {}

    def dismantle(self) -> None:
        """Give the memory back, piece by piece, so that other threads have their turns meanwhile.

        Tasks, queues and machine know each other, and docs their namespaces: without this only the garbage
        collector would ever free them, all at once. Nothing may be asked of this state any more.
        """
        for queue in self.queues.values():
            queue.clear()
        self.queues.clear()
        self.calendar = Calendar()
        keys, self.keys = self.keys, KeyTable()
        keys.dismantle()
        docs, self.docs = self.docs, DocStore()
        docs.dismantle()
        tasks, self.tasks = self.tasks, {}
        while tasks:
            tasks.popitem()

    def _arrive(self, task: Task) -> None:
        queue = task.queue
        queue.add_ready(task)
        if not queue.paused:
            try:
                self._ready[queue.name] += 1
            except KeyError:
                self._ready[queue.name] = 1


def _freed(tables: Sequence[MutableMapping[Any, Any]]) -> Iterator[None]:
    """Empty tables, some items at each step."""
    for table in tables:
        while table:
            for _ in range(min(FREED_MAX, len(table))):
                table.popitem()
            yield None


def arrival_ms(arrival: int, ms: int, now_ms: int) -> int:
    """Tell when a task arrives that is inserted at ``now_ms``."""
    if arrival in (AT, HOLD_UNTIL):
        return max(ms, now_ms)
    return now_ms + ms if arrival in (DELAY, LEASE) else now_ms
