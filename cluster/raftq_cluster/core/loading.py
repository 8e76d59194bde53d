"""From records to the state that they describe: what a snapshot's restoring and an import share.

Records come in the order of :mod:`raftq_cluster.core.snapshot`; tasks follow the record of their queue, docs that of their
set. An exception may leave some of them taken.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from raftq_cluster.core import snapshot
from raftq_cluster.core.doc_store import Doc, DocSet, Lock
from raftq_cluster.core.keys import KeyRecord
from raftq_cluster.core.outcomes import SettingsRow, TaskRow
from raftq_cluster.core.queue_state import QueueState
from raftq_cluster.core.snapshot import Record, outcome_of
from raftq_cluster.core.state import MachineError
from raftq_cluster.core.task import Task, task_of

if TYPE_CHECKING:
    from raftq_cluster.core.state import State

MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError)
"""What a record of the wrong shape may raise."""


class Loader:
    """Puts records into a state.

    Args:
        state: takes them.
        repeats: whether a queue or a set may come again as it is, where its tasks or docs go on.
    """

    def __init__(self, state: "State", *, repeats: bool = False) -> None:
        self._state = state
        self._repeats = repeats
        self._queue: QueueState | None = None
        self._set: DocSet | None = None
        self.takers: dict[int, Callable[[Record], None]] = {
            snapshot.SETTING: self._setting,
            snapshot.QUEUE: self._begin_queue,
            snapshot.READY: self._ready,
            snapshot.WAITING: self._waiting,
            snapshot.DOC_SET: self._begin_set,
            snapshot.DOC: self._doc,
            snapshot.KEY: self._key,
        }

    def take(self, records: Iterable[Record]) -> None:
        """Take some records.

        Raises:
            MachineError: they cannot be here; the message says which.
        """
        # What is said stays in the state of an import that failed: of ASCII alone (``!a``), the same on every Python.
        for number, record in enumerate(records):
            try:
                self.takers[record[0]](record)
            except MALFORMED as error:
                raise MachineError(f"record {number} is malformed") from error

    def _setting(self, record: Record) -> None:
        if not self._state.settings.put(SettingsRow(*record[1:])):
            raise MachineError("there are too many settings")

    def _begin_queue(self, record: Record) -> None:
        _, name, next_serial, serial_born = record
        found = self._state.queues.get(name)
        if found is not None and (
            not self._repeats
            or (found.next_serial, found.serial_born) != (next_serial, serial_born)
        ):
            raise MachineError(f"the queue {name!a} stands where it cannot")
        self._queue = self._state.queue_for(name, serial_born=serial_born)
        self._queue.next_serial = next_serial

    def _ready(self, record: Record) -> None:
        task = self._task(record)
        task.queue.add_ready(task)

    def _waiting(self, record: Record) -> None:
        task = self._task(record)
        if task.claimant and task.version:
            task.queue.held += 1
        self._state.calendar.add(task)

    def _task(self, record: Record) -> Task:
        _, seq, fields = record
        row = TaskRow(*fields)
        state, queue = self._state, self._queue
        if queue is None or row.queue != queue.name or row.id in state.tasks:
            raise MachineError(f"task {row.id!a} stands where it cannot")
        if row.serial and (row.serial in queue.serials or row.serial >= queue.next_serial):
            raise MachineError(f"task {row.id!a} has an integer id that it cannot have")
        task = task_of(row, queue, seq, state.epoch)
        state.tasks[task.id] = task
        state.value_bytes += len(task.value) + len(task.err)
        queue.size += 1
        if task.serial:
            queue.serials[task.serial] = task
        if task.claims:
            queue.count_claims(0, task.claims)
        return task

    def _begin_set(self, record: Record) -> None:
        _, namespace, key, *lock = record
        docs, found = self._state.docs, self._state.docs.set_of(namespace, key)
        if found is None:
            self._set = docs.put_lock(namespace, key, Lock(*lock))
        elif self._repeats and found.lock == Lock(*lock):
            self._set = found
        else:
            raise MachineError(f"the set {key!a} stands where it cannot")

    def _doc(self, record: Record) -> None:
        _, id_, *fields = record
        docs = self._set
        if docs is None or id_ in docs.namespace.docs:
            raise MachineError(f"doc {id_!a} stands where it cannot")
        self._state.docs.put_doc(docs, Doc(id_, docs.key, *fields))

    def _key(self, record: Record) -> None:
        _, key, mark, expires_at, size_bytes, name, fields = record
        if self._state.keys.get(key) is not None:
            raise MachineError(f"the idempotency key {key!a} stands where it cannot")
        outcome = outcome_of(name, fields)
        self._state.keys.restore(key, KeyRecord(mark, expires_at, outcome, size_bytes))
