"""Documents out of bytes: trees of plain values that fit a document's type mostly, and say anything else."""

import base64
import json
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from tests.fuzz.source import Source

TEXTS: Final = (
    "a",
    "b",
    "q",
    "/q",
    "",
    "n",
    "k",
    "w1",
    "\0",
    "\u00fc\U0001f600",
    "x" * 65,
    "x" * 300,
    "q*",
    "\n",
)
NUMBERS: Final = (0, 1, 2, 1, 0, 3, 1_000, -1, 2**31 - 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63,
                  2**64 - 1, -(2**63), 30_000, 604_800_000)  # fmt: skip
ODD: Final[tuple[Any, ...]] = (
    None,
    True,
    1.0,
    1.5,
    -0.0,
    1e300,
    "1",
    [],
    {},
    [[]],
    {"a": 1},
    "",
    0,
    b"x",
)
DEPTHS: Final = (2, 50, 198, 199, 200, 201, 300)


class Odds:
    """How often something else than what fits is said: ``one_in`` times."""

    def __init__(self, source: Source, one_in: int) -> None:
        self.source = source
        self._one_in = one_in

    def now(self) -> bool:
        """Whether it is now."""
        return self.source.below(self._one_in) == self._one_in - 1


def document(type_: type[Struct], odds: Odds) -> dict[str, Any]:
    """A tree for a document: required fields mostly, others now and then."""
    source, tree = odds.source, {}
    hints = get_type_hints(type_, include_extras=True)
    for field in msgspec.structs.fields(type_):
        is_said = source.below(16) != 15 if field.required else source.below(4) == 1
        if not is_said:
            continue
        tree[field.encode_name] = _value(hints[field.name], odds)
    if odds.now():
        tree[source.pick(TEXTS)] = source.pick(ODD)
    return tree


def _value(type_: Any, odds: Odds) -> Any:
    source = odds.source
    if odds.now():
        return source.pick(ODD)
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in _MAKERS:
        return _MAKERS[origin](arguments, odds)
    if isinstance(type_, type) and issubclass(type_, Struct):
        return document(type_, odds)
    return _PLAIN[type_](source)


def _one_of(types: tuple[Any, ...], odds: Odds) -> Any:
    return _value(odds.source.pick([one for one in types if one is not UnsetType]), odds)


def _many(types: tuple[Any, ...], odds: Odds) -> list[Any]:
    return [_value(types[0], odds) for _ in range(1 + odds.source.below(3))]


_MAKERS: Final[dict[Any, Callable[[tuple[Any, ...], Odds], Any]]] = {
    Annotated: lambda types, odds: _value(types[0], odds),
    Literal: lambda words, odds: odds.source.pick(words),
    Union: _one_of,
    UnionType: _one_of,
    list: _many,
}


def _any(source: Source) -> Any:
    """A value of a task."""
    what = source.below(12)
    if what == 0:
        deep: Any = 1
        for level in range(source.pick(DEPTHS)):
            deep = {"a": deep} if level % 3 == 0 else [deep]
        return deep
    if what < 4:
        return source.pick(NUMBERS)
    if what < 7:
        return source.blob(12).decode("utf-8", "replace")
    if what < 10:
        return source.pick(ODD)
    return {source.pick(TEXTS): source.pick(ODD) for _ in range(source.below(4))}


_PLAIN: Final[dict[Any, Any]] = {
    str: lambda source: source.pick(TEXTS),
    int: lambda source: source.pick(NUMBERS),
    bool: lambda source: bool(source.below(2)),
    bytes: lambda source: source.blob(8),
    Raw: _any,
    type(UNSET): lambda _source: None,
}


def in_json(tree: Any) -> bytes:
    """JSON of a tree; bytes as base64."""
    return json.dumps(tree, default=lambda data: base64.b64encode(data).decode()).encode()


def in_msgpack(tree: Any) -> bytes | None:
    """MessagePack of a tree; None if it cannot say it."""
    try:
        return msgspec.msgpack.encode(tree)
    except (OverflowError, ValueError, RecursionError):
        return None
