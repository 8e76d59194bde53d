"""A digest of the whole state: equal on any two machines that went through the same entries.

The sum, modulo 2**128, of a BLAKE2b hash per record. A sum needs no order, so that what has none
(waiting tasks, the order of queues) cannot make a difference; where order is state (the positions of
a random queue's ready tasks) it is hashed with the record. Values are packed by the few lines below, which depend
on nothing that varies between versions of Python.

The records are those of a snapshot, so that the machine may go on while they are hashed.
"""

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from raftq_cluster.core.ready import RANDOM
from raftq_cluster.core.snapshot import (
    DOC,
    DOC_SET,
    END,
    HEAD,
    KEY,
    QUEUE,
    READY,
    WAITING,
    Record,
    Snapshot,
)

if TYPE_CHECKING:
    from raftq_cluster.core.state import State

_BYTES: Final = 16
# A slice of so many records and bytes of values takes one to two milliseconds.
SLICE_RECORDS: Final = 200
SLICE_BYTES: Final = 1 << 20


def digest(state: "State") -> str:
    """Hash the state; 32 hexadecimal digits. About 5 s for a million tasks."""
    digesting = Digesting(state)
    for _ in digesting:
        pass
    return digesting.result


class Digesting:
    """The digest of a state as it is when this is made, in slices: an iterator over nothing.

    Close it if it is not consumed to its end. ``result`` has 32 hexadecimal digits when it is complete, and is "" before.
    """

    def __init__(self, state: "State") -> None:
        # Asked for names, never iterated.
        self._random = frozenset(
            queue.name for queue in state.queues.values() if queue.order == RANDOM
        )
        self._snapshot = Snapshot(state, 1)
        self._is_random = False  # the queue whose tasks come now
        self._position = 0  # of its next ready task
        self._key_position = 0
        self._docs: Record = ()  # namespace and key of the set whose docs come now
        self._total = 0
        self.result = ""

    def __iter__(self) -> "Digesting":
        return self

    def __next__(self) -> None:
        """Hash some more records."""
        size = 0
        for _ in range(SLICE_RECORDS):
            (record,) = next(self._snapshot)
            if record[0] == END:
                self.close()
                self.result = f"{self._total % 2 ** (8 * _BYTES):0{2 * _BYTES}x}"
                raise StopIteration
            hashed = packed(self._restated(record))
            self._total += int.from_bytes(blake2b(hashed, digest_size=_BYTES).digest(), "big")
            size += len(hashed)
            if size >= SLICE_BYTES:
                break

    def close(self) -> None:
        """Let the machine forget about this. Idempotent."""
        self._snapshot.close()

    def _restated(self, record: Record) -> Record:
        """Give a record with its position, if that is state, and without what is none."""
        kind = record[0]
        if kind == READY:
            position, self._position = self._position, self._position + 1
            return (READY, position if self._is_random else 0, *record[1:])
        if kind == WAITING:
            return (WAITING, 0, *record[1:])
        if kind == QUEUE:
            self._is_random = record[1] in self._random
            self._position = 0
        elif kind == DOC_SET:
            self._docs = record[1:3]
        elif kind == DOC:
            return (DOC, *self._docs, *record[1:])
        elif kind == KEY:
            position, self._key_position = self._key_position, self._key_position + 1
            return (*record, position)
        elif kind == HEAD:
            return (HEAD, *record[2:5])
        return record


def packed(value: Any) -> bytes:
    """Write a value so that no two different ones look alike."""
    if value is None:
        return b"n"
    if isinstance(value, int):  # bool too: it equals its number wherever the state compares
        return b"i%d;" % value
    if isinstance(value, str):
        text = value.encode()
        return b"s%d:%b" % (len(text), text)
    if isinstance(value, bytes):
        return b"b%d:%b" % (len(value), value)
    return b"(%b)" % b"".join(map(packed, value))
