"""Bytes of a log segment: its header and its records, each with a CRC.

A pure codec; knows nothing of files, of which bytes are on disk, or of what an entry holds. Layout in
``DESIGN.md``. The CRC of a record is seeded with the log's identity, the segment's number and the
record's offset, so that bytes of another log, another segment or another place are never taken for it.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

VERSION: Final = 1

MARK: Final = 1
ENTRY: Final = 2
END: Final = 3
RESET: Final = 4

MAGIC: Final = b"rqL"
_SEGMENT_MAGIC: Final = b"RAFTQLOG"
_CRC: Final = Struct("<I")
_FIELDS: Final = Struct("<3sBIQQI")  # magic, kind, body bytes, index, term, CRC of the body
_SEGMENT: Final = Struct("<8sIQQQQ")  # magic, version, number, base index, base term, previous end
_FLOOR: Final = Struct("<Q")

SEGMENT_HEADER_BYTES: Final = _SEGMENT.size + _CRC.size
RECORD_HEADER_BYTES: Final = _CRC.size + _FIELDS.size
FLOOR_BYTES: Final = _FLOOR.size
MARK_BYTES: Final = RECORD_HEADER_BYTES + FLOOR_BYTES
SECTOR_BYTES: Final = 512
"""What a disk writes whole or not at all, at least."""
ENTRY_BYTES_MAX: Final = 64 << 20
"""Largest entry: far above what the service admits, far below what a record's length can say."""

_MARK_START: Final = MAGIC + bytes([MARK]) + _CRC.pack(_FLOOR.size)


class Position(NamedTuple):
    """A byte of the log: everything before ``offset`` of segment ``segment``. Ordered."""

    segment: int
    offset: int


class SegmentHeader(NamedTuple):
    """What a segment knows of the log before it."""

    number: int
    base_index: int  # last entry before this segment's first record
    base_term: int
    previous_end: int  # where the records of the segment before end; 0 for the first


@dataclass(slots=True)  # not frozen: that triples the cost of making one, for each entry of a log
class Record:
    """One record. ``end`` is the offset behind it.

    MARK: the log is on disk up to ``Position(index, term)``; ``body`` holds the floor.
    ENTRY: ``body`` is the entry. END: the log ends with the entry (index, term) from here on.
    RESET: the log is empty and continues behind (index, term).
    """

    kind: int
    index: int
    term: int
    body: bytes
    end: int


class Broken(NamedTuple):
    """Bytes ``start <= offset < stop`` hold no undamaged record; ``stop`` may pass the end."""

    start: int
    stop: int


def segment_seed(identity: bytes, number: int) -> int:
    """Where the CRCs of one segment of one log start from."""
    return zlib.crc32(b"%s/%d" % (identity, number))


def pack_header(header: SegmentHeader, seed: int) -> bytes:
    """Bytes of a segment's header."""
    fields = _SEGMENT.pack(_SEGMENT_MAGIC, VERSION, *header)
    return fields + _CRC.pack(zlib.crc32(fields, seed))


def parse_header(data: bytes, seed: int) -> tuple[int, SegmentHeader] | None:
    """``(version, header)`` of a segment, or None if these are not the bytes of one."""
    if len(data) < SEGMENT_HEADER_BYTES:
        return None
    (crc,) = _CRC.unpack_from(data, _SEGMENT.size)
    if crc != zlib.crc32(data[: _SEGMENT.size], seed):
        return None
    _, version, *fields = _SEGMENT.unpack_from(data)
    return version, SegmentHeader(*fields)


def pack_record(kind: int, index: int, term: int, body: bytes, place: int) -> bytes:
    """The header of a record; ``body`` follows it.

    ``place`` is the segment's seed exclusive-or the record's offset. Integers are 0..2**64-1.
    """
    fields = _FIELDS.pack(MAGIC, kind, len(body), index, term, zlib.crc32(body, place))
    return _CRC.pack(zlib.crc32(fields, place)) + fields


def pack_mark(synced: Position, floor: int, place: int) -> bytes:
    """A whole MARK: the log is on disk up to ``synced``; segments below ``floor`` are not part of it."""
    body = _FLOOR.pack(floor)
    return pack_record(MARK, synced.segment, synced.offset, body, place) + body


def floor_of(mark: Record) -> int:
    """The floor that a MARK tells."""
    floor: int = _FLOOR.unpack(mark.body)[0]
    return floor


def parse_record(data: bytes, offset: int, seed: int) -> Record | Broken:
    """The record at ``offset``, or how much of it is broken."""
    start = offset + RECORD_HEADER_BYTES
    fields = data[offset + _CRC.size : start]
    place = seed ^ offset
    if start > len(data) or _CRC.unpack_from(data, offset)[0] != zlib.crc32(fields, place):
        return Broken(offset, start)
    _, kind, size, index, term, crc = _FIELDS.unpack(fields)
    body = data[start : start + size]
    if len(body) < size or crc != zlib.crc32(body, place):
        return Broken(start, start + size)
    return Record(kind, index, term, body, start + size)


def marks_after(data: bytes, offset: int, seed: int) -> Iterator[Record]:
    """Undamaged MARKs that start at ``offset`` or behind it, whatever lies between."""
    found = data.find(_MARK_START, offset + _CRC.size)
    while found >= 0:
        record = parse_record(data, found - _CRC.size, seed)
        if isinstance(record, Record):
            yield record
        found = data.find(_MARK_START, found + 1)


def is_torn(data: bytes, broken: Broken) -> bool:
    """Whether a power cut during the writing explains the damage, or else it is corruption.

    A sector is written whole or not at all, over zeros. So a torn write leaves a sector whose share
    is zeros (or a file too short), and bytes that differ from what was written are something else.
    Source: etcd's write-ahead log judges its tail the same way.
    """
    if broken.stop > len(data):
        return True
    start = broken.start
    while start < broken.stop:
        stop = min(start - start % SECTOR_BYTES + SECTOR_BYTES, broken.stop)
        if not any(data[start:stop]):
            return True
        start = stop
    return False
