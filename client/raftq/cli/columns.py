"""What a table shows of a task, a queue and a node: headers, order, alignment, words.

Everything that a stranger may have written (values, errors, names) is shown without control
characters, so that no task can repaint the operator's terminal.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from raftq.cli.documents import (
    Document,
    doc_document,
    member_digest_document,
    member_document,
    namespace_document,
    queue_document,
    settings_document,
    task_document,
)
from raftq.cli.times import format_age, local_clock

_VALUE_CHARS_MAX: Final = 60  # of a value in a narrow table; wide and JSON show all of it


class Column(NamedTuple):
    """One column. ``name`` is the field of the document that ``--columns`` calls it by."""

    name: str
    header: str
    show: Callable[[Any, int], str]  # takes the row and the time of the log
    right: bool = False
    wide: bool = False  # shown in wide tables only
    chars_min: int = 0  # to which it may be cut where a terminal is narrow; 0: never
    only_if_any: bool = False  # left out of a narrow table in which no row has it


class Kind(NamedTuple):
    """One kind of row."""

    noun: str
    key: str  # the field that ``-o id`` prints
    columns: Sequence[Column]
    document: Callable[[Any], Document]


def printable(text: str) -> str:
    """Write control characters as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def value_text(value: Any) -> str:
    """Write a value on one line."""
    if isinstance(value, bytes):
        return ascii(value)
    return printable(json.dumps(value, ensure_ascii=False))


def _field(name: str) -> Callable[[Any, int], str]:
    return lambda row, _now_ms: printable(str(getattr(row, name)))


def _moment(name: str) -> Callable[[Any, int], str]:
    return lambda row, _now_ms: local_clock(getattr(row, name))


def _number(name: str, header: str, *, wide: bool = False) -> Column:
    return Column(name, header, _field(name), right=True, wide=wide)


def task_state(task: Any, now_ms: int) -> str:
    """Say what a task is: ready for so long, claimed for so long still, or not arrived yet."""
    if task.at <= now_ms:
        return f"ready {format_age(now_ms - task.at)}"
    left = format_age(task.at - now_ms)
    # At version 0 the claimant is who inserted it: EntroQ shows that.
    return f"claimed {left}" if task.claimant and task.version else f"in {left}"


def _held(doc: Any, now_ms: int) -> str:
    return format_age(doc.at - now_ms) if doc.claimant and doc.at > now_ms else ""


def _value(task: Any, _now_ms: int) -> str:
    text = value_text(task.value)
    return text if len(text) <= _VALUE_CHARS_MAX else text[: _VALUE_CHARS_MAX - 1] + "…"


def _oldest(queue: Any, now_ms: int) -> str:
    at = queue.oldest_ready_at
    return "-" if at is None else format_age(now_ms - at)


def _queue_state(queue: Any, _now_ms: int) -> str:
    return "paused" if queue.paused else "open"


def _verified(member: Any, _now_ms: int) -> str:
    return str(member.verified) if member.verified else ""


def _contact(member: Any, _now_ms: int) -> str:
    return "-" if member.last_contact_ms < 0 else f"{member.last_contact_ms} ms"


def _clock(member: Any, _now_ms: int) -> str:
    if member.clock_offset_ms is None:
        return "-"
    offset = f"{member.clock_offset_ms:+d} ms"
    return offset if member.clock == "ok" else f"{member.clock} {offset}"


def _or_inherited(name: str) -> Callable[[Any, int], str]:
    def show(row: Any, _now_ms: int) -> str:
        value = getattr(row, name)
        return "-" if value is None else str(value).lower()

    return show


def _lease(name: str) -> Callable[[Any, int], str]:
    def show(row: Any, _now_ms: int) -> str:
        value = getattr(row, name)
        return "-" if value is None else format_age(value)

    return show


_TASK_HEAD: Final = (
    Column("id", "ID", _field("id")),
    _number("version", "VERSION"),
    Column("queue", "QUEUE", _field("queue"), chars_min=24),
    Column("at", "STATE", task_state),
    Column("claimant", "CLAIMANT", _field("claimant"), chars_min=12, only_if_any=True),
    _number("claims", "CLAIMS"),
    _number("attempt", "ATTEMPT"),
    _number("priority", "PRIORITY", wide=True),
    Column("created", "CREATED", _moment("created"), wide=True),
    Column("modified", "MODIFIED", _moment("modified"), wide=True),
    Column("err", "ERROR", _field("err"), chars_min=10, only_if_any=True),
)
TASKS: Final = Kind(
    "task", "id", (*_TASK_HEAD, Column("value", "VALUE", _value, chars_min=10)), task_document
)
TASKS_WITHOUT_VALUES: Final = Kind(
    "task", "id", _TASK_HEAD, lambda task: task_document(task, with_value=False)
)
_DOC_HEAD: Final = (
    Column("id", "ID", _field("id")),
    Column("key", "KEY", _field("key")),
    Column("secondary_key", "SECONDARY KEY", _field("secondary_key"), only_if_any=True),
    _number("version", "VERSION"),
    Column("at", "HELD", _held, only_if_any=True),
    Column("claimant", "CLAIMANT", _field("claimant"), chars_min=12, only_if_any=True),
    Column("modified", "MODIFIED", _moment("modified"), wide=True),
)
DOCS: Final = Kind(
    "doc", "id", (*_DOC_HEAD, Column("value", "VALUE", _value, chars_min=10)), doc_document
)
DOCS_WITHOUT_VALUES: Final = Kind(
    "doc", "id", _DOC_HEAD, lambda doc: doc_document(doc, with_value=False)
)
NAMESPACES: Final = Kind(
    "namespace",
    "name",
    (
        Column("name", "NAMESPACE", _field("name")),
        _number("docs", "DOCS"),
        _number("claimed", "HELD"),
        _number("sets", "SETS"),
    ),
    namespace_document,
)
QUEUES: Final = Kind(
    "queue",
    "name",
    (
        Column("name", "QUEUE", _field("name")),
        _number("tasks", "TASKS"),
        _number("ready", "READY"),
        _number("claimed", "CLAIMED"),
        _number("delayed", "DELAYED"),
        Column("oldest_ready_at", "OLDEST READY", _oldest, right=True),
        _number("max_claims", "MAX CLAIMS"),
        Column("order", "ORDER", _field("order")),
        Column("paused", "STATE", _queue_state),
    ),
    queue_document,
)
MEMBERS: Final = Kind(
    "node",
    "id",
    (
        Column("id", "NODE", _field("id")),
        Column("role", "ROLE", _field("role")),
        Column("http", "HTTP", _field("http"), only_if_any=True),
        Column("text", "TEXT", _field("text"), only_if_any=True),
        Column("peer", "PEER", _field("peer"), wide=True),
        _number("applied", "APPLIED"),
        _number("lag", "BEHIND"),
        Column("verified", "VERIFIED", _verified, right=True, only_if_any=True),
        Column("last_contact_ms", "LAST CONTACT", _contact, right=True),
        Column("clock", "CLOCK", _clock, right=True),
        Column("version", "VERSION", _field("version")),
    ),
    member_document,
)
VERIFIED: Final = Kind(
    "node",
    "id",
    (
        Column("id", "NODE", _field("id")),
        Column("state", "STATE", _field("state")),
        Column("digest", "DIGEST", _field("digest")),
    ),
    member_digest_document,
)
SETTINGS: Final = Kind(
    "pattern",
    "pattern",
    (
        Column("pattern", "PATTERN", _field("pattern")),
        Column("order", "ORDER", _or_inherited("order")),
        Column("paused", "PAUSED", _or_inherited("paused")),
        Column("lease_ms", "LEASE", _lease("lease_ms"), right=True),
        Column("lease_ms_min", "MIN", _lease("lease_ms_min"), right=True),
        Column("lease_ms_max", "MAX", _lease("lease_ms_max"), right=True),
    ),
    settings_document,
)
