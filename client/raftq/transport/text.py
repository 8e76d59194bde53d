"""The text protocol over TCP: many calls share one connection, and one write per turn of the loop.

Framing is :mod:`raftq.wire.text`. A call costs a future and a dictionary entry; deadlines are kept by one timer
a connection (``raftq bench`` measures it). Knows neither retries nor other nodes.
"""

import asyncio
import math
import re
from typing import Final, cast

from raftq.credentials import Credentials
from raftq.errors import (
    ConnectionLost,
    Denied,
    MisuseError,
    ProtocolError,
    RaftqError,
    error_of,
)
from raftq.transport.reasons import reason_of
from raftq.transport.trust import Trust, explained
from raftq.transport.urls import Address
from raftq.wire.codes import CODES
from raftq.wire.documents import Problem
from raftq.wire.formats import MalformedError, decode, sniff
from raftq.wire.text import (
    CONNECTION_RID,
    FramingError,
    Reply,
    ReplyParser,
    request,
    request_with_body,
)

CONNECT_S: Final = 3.0  # a node on the same continent answers within one
SWEEP_S_MIN: Final = 0.02  # how exactly deadlines are kept
# A node that has been quiet for so long with calls in flight is asked for a sign of life ...
QUIET_S: Final = 0.5
# ... and left when it gives none: it hangs, is stopped, or cannot be reached any more. Its calls go to the next one, with
# their keys. A node answers a ping between two pieces of work, which take some milliseconds.
PONG_S: Final = 1.0
UNSENT_BYTES_MAX: Final = 1024 * 1024  # handed to the socket and not taken: then calls wait
_HTTP: Final = b"HTTP/"
_REPLY: Final = re.compile(rb"[0-9]{1,20} ")  # how what a node says begins, however it goes on
_BEGINNING_BYTES: Final = 21
_SPEAKS_HTTP: Final = (
    "what answers there speaks HTTP, not the text protocol (http:// for an HTTP port)"
)


UNAUTHENTICATED: Final = "unauthenticated"
_MISUNDERSTOOD: Final = "bad_request: "
_NOBODY: Final = Credentials()


class TextChannel:
    """A :class:`~raftq.transport.api.Channel` to one node's text port."""

    def __init__(
        self,
        address: Address,
        credentials: Credentials = _NOBODY,
        *,
        connect_s: float = CONNECT_S,
        quiet_s: float = QUIET_S,
        pong_s: float = PONG_S,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._trust = Trust(credentials) if address.has_tls else None
        self._connect_s = connect_s
        self._quiet_s = quiet_s
        self._pong_s = pong_s
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None
        self._is_closed = False

    async def send(self, verb: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Try a call once; see :class:`~raftq.transport.api.Channel`."""
        connection = self._connection
        if connection is None or connection.is_over or connection.writable is not None:
            connection, timeout_s = await self._prepare(timeout_s)
        reply = await connection.request(verb, body, timeout_s)
        if reply.word == "ok":
            return 0, reply.body  # the document tells the log index
        error = _error_in(reply)
        if error.code == UNAUTHENTICATED:
            connection.leave("the token is not known any more")  # the next call reads it anew
        raise error

    async def close(self) -> None:
        """Close the connection."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        if self._connection is not None:
            await self._connection.close()

    async def _prepare(self, timeout_s: float) -> tuple["_Connection", float]:
        """Wait for a connection that takes requests; gives what is left of the time, too."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_s
        try:
            async with asyncio.timeout_at(give_up_at):
                connection = self._connection
                if connection is None or connection.is_over:
                    connection = await self._connect()
                while connection.writable is not None:
                    await asyncio.shield(connection.writable)
        except TimeoutError as error:
            raise ConnectionLost(f"{self._address} took no request in time") from error
        return connection, max(0.0, give_up_at - loop.time())

    async def _connect(self) -> "_Connection":
        """Connect once, however many calls ask for it; a call that is cancelled leaves the others be."""
        if self._is_closed:
            raise MisuseError("the client is closed")
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._open())
            self._connecting.add_done_callback(_mark_retrieved)  # all who asked may be gone
        connecting = self._connecting
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled():
                raise MisuseError("the client is closed") from None
            raise

    async def _open(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await loop.create_connection(
                    lambda: _Connection(
                        str(self._address), self._quiet_s, self._pong_s, trust=self._trust
                    ),
                    self._address.host,
                    self._address.port,
                    ssl=None if self._trust is None else self._trust.context(),
                )
                await self._introduce(connection)
        except TimeoutError as error:
            raise ConnectionLost(f"{self._address} did not accept a connection in time") from error
        except OSError as error:
            lost = ConnectionLost(f"{self._address}: {reason_of(error)}")
            raise explained(error, str(self._address)) or lost from error
        finally:
            self._connecting = None
        self._connection = connection
        return connection

    async def _introduce(self, connection: "_Connection") -> None:
        """Say who is asking, before anything is asked.

        Raises:
            Denied: the node does not know the token.
        """
        secret = self._credentials.secret()
        if not secret:
            return
        try:
            reply = await connection.introduce(secret, self._connect_s)
        except BaseException:
            connection.leave("the client has left")
            raise
        if reply.word != "authed":
            connection.leave("the token was refused")
            code, _, detail = reply.text.partition(": ")
            if code == UNAUTHENTICATED:
                raise Denied(f"{self._address}: {detail}", code=code)
            raise ProtocolError(f"{self._address}: the node says: {reply.text}")


class _Connection(asyncio.Protocol):
    """One TCP connection and the calls in flight on it."""

    def __init__(
        self, name: str, quiet_s: float, pong_s: float, *, trust: Trust | None = None
    ) -> None:
        self.is_over = False
        self._trust = trust
        self.writable: asyncio.Future[None] | None = None  # while the socket takes no more
        self._name = name
        self._quiet_s = quiet_s
        self._pong_s = pong_s
        self._pinged_at = 0.0  # when a sign of life was asked for; 0: since it was last heard, not
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = ReplyParser()
        self._pending: dict[int, tuple[asyncio.Future[Reply], float, float]] = {}
        self._outbox: list[bytes] = []
        self._first_unsent = 0  # rid of the outbox's first request
        self._next_rid = 1
        self._answered = 0
        self._began = b""  # the first bytes that came
        self._last_heard_at = self._loop.time()
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at = math.inf
        self._ended = self._loop.create_future()
        self._why = "the connection ended"
        self._mistrust: RaftqError | None = None  # why TLS ended it

    def request(self, verb: str, body: bytes, timeout_s: float) -> asyncio.Future[Reply]:
        """Send a call; its future gets the reply, or a ConnectionLost."""
        return self._ask(request_with_body(self._next_rid, "call", verb, body), timeout_s)

    def introduce(self, secret: str, timeout_s: float) -> asyncio.Future[Reply]:
        """Send an ``auth``, as :meth:`request` sends a call."""
        return self._ask(request(self._next_rid, "auth", secret), timeout_s)

    def leave(self, why: str) -> None:
        """End the connection; what is in flight goes elsewhere."""
        if not self.is_over:
            self._abort(why)

    def _ask(self, data: bytes, timeout_s: float) -> asyncio.Future[Reply]:
        """Send a request of the next rid."""
        loop = self._loop
        future: asyncio.Future[Reply] = loop.create_future()
        if self.is_over:
            future.set_exception(ConnectionLost(f"{self._name}: {self._why}"))
            return future
        rid = self._next_rid
        self._next_rid = rid + 1
        now = loop.time()
        expires_at = now + timeout_s
        self._pending[rid] = (future, now, expires_at)
        if not self._outbox:
            self._first_unsent = rid
            loop.call_soon(self._flush)
        self._outbox.append(data)
        look_at = min(expires_at, now + self._quiet_s)
        if look_at < self._sweep_at:
            self._schedule_sweep(look_at)
        return future

    async def close(self) -> None:
        """End the connection; what is in flight fails."""
        if not self.is_over:
            self._why = "the client was closed"
            self._transport.abort()
        await self._ended

    # --- asyncio.Protocol ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.set_write_buffer_limits(high=UNSENT_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        """Answer the calls whose replies are complete."""
        self._last_heard_at = self._loop.time()
        self._pinged_at = 0.0
        if len(self._began) < _BEGINNING_BYTES:
            self._began += data[:_BEGINNING_BYTES]
        try:
            replies = self._parser.feed(data)
        except FramingError as error:
            is_http = not self._answered and data.startswith(_HTTP)
            self._abort(_SPEAKS_HTTP if is_http else str(error), is_garbage=True)
            return
        pending = self._pending
        for reply in replies:
            found = pending.pop(reply.rid, None)
            if found is not None:
                self._answered += 1
                if not found[0].done():
                    found[0].set_result(reply)
            elif reply.rid == CONNECTION_RID:
                self._why = reply.text
                if reply.text.startswith(_MISUNDERSTOOD):  # it would be so with every try
                    self._abort(reply.text, is_garbage=True)

    def pause_writing(self) -> None:
        """Hold new calls back: the socket takes no more."""
        self.writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let calls go on."""
        if self.writable is not None and not self.writable.done():
            self.writable.set_result(None)
        self.writable = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is in flight; what was not written yet is certainly not done."""
        if exc is not None:
            self._why = str(exc)
            self._mistrust = explained(exc, self._name)
        if self._trust is not None and not self._answered:
            self._why += self._trust.hint()
        self._end(is_garbage=False)
        if not self._ended.done():
            self._ended.set_result(None)

    # --- inside -------------------------------------------------------------------------------

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        if outbox and not self._transport.is_closing():
            self._transport.write(b"".join(outbox))

    def _abort(self, why: str, *, is_garbage: bool = False) -> None:
        self._why = why
        self._end(is_garbage=is_garbage)
        self._transport.abort()

    def _end(self, *, is_garbage: bool) -> None:
        """Fail all calls in flight. Idempotent."""
        self.is_over = True
        self.resume_writing()
        if self._sweep is not None:
            self._sweep.cancel()
        detail = f"{self._name}: {self._why}"
        unsent_from = self._first_unsent if self._outbox else self._next_rid
        pending, self._pending = self._pending, {}
        began = _REPLY.match(self._began)
        was_reply = began is not None and int(began[0]) in pending
        for rid, (future, _, _) in pending.items():
            if future.done():
                continue
            if self._mistrust is not None and not self._answered:
                future.set_exception(self._mistrust)
            elif is_garbage and not self._answered:
                future.set_exception(ProtocolError(detail, maybe_done=was_reply))
            else:
                future.set_exception(ConnectionLost(detail, maybe_done=rid < unsent_from))

    def _schedule_sweep(self, at: float) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at = at
        self._sweep = self._loop.call_at(at, self._expire)

    def _expire(self) -> None:
        """Fail the calls that were not answered in time; leave a node that has gone silent."""
        self._sweep, self._sweep_at = None, math.inf
        now = self._loop.time()
        late = [rid for rid, (_, _, expires_at) in self._pending.items() if expires_at <= now]
        for rid in late:
            future, sent_at, _ = self._pending.pop(rid)
            if not future.done():
                error = ConnectionLost(f"{self._name}: no answer in time", maybe_done=True)
                future.set_exception(error)
            if self._last_heard_at < sent_at:
                self._abort("the node has gone silent")
        if self._pending and not self.is_over:
            soonest = min(expires_at for _, _, expires_at in self._pending.values())
            soonest = min(soonest, self._look_for_life(now))
            self._schedule_sweep(max(soonest, now + SWEEP_S_MIN))

    def _look_for_life(self, now: float) -> float:
        """Ask a node that is quiet for a sign of life, or leave it; gives when to look again."""
        _, first_sent_at, _ = next(iter(self._pending.values()))  # the oldest call in flight
        quiet_until = max(self._last_heard_at, first_sent_at) + self._quiet_s
        if now < quiet_until:
            return quiet_until
        if not self._pinged_at:
            self._pinged_at = now
            self._transport.write(request(self._next_rid, "ping"))
            self._next_rid += 1
        elif now >= self._pinged_at + self._pong_s:
            # Its answer may be here, unread, and we were the ones who were busy: read once more.
            self._loop.call_later(SWEEP_S_MIN, self._leave_silent, self._pinged_at)
            return now + self._pong_s
        return self._pinged_at + self._pong_s

    def _leave_silent(self, pinged_at: float) -> None:
        if self._pinged_at == pinged_at and not self.is_over:
            self._abort("the node has gone silent")


def _mark_retrieved(connecting: asyncio.Task[_Connection]) -> None:
    if not connecting.cancelled():
        connecting.exception()


def _error_in(reply: Reply) -> RaftqError:
    """Make the error that a reply other than ``ok`` means."""
    if reply.word == "error":
        return ProtocolError(f"the node says: {reply.text}")
    if reply.word != "fail":
        return ProtocolError(f"a reply {reply.word!r} to a call", maybe_done=True)
    try:
        return error_of(decode(reply.body, Problem, sniff(reply.body)))
    except MalformedError:
        code = CODES.get(reply.text, CODES["internal"])
        return error_of(
            Problem(
                type="", title=code.title, status=code.status, detail=code.title,
                code=code.name, retryable=code.retryable,
            )
        )  # fmt: skip
