"""Bytes of snapshots: what they are for ever, and that no others are taken for them."""

import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import golden

from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.snapshots import VERSION, decode_chunk, encode_chunk
from raftq_cluster.core.restoring import restore

VECTORS: Final = json.loads(golden.SNAPSHOT.read_text(encoding="utf-8"))
CHUNK: Final = encode_chunk([golden.from_json(vector["record"]) for vector in VECTORS])


@pytest.mark.parametrize("vector", VECTORS)
def test_golden_bytes_are_read_as_what_they_say_and_written_from_it(vector: dict[str, str]) -> None:
    data = bytes.fromhex(vector["hex"])
    records = decode_chunk(data)
    assert records == [golden.from_json(vector["record"])]
    assert encode_chunk(records) == data


def test_the_committed_vectors_are_what_the_script_writes() -> None:
    assert golden.SNAPSHOT.read_text(encoding="utf-8") == golden.snapshot_text()


def test_a_golden_snapshot_can_be_restored_and_taken_again() -> None:
    machine = restore(decode_chunk(bytes.fromhex(vector["hex"])) for vector in VECTORS)
    assert [encode_chunk(chunk) for chunk in machine.snapshot()] == [CHUNK]
    assert decode_chunk(CHUNK)[0][1] == VERSION


def test_a_snapshot_of_an_earlier_version_is_restored_and_taken_again_as_one_of_this() -> None:
    old = json.loads(golden.OLD_SNAPSHOT.read_text(encoding="utf-8"))
    machine = restore(decode_chunk(bytes.fromhex(vector["hex"])) for vector in old)
    records = [golden.from_json(vector["record"]) for vector in old]
    assert list(machine.snapshot()) == [[(0, VERSION, *records[0][2:]), *records[1:]]]


def test_no_truncated_chunk_is_taken() -> None:
    for length in range(len(CHUNK)):
        with pytest.raises(CodecError):
            decode_chunk(CHUNK[:length])


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xa1a", b"\x80", b"\xc0", CHUNK + b"\x00"])
def test_what_is_no_list_of_records_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_chunk(data)


@given(st.integers(0, len(CHUNK) - 1), st.integers(0, 255))
def test_a_chunk_with_one_other_byte_is_refused_or_another_chunk(position: int, byte: int) -> None:
    try:
        records = decode_chunk(CHUNK[:position] + bytes([byte]) + CHUNK[position + 1 :])
    except CodecError:
        return
    assert isinstance(records, list)
