"""The whole state on its way to another store: in parts that stand by themselves, counted, and as one number.

The digest is that of what a move carries: equal on any two stores that hold the same, whatever kinds of backend they are.
Left out is what a store has of its own: index and time of its log, the chain, its last insertion number; whether a
task has arrived, which is for the target's clock to say; and positions by which chance chooses. The order of
queues in order is in: it follows from the tasks' insertion numbers.
"""

from hashlib import blake2b
from typing import Any, Final

from raftq_cluster.core.digest import packed
from raftq_cluster.core.snapshot import (
    DOC,
    DOC_SET,
    END,
    HEAD,
    IMPORT,
    KEY,
    QUEUE,
    READY,
    SETTING,
    WAITING,
    Record,
)

# Applying a part takes about a millisecond, and several fit into one entry of the log.
PART_RECORDS_MAX: Final = 256
PART_BYTES_MAX: Final = 256 * 1024  # a larger record goes alone
RECORD_BYTES: Final = 200  # of a record without its values, about
_DIGEST_BYTES: Final = 16
_TASKS: Final = (READY, WAITING)
_OF_A_STORE: Final = (HEAD, IMPORT, END)  # kinds that stay where they are
_COUNTED: Final = {
    SETTING: "settings",
    QUEUE: "queues",
    READY: "tasks",
    WAITING: "tasks",
    DOC_SET: "doc_sets",
    DOC: "docs",
    KEY: "keys",
}


class MovingDigest:
    """Hashes the records of one state; see :mod:`raftq_cluster.core.digest` for how."""

    def __init__(self) -> None:
        self._total = 0
        self._set: Record = ()  # namespace and key of the set whose docs come now

    def take(self, record: Record) -> None:
        """Take the next record; they come as a snapshot gives them."""
        kind = record[0]
        if kind in _OF_A_STORE:
            return
        if kind in _TASKS:
            record = (READY, *record[1:])
        elif kind == DOC_SET:
            self._set = record[1:3]
        elif kind == DOC:
            record = (DOC, *self._set, *record[1:])
        hashed = blake2b(packed(record), digest_size=_DIGEST_BYTES).digest()
        self._total += int.from_bytes(hashed, "big")

    @property
    def result(self) -> str:
        """The digest of what was taken so far: 32 hexadecimal digits."""
        return f"{self._total % 2 ** (8 * _DIGEST_BYTES):0{2 * _DIGEST_BYTES}x}"


class Parts:
    """Cuts the records of a state into parts, and tells at the end what they were."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(_COUNTED.values(), 0)
        self._digest = MovingDigest()
        self._part: list[Record] = []
        self._size = 0
        self._context: Record = ()  # the queue or set whose tasks or docs come now

    @property
    def digest(self) -> str:
        """Of all that was cut so far."""
        return self._digest.result

    def add(self, record: Record) -> list[Record]:
        """Add the next record; gives the part that is complete before it, if there is one.

        A part that goes on with the tasks of a queue, or the docs of a set, begins with it.
        """
        kind = record[0]
        if kind in _OF_A_STORE:
            return []
        self._digest.take(record)
        self.counts[_COUNTED[kind]] += 1
        part, size, done = self._part, _size(record), []
        if len(part) >= PART_RECORDS_MAX or (part and self._size + size > PART_BYTES_MAX):
            done = self.rest()
            part = self._part
        if kind in (QUEUE, DOC_SET):
            self._context = record
        elif not part and kind in (*_TASKS, DOC):
            part.append(self._context)
        part.append(record)
        self._size += size
        return done

    def rest(self) -> list[Record]:
        """Give what is in no part yet, and begin a new one."""
        part, self._part, self._size = self._part, [], 0
        return part


def _size(record: Record) -> int:
    """Tell about how many bytes a record takes."""
    kind = record[0]
    if kind in _TASKS:
        fields: Any = record[2]
        return RECORD_BYTES + len(fields[4]) + len(fields[10])
    if kind == DOC:
        return RECORD_BYTES + len(record[3])
    if kind == KEY:
        size_bytes: int = record[4]
        return size_bytes
    return RECORD_BYTES
