"""Whether an export is whole: its records are counted, and compared with what the tables of the state say.

The digest in a file is that of the records in it, so what never became a record would be missed by nobody, until the file
is needed. An export that is not whole has no end, and is no file.
"""

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import NamedTuple

from raftq_cluster.backends.api import BackendError
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.snapshot import DOC, KEY, READY, WAITING, Record


class Held(NamedTuple):
    """How many there are."""

    tasks: int
    docs: int
    keys: int


def held_by(machine: Machine) -> Held:
    """Ask the tables of a machine."""
    return Held(len(machine.tasks), machine.docs.doc_count(), len(machine.keys))


class Counting:
    """Counts the records of one export."""

    def __init__(self) -> None:
        self._met: Counter[int] = Counter()

    def take(self, records: Sequence[Record]) -> None:
        """Count the next ones."""
        self._met.update([record[0] for record in records])

    def check(self, held: Held) -> None:
        """Compare with what was there at the moment of the export.

        Raises:
            BackendError: ``unavailable``.
        """
        met = self._met
        found = Held(met[READY] + met[WAITING], met[DOC], met[KEY])
        if found != held:
            raise BackendError("unavailable", f"the export is not whole: {found} of {held}")


def counted(machine: Machine) -> Generator[Sequence[Record], None, None]:
    """The records of a machine as it is now, in portions. Close it if not all were taken.

    Raises:
        BackendError: ``unavailable``, at the end: they are not all of them.
    """
    counting, held = Counting(), held_by(machine)
    with closing(machine.snapshot(1)) as snapshot:
        for records in snapshot:
            counting.take(records)
            yield records
    counting.check(held)
