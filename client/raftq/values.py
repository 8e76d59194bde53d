"""Values of tasks: any JSON, or bytes, checked before anything is sent.

Knows nothing of tasks and calls. JSON is written once, here; what the node stores and gives back is that
text, so integers of any size survive.
"""

import json
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from raftq.errors import InvalidRequest, TooLarge

VALUE_BYTES_MAX: Final = 2**20  # what a node accepts unless its flags say otherwise

_encode = msgspec.json.Encoder().encode


def encode_value(
    value: object, bytes_max: int = VALUE_BYTES_MAX
) -> tuple[Raw | UnsetType, bytes | UnsetType]:
    """Give a value as a document holds it: its JSON text, or its bytes; the other one is UNSET.

    ``bytes``, ``bytearray`` and ``memoryview`` are stored as bytes. All else is JSON as msgspec writes it:
    dataclasses and structs become objects, dates and UUIDs strings.

    Raises:
        InvalidRequest: JSON cannot say this value.
        TooLarge: it has more than ``bytes_max`` bytes.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        _check_size(len(data), bytes_max)
        return UNSET, data
    text = _json_of(value)
    _check_size(len(text), bytes_max)
    return Raw(text), UNSET


def decode_json(text: bytes | Raw) -> Any:
    """Read the JSON text of a value.

    Integers that Python does not read (of more than 4,300 digits, unless it was told otherwise) become floats.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return json.loads(bytes(text), parse_int=_number)  # numbers that no float holds


def _number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _json_of(value: object) -> bytes:
    try:
        text = _encode(value)
        if b"null" in text:  # msgspec writes NaN and infinities so; they are no JSON
            _refuse_not_a_number(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidRequest(f"the value cannot be written as JSON: {error}") from error
    return text


def _refuse_not_a_number(value: object) -> None:
    plain = msgspec.to_builtins(value, str_keys=True)
    json.dumps(plain, allow_nan=False)


def _check_size(size_bytes: int, bytes_max: int) -> None:
    if size_bytes > bytes_max:
        error = TooLarge(
            f"the value has {size_bytes} bytes; the limit value_bytes_max is {bytes_max}"
        )
        error.limit = bytes_max
        error.limit_name = "value_bytes_max"
        raise error
