"""One batch: what became of the requests that arrived together, before anything is done about them.

A table has one handler per verb; a handler turns a request into an operation with a renderer for its
outcome, or a wait, or a query, or at once into a reply. Knows the service's verbs and limits; does not
know sockets, order or flow. Source: ``docs/text-protocol.md``.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias, cast

from raftq.wire.documents import QueuesReply, QueuesRequest, Reply
from raftq.wire.formats import Format, MalformedError, decode, sniff
from raftq_cluster.core import operations as op
from raftq_cluster.core.operations import Claim, Operation
from raftq_cluster.core.outcomes import Outcome
from raftq_cluster.servers.text import replies
from raftq_cluster.servers.text.limits import REPLIES_AT_ONCE
from raftq_cluster.servers.text.parser import BROKEN, TOO_LARGE, Request
from raftq_cluster.servers.text.replies import AckEnding, Renderer
from raftq_cluster.service import taskq, verbs
from raftq_cluster.service.entrance import Entrance
from raftq_cluster.service.names import check_queue
from raftq_cluster.service.refusals import Refusal, over_limit
from raftq_cluster.service.verbs import VERBS, QueryVerb

SERIAL_MAX: Final = 2**63 - 1  # what TaskQ's clients can read
DELAY_MS_MAX: Final = 10 * 365 * 86_400_000  # of a nack, as of every delay
_NUMBER_DIGITS_MAX: Final = 100  # zeros before a number are allowed, within reason
_CALL: Final = b"call"

_HELP_TEXT: Final = b"""\
RID enq QUEUE LEN BODY        RID enqed QUEUE ID
RID deq QUEUE                 RID deqed QUEUE ID LEN BODY
RID ack QUEUE ID              RID acked QUEUE ID
RID touch QUEUE ID            RID touched QUEUE ID     (the lease begins anew)
RID nack QUEUE ID [DELAY_MS]  RID nacked QUEUE ID      (given back)
RID stats QUEUE               RID ok LEN BODY
RID call VERB LEN BODY        RID ok LEN BODY, or RID fail CODE LEN BODY
                              VERB: %b
RID ping                      RID pong
RID auth TOKEN                RID authed
RID help                      RID ok LEN BODY
Any refusal but that of call: RID error MSG
RID is a number of your choice. With LEN 0 the body ends with the line."""

_HELP: Final = _HELP_TEXT % " ".join(VERBS).encode()


Answering: TypeAlias = tuple[Renderer, bytes, Any]
"""``(render, rid, extra)``: the reply is ``render(rid, extra, index, outcome)``."""


class Wait(NamedTuple):
    """A claim that waits for a task, up to ``wait_ms``."""

    claim: Claim
    wait_ms: int
    answering: Answering


class Query(NamedTuple):
    """A question that must be awaited. ``refused`` writes the reply when it is refused."""

    rid: bytes
    run: Callable[[], Awaitable[tuple[int, Reply]]]
    fmt: Format
    refused: Callable[[Refusal], bytes]


class _Introduction(Exception):  # noqa: N818 - it ends a batch, and nothing is wrong
    """What follows is asked by somebody else: by whom a token stands for."""

    def __init__(self, rid: bytes, secret: str) -> None:
        super().__init__()
        self.rid = rid
        self.secret = secret


class Batch:
    """What the requests of one batch ask for.

    Args:
        service: of whoever asks, with the limits and verbs that count.
        ending: of ``acked`` replies, looked at when they are written.
    """

    __slots__ = (
        "answerings",
        "ending",
        "introduction",
        "last_words",
        "operations",
        "queries",
        "replies",
        "service",
        "waits",
    )

    def __init__(self, service: Entrance, ending: AckEnding) -> None:
        self.service = service
        self.ending = ending
        self.operations: list[Operation] = []
        self.answerings: list[Answering] = []  # one per operation
        self.replies: list[bytes] = []  # those that need nothing of the service
        self.waits: list[Wait] = []
        self.queries: list[Query] = []
        self.introduction: tuple[bytes, str] | None = None  # rid and secret of an auth: see ``add``
        self.last_words = b""  # nothing can be read after this batch; say so when all is answered

    def add(self, requests: Iterable[Request]) -> None:
        """Take requests in, up to an ``auth``: what is behind it belongs to another batch.

        Raises nothing for what a request says.
        """
        handlers = HANDLERS
        for verb, rid, name, rest in requests:
            try:
                handlers[verb](self, rid, name, rest)
            except Refusal as refusal:
                if verb == _CALL:
                    self.replies.append(replies.fail(rid, sniff(rest), refusal))
                else:
                    self.replies.append(replies.error(rid, refusal))
            except _Introduction as given:
                self.introduction = given.rid, given.secret
                return

    def render(self, index: int, outcomes: Sequence[Outcome]) -> Iterator[list[bytes]]:
        """Write the replies to this batch's operations, in their order, a few at a time."""
        for start in range(0, len(outcomes), REPLIES_AT_ONCE):
            few = slice(start, start + REPLIES_AT_ONCE)
            yield [
                render(rid, extra, index, outcome)
                for (render, rid, extra), outcome in zip(
                    self.answerings[few], outcomes[few], strict=True
                )
            ]


Handler: TypeAlias = Callable[[Batch, bytes, bytes, bytes], None]


def _enq(batch: Batch, rid: bytes, name: bytes, rest: bytes) -> None:
    batch.operations.append(taskq.enq(batch.service, _text(name), rest))
    batch.answerings.append((replies.enqed, rid, name))


def _deq(batch: Batch, rid: bytes, name: bytes, rest: bytes) -> None:
    del rest
    batch.operations.append(taskq.deq(_text(name)))
    batch.answerings.append((replies.deqed, rid, name))


def _ack(batch: Batch, rid: bytes, name: bytes, rest: bytes) -> None:
    batch.operations.append(taskq.settle(op.ACK, _text(name), _serial(rest)))
    batch.answerings.append((replies.acked, rid, batch.ending))


def _touch(batch: Batch, rid: bytes, name: bytes, rest: bytes) -> None:
    batch.operations.append(taskq.settle(op.TOUCH, _text(name), _serial(rest)))
    batch.answerings.append((replies.settled, rid, b"touched"))


def _nack(batch: Batch, rid: bytes, name: bytes, rest: bytes) -> None:
    digits, _, delay = rest.partition(b" ")
    delay_ms = _number(delay or b"0", DELAY_MS_MAX, "delay_ms")
    batch.operations.append(taskq.settle(op.NACK, _text(name), _serial(digits), delay_ms))
    batch.answerings.append((replies.settled, rid, b"nacked"))


def _call(batch: Batch, rid: bytes, name: bytes, rest: bytes) -> None:
    verb = VERBS.get(_text(name))
    if verb is None:
        raise Refusal("not_found", f"there is no verb {_text(name)[:40]!r}; see: RID help")
    fmt = sniff(rest)
    document = _document(rest, verb.request, fmt)
    if isinstance(verb, QueryVerb) or not verb.is_operation(document):
        run = partial(verbs.call, batch.service, verb, document, fmt)
        batch.queries.append(Query(rid, run, fmt, partial(replies.fail, rid, fmt)))
        return
    operation = verb.build(batch.service, document, fmt)
    answering: Answering = (replies.called, rid, (verb, fmt))
    wait_ms = verb.wait_ms(document)
    if wait_ms:
        batch.waits.append(Wait(cast(Claim, operation), wait_ms, answering))
    else:
        batch.operations.append(operation)
        batch.answerings.append(answering)


def _stats(batch: Batch, rid: bytes, name: bytes, rest: bytes) -> None:
    del rest
    queue = _text(name)
    check_queue(queue)
    run = partial(_queue_stats, batch.service, queue)
    batch.queries.append(Query(rid, run, "json", partial(replies.error, rid)))


async def _queue_stats(service: Entrance, queue: str) -> tuple[int, Reply]:
    document = QueuesRequest(exact=[queue], limit=1)
    index, reply = await verbs.call(service, VERBS["queues"], document, "json")
    found = cast(QueuesReply, reply).queues
    if not found:
        raise Refusal("not_found", f"there is no task in queue {queue}", index=index)
    return index, found[0]


def _ping(batch: Batch, rid: bytes, name: bytes, rest: bytes) -> None:
    del name, rest
    batch.replies.append(b"%b pong\n" % rid)


def _auth(batch: Batch, rid: bytes, name: bytes, rest: bytes) -> None:
    del batch, rest
    raise _Introduction(rid, name.decode(errors="replace"))


def _help(batch: Batch, rid: bytes, name: bytes, rest: bytes) -> None:
    del name, rest
    batch.replies.append(replies.ok(rid, _HELP))


def _too_large(batch: Batch, rid: bytes, name: bytes, rest: bytes) -> None:
    limit = batch.service.limits.body_bytes_max
    refusal = over_limit("too_large", f"a body of {int(rest)} bytes", "body_bytes_max", limit)
    if name == _CALL:
        batch.replies.append(replies.fail(rid, "json", refusal))
    else:
        batch.replies.append(replies.error(rid, refusal))


def _broken(batch: Batch, rid: bytes, name: bytes, rest: bytes) -> None:
    del name
    batch.last_words = replies.error_line(rid, rest)


HANDLERS: Final[dict[bytes, Handler]] = {
    b"enq": _enq,
    b"deq": _deq,
    b"ack": _ack,
    b"touch": _touch,
    b"nack": _nack,
    b"stats": _stats,
    _CALL: _call,
    b"ping": _ping,
    b"auth": _auth,
    b"help": _help,
    TOO_LARGE: _too_large,
    BROKEN: _broken,
}


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise Refusal("invalid", "a name is not UTF-8") from None


def _serial(digits: bytes) -> int:
    return _number(digits, SERIAL_MAX, "id")


def _number(digits: bytes, maximum: int, field: str) -> int:
    if digits.isdigit() and len(digits) <= _NUMBER_DIGITS_MAX:
        number = int(digits)
        if number <= maximum:
            return number
    raise Refusal("invalid", f"{field} is a number from 0 to {maximum}", field=field)


def _document(body: bytes, type_: type[Any], fmt: Format) -> Any:
    try:
        return decode(body, type_, fmt)
    except MalformedError as error:
        if error.readable:
            raise Refusal("invalid", str(error), field=error.field) from None
        raise Refusal("bad_request", str(error)) from None
