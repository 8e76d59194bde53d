"""One connection: bytes in, bytes out, flow control both ways, and an end that loses no reply.

One ``data_received`` makes one list of operations, one ``submit`` and one write (``scripts/bench``, text).
While the peer does not read, or has asked for much that is not answered, nothing more is begun and
nothing more is read. Does not know how requests are read or replies written.

A connection is *open*; *ending*, when nothing more is read and it closes as soon as all is answered;
*lingering*, when all is said and the peer is given time to read it and hang up; or *lost*.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Literal, TypeAlias, cast

import structlog

from raftq_cluster.servers.text import replies
from raftq_cluster.servers.text.allowance import Allowance
from raftq_cluster.servers.text.exchange import Exchange
from raftq_cluster.servers.text.guard import Guard
from raftq_cluster.servers.text.limits import (
    BATCH_REQUESTS_MAX,
    IN_FLIGHT_BYTES_MAX,
    IN_FLIGHT_MAX,
    KEEPALIVE_IDLE_S,
    KEEPALIVE_INTERVAL_S,
    KEEPALIVE_PROBES,
    RECEIVING_BYTES_MAX,
    WRITE_HIGH_BYTES,
)
from raftq_cluster.servers.text.parser import NO_RID, Request, RequestParser
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.refusals import Refusal, over_limit

AckedEnds: TypeAlias = Literal["auto", "line_end", "space"]
"""How ``acked`` replies end: with a space for TaskQ's Go client as soon as it shows itself, or always
one way."""

_log = structlog.get_logger(__name__)


class _Stand(Enum):
    OPEN = 0
    ENDING = 1
    LINGERING = 2
    LOST = 3


class Connection(asyncio.Protocol):
    """The server's side of one connection.

    Args:
        doors: to the service that does the work.
        guard: of all connections of this server.
        acked_ends: see :data:`AckedEnds`.
    """

    def __init__(self, doors: Doors, guard: Guard, acked_ends: AckedEnds) -> None:
        self._guard = guard
        self._exchange = Exchange(doors, self._send)
        self._parser = RequestParser(doors.service.limits.body_bytes_max)
        self._is_known = self._exchange.is_known  # as the guard was told
        self._watches_for_nul = acked_ends == "auto"
        if acked_ends == "space":
            self._exchange.ack_ending.text = replies.SPACE
        self._loop = asyncio.get_running_loop()
        rate = doors.service.limits.text_rate_max
        self._allowance = Allowance(rate, self._loop.time()) if rate else None
        self._transport: asyncio.Transport
        self._stand = _Stand.LOST
        self._pending: list[Request] = []  # read, but not begun
        self._pending_bytes = 0
        self._outbox: deque[Iterator[list[bytes]]] = deque()  # replies that are not written yet
        self._is_corked = False  # a batch is being begun: its replies go out together
        self._last_words = b""
        self._is_scheduled = False
        self._is_reading = True
        self._is_writable = True
        self._peer_ended = False
        self._unread_bytes = 0  # at the last sweep
        self._counted_bytes = 0  # of a request on its way, as the guard was told
        self._deadline_s = 0.0
        self._introduce_by_s = 0.0

    # --- asyncio.Protocol ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve a connection, or say why not."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._stand = _Stand.OPEN
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        _keep_alive(self._transport)
        if self._guard.admit(self, is_known=self._is_known):
            self._introduce_by_s = self._loop.time() + self._guard.patience.stranger_s
            return
        self._stand = _Stand.ENDING
        if not self._guard.may_explain:
            self.abort()
            return
        self._last_words = replies.error(NO_RID, self._why_refused())
        self._proceed()

    def connection_lost(self, exc: Exception | None) -> None:
        """Answer nothing any more; claims that wait are given up."""
        del exc
        self._stand = _Stand.LOST
        self._exchange.abandon()
        self._pending.clear()
        self._outbox.clear()
        self._guard.receive(-self._counted_bytes, is_known=self._is_known)
        self._guard.dismiss(self)

    def data_received(self, data: bytes) -> None:
        """Begin the requests that these bytes complete."""
        if self._stand is not _Stand.OPEN:
            return
        held_bytes = self._parser.held_bytes
        requests = self._parser.feed(data)
        received_bytes = self._parser.held_bytes - held_bytes
        if self._watches_for_nul and self._parser.sends_nul_after_ack:
            self._exchange.ack_ending.text = replies.SPACE
        if requests:
            self._take(requests, len(data) - received_bytes)
        if not self._count_held() and self._parser.held_bytes:
            self._end_with(replies.error(NO_RID, _receiving_too_much()))
        self._proceed()

    def eof_received(self) -> bool:
        """Answer what was asked, then close.

        A waiting claim is answered at once: a peer that sends no more may be gone, and a task must not
        be claimed for nobody.
        """
        self._peer_ended = True
        if self._stand is _Stand.LINGERING:
            return False
        self._stand = _Stand.ENDING
        self._exchange.end_waits()
        self._proceed()
        return self._transport.can_write_eof()  # else it is over: TLS knows no half of an end

    def pause_writing(self) -> None:
        """Begin nothing more: the peer does not read."""
        self._is_writable = False
        self._exchange.is_held = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_writable = True
        self._exchange.is_held = False
        self._flush()
        self._exchange.ask()
        self._proceed()

    # --- guarded ------------------------------------------------------------------------------

    def sweep(self, now_s: float) -> None:
        """Cut off a peer that takes no replies, does not hang up, or does not say who it is."""
        unread_bytes = self._transport.get_write_buffer_size()
        if not self._is_known and self._stand is _Stand.OPEN and now_s >= self._introduce_by_s:
            self._end_with(replies.error(NO_RID, self._unknown()))
            self._proceed()
            return
        if unread_bytes and (not self._unread_bytes or unread_bytes < self._unread_bytes):
            self._deadline_s = now_s + self._guard.patience.unread_s
        elif self._unread_bytes and not unread_bytes:
            self._deadline_s = now_s + self._guard.patience.linger_s
        elif now_s >= self._deadline_s and (unread_bytes or self._stand is _Stand.LINGERING):
            self.abort()
        self._unread_bytes = unread_bytes

    def end(self) -> None:
        """Read no more, and close once all is answered."""
        if self._stand is _Stand.OPEN:
            self._stand = _Stand.ENDING
            self._proceed()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._transport.abort()

    # --- requests -----------------------------------------------------------------------------

    def _take(self, requests: list[Request], size_bytes: int) -> None:
        is_free = self._allowance is None and not self._pending
        if is_free and len(requests) <= BATCH_REQUESTS_MAX:
            self._begin(requests, size_bytes)
        else:
            self._pending += requests
            self._pending_bytes += size_bytes

    def _begin(self, requests: list[Request], size_bytes: int) -> None:
        self._is_corked = True
        last_words = self._exchange.begin(requests, size_bytes)
        self._is_corked = False
        if self._exchange.is_known is not self._is_known:
            self._introduce()
        self._flush()
        if last_words:
            self._end_with(last_words)

    def _count_held(self) -> bool:
        """Tell the guard what is held of a request on its way; False: that is too much."""
        added_bytes = self._parser.held_bytes - self._counted_bytes
        self._counted_bytes += added_bytes
        return added_bytes == 0 or self._guard.receive(added_bytes, is_known=self._is_known)

    def _introduce(self) -> None:
        """Tell the guard that it is known now who asks, or not any more."""
        self._guard.receive(-self._counted_bytes, is_known=self._is_known)
        self._is_known = not self._is_known
        self._guard.receive(self._counted_bytes, is_known=self._is_known)
        self._guard.introduce(self, is_known=self._is_known)
        self._introduce_by_s = self._loop.time() + self._guard.patience.stranger_s

    def _begin_pending(self) -> None:
        self._is_scheduled = False
        if self._stand is _Stand.LOST:
            return
        count = self._count_allowed(min(len(self._pending), BATCH_REQUESTS_MAX))
        if not count:
            return
        requests = self._pending[:count]
        del self._pending[:count]
        # The first of several batches carries the bytes of all: reading goes on only after the last.
        size_bytes, self._pending_bytes = self._pending_bytes, 0
        self._begin(requests, size_bytes)
        self._proceed()

    def _count_allowed(self, wanted: int) -> int:
        """Tell how many requests may begin now; if none, come back when one may."""
        allowance = self._allowance
        if allowance is None:
            return wanted
        count = allowance.take(wanted, self._loop.time())
        if not count:
            self._is_scheduled = True
            self._loop.call_later(allowance.wait_s(), self._begin_again)
        return count

    def _begin_again(self) -> None:
        self._is_scheduled = False
        self._proceed()

    def _end_with(self, last_words: bytes) -> None:
        """Nothing more can be read from this peer."""
        self._last_words = last_words
        self._stand = _Stand.ENDING
        self._exchange.end_waits()

    # --- flow ---------------------------------------------------------------------------------

    def _proceed(self) -> None:
        """Do what the stand of things asks for: begin, read, or close."""
        if self._stand in (_Stand.LINGERING, _Stand.LOST):
            return
        may_begin = (
            self._is_writable
            and self._exchange.in_flight < IN_FLIGHT_MAX
            and self._exchange.in_flight_bytes < IN_FLIGHT_BYTES_MAX
        )
        if self._pending:
            if may_begin and not self._is_scheduled:
                self._is_scheduled = True
                self._loop.call_soon(self._begin_pending)
        elif self._stand is _Stand.ENDING and self._exchange.is_idle and not self._outbox:
            self._say_goodbye()
            return
        self._read(self._stand is _Stand.OPEN and may_begin and not self._pending)

    def _read(self, is_reading: bool) -> None:
        is_over = self._peer_ended or self._transport.is_closing()
        if is_reading != self._is_reading and not is_over:
            self._is_reading = is_reading
            if is_reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _say_goodbye(self) -> None:
        """Close so that the peer can read what was written.

        A socket that is closed with unread bytes in it makes the peer's system throw replies away:
        those bytes are read, and dropped, until the peer hangs up.
        """
        self._stand = _Stand.LINGERING
        self._deadline_s = self._loop.time() + self._guard.patience.linger_s
        if self._last_words:
            self._write(self._last_words)
        if self._peer_ended or not self._transport.can_write_eof():
            self._transport.close()
        elif not self._transport.is_closing():
            try:
                self._transport.write_eof()
            except OSError:  # the peer has hung up, and the loop does not know it yet
                self._transport.abort()
                return
            self._read(is_reading=True)

    def _send(self, texts: Iterator[list[bytes]]) -> None:
        self._outbox.append(texts)
        if not self._is_corked:
            self._flush()
            self._proceed()

    def _flush(self) -> None:
        """Write replies while the peer takes them; they are not even made before."""
        try:
            while self._outbox and self._is_writable:
                self._write(self._next_replies())
        except Exception:  # noqa: BLE001 - whatever it is, it must not reach the service's turn
            _log.exception("a connection is ended by a fault of the node")
            self._outbox.clear()
            self.abort()

    def _next_replies(self) -> bytes:
        """Make replies: all that there are, or as many as are enough for one write."""
        outbox = self._outbox
        ready: list[bytes] = []
        ready_bytes = 0
        while outbox and ready_bytes <= WRITE_HIGH_BYTES:
            few = next(outbox[0], None)
            if few is None:
                outbox.popleft()
            else:
                ready += few
                ready_bytes += sum(map(len, few))
        return b"".join(ready)

    def _write(self, text: bytes) -> None:
        # uvloop raises where asyncio only logs.
        if text and not self._transport.is_closing():
            self._transport.write(text)

    def _unknown(self) -> Refusal:
        what = f"no token was given within {self._guard.patience.stranger_s:g} s"
        return Refusal("unauthenticated", what)

    def _why_refused(self) -> Refusal:
        if self._guard.is_draining:
            return Refusal("unavailable", "the node is stopping")
        limit = self._guard.connections_max
        return over_limit("too_busy", "too many connections", "connections_max", limit)


def _receiving_too_much() -> Refusal:
    what = "too many bytes of requests are on their way"
    return over_limit("too_busy", what, "receiving_bytes_max", RECEIVING_BYTES_MAX)


def _keep_alive(transport: asyncio.Transport) -> None:
    """Have the kernel find peers that vanished."""
    connected = transport.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
