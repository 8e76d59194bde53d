"""Documents of v1: any bytes are a document or refused, and JSON and MessagePack of one document mean the same.

The first byte chooses: a document made of fields, in both encodings; or any bytes in one of them.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from raftq.values import decode_json
from raftq.wire.formats import (
    Format,
    MalformedError,
    decode,
    encode,
    value_from_json,
    value_to_json,
)
from raftq_cluster.codec.entries import decode_segment, encode_segment
from raftq_cluster.codec.shapes import check_segment
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.refusals import Refusal
from raftq_cluster.service.verbs import VERBS, OperationVerb, Verb
from tests.fuzz.source import Source
from tests.fuzz.trees import Odds, document, in_json, in_msgpack

ALL: Final = tuple(VERBS.values())
FORMATS: Final[tuple[Format, ...]] = ("json", "msgpack")


class Builder:
    """A service as building knows it; new ids count from one."""

    limits = Limits(value_bytes_max=10_000, err_bytes_max=200, operations_max=6)

    def __init__(self) -> None:
        self._made = 0

    def new_id(self) -> str:
        self._made += 1
        return f"id-{self._made}"


def fuzz(data: bytes) -> None:
    """Read and build."""
    source = Source(data)
    verb = source.pick(ALL)
    mode = source.below(4)
    if mode > 1:
        fmt = source.pick(FORMATS)
        (_read if mode == 2 else _value)(verb, source.rest(), fmt)
        return
    tree = document(verb.request, Odds(source, source.pick((200, 30, 5))))
    packed = in_msgpack(tree)
    said = _read(verb, in_json(tree), "json")
    if packed is None or _means_another(tree):
        return
    assert _read(verb, packed, "msgpack") == said, tree


def _means_another(tree: Any) -> bool:
    """Whether the encodings say different documents: bytes are base64 in JSON, where MessagePack tells them from text."""
    if isinstance(tree, dict):
        return any(
            isinstance(item, str)
            if name == "value_b64" and isinstance(item, str | bytes)
            else _means_another(item)
            for name, item in tree.items()
        )
    if isinstance(tree, list):
        return any(map(_means_another, tree))
    return isinstance(tree, bytes)


def _read(verb: Verb, body: bytes, fmt: Format) -> Any:
    """What a document asks for: an operation, fields, or how it is refused."""
    try:
        found = decode(body, verb.request, fmt)
    except MalformedError as error:
        return ("malformed", error.readable, error.field)
    again = decode(encode(found, fmt), verb.request, fmt)
    assert again == found or "nan" in repr(found)
    if not isinstance(verb, OperationVerb):
        return found
    try:
        operation: Any = verb.build(Builder(), found, fmt)  # type: ignore[arg-type]
    except Refusal as refusal:
        return ("refused", refusal.code, refusal.field)
    segment = decode_segment(encode_segment([operation]))
    check_segment(segment)  # what is built here is taken elsewhere
    for value in _values(segment):
        _check_value(value)
    return _without_values(segment)


def _values(segment: Any) -> Iterator[bytes]:
    """Stored JSON values of a modification's inserts and changes."""
    for operation in segment:
        if operation[0] in (2, 8):
            for row in operation[4]:
                if row[5] == 0 and row[4]:
                    yield row[4]
            for row in operation[5]:
                if row[6] == 0 and row[5]:
                    yield row[5]


def _check_value(text: bytes) -> None:
    """What was stored can be read by whoever asks for it, in either encoding."""
    said = json.loads(text, parse_int=_integer)
    assert msgspec.msgpack.decode(bytes(value_from_json(text, "msgpack"))) == said
    assert json.loads(json.dumps(decode_json(text)), parse_int=_integer) == said


def _integer(digits: str) -> int | float:
    """What MessagePack can say of an integer."""
    if len(digits) < 21 and -(2**63) <= int(digits) < 2**64:
        return int(digits)
    return float(digits)


def _without_values(segment: Any) -> Any:
    """An operation, but for its mark and its values, whose texts may differ: 1.0 and 1.00, spaces."""
    (operation,) = segment
    if operation[0] not in (2, 8):
        return (operation[:2], operation[3:])
    inserts = [(*row[:4], _meaning(row[4], row[5]), *row[5:]) for row in operation[4]]
    changes = [(*row[:5], _meaning(row[5] or b"", row[6]), *row[6:]) for row in operation[5]]
    return (operation[:2], operation[3], inserts, changes, operation[6:10])


def _meaning(value: bytes, kind: int) -> str:
    return repr(json.loads(value, parse_int=float)) if value and kind == 0 else repr(value)


def _value(_verb: Verb, data: bytes, fmt: Format) -> None:
    """Any bytes as a value in a document of this format."""
    try:
        raw = decode(data, msgspec.Raw, fmt)
        text = value_to_json(raw, fmt)
    except MalformedError:
        return
    if fmt == "msgpack":
        assert json.loads(text) == msgspec.msgpack.decode(data), "it is another value"
    _check_value(text)


def seeds() -> Iterator[bytes]:
    """Documents of all verbs in both encodings, from scripts and as bytes; odd values."""
    for number in range(len(ALL)):
        yield bytes((number, 0, 0, *(2, 0, 1, 2, 0, 0, 3, 1) * 10))
        yield bytes((number, 1, 1, *(0, 2, 0, 1, 7, 2, 0, 0, 1) * 12))
    names = [verb.name for verb in ALL]
    modify = names.index("modify")
    values = [
        b"1e400", b"9" * 400, b"9" * 5_000, b"-0", b'"\\u0000"', b'"\\ud800"', b'{"a":1,"a":2}', b"[" * 201 + b"]" * 201,
        b"[" * 200 + b"]" * 200, b"NaN", b"null", b"18446744073709551616", b"0.1e-999", b'"\\ud83d\\ude00"',
    ]  # fmt: skip
    for value in values:
        yield bytes((modify, 2, 0)) + b'{"inserts":[{"queue":"q","value":%b}]}' % value
        yield bytes((modify, 3, 0)) + value
    for said in (
        {"a": [1, 2.5, None]},
        float("nan"),
        float("inf"),
        {1: 2},
        b"x",
        2**64 - 1,
        "\u0000",
    ):
        yield bytes((modify, 3, 1)) + msgspec.msgpack.encode(said)
    for body in (
        {"inserts": [{"queue": "q", "value": {"a": [1, 2.5, None]}, "value_b64": b"x"}]},
        {"inserts": [{"queue": "q", "value": {1: 2}}]},
        {"inserts": [{"queue": "q", "value": float("nan")}]},
        {
            "changes": [{"id": "a", "version": 1, "value_b64": b"\0"}],
            "deletes": [{"id": "b", "version": 2**63}],
        },
    ):
        yield bytes((modify, 2, 1)) + msgspec.msgpack.encode(body)
    yield bytes((modify, 2, 1)) + b"\x81\xa7inserts\x91\x82\xa5queue\xa1q\xa5value\xd6\xff\0\0\0\0"
