"""One connection: aiohttp's protocol under a guard of deadlines and counts.

aiohttp parses and answers; this adds what it leaves open: a deadline for a request's head, one for
peers that take no answer, a cap on connections, and refusals that are problem documents. Knows no
routes. A slow peer is met by one sweep over all connections, not by a timer each.
"""

import asyncio
import logging
from typing import Final, cast

from aiohttp import StreamReader, http_exceptions, web
from aiohttp.http import RawRequestMessage

from raftq_cluster.servers.http.answers import Answers
from raftq_cluster.servers.http.limits import (
    CONNECTIONS_REFUSED_MAX,
    HEADER_BYTES_MAX,
    HEADERS_MAX,
    REQUEST_LINE_BYTES_MAX,
    STRANGERS_MAX,
    Patience,
)
from raftq_cluster.service.refusals import Refusal, over_limit

MESSAGE_CHARS_MAX: Final = 200  # of a parser's message, which quotes the peer

_LOG = logging.getLogger(__name__)
_AIOHTTP_LOG = logging.getLogger("raftq.http.aiohttp")
_NEVER: Final = float("inf")
# aiohttp's own idle timer is set far behind the sweep's, which also sees peers that take no answer.
_AIOHTTP_IDLE_S: Final = 3_600.0

# Where a connection stands.
IDLE: Final = 0  # between requests
RECEIVING: Final = 1  # part of a head has come
BUSY: Final = 2  # a request is being answered
REFUSED: Final = 3  # told why, waiting for the peer to hang up


class Guard:
    """All connections of one server: how many there may be and how long each may take.

    Args:
        connections_max: connections that are served at one time.
        patience: how long to wait for peers.
        answers: makes the message that ends a connection.
        asks: whether requests need a token. Then connections on which none has come yet cannot fill
            the node: of too many the oldest goes.
    """

    def __init__(
        self, connections_max: int, patience: Patience, answers: Answers, *, asks: bool = False
    ) -> None:
        self.connections_max = connections_max
        self.patience = patience
        self.answers = answers
        self.draining = False
        self._asks = asks
        self._strangers: dict[Connection, None] = {}  # of those served, by age
        self.gone = asyncio.Event()  # no connection is left
        self.gone.set()
        self._served: set[Connection] = set()
        self._refused: set[Connection] = set()

    @property
    def served(self) -> int:
        """How many connections are served now."""
        return len(self._served)

    def admit(self, connection: "Connection") -> bool:
        """Count a new connection in; False: it must be refused."""
        if len(self._served) >= self.connections_max or self.draining:
            self._refused.add(connection)
            return False
        self._served.add(connection)
        self.gone.clear()
        if self._asks:
            self._strangers[connection] = None
            if len(self._strangers) > STRANGERS_MAX:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                oldest.force_close()
        return True

    def know(self, connection: object) -> None:
        """Note that a token has come on a connection."""
        self._strangers.pop(connection, None)  # type: ignore[call-overload] # whichever it is

    @property
    def may_explain(self) -> bool:
        """Whether a refused connection may stay long enough to be told why."""
        return len(self._refused) <= CONNECTIONS_REFUSED_MAX

    def dismiss(self, connection: "Connection") -> None:
        """Count a connection out."""
        self._refused.discard(connection)
        self._served.discard(connection)
        self._strangers.pop(connection, None)
        if not self._served:
            self.gone.set()

    def sweep(self, now: float) -> None:
        """End the connections whose peer took too long."""
        for connection in [*self._served, *self._refused]:
            if connection.deadline < now:
                connection.expire(now)

    def drain(self) -> None:
        """End idle connections now, each other one after its answer."""
        self.draining = True
        for connection in [*self._served, *self._refused]:
            if connection.stand in (IDLE, REFUSED):
                connection.force_close()


class Connection(web.RequestHandler):
    """aiohttp's protocol for one connection, under a guard."""

    __slots__ = ("_body", "_guard", "_unsent_bytes", "deadline", "stand")

    def __init__(
        self, guard: Guard, manager: web.Server, *, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=_AIOHTTP_IDLE_S,
            logger=_AIOHTTP_LOG,
            access_log=None,  # type: ignore[arg-type] # aiohttp's way to have none
            max_line_size=REQUEST_LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            max_field_size=HEADER_BYTES_MAX,
            lingering_time=guard.patience.linger_s,
            auto_decompress=False,  # a few bytes must not become many
        )
        self._guard = guard
        self._body: StreamReader | None = None
        self._unsent_bytes = 0
        self.stand = IDLE
        self.deadline = _NEVER

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve a connection, or say why not and wait shortly for the peer to read it."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        if self._guard.admit(self):
            self.deadline = self._loop.time() + self._guard.patience.idle_s
            super().connection_made(transport)
            return
        self.stand = REFUSED
        self.transport = transport
        self.deadline = self._loop.time() + self._guard.patience.linger_s
        if not self._guard.may_explain:
            transport.abort()
            return
        transport.write(self._guard.answers.last_words(self._refusal()))
        if not transport.can_write_eof():  # TLS knows no half of an end
            transport.close()
            return
        try:
            transport.write_eof()
        except OSError:  # the peer has hung up, and the loop does not know it yet
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection; a request that waits for tasks is given up."""
        self.deadline = _NEVER
        self._guard.dismiss(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first of a request starts the deadline of its head."""
        if self.stand == IDLE and data:
            self.stand = RECEIVING
            self.deadline = self._loop.time() + self._guard.patience.head_s
        elif self.stand == REFUSED:
            return
        super().data_received(data)
        if self.stand == BUSY:
            self._tell_of_bad_framing()

    def request_began(self, body: StreamReader) -> None:
        """Stop the clock: from here to the answer the node takes the time, not the peer."""
        self.stand = BUSY
        self.deadline = _NEVER
        self._body = body

    def request_ended(self) -> None:
        """Start the clock by which the peer must have taken the answer or asked again."""
        self.stand = IDLE
        self._body = None
        self._unsent_bytes = 0
        self.deadline = self._loop.time() + self._guard.patience.idle_s

    def expire(self, now: float) -> None:
        """End the connection, unless its peer is taking an answer, slowly."""
        transport = self.transport
        if transport is None:
            return
        unsent_bytes = transport.get_write_buffer_size()
        if unsent_bytes and (not self._unsent_bytes or unsent_bytes < self._unsent_bytes):
            self._unsent_bytes = unsent_bytes
            self.deadline = now + self._guard.patience.idle_s
            return
        if self.stand == RECEIVING:
            head_s = self._guard.patience.head_s
            late = Refusal("request_timeout", f"the request did not arrive within {head_s:g} s")
            transport.write(self._guard.answers.last_words(late))
        if unsent_bytes:
            transport.abort()
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be parsed as a request, and close."""
        del request, status, message
        self.request_ended()
        response = self._guard.answers.problem(_refusal_of(exc), "json")
        response.force_close()
        return response

    def _tell_of_bad_framing(self) -> None:
        """Fail the body that is being read if what came for it cannot be parsed.

        aiohttp's parser only queues the error behind the request, which would wait for its body.
        """
        body = self._body
        if body is None or body.is_eof() or not self._messages:
            return
        if not isinstance(self._messages[-1][0], RawRequestMessage):
            body.set_exception(web.RequestPayloadError())
            body.feed_eof()  # nothing more is waited for

    def _refusal(self) -> Refusal:
        if self._guard.draining:
            return Refusal("unavailable", "the node is stopping")
        return over_limit(
            "too_busy", "too many connections", "connections_max", self._guard.connections_max
        )


def _refusal_of(error: BaseException | None) -> Refusal:
    """Tell what was wrong with bytes that are no request; anything else is a fault of ours."""
    if isinstance(error, http_exceptions.LineTooLong):
        what = "the request line or a header field is too long"
        return over_limit("too_large", what, "header_bytes_max", HEADER_BYTES_MAX)
    if isinstance(error, http_exceptions.HttpProcessingError):
        what = " ".join(error.message.split())[:MESSAGE_CHARS_MAX]
        return Refusal("bad_request", f"this is not an HTTP/1.1 request: {what}")
    _LOG.error("answering failed", exc_info=error)
    return Refusal("internal", "the node has met an error of its own; its log has the details")
