"""Replies of the text protocol as bytes: TaskQ's five words, ``ok`` and ``fail``, and the errors.

Each function here writes one reply to one request; which reply belongs to which request is known to the
caller. Source: ``docs/text-protocol.md``.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import structlog

from raftq.wire.documents import Answer, Reply
from raftq.wire.formats import Format, encode
from raftq_cluster.core.operations import JSON
from raftq_cluster.core.outcomes import Claimed, Modified, Outcome, Refused, Settled, Unfinished
from raftq_cluster.service.refusals import Refusal
from raftq_cluster.service.taskq import NO_SUCH_TASK, NO_TASK
from raftq_cluster.service.verbs import OperationVerb

Renderer: TypeAlias = Callable[[bytes, Any, int, Outcome], bytes]
"""``(rid, whatever the request left for its reply, log index, outcome) -> reply``. Never raises."""

LINE_END: Final = b"\n"
SPACE: Final = b" "  # TaskQ's Go client reads the id of an ``acked`` up to a space
ERROR_CHARS_MAX: Final = 1_000  # of one error's text: it may quote what the caller wrote

_NO_TASK: Final = NO_TASK.encode()
_NULL: Final = b"null"  # what a task without a JSON value is to those who want bytes
INTERNAL: Final = Refusal(
    "internal", "the node has met an error of its own; its log has the details"
)

_log = structlog.get_logger(__name__)


class AckEnding:
    """How ``acked`` replies to one connection end; it may turn out while acks are under way."""

    __slots__ = ("text",)

    def __init__(self) -> None:
        self.text = LINE_END


def enqed(rid: bytes, queue: bytes, index: int, outcome: Outcome) -> bytes:
    """Answer an ``enq``."""
    if type(outcome) is Modified:
        return b"%b enqed %b %d\n" % (rid, queue, outcome.inserted[0].serial)
    return _refused(rid, index, outcome)


def deqed(rid: bytes, queue: bytes, index: int, outcome: Outcome) -> bytes:
    """Answer a ``deq``; a JSON value goes out as its text."""
    if type(outcome) is not Claimed:
        return _refused(rid, index, outcome)
    if not outcome.tasks:
        return b"%b error %b\n" % (rid, _NO_TASK)
    row = outcome.tasks[0]
    body = row.value
    if row.kind == JSON and not body:
        body = _NULL
    return b"%b deqed %b %d %d %b\n" % (rid, queue, row.serial, len(body), body)


def acked(rid: bytes, ending: AckEnding, index: int, outcome: Outcome) -> bytes:
    """Answer an ``ack``, with the ending that the client wants by now."""
    if type(outcome) is Settled:
        row = outcome.row
        return b"%b acked %b %d%b" % (rid, row.queue.encode(), row.serial, ending.text)
    return _refused(rid, index, outcome)


def settled(rid: bytes, word: bytes, index: int, outcome: Outcome) -> bytes:
    """Answer a ``touch`` or a ``nack``."""
    if type(outcome) is Settled:
        row = outcome.row
        return b"%b %b %b %d\n" % (rid, word, row.queue.encode(), row.serial)
    return _refused(rid, index, outcome)


def called(
    rid: bytes, request: tuple[OperationVerb, Format], index: int, outcome: Outcome
) -> bytes:
    """Answer a ``call`` of a verb that is an operation, in the format of its request."""
    verb, fmt = request
    try:
        return answer(rid, fmt, index, verb.render(index, outcome, fmt))
    except Refusal as refusal:
        return fail(rid, fmt, refusal)
    except Exception:  # noqa: BLE001 - a fault of ours in one reply must not lose the others
        _log.exception("a reply could not be written", verb=verb.name)
        return fail(rid, fmt, INTERNAL)


def answer(rid: bytes, fmt: Format, index: int, reply: Reply) -> bytes:
    """Answer a ``call`` with its document, which tells the log index as well."""
    if isinstance(reply, Answer):
        reply.index = index
    return ok(rid, encode(reply, fmt))


def authed(rid: bytes) -> bytes:
    """Answer an ``auth``."""
    return b"%b authed\n" % rid


def ok(rid: bytes, body: bytes) -> bytes:
    """Answer with a body."""
    return b"%b ok %d %b\n" % (rid, len(body), body)


def fail(rid: bytes, fmt: Format, refusal: Refusal) -> bytes:
    """Answer a ``call`` that was refused, failed, or is of unknown outcome."""
    body = encode(refusal.problem(), fmt)
    return b"%b fail %b %d %b\n" % (rid, refusal.code.encode(), len(body), body)


def error(rid: bytes, refusal: Refusal) -> bytes:
    """Answer any other request that was refused: its code, and one line about it."""
    return error_line(rid, f"{refusal.code}: {refusal.detail}".encode(errors="replace"))


def error_line(rid: bytes, message: bytes) -> bytes:
    """Write an error on one line, whatever the message quotes."""
    return b"%b error %b\n" % (rid, b" ".join(message.split())[:ERROR_CHARS_MAX])


def _refused(rid: bytes, index: int, outcome: Outcome) -> bytes:
    del index  # a line of text has no place for it
    assert isinstance(outcome, Refused | Unfinished), outcome
    if outcome.code == "task_not_found":
        return error_line(rid, NO_SUCH_TASK.encode())
    return error(rid, Refusal(outcome.code, outcome.detail))
