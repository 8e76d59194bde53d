"""Bytes of log entries: what they are for ever, and that no others are taken for them."""

import json
from typing import Any, Final

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import golden

from raftq_cluster.codec.entries import (
    VERSION,
    Entry,
    decode_entry,
    decode_segment,
    encode_entry,
    encode_segment,
    split_entry,
)
from raftq_cluster.codec.errors import CodecError

VECTORS: Final = json.loads(golden.ENTRIES.read_text(encoding="utf-8"))
BYTES: Final = [bytes.fromhex(vector["hex"]) for vector in VECTORS]


def taken_or_refused(data: bytes) -> Entry | None:
    try:
        return decode_entry(data)
    except CodecError:
        return None


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_golden_bytes_are_read_as_what_they_say(vector: Any) -> None:
    entry = decode_entry(bytes.fromhex(vector["hex"]))
    assert (entry.now_ms, entry.seed) == (vector["now_ms"], vector["seed"])
    assert entry.segments == [list(golden.from_json(segment)) for segment in vector["segments"]]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_what_golden_bytes_say_is_written_as_them(vector: Any) -> None:
    segments = [encode_segment(golden.from_json(segment)) for segment in vector["segments"]]
    assert encode_entry(vector["now_ms"], vector["seed"], segments).hex() == vector["hex"]


def test_the_committed_vectors_are_what_the_script_writes() -> None:
    assert golden.ENTRIES.read_text(encoding="utf-8") == golden.entries_text()


@pytest.mark.parametrize("data", BYTES, ids=[vector["name"] for vector in VECTORS])
def test_no_truncated_entry_is_taken(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(CodecError):
            decode_entry(data[:length])


@pytest.mark.parametrize("data", BYTES, ids=[vector["name"] for vector in VECTORS])
def test_no_entry_with_more_bytes_is_taken(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_entry(data + b"\x00")


@pytest.mark.parametrize("data", BYTES, ids=[vector["name"] for vector in VECTORS])
def test_an_entry_with_one_other_byte_is_refused_or_another_entry(data: bytes) -> None:
    for position in range(len(data)):
        for byte in {0, 1, 0x7F, 0x80, 0xC0, 0xC1, 0xFF, data[position] ^ 0x20} - {data[position]}:
            entry = taken_or_refused(data[:position] + bytes([byte]) + data[position + 1 :])
            if entry is not None:
                assert all(isinstance(segment, list) for segment in entry.segments)


@given(st.sampled_from(BYTES), st.data())
def test_an_entry_with_several_other_bytes_is_refused_or_another_entry(
    data: bytes, draw: st.DataObject
) -> None:
    damaged = bytearray(data)
    for position in draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=6)):
        damaged[position] = draw.draw(st.integers(0, 255))
    taken_or_refused(bytes(damaged))


@given(st.binary(max_size=64))
def test_any_bytes_are_refused_or_an_entry(data: bytes) -> None:
    taken_or_refused(data)


@pytest.mark.parametrize("version", [0, VERSION + 1, 127, "1", None])
def test_an_entry_of_another_version_is_refused(version: Any) -> None:
    with pytest.raises(CodecError, match="version"):
        decode_entry(msgpack.packb([version, 0, 0, []]))


@pytest.mark.parametrize(
    "fields",
    [
        [VERSION, "0", 0, []],
        [VERSION, 0, None, []],
        [VERSION, 0, 0, {}],
        [VERSION, 0, 0, b""],
        [VERSION, 0, 0, ["text"]],
        [VERSION, 0, 0, [7]],
        [VERSION, True, 0, []],
        [VERSION, 0, 0, [b"\x01"]],
        [VERSION, 0, 0, [b""]],
        [VERSION, 0, 0],
        [VERSION, 0, 0, [], 0],
        {},
        5,
    ],
)
def test_a_head_of_another_shape_is_refused(fields: Any) -> None:
    with pytest.raises(CodecError):
        decode_entry(msgpack.packb(fields))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x91" * 100_000,  # nested without end
        b"\xdf\xff\xff\xff\xff",  # a map of four thousand million pairs
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x81\x01\x02",  # keys that are no text
        b"\x91\xa2\xff\xfe",  # text that is not UTF-8
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\xc7\x0c\xff" + b"\xff" * 12,  # a timestamp that is none
        b"\xc1",
    ],
)
def test_hostile_bytes_are_no_segment(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_segment(data)


def test_a_segment_keeps_its_operations_in_their_order() -> None:
    operations = [(6,), (7, ("k",)), (6,)]
    assert decode_segment(encode_segment(operations)) == operations


def test_a_head_whose_segments_are_no_bytes_is_refused_before_they_are_read() -> None:
    with pytest.raises(CodecError):
        split_entry(msgpack.packb([VERSION, 0, 0, [7]]))
