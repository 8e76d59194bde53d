"""Idempotency records: which request used a key, and what it was answered.

A record lives for ``WINDOW_MS`` of log time, or until its caller says that the answer
has arrived. It keeps the values of claimed tasks, and no others: only a claim's answer has values. When the table is full, operations that carry a new key are refused: forgetting a
live record would let a retry be done twice.
"""

from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any, Final, NamedTuple

from raftq_cluster.core.outcomes import (
    Claimed,
    DocRow,
    DocsClaimed,
    Done,
    Modified,
    Outcome,
    Refused,
    Renewed,
    Settled,
    TaskRow,
    Transacted,
)

WINDOW_MS: Final = 300_000  # retries come within seconds; five minutes outlast a failover by far
KEYS_MAX: Final = 1_000_000
KEY_BYTES_MAX: Final = 256 * 2**20
# Records that one entry forgets: more than come with one. After an import all may be due together.
EXPIRED_MAX: Final = 5_000

_RECORD_BYTES: Final = 300  # of the record itself, about
_ROW_BYTES: Final = 350  # of a task row without its value, about
_PART_BYTES: Final = 200  # of a failed part or a lost task, about
_NO_VALUE: Final = (b"",)
_new = tuple.__new__  # half the price of calling a named tuple's class


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
        kept, size_bytes = _KEPT[type(outcome)](outcome)
        size_bytes += _RECORD_BYTES + len(key)
        self._records[key] = _new(KeyRecord, (mark, now_ms + WINDOW_MS, kept, size_bytes))
        self.size_bytes += size_bytes

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
        """Drop the records whose window has passed: those at the front, not too many at once.

        A record that came with an import, from a store whose clock was ahead, would hold up all behind it, and for as long as
        that clock was ahead: it gets a window of this store's.
        """
        records = self._records
        latest = now_ms + WINDOW_MS
        for _ in range(EXPIRED_MAX):
            key = next(iter(records), None)
            if key is None:
                return
            record = records[key]
            if record.expires_at <= now_ms:
                self.forget(key)
            elif record.expires_at > latest:
                records[key] = record._replace(expires_at=latest)
                records.move_to_end(key)
            else:
                return

    def tables(self) -> list[MutableMapping[str, KeyRecord]]:
        """What takes the memory. The end of this table."""
        return [self._records]

    def dismantle(self) -> None:
        """Give the memory back, record by record. The end of this table."""
        while self._records:
            self._records.popitem()

    def items(self) -> list[tuple[str, KeyRecord]]:
        """All records, oldest first."""
        return list(self._records.items())


# What is kept of an outcome, and its bytes: no values, since a modification's answer has none and a claim's
# are with the tasks it holds.


def _kept_claim(outcome: Claimed) -> tuple[Outcome, int]:
    rows, size_bytes = _without_values(outcome[0])
    return _new(Claimed, (rows,)), size_bytes


def _kept_modification(outcome: Modified) -> tuple[Outcome, int]:
    inserted, changed = outcome
    if not inserted and not changed:
        return outcome, 0
    inserted, inserted_bytes = _without_values(inserted)
    changed, changed_bytes = _without_values(changed)
    return _new(Modified, (inserted, changed)), inserted_bytes + changed_bytes


def _kept_renewal(outcome: Renewed) -> tuple[Outcome, int]:
    renewed, size_bytes = _without_values(outcome.renewed)
    return Renewed(renewed, outcome.lost), size_bytes + _PART_BYTES * len(outcome.lost)


def _kept_settling(outcome: Settled) -> tuple[Outcome, int]:
    row = outcome.row
    return outcome, _ROW_BYTES + len(row.value) + len(row.err)


def _kept_refusal(outcome: Refused) -> tuple[Outcome, int]:
    return outcome, _PART_BYTES * len(outcome.failed)


def _kept_done(outcome: Done) -> tuple[Outcome, int]:
    return outcome, 0


def _kept_transaction(outcome: Transacted) -> tuple[Outcome, int]:
    inserted, inserted_bytes = _without_values(outcome.inserted)
    changed, changed_bytes = _without_values(outcome.changed)
    docs_inserted = _docs_without_values(outcome.docs_inserted)
    docs_changed = _docs_without_values(outcome.docs_changed)
    doc_rows = len(docs_inserted) + len(docs_changed) + len(outcome.sets)
    kept = Transacted(inserted, changed, docs_inserted, docs_changed, outcome.sets)
    return kept, inserted_bytes + changed_bytes + _ROW_BYTES * doc_rows


def _kept_doc_claim(outcome: DocsClaimed) -> tuple[Outcome, int]:
    docs = _docs_without_values(outcome.docs)
    return DocsClaimed(outcome.sets, docs), _ROW_BYTES * (len(outcome.sets) + len(docs))


def _docs_without_values(rows: tuple[DocRow, ...]) -> tuple[DocRow, ...]:
    return tuple([row._replace(value=b"") for row in rows])


def _without_values(rows: tuple[TaskRow, ...]) -> tuple[tuple[TaskRow, ...], int]:
    if not rows:
        return rows, 0
    if len(rows) == 1:  # what nearly every answer has
        row = rows[0]
        size_bytes = _ROW_BYTES + len(row[10])
        if row[4]:
            rows = (_new(TaskRow, row[:4] + _NO_VALUE + row[5:]),)
        return rows, size_bytes
    kept = tuple([_new(TaskRow, row[:4] + _NO_VALUE + row[5:]) if row[4] else row for row in rows])
    return kept, _ROW_BYTES * len(rows) + sum([len(row[10]) for row in rows])


_KEPT: Final[dict[type, Callable[[Any], tuple[Outcome, int]]]] = {
    Claimed: _kept_claim,
    Modified: _kept_modification,
    Renewed: _kept_renewal,
    Settled: _kept_settling,
    Refused: _kept_refusal,
    Done: _kept_done,
    Transacted: _kept_transaction,
    DocsClaimed: _kept_doc_claim,
}
