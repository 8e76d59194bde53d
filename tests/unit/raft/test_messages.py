"""Frames between members: their bytes, and what is none of them."""

import json
from pathlib import Path
from typing import NamedTuple, get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftq_cluster.backends.raft import messages
from raftq_cluster.backends.raft.messages import Ack, Append, Facts, Message, decode, encode
from raftq_cluster.backends.raft.peer_api import PeerError

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "raft_messages.json").read_text(encoding="utf-8")
)
KINDS: dict[str, type[NamedTuple]] = {kind.__name__: kind for kind in get_args(Message)}


def revived(value: object) -> object:
    """JSON has neither tuples nor bytes: lists are tuples, and ``{"hex": …}`` is bytes."""
    if isinstance(value, list):
        return tuple(map(revived, value))
    if isinstance(value, dict) and value.keys() == {"hex"}:
        return bytes.fromhex(value["hex"])
    return value


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["kind"] for vector in VECTORS])
def test_a_message_has_these_bytes(vector: dict[str, object]) -> None:
    message = KINDS[str(vector["kind"])](*map(revived, vector["fields"]))  # type: ignore[call-overload]
    frame = bytes.fromhex(str(vector["frame"]))
    assert encode(message) == frame
    assert decode(frame) == message
    assert type(decode(frame)) is type(message)


def test_every_kind_has_a_vector() -> None:
    assert {vector["kind"] for vector in VECTORS} == set(KINDS)


def test_numbers_come_first_in_every_kind() -> None:
    """``decode`` counts on it."""
    for _kind, checks in messages._KINDS.values():
        is_number = [check is messages._is_number for check in checks]
        assert is_number == sorted(is_number, reverse=True)


MALFORMED = {
    "nothing": b"",
    "not MessagePack": b"\xc1",
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
    "something behind it": encode(Ack(1, 1, 1, 1)) + b"\x00",
    "a number": msgpack.packb(2),
    "no kind": msgpack.packb([]),
    "a kind that is text": msgpack.packb(["Ack", 1, 1, 1, 1]),
    "a kind that is a truth value": msgpack.packb([True, 1, 1, 1, 1, 1, 1, False, []]),
    "an unknown kind": msgpack.packb([99, 1]),
    "a field too few": msgpack.packb([2, 1, 1, 1]),
    "a field too many": msgpack.packb([2, 1, 1, 1, 1, 1]),
    "a negative number": msgpack.packb([2, 1, 1, 1, -1]),
    "a truth value for a number": msgpack.packb([2, 1, 1, 1, True]),
    "a fraction": msgpack.packb([2, 1, 1, 1, 1.0]),
    "rows that are none": msgpack.packb([1, 1, 1, 1, 1, 1, 1, True, [[1]]]),
    "a row of a negative number": msgpack.packb([1, 1, 1, 1, 1, 1, 1, True, [[-1, b"x"]]]),
    "an empty row": msgpack.packb([1, 1, 1, 1, 1, 1, 1, True, [[1, b""]]]),
    "text for bytes": msgpack.packb([1, 1, 1, 1, 1, 1, 1, True, [[1, "x"]]]),
    "a number for a truth value": msgpack.packb([1, 1, 1, 1, 1, 1, 1, 1, []]),
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_message_is_the_peers_fault(frame: bytes) -> None:
    with pytest.raises(PeerError):
        decode(frame)


numbers = st.integers(0, 2**64 - 1)
rows = st.lists(st.tuples(numbers, st.binary(min_size=1)), max_size=4).map(tuple)


@given(st.builds(Append, *[numbers] * 6, st.booleans(), rows))
def test_whatever_is_sent_arrives(message: Append) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_else_than_be_a_message_or_be_refused(frame: bytes) -> None:
    try:
        message = decode(frame)
    except PeerError:
        return
    assert type(message) in KINDS.values()


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


@given(st.integers(0, 24), st.lists(plain, max_size=9))
def test_no_fields_get_past_their_checks(kind: int, fields: list[object]) -> None:
    try:
        message = decode(msgpack.packb([kind, *fields]))
    except PeerError:
        return
    counted = [field for field in message if type(field) is int]
    assert all(0 <= number <= messages.NUMBER_MAX for number in counted)
    assert not isinstance(message, Facts) or all(isinstance(name, str) for name in message.fields)
