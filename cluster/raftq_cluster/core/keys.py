"""Idempotency records: which request used a key, and what it was answered.

A record lives for ``WINDOW_MS`` of log time, or until its caller says that the answer
has arrived. It keeps the values of claimed tasks, and no others: only a claim's answer has values. When the table is full, operations that carry a new key are refused: forgetting a
live record would let a retry be done twice.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from raftq_cluster.core.outcomes import (
    Claimed,
    Modified,
    Outcome,
    Refused,
    Renewed,
    Settled,
    TaskRow,
)

WINDOW_MS: Final = 300_000  # retries come within seconds; five minutes outlast a failover by far
KEYS_MAX: Final = 1_000_000
KEY_BYTES_MAX: Final = 256 * 2**20

_RECORD_BYTES: Final = 300  # of the record itself, about
_ROW_BYTES: Final = 350  # of a task row without its value, about
_PART_BYTES: Final = 200  # of a failed part or a lost task, about


class KeyRecord(NamedTuple):
    """What is remembered of a key."""

    mark: bytes
    expires_at: int  # log time
    outcome: Outcome
    size_bytes: int


class KeyTable:
    """All live records, oldest first."""

    __slots__ = ("_records", "size_bytes")

    def __init__(self) -> None:
        # Not a plain dict: taking its first item is slow once many before it were deleted.
        self._records: OrderedDict[str, KeyRecord] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: str) -> KeyRecord | None:
        """Give the record of a key."""
        return self._records.get(key)

    def is_full(self) -> bool:
        """Tell whether no further key can be remembered now."""
        return len(self._records) >= KEYS_MAX or self.size_bytes >= KEY_BYTES_MAX

    def refusal(self) -> Refused:
        """Name the limit that makes the table full."""
        name, limit = "keys_held_max", KEYS_MAX
        if len(self._records) < limit:
            name, limit = "key_bytes_held_max", KEY_BYTES_MAX
        return Refused("store_full", f"the limit {name} is {limit}", limit_name=name, limit=limit)

    def add(self, key: str, mark: bytes, now_ms: int, outcome: Outcome) -> None:
        """Remember a key that is not in the table."""
        kept = _as_answered(outcome)
        size_bytes = _RECORD_BYTES + len(key) + _outcome_bytes(kept)
        self.restore(key, KeyRecord(mark, now_ms + WINDOW_MS, kept, size_bytes))

    def restore(self, key: str, record: KeyRecord) -> None:
        """Put back a record; records come in the order of :meth:`items`."""
        self._records[key] = record
        self.size_bytes += record.size_bytes

    def forget(self, key: str) -> None:
        """Drop a record, if there is one."""
        record = self._records.pop(key, None)
        if record is not None:
            self.size_bytes -= record.size_bytes

    def expire(self, now_ms: int) -> None:
        """Drop the records whose window has passed: those at the front."""
        records = self._records
        while records:
            key = next(iter(records))
            if records[key].expires_at > now_ms:
                return
            self.forget(key)

    def items(self) -> list[tuple[str, KeyRecord]]:
        """All records, oldest first."""
        return list(self._records.items())


def _as_answered(outcome: Outcome) -> Outcome:
    """Leave out values: a modification's answer has none, a claim's are with the tasks it holds."""
    match outcome:
        case Claimed(tasks):
            return Claimed(_without_values(tasks))
        case Modified(inserted, changed):
            return Modified(_without_values(inserted), _without_values(changed))
        case Renewed(renewed, lost):
            return Renewed(_without_values(renewed), lost)
        case _:
            return outcome


def _without_values(rows: tuple[TaskRow, ...]) -> tuple[TaskRow, ...]:
    return tuple([row._replace(value=b"") if row.value else row for row in rows])


def _outcome_bytes(outcome: Outcome) -> int:
    match outcome:
        case Claimed(tasks):
            return _rows_bytes(tasks)
        case Modified(inserted, changed):
            return _rows_bytes(inserted) + _rows_bytes(changed)
        case Renewed(renewed, lost):
            return _rows_bytes(renewed) + _PART_BYTES * len(lost)
        case Settled(row):
            return _rows_bytes((row,))
        case Refused():
            return _PART_BYTES * len(outcome.failed)
        case _:
            return 0


def _rows_bytes(rows: tuple[TaskRow, ...]) -> int:
    return sum(_ROW_BYTES + len(row.value) + len(row.err) for row in rows)
