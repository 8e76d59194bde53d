"""A task's value survives the way from either format into JSON, or is refused."""

import json
from typing import Any

import msgspec
import pytest

from raftq.wire.formats import NESTING_MAX, MalformedError, value_to_json


def packed(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))


@pytest.mark.parametrize(
    "value", [None, True, 0, -(2**63), 2**64 - 1, 1.5, "é\n", [], {}, [[{"a": [1]}]]]
)
def test_a_messagepack_value_becomes_the_same_json_value(value: Any) -> None:
    assert json.loads(value_to_json(packed(value), "msgpack")) == value


@pytest.mark.parametrize(
    "value",
    [b"bytes", [b""], {"a": {"b": b"x"}}, {1: 2}, {b"k": 1}, float("inf"), [float("nan")],
     msgspec.msgpack.Ext(5, b"x")],
)  # fmt: skip
def test_a_messagepack_value_that_json_has_no_word_for_is_refused(value: Any) -> None:
    with pytest.raises(MalformedError):
        value_to_json(packed(value), "msgpack")


def test_a_messagepack_timestamp_is_refused() -> None:
    with pytest.raises(MalformedError):
        value_to_json(msgspec.Raw(b"\xd6\xff\x00\x00\x00\x01"), "msgpack")


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_json_is_nested_as_deeply_as_allowed_and_no_deeper(opening: bytes, closing: bytes) -> None:
    def nested(levels: int) -> msgspec.Raw:
        return msgspec.Raw(opening * levels + b"1" + closing * levels)

    assert value_to_json(nested(NESTING_MAX), "json") == bytes(nested(NESTING_MAX))
    with pytest.raises(MalformedError, match="deeply"):
        value_to_json(nested(NESTING_MAX + 1), "json")


def test_messagepack_is_nested_as_deeply_as_allowed_and_no_deeper() -> None:
    def nested(levels: int) -> msgspec.Raw:
        return msgspec.Raw(b"\x91" * levels + b"\x01")

    assert value_to_json(nested(NESTING_MAX), "msgpack") == b"[" * 200 + b"1" + b"]" * 200
    with pytest.raises(MalformedError, match="deeply"):
        value_to_json(nested(NESTING_MAX + 1), "msgpack")


@pytest.mark.parametrize(
    "text", [b"[" + b",".join([b"[]"] * 500) + b"]", json.dumps(["[{" * 300, '"[' * 300]).encode()]
)
def test_many_brackets_side_by_side_or_in_texts_are_no_nesting(text: bytes) -> None:
    assert value_to_json(msgspec.Raw(text), "json") == text


def test_brackets_in_texts_do_not_hide_nesting() -> None:
    text = b'["]]",' * 300 + b"1" + b"]" * 300
    with pytest.raises(MalformedError, match="deeply"):
        value_to_json(msgspec.Raw(text), "json")
