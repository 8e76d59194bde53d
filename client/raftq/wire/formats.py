"""JSON and MessagePack: one document, two encodings.

Decoding checks everything a document's type says and refuses text that is not UTF-8. A task's value
passes through as the bytes the caller wrote: numbers above 2^53 survive.
"""

import json
import re
from math import isfinite
from typing import Any, Final, Literal, TypeVar

import msgspec

Format = Literal["json", "msgpack"]
MEDIA_TYPES: Final[dict[Format, str]] = {
    "json": "application/json",
    "msgpack": "application/msgpack",
}
NESTING_MAX: Final = 200  # levels of a value: any decoder reads them, wherever its stack stands

_INTEGER_CHARS_MAX: Final = 20  # of the longest integers that MessagePack has

T = TypeVar("T")

_JSON_BRACKETS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_json_encode = msgspec.json.Encoder().encode
_msgpack_encode = msgspec.msgpack.Encoder().encode
_json_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_msgpack_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


class MalformedError(ValueError):
    """The bytes are not a document of this type. ``field`` is the path of the bad field, or ""."""

    def __init__(self, detail: str, *, field: str = "", readable: bool = False) -> None:
        super().__init__(detail)
        self.field = field
        self.readable = readable  # the syntax was right, a field was not


def sniff(body: bytes) -> Format:
    """Tell a JSON document from a MessagePack one: a map never begins with white space or ``{``."""
    return "json" if body[:1] in (b"{", b" ", b"\t", b"\r", b"\n", b"") else "msgpack"


def decode(body: bytes, type_: type[T], fmt: Format) -> T:
    """Read a document.

    Raises:
        MalformedError: not that format, not UTF-8, too deep, or a field's value is out of range.
    """
    try:
        if fmt == "json":
            if not body.isascii():
                body.decode()
            decoder = _json_decoders.get(type_)
            if decoder is None:
                decoder = _json_decoders[type_] = msgspec.json.Decoder(type_)
            return decoder.decode(body)  # type: ignore[no-any-return]
        packed = _msgpack_decoders.get(type_)
        if packed is None:
            packed = _msgpack_decoders[type_] = msgspec.msgpack.Decoder(type_)
        return packed.decode(body)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        field = path.removesuffix("`").removeprefix(".")
        raise MalformedError(message, field=field, readable=True) from None
    except msgspec.DecodeError as error:
        raise MalformedError(str(error)) from None
    except UnicodeDecodeError:
        raise MalformedError("the document is not UTF-8") from None
    except RecursionError:
        raise MalformedError("the document is nested too deeply") from None


def encode(document: object, fmt: Format) -> bytes:
    """Write a document. A :class:`msgspec.Raw` in it must already be of that format."""
    return _json_encode(document) if fmt == "json" else _msgpack_encode(document)


def value_to_json(raw: msgspec.Raw, fmt: Format) -> bytes:
    """Give the JSON text of a value that came in a document of this format.

    Raises:
        MalformedError: nested deeper than ``NESTING_MAX``, or a MessagePack value that JSON cannot
            say (bytes, extension types, keys that are no text, infinities).
    """
    if fmt == "json":
        text = bytes(raw)
        if text.count(b"[") + text.count(b"{") > NESTING_MAX:
            _check_nesting(text)
        return text
    try:
        value = msgspec.msgpack.decode(bytes(raw))
        _check_sayable(value)
        return _json_encode(value)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError, UnicodeError) as error:
        raise MalformedError(f"the value cannot be written as JSON: {error}") from None


def _check_nesting(text: bytes) -> None:
    """Refuse a JSON text that is nested too deeply, without recursion."""
    depth = 0
    for match in _JSON_BRACKETS.finditer(text):
        bracket = match[0]
        if bracket in (b"[", b"{"):
            depth += 1
            if depth > NESTING_MAX:
                raise MalformedError("the value is nested too deeply")
        elif bracket in (b"]", b"}"):
            depth -= 1


def _check_sayable(value: Any) -> None:
    """Refuse what JSON has no word for; msgspec would write something else, unasked."""
    level = [value]
    for _ in range(NESTING_MAX + 1):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                if not all(isinstance(key, str) for key in item):
                    raise TypeError("an object's keys must be text")
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
            elif isinstance(item, float) and not isfinite(item):
                raise ValueError(f"JSON has no {item}")
            elif item is not None and not isinstance(item, str | int | float):
                raise TypeError(f"JSON has no {type(item).__name__}")
        if not deeper:
            return
        level = deeper
    raise ValueError("it is nested too deeply")


def value_from_json(text: bytes, fmt: Format) -> msgspec.Raw:
    """Give a stored JSON value in the form a document of this format embeds.

    MessagePack has no integers beyond 64 bits, and no numbers beyond a double's range: there they
    become floats, as in most JSON readers, in the end infinite ones.
    """
    if fmt == "json":
        return msgspec.Raw(text)
    try:
        return msgspec.Raw(_msgpack_encode(msgspec.json.decode(text)))
    except (OverflowError, msgspec.ValidationError):
        return msgspec.Raw(_msgpack_encode(json.loads(text, parse_int=_packable)))


def _packable(digits: str) -> int | float:
    if len(digits) <= _INTEGER_CHARS_MAX and -(2**63) <= int(digits) < 2**64:
        return int(digits)
    return float(digits)
