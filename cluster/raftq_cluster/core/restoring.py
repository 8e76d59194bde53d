"""From a snapshot's records back to a machine that goes on exactly like the one they came from."""

from collections.abc import Callable, Iterable
from typing import Any

from raftq_cluster.core import snapshot
from raftq_cluster.core.loading import MALFORMED, Loader
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.snapshot import Record
from raftq_cluster.core.state import MachineError, UnfinishedImport


class SnapshotVersionError(MachineError):
    """A snapshot is whole, and of a version of raftq that this one cannot read."""


class Restoring:
    """Takes records in their order; ``machine`` is complete after the last."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.complete = False
        self._count = 0
        self._takers: dict[int, Callable[[Record], None]] = {
            **Loader(self.machine).takers,
            snapshot.HEAD: self._head,
            snapshot.IMPORT: self._import,
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
        except MALFORMED as error:
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

    def _import(self, record: Record) -> None:
        _, id_, parts, failure, is_over = record
        if is_over:
            self.machine.imported = id_
        else:
            self.machine.importing = UnfinishedImport(id_, parts, failure)

    def _end(self, record: Record) -> None:
        if record[1] != self._count:
            raise MachineError(f"the snapshot has {self._count} records, not {record[1]}")
        unfinished = self.machine.importing
        if unfinished is not None:
            unfinished.seqs.update(task.seq for task in self.machine.tasks.values())
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
