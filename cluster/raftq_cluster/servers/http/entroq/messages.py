"""Protobuf-JSON in: messages as tables of fields, read strictly, values kept as the bytes they came in.

Names may be camelCase or snake_case; a 64-bit integer may be text; null is the default. What a
field's default is, and which fields there are, is said by the tables. Source: protobuf's JSON mapping.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from raftq.wire.formats import MalformedError, value_to_json
from raftq_cluster.service.refusals import Refusal, over_limit

Message: TypeAlias = dict[str, Any]
Reader: TypeAlias = Callable[[Any, str], Any]

INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1
TEXTS_MAX: Final = 10_000  # of one list: ids, queues
PREFIXES_MAX: Final = 100  # every name is compared with each
MESSAGES_MAX: Final = (
    2_000  # of one list; reading one takes some 5 microseconds, and blocks the node
)
FIELD_CHARS_SHOWN_MAX: Final = 80
_CAPITAL: Final = re.compile("[A-Z]")
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_objects: Final = msgspec.json.Decoder(dict[str, Raw])
_arrays: Final = msgspec.json.Decoder(list[Raw])
_anything: Final = msgspec.json.Decoder(str | int | float | bool | None)


class Table:
    """A message type: how each of its fields is read."""

    def __init__(self, **fields: tuple[Reader, Any]) -> None:
        self.fields = fields

    def read(self, raw: Any, path: str = "") -> Message:
        """Read a message out of JSON, or out of what a query gave.

        Raises:
            Refusal: ``invalid``: no object, an unknown field, or a bad value.
        """
        given = raw if isinstance(raw, Mapping) else _decoded(_objects, raw, path, "an object")
        message: Message = {}
        for name, item in given.items():
            field = snake_case(name)
            if field not in self.fields:
                raise _invalid(f"{path}{name}", "there is no such field")
            if field in message:
                raise _invalid(f"{path}{name}", "given twice")
            if not _is_null(item):
                message[field] = self.fields[field][0](item, f"{path}{name}")
        for field, (_, default) in self.fields.items():
            message.setdefault(field, default)
        return message


def snake_case(name: str) -> str:
    """Give a field's name as tables have it."""
    return _CAPITAL.sub(lambda match: "_" + match[0].lower(), name)


def text(item: Any, path: str) -> str:
    """Read a string."""
    value = _scalar(item, path)
    if not isinstance(value, str):
        raise _invalid(path, "not a string")
    return value


def int32(item: Any, path: str) -> int:
    """Read a 32-bit integer: a number, or text."""
    return _integer(item, path, INT32_MAX)


def int64(item: Any, path: str) -> int:
    """Read a 64-bit integer: a number, or text."""
    return _integer(item, path, INT64_MAX)


def flag(item: Any, path: str) -> bool:
    """Read a bool; in a query it is text."""
    value = _scalar(item, path)
    value = {"true": True, "false": False}.get(value, value) if isinstance(item, str) else value
    if not isinstance(value, bool):
        raise _invalid(path, "not a bool")
    return value


def json_value(item: Any, path: str) -> bytes:
    """Keep a value as the JSON text it came in: its numbers keep all their digits."""
    try:
        return value_to_json(item, "json")
    except MalformedError as error:
        raise _invalid(path, str(error)) from None


def listed(reader: Reader, items_max: int) -> Reader:
    """Make a reader of lists, which refuses (``too_large``) those of more than ``items_max``."""

    def read(item: Any, path: str) -> list[Any]:
        items: Sequence[Any] = (
            item if isinstance(item, list) else _decoded(_arrays, item, path, "a list")
        )
        if len(items) > items_max:
            raise over_limit("too_large", f"{path}: {len(items)} items", "items_max", items_max)
        return [reader(entry, f"{path}[{position}]") for position, entry in enumerate(items)]

    return read


def nested(table: Table) -> Reader:
    """Make a reader of messages."""
    return lambda item, path: table.read(item, f"{path}.")


def _scalar(item: Any, path: str) -> Any:
    return item if isinstance(item, str) else _decoded(_anything, item, path, "a plain value")


def _integer(item: Any, path: str, maximum: int) -> int:
    value = _scalar(item, path)
    if (isinstance(value, str) and _INTEGER.fullmatch(value)) or (
        isinstance(value, float) and value.is_integer()
    ):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -maximum <= value <= maximum:
        raise _invalid(path, "not an integer of its range")
    return value


def _is_null(item: Any) -> bool:
    return isinstance(item, Raw) and bytes(item).strip() == b"null"


def _decoded(decoder: Any, item: Any, path: str, what: str) -> Any:
    try:
        return decoder.decode(item)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, RecursionError):
        raise _invalid(path.removesuffix("."), f"not {what}") from None


def _invalid(path: str, why: str) -> Refusal:
    shown = path[:FIELD_CHARS_SHOWN_MAX]
    return Refusal("invalid", f"{shown or 'the request'}: {why}", field=shown)


_TEXT: Final = (text, "")
_INT32: Final = (int32, 0)
_INT64: Final = (int64, 0)
_FLAG: Final = (flag, False)
_VALUE: Final = (json_value, None)
_TEXTS: Final[tuple[Reader, Any]] = (listed(text, TEXTS_MAX), [])


def _many(table: Table) -> tuple[Reader, Any]:
    return listed(nested(table), MESSAGES_MAX), []


def _one(table: Table) -> tuple[Reader, Any]:
    return nested(table), None


TASK_ID: Final = Table(id=_TEXT, version=_INT32, queue=_TEXT)
TASK_DATA: Final = Table(
    queue=_TEXT, at_ms=_INT64, by_ms=_INT64, value=_VALUE, id=_TEXT, attempt=_INT32, err=_TEXT
)
TASK_CHANGE: Final = Table(old_id=_one(TASK_ID), new_data=_one(TASK_DATA), mode=_TEXT)
DOC_ID: Final = Table(
    namespace=_TEXT, id=_TEXT, key=(text, None), secondary_key=_TEXT, version=_INT32
)
DOC_DATA: Final = Table(
    namespace=_TEXT, id=_TEXT, key=_TEXT, secondary_key=_TEXT, content=_VALUE, at_ms=_INT64,
    by_ms=_INT64, created_ms=_INT64, modified_ms=_INT64,
)  # fmt: skip
DOC_CHANGE: Final = Table(old_id=_one(DOC_ID), new_data=_one(DOC_DATA), mode=_TEXT)
DOC_QUERY: Final = Table(
    namespace=_TEXT, key_start=_TEXT, key_end=_TEXT, limit=_INT32, omit_values=_FLAG, ids=_TEXTS,
    key_exact=_TEXT,
)  # fmt: skip
SET_CLAIM: Final = Table(set=_one(DOC_ID), omit_members=_FLAG)
DOC_CLAIM: Final = Table(
    namespace=_TEXT, claimant=_TEXT, key=_TEXT, duration_ms=_INT64, sets=_many(SET_CLAIM),
    at_ms=_INT64, task_to_match=_one(TASK_ID),
)  # fmt: skip

TIME: Final = Table()
CLAIM: Final = Table(claimant_id=_TEXT, queues=_TEXTS, duration_ms=_INT64, poll_ms=_INT64)
MODIFY: Final = Table(
    claimant_id=_TEXT, inserts=_many(TASK_DATA), changes=_many(TASK_CHANGE),
    deletes=_many(TASK_ID), depends=_many(TASK_ID), doc_inserts=_many(DOC_DATA),
    doc_changes=_many(DOC_CHANGE), doc_deletes=_many(DOC_ID), doc_depends=_many(DOC_ID),
)  # fmt: skip
TASKS: Final = Table(
    claimant_id=_TEXT, queue=_TEXT, limit=_INT32, task_id=_TEXTS, omit_values=_FLAG
)
QUEUES: Final = Table(
    match_prefix=(listed(text, PREFIXES_MAX), []), match_exact=_TEXTS, limit=_INT32
)
DOCS: Final = Table(query=_one(DOC_QUERY))
CLAIM_DOCS: Final = Table(claim_query=_one(DOC_CLAIM))
