"""Documents in JSON and MessagePack: read strictly, written so that each reader understands them."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftq.wire import documents as wire
from raftq.wire.formats import (
    MEDIA_TYPES,
    Format,
    MalformedError,
    decode,
    encode,
    sniff,
    value_from_json,
    value_to_json,
)
from raftq.wire.membership import ReplaceMemberRequest

FORMATS: tuple[Format, ...] = ("json", "msgpack")
INSERT = {"queue": "/a"}


def written(document: Any, fmt: Format) -> bytes:
    return msgspec.json.encode(document) if fmt == "json" else msgspec.msgpack.encode(document)


def read(raw: msgspec.Raw) -> Any:
    return msgspec.msgpack.decode(bytes(raw))


def malformed(body: bytes, type_: type[Any], fmt: Format) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        decode(body, type_, fmt)
    return caught.value


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_document_is_read_with_its_defaults(fmt: Format) -> None:
    body = written({"queues": ["/a"]}, fmt)
    for _ in range(2):  # the second time with the decoder of the first
        assert decode(body, wire.ClaimRequest, fmt) == wire.ClaimRequest(
            queues=["/a"], claimant="anonymous", lease_ms=30_000, wait_ms=0, limit=1
        )


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_document_is_told_by_its_first_byte(fmt: Format) -> None:
    assert sniff(written({"queues": ["/a"]}, fmt)) == fmt
    assert sniff(encode(wire.TimeReply(now=1), fmt)) == fmt


@pytest.mark.parametrize("body", [b"{}", b" {}", b"\n{}", b"\t{}", b"\r{}", b""])
def test_white_space_and_nothing_are_json(body: bytes) -> None:
    assert sniff(body) == "json"


def test_each_format_has_a_media_type() -> None:
    assert MEDIA_TYPES == {"json": "application/json", "msgpack": "application/msgpack"}


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"inserts": [INSERT, {"queue": ""}]}, "inserts[1].queue"),
        ({"inserts": [{}]}, "inserts[0]"),
        ({"changes": [{"id": "x", "version": -1}]}, "changes[0].version"),
        ({"changes": [{"id": "x", "version": 2**31}]}, "changes[0].version"),
        ({"changes": [{"id": "x", "version": 1.5}]}, "changes[0].version"),
        ({"changes": [{"id": "x", "version": "1"}]}, "changes[0].version"),
        ({"changes": [{"id": "x", "version": True}]}, "changes[0].version"),
        ({"deletes": [{"id": "x" * 65, "version": 0}]}, "deletes[0].id"),
        ({"deletes": {}}, "deletes"),
        ({"claimant": None}, "claimant"),
        ({"claimant": ""}, "claimant"),
        ({"dry_run": 1}, "dry_run"),
        ({"inserts": [{"queue": "/a", "at": -1}]}, "inserts[0].at"),
        ({"inserts": [{"queue": "/a", "at": 2**53 + 1}]}, "inserts[0].at"),
        ({"inserts": [{"queue": "/a", "priority": 2**31}]}, "inserts[0].priority"),
        ({"idempotency_key": "k" * 129}, "idempotency_key"),
    ],
)
def test_a_bad_field_is_named(document: dict[str, Any], field: str, fmt: Format) -> None:
    error = malformed(written(document, fmt), wire.ModifyRequest, fmt)
    assert (error.field, error.readable) == (field, True)
    assert str(error)


@pytest.mark.parametrize("by", ["n", "n4", "10.0.0.4:7678"])
def test_a_member_is_replaced_by_another_of_any_name_or_by_an_address(by: str) -> None:
    document = written({"id": "n3", "by": by}, "json")
    assert decode(document, ReplaceMemberRequest, "json").by == by


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_unknown_field_is_refused_and_named(fmt: Format) -> None:
    error = malformed(written({"insert": [INSERT]}, fmt), wire.ModifyRequest, fmt)
    assert error.readable
    assert "insert" in str(error)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("document", [[], None, 5, "text"])
def test_a_document_that_is_no_object_is_refused(document: Any, fmt: Format) -> None:
    assert malformed(written(document, fmt), wire.ModifyRequest, fmt).field == ""


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b'{"queues":["/a"]', b'{"queues":["/a"]}x', b"{'queues':1}", b'{"queues":[NaN]}', b"nul",
        b'{"queues":["\xff"]}', b'{"queues":["\xed\xa0\x80"]}', b'{"queues":["\\ud800"]}',
        b'{"queues":["\\udc00"]}', b'{"queues":["\\ud800\\ud800"]}', b"\xef\xbb\xbf{}", b"[" * 100_000,
        b'{"x":' * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(body: bytes) -> None:
    malformed(body, wire.ClaimRequest, "json")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\x81", b"\xc1", b"\x80\x00", b"\x81\xa6queues\x91\xa2\xff\xfe",
        b"\x81\xa6queues\x91\xa3\xed\xa0\x80", b"\xdf\xff\xff\xff\xff", b"\x91" * 100_000,
        b"\x81\xa6queues" + b"\x91" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_messagepack_is_refused(body: bytes) -> None:
    malformed(body, wire.ClaimRequest, "msgpack")


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_value_may_be_nested_without_end_only_to_be_refused(fmt: Format) -> None:
    value = b"[" * 50_000 + b"]" * 50_000 if fmt == "json" else b"\x91" * 50_000 + b"\x01"
    if fmt == "json":
        body = b'{"inserts":[{"queue":"/a","value":' + value + b"}]}"
    else:
        body = b"\x81\xa7inserts\x91\x82\xa5queue\xa2/a\xa5value" + value
    try:
        document = decode(body, wire.ModifyRequest, fmt)
    except MalformedError:
        return
    value_of_insert = document.inserts[0].value
    assert isinstance(value_of_insert, msgspec.Raw)
    with pytest.raises(MalformedError):
        value_to_json(value_of_insert, fmt)


@given(st.binary(max_size=80), st.sampled_from(FORMATS))
def test_any_bytes_are_a_document_or_malformed(body: bytes, fmt: Format) -> None:
    try:
        document = decode(body, wire.ModifyRequest, fmt)
    except MalformedError:
        return
    assert isinstance(document, wire.ModifyRequest)


@given(st.data(), st.sampled_from(FORMATS))
def test_damaged_documents_are_documents_or_malformed(data: st.DataObject, fmt: Format) -> None:
    document = {
        "claimant": "é",
        "inserts": [{"queue": "/a", "value": {"n": [1, None]}, "delay_ms": 5}],
    }
    body = bytearray(written(document, fmt))
    for position in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[position] = data.draw(st.integers(0, 255))
    try:
        read_back = decode(bytes(body), wire.ModifyRequest, fmt)
    except MalformedError:
        return
    assert isinstance(read_back, wire.ModifyRequest)


@pytest.mark.parametrize("fmt", FORMATS)
def test_bytes_are_base64_in_json_and_themselves_in_messagepack(fmt: Format) -> None:
    task = wire.Task(id="x", version=0, queue="/a", at=1, value_b64=b"\x00\xff")
    body = encode(task, fmt)
    assert (b'"AP8="' in body) == (fmt == "json")
    assert decode(body, wire.Task, fmt).value_b64 == b"\x00\xff"


def test_bad_base64_is_refused_and_named() -> None:
    body = b'{"inserts":[{"queue":"/a","value_b64":"*"}]}'
    assert malformed(body, wire.ModifyRequest, "json").field == "inserts[0].value_b64"


@pytest.mark.parametrize("fmt", FORMATS)
def test_readers_of_replies_pass_over_fields_that_they_do_not_know(fmt: Format) -> None:
    assert decode(written({"now": 5, "new": 1}, fmt), wire.TimeReply, fmt) == wire.TimeReply(now=5)


@pytest.mark.parametrize("fmt", FORMATS)
def test_fields_that_are_not_set_are_not_written(fmt: Format) -> None:
    document = msgspec.msgpack.decode(encode(wire.Settings(pattern="*", paused=True), "msgpack"))
    assert document == {"pattern": "*", "paused": True}
    assert (
        decode(encode(wire.Settings(pattern="*"), fmt), wire.Settings, fmt).order is msgspec.UNSET
    )


# --- values: JSON is stored, MessagePack is spoken ---------------------------------------------------


@pytest.mark.parametrize(
    "text", [b"1e999", b'{"a": [1.50, 12345678901234567890123]}', b'"\\u00e9"']
)
def test_a_json_value_passes_through_as_it_was_written(text: bytes) -> None:
    assert value_to_json(msgspec.Raw(text), "json") == text
    assert bytes(value_from_json(text, "json")) == text


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON_VALUES)
def test_a_value_survives_the_way_into_json_and_back(value: Any) -> None:
    packed = msgspec.Raw(msgspec.msgpack.encode(value))
    text = value_to_json(packed, "msgpack")
    assert json.loads(text) == value
    assert read(value_from_json(text, "msgpack")) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775808", -(2**63)),
        (b"-9223372036854775809", -(2.0**63)),
        (b'{"a":[1,123456789012345678901234567890]}', {"a": [1, 123456789012345678901234567890.0]}),
        (b"1e999", math.inf),
        (b"[-1e999,2]", [-math.inf, 2]),
        (b"9" * 5_000, math.inf),
        (b"[0." + b"0" * 500 + b"1," + b"-" + b"9" * 5_000 + b"]", [0.0, -math.inf]),
        (b"00"[:1], 0),
    ],
)
def test_numbers_that_messagepack_cannot_say_become_floats(text: bytes, value: Any) -> None:
    found = read(value_from_json(text, "msgpack"))
    assert found == value
    assert type(found) is type(value)
