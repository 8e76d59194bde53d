"""Listening sockets whose connections begin with a TLS handshake, and what may go wrong before it is done.

A connection reaches its protocol once the handshake is done; until then it is a stranger here: each has some
seconds, and of too many the oldest goes. Whoever speaks plainly is told so, plainly. Connections are
accepted one at a time, and a lack of file descriptors is waited out. Knows no protocol.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

HANDSHAKE_S: Final = 5.0  # from accepting to the end of the handshake
SHUTDOWN_S: Final = 30.0  # for a peer to take what was written before the end
STRANGERS_MAX: Final = 256  # handshakes under way
USER_TIMEOUT_MS: Final = 75_000  # a peer that takes nothing for so long is gone
ACCEPT_AGAIN_S: Final = 1.0  # after a lack of descriptors
LOG_EVERY_S: Final = 1.0  # at most, of handshakes that fail
DISCARDED_BYTES: Final = 64 * 1024  # of what a plain speaker has said
_HANDSHAKE_RECORD: Final = b"\x16"  # the first byte of every TLS connection (RFC 8446, 5.1)
_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

_log = structlog.get_logger(__name__)


class Greeting(NamedTuple):
    """How connections of a port begin."""

    context: Callable[[], ssl.SSLContext]
    """Gives the context for a connection that begins now."""
    plainly: Callable[[], bytes]
    """Gives what is said to a peer that does not begin with TLS."""


class TlsListener:
    """Listens on sockets. Made by :func:`~raftq_cluster.servers.listening.listen`."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        factory: Callable[[], asyncio.BaseProtocol],
        greeting: Greeting,
    ) -> None:
        self.sockets = tuple(sockets)
        self._factory = factory
        self._greeting = greeting
        self._loop = asyncio.get_running_loop()
        self._strangers: dict[asyncio.Task[None], None] = {}  # by age
        self._resuming: asyncio.TimerHandle | None = None
        self._silent_until_s = 0.0
        self._resume()

    @property
    def strangers(self) -> int:
        """How many handshakes are under way."""
        return len(self._strangers)

    def close(self) -> None:
        """Listen no more, and give up the handshakes. Idempotent."""
        self._pause()
        for listening in self.sockets:
            listening.close()
        self.sockets = ()
        for task in self._strangers:
            task.cancel()

    def _resume(self) -> None:
        self._resuming = None
        for listening in self.sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _pause(self) -> None:
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        for listening in self.sockets:
            self._loop.remove_reader(listening)

    def _accept(self, listening: socket.socket) -> None:
        try:
            connected, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._complain("no connection can be accepted for a moment", error)
            self._pause()
            self._resuming = self._loop.call_later(ACCEPT_AGAIN_S, self._resume)
            return
        task = self._loop.create_task(self._welcome(connected))
        self._strangers[task] = None
        task.add_done_callback(self._forget)
        if len(self._strangers) > STRANGERS_MAX:
            next(iter(self._strangers)).cancel()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._strangers.pop(task, None)

    async def _welcome(self, connected: socket.socket) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                if not await self._begins_with_tls(connected):
                    return
                # From here on the socket is the transport's to close.
                await self._loop.connect_accepted_socket(
                    self._factory,
                    connected,
                    ssl=self._greeting.context(),
                    ssl_handshake_timeout=HANDSHAKE_S,
                    ssl_shutdown_timeout=SHUTDOWN_S,
                )
        except (OSError, TimeoutError) as error:
            self._complain("a TLS handshake failed", error)

    async def _begins_with_tls(self, connected: socket.socket) -> bool:
        """Wait for the first byte. False: it is none of TLS, and the socket is closed."""
        is_tls = False
        try:
            connected.setblocking(False)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
            first = await _peek(self._loop, connected)
            is_tls = first == _HANDSHAKE_RECORD
            if first and not is_tls:
                self._say_plainly(connected)
        finally:
            if not is_tls:
                connected.close()
        return is_tls

    def _say_plainly(self, connected: socket.socket) -> None:
        with suppress(OSError):  # the peer may take nothing
            connected.send(self._greeting.plainly())
            connected.shutdown(socket.SHUT_WR)
            connected.recv(
                DISCARDED_BYTES
            )  # what is left unread would make the system reset it all

    def _complain(self, what: str, error: Exception) -> None:
        now = self._loop.time()
        if now >= self._silent_until_s:
            self._silent_until_s = now + LOG_EVERY_S
            _log.info(what, why=str(error) or type(error).__name__)


async def _peek(loop: asyncio.AbstractEventLoop, connected: socket.socket) -> bytes:
    """Wait for the first byte of a connection, and leave it there; nothing: the peer hung up."""
    while True:
        try:
            return connected.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            readable = loop.create_future()
            loop.add_reader(connected, _settle, readable)
            try:
                await readable
            finally:
                loop.remove_reader(connected)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
