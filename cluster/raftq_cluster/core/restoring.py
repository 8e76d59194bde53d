"""From a snapshot's records back to a machine that goes on exactly like the one they came from."""

from collections.abc import Callable, Iterable
from typing import Any

from raftq_cluster.core import snapshot
from raftq_cluster.core.doc_store import Doc, DocSet, Lock
from raftq_cluster.core.keys import KeyRecord
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.outcomes import SettingsRow, TaskRow
from raftq_cluster.core.queue_state import QueueState
from raftq_cluster.core.snapshot import Record, outcome_of
from raftq_cluster.core.state import MachineError
from raftq_cluster.core.task import Task, task_of


class SnapshotVersionError(MachineError):
    """A snapshot is whole, and of a version of raftq that this one cannot read."""


class Restoring:
    """Takes records in their order; ``machine`` is complete after the last."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.complete = False
        self._count = 0
        self._queue: QueueState | None = None
        self._set: DocSet | None = None
        self._takers: dict[int, Callable[[Record], None]] = {
            snapshot.HEAD: self._head,
            snapshot.SETTING: self._setting,
            snapshot.QUEUE: self._begin_queue,
            snapshot.READY: self._ready,
            snapshot.WAITING: self._waiting,
            snapshot.DOC_SET: self._begin_set,
            snapshot.DOC: self._doc,
            snapshot.KEY: self._key,
            snapshot.END: self._end,
        }

    def take(self, records: Iterable[Record]) -> None:
        """Take some more records.

        Raises:
            MachineError: they are no records of a snapshot that this version can read.
        """
        try:
            for record in records:
                kind = record[0]
                if self.complete or (kind == snapshot.HEAD) != (self._count == 0):
                    raise MachineError(
                        f"record {self._count} of the snapshot stands where it cannot"
                    )
                self._takers[kind](record)
                self._count += 1
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise MachineError(f"record {self._count} of the snapshot is malformed") from error

    def _head(self, record: Record) -> None:
        version = record[1]
        if version not in snapshot.VERSIONS_READ:
            reads = " and ".join(map(str, snapshot.VERSIONS_READ))
            raise SnapshotVersionError(
                f"another version of raftq has written it: it is a snapshot of version {version},"
                f" and this one reads {reads}"
            )
        machine = self.machine
        _, _, machine.index, machine.now_ms, machine.seq, machine.chain = record

    def _setting(self, record: Record) -> None:
        self.machine.settings.put(SettingsRow(*record[1:]))

    def _begin_queue(self, record: Record) -> None:
        _, name, next_serial, serial_born = record
        self._queue = self.machine.queue_for(name, serial_born=serial_born)
        self._queue.next_serial = next_serial

    def _ready(self, record: Record) -> None:
        task = self._task(record)
        task.queue.add_ready(task)

    def _waiting(self, record: Record) -> None:
        task = self._task(record)
        if task.claimant:
            task.queue.held += 1
        self.machine.calendar.add(task)

    def _task(self, record: Record) -> Task:
        _, seq, fields = record
        row = TaskRow(*fields)
        machine, queue = self.machine, self._queue
        if queue is None or row.queue != queue.name or row.id in machine.tasks:
            raise MachineError(f"task {row.id!r} stands where it cannot")
        task = task_of(row, queue, seq, machine.epoch)
        machine.tasks[task.id] = task
        machine.value_bytes += len(task.value) + len(task.err)
        queue.size += 1
        if task.serial:
            queue.serials[task.serial] = task
        if task.claims:
            queue.count_claims(0, task.claims)
        return task

    def _begin_set(self, record: Record) -> None:
        _, namespace, key, *lock = record
        if self.machine.docs.set_of(namespace, key) is not None:
            raise MachineError(f"the set {key!r} stands where it cannot")
        self._set = self.machine.docs.put_lock(namespace, key, Lock(*lock))

    def _doc(self, record: Record) -> None:
        _, id_, *fields = record
        docs = self._set
        if docs is None or id_ in docs.namespace.docs:
            raise MachineError(f"doc {id_!r} stands where it cannot")
        self.machine.docs.put_doc(docs, Doc(id_, docs.key, *fields))

    def _key(self, record: Record) -> None:
        _, key, mark, expires_at, size_bytes, name, fields = record
        outcome = outcome_of(name, fields)
        self.machine.keys.restore(key, KeyRecord(mark, expires_at, outcome, size_bytes))

    def _end(self, record: Record) -> None:
        if record[1] != self._count:
            raise MachineError(f"the snapshot has {self._count} records, not {record[1]}")
        self.complete = True


def restore(chunks: Iterable[Iterable[Any]]) -> Machine:
    """Make a machine from all chunks of a snapshot.

    Raises:
        MachineError: the records are malformed, of another version, or not all of them.
    """
    restoring = Restoring()
    for chunk in chunks:
        restoring.take(chunk)
    if not restoring.complete:
        raise MachineError("the snapshot ends too early")
    return restoring.machine
