"""Bytes of log segments: written once, readable for ever, and never mistaken for others."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftq_cluster.backends.raft.storage.records import (
    END,
    ENTRY,
    MARK,
    RECORD_HEADER_BYTES,
    RESET,
    SECTOR_BYTES,
    Broken,
    Position,
    Record,
    SegmentHeader,
    floor_of,
    is_torn,
    marks_after,
    pack_header,
    pack_mark,
    pack_record,
    parse_header,
    parse_record,
    segment_seed,
)

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "raft_storage.json").read_text("utf-8")
)
SEED = segment_seed(b"c1/n1", 3)
HEADER = SegmentHeader(3, 41, 6, 8_000)
RECORDS = [(ENTRY, 42, 7, b"hello"), (ENTRY, 43, 7, b""), (END, 42, 7, b""), (RESET, 90, 8, b"")]


def segment() -> bytes:
    data = pack_header(HEADER, SEED)
    data += pack_mark(Position(2, 4_096), 2, SEED ^ len(data))
    for kind, index, term, body in RECORDS:
        data += pack_record(kind, index, term, body, SEED ^ len(data)) + body
    return data


def records(data: bytes, seed: int = SEED) -> Iterator[Record]:
    offset = len(pack_header(HEADER, SEED))
    while isinstance(record := parse_record(data, offset, seed), Record):
        yield record
        offset = record.end


def test_a_segment_is_written_as_it_always_was() -> None:
    assert segment().hex() == VECTORS["segment"]["hex"]


def test_a_segment_of_the_first_version_can_be_read() -> None:
    data = bytes.fromhex(VECTORS["segment"]["hex"])
    assert parse_header(data, SEED) == (1, HEADER)
    mark, *others = records(data)
    assert (mark.kind, mark.index, mark.term, floor_of(mark)) == (MARK, 2, 4_096, 2)
    assert [(r.kind, r.index, r.term, r.body) for r in others] == RECORDS
    assert others[-1].end == len(data)


def test_no_bit_of_a_segment_can_change_unnoticed() -> None:
    good, data = list(records(segment())), segment()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        is_noticed = parse_header(bytes(damaged), SEED) is None or len(
            list(records(bytes(damaged)))
        ) < len(good)
        assert is_noticed


@pytest.mark.parametrize(("identity", "number"), [(b"c1/n2", 3), (b"c1/n1", 4)])
def test_a_segment_of_another_log_or_place_is_not_read(identity: bytes, number: int) -> None:
    data, seed = segment(), segment_seed(identity, number)
    assert parse_header(data, seed) is None
    assert list(records(data, seed)) == []


def test_a_record_at_another_offset_is_not_read() -> None:
    data = segment()
    start = len(pack_header(HEADER, SEED))
    first = parse_record(data, start, SEED)
    assert isinstance(first, Record)
    moved = data[:start] + b"-" + data[start:]
    assert parse_record(moved, start + 1, SEED) == Broken(
        start + 1, start + 1 + RECORD_HEADER_BYTES
    )


@pytest.mark.parametrize("missing", [1, 5, 6, 20])
def test_a_record_that_is_cut_off_is_broken(missing: int) -> None:
    data = pack_record(ENTRY, 1, 1, b"hello", SEED) + b"hello"
    assert isinstance(parse_record(data[:-missing], 0, SEED), Broken)


def test_a_header_that_is_cut_off_is_none() -> None:
    assert parse_header(pack_header(HEADER, SEED)[:-1], SEED) is None


def test_marks_are_found_behind_damage() -> None:
    data = segment()
    damaged = bytes(60) + data[60:]
    second = pack_mark(Position(3, 100), 2, SEED ^ (len(damaged) + 7))
    marks = list(marks_after(damaged + b"garbage" + second, 20, SEED))
    assert [(mark.index, mark.term) for mark in marks] == [(3, 100)]


def test_what_only_looks_like_a_mark_is_passed_over() -> None:
    data = bytearray(pack_mark(Position(3, 100), 2, SEED))
    data[-1] ^= 1
    assert list(marks_after(bytes(data), 0, SEED)) == []


# --- torn, or damaged? -----------------------------------------------------------------------------


def test_a_sector_of_zeros_explains_a_broken_record() -> None:
    data = b"x" * SECTOR_BYTES + bytes(SECTOR_BYTES) + b"x" * SECTOR_BYTES
    assert is_torn(data, Broken(10, len(data)))


def test_a_file_that_ends_too_early_explains_a_broken_record() -> None:
    assert is_torn(b"x" * 100, Broken(10, 101))


def test_sectors_that_were_all_written_do_not() -> None:
    data = (b"x" + bytes(SECTOR_BYTES - 1)) * 3
    assert not is_torn(data, Broken(0, len(data)))


def test_only_the_records_own_share_of_a_sector_counts() -> None:
    data = b"x" * 500 + bytes(12) + b"x" * SECTOR_BYTES
    assert is_torn(data, Broken(500, 700))
    assert not is_torn(data, Broken(499, 700))
