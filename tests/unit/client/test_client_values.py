"""Values: what can be stored, what cannot, and how it comes back."""

import dataclasses
import datetime as dt
import uuid

import msgspec
import pytest

from raftq import InvalidRequest, TooLarge
from raftq.values import decode_json, encode_value


def written(value: object) -> bytes:
    return bytes(encode_value(value)[0])


@pytest.mark.parametrize("value", [b"\x00\n", bytearray(b"ab"), memoryview(b"ab")])
def test_bytes_are_stored_as_bytes(value):
    json_text, data = encode_value(value)
    assert json_text is msgspec.UNSET
    assert data == bytes(value)


@pytest.mark.parametrize(
    "number", [2**53 + 1, 2**64, -(2**80), 12345678901234567890123456789], ids=str
)
def test_integers_of_any_size_survive(number):
    assert decode_json(written({"n": number})) == {"n": number}


def test_structured_objects_become_json():
    @dataclasses.dataclass
    class Mail:
        to: str
        at: dt.date

    day = dt.date(2026, 11, 22)
    assert decode_json(written(Mail("ada", day))) == {"to": "ada", "at": "2026-11-22"}
    key = uuid.UUID(int=1)
    assert decode_json(written([key, (1, 2)])) == [str(key), [1, 2]]


@pytest.mark.parametrize(
    "value",
    [float("nan"), {"a": [float("inf")]}, object(), {(1, 2): 3}, "\ud800", lambda: None],
    ids=["nan", "infinity", "object", "tuple key", "surrogate", "function"],
)
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(InvalidRequest, match="cannot be written as JSON"):
        encode_value(value)


def test_a_value_that_holds_itself_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(InvalidRequest):
        encode_value(loop)


def test_null_is_a_value_like_any_other():
    assert written({"a": None, 1: "null"}) == b'{"a":null,"1":"null"}'


@pytest.mark.parametrize("value", [b"12345", "123"])
def test_a_value_over_the_limit_is_refused_with_the_limit_named(value):
    assert encode_value(value, 5)
    with pytest.raises(TooLarge) as refused:
        encode_value(value, 4)
    assert (refused.value.limit, refused.value.limit_name) == (4, "value_bytes_max")


def test_numbers_that_no_float_holds_can_be_read():
    assert decode_json(b"[1e400, -1]") == [float("inf"), -1]
    assert decode_json(b"[%b, 9]" % (b"1" * 5_000)) == [float("inf"), 9]
