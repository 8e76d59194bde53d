"""Connections that this node makes: one to each member, kept up, and one for each question."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from raftq_cluster.backends.raft.peer_api import (
    AskError,
    Identity,
    LostPastError,
    PeerError,
    PeerOwner,
    UnfitError,
)
from raftq_cluster.backends.raft.transport.accepting import QUESTION_BYTES_MAX
from raftq_cluster.backends.raft.transport.framing import FrameReader, length_of
from raftq_cluster.backends.raft.transport.hello import Hello, Welcome, pack, read_answer
from raftq_cluster.backends.raft.transport.tls import node_of
from raftq_cluster.config import StartError

_log: Final = logging.getLogger(__name__)

CONNECT_S: Final = 2.0
BACKOFF_MIN_S: Final = 0.02
BACKOFF_MAX_S: Final = 1.0
# What may wait in a connection: beyond, the peer is too slow and is sent again what it lacks.
BUFFER_BYTES_MAX: Final = 64 << 20
# A connection whose other end has vanished without a word is found within about five seconds.
_KEEPALIVE: Final = {
    "TCP_KEEPIDLE": 2,
    "TCP_KEEPINTVL": 1,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 5_000,
}
# What keeps a connection from being made, besides a refusal by the other node.
_FAILURES: Final = (OSError, ssl.SSLError, TimeoutError, PeerError, StartError)


def address_of(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``; ``ValueError`` for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(text)
    return host.strip("[]"), int(port)


class DialledLink(asyncio.Protocol):
    """One connection that this node made. ``is_ready`` once the other side has agreed."""

    def __init__(self, hello: Hello, check: Callable[[Welcome | None, str], None]) -> None:
        loop = asyncio.get_running_loop()
        self._hello = hello
        # Of the answer, None for a final refusal, and the id in the certificate; raises PeerError.
        self._check = check
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._queue: list[bytes] = []
        self.is_ready = False
        self.ready: asyncio.Future[None] = loop.create_future()
        self.answer: asyncio.Future[bytes] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are."""
        self._transport = cast(
            asyncio.Transport, transport
        )  # uvloop's own kind is none of asyncio's
        hello = pack(self._hello)
        self._transport.write(length_of(hello) + hello)

    def data_received(self, data: bytes) -> None:
        """Take the answer to our hello, and that to a question."""
        try:
            for frame in self._reader.feed(data):
                self._on_frame(frame)
        except PeerError as error:
            if not self.ready.done():
                self.ready.set_exception(error)
            self.abort()

    def _on_frame(self, frame: bytes) -> None:
        if self.is_ready:
            if not self.answer.done():
                self.answer.set_result(frame)
            return
        assert self._transport is not None
        certificate: dict[str, Any] = self._transport.get_extra_info("peercert") or {}
        certified = node_of(certificate)
        try:
            self._check(read_answer(frame), certified)
        except UnfitError:  # it ends this node: not by the word of somebody else
            self._check(None, certified)
            raise
        self._reader.limit = QUESTION_BYTES_MAX
        self.is_ready = True
        if not self.ready.done():
            self.ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self.is_ready = False
        self._queue.clear()
        for future in (self.ready, self.answer):
            if not future.done():
                future.set_exception(PeerError(f"the connection was closed{_because(exc)}"))
                future.exception()  # it may be that nobody waits
        if not self.closed.done():
            self.closed.set_result(None)

    # --- sending ------------------------------------------------------------------------------

    def take(self, frame: bytes) -> bool:
        """Keep a frame until ``flush``."""
        transport = self._transport
        if not self.is_ready or transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
            return False
        self._queue += (length_of(frame), frame)
        return True

    def flush(self) -> None:
        """Write what was taken. Closed connections take nothing and say nothing."""
        queue, self._queue = self._queue, []
        transport = self._transport
        if queue and transport is not None and not transport.is_closing():
            with suppress(RuntimeError):  # uvloop: it was closed in this very moment
                transport.write(b"".join(queue))

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


def _because(error: Exception | None) -> str:
    return f": {error}" if error else ""


class Dialler:
    """Makes connections, with or without TLS."""

    def __init__(
        self,
        identity: Callable[[], Identity],
        advertised: Callable[[], str],
        context: Callable[[], ssl.SSLContext | None],
        why_unfit: Callable[[Identity], str],
    ) -> None:
        self._identity = identity
        self._advertised = advertised
        self._context = context
        self._why_unfit = why_unfit

    async def connect(self, address: str, purpose: str, to: str) -> DialledLink:
        """Connect and agree.

        Raises one of ``_FAILURES`` where that does not succeed within ``CONNECT_S``.
        """
        me, context = self._identity(), self._context()
        hello = Hello(protocol_min=1, protocol_max=1, purpose=purpose, address=self._advertised(),
                      cluster_id=me.cluster_id, node_id=me.node_id, birth=me.birth, to=to,
                      end=me.end, reads=me.reads)  # fmt: skip

        def check(welcome: Welcome | None, certified: str) -> None:
            if welcome is None:
                if context is not None and certified != to:
                    raise PeerError(f"the certificate is not that of node {to}")
                return
            if context is not None and certified != welcome.node_id:
                raise PeerError(f"the certificate is not that of node {welcome.node_id}")
            if to and (welcome.node_id, welcome.cluster_id) != (to, me.cluster_id):
                raise PeerError(f"{address} is node {welcome.node_id}, not {to} of our cluster")
            unfit = self._why_unfit(welcome.identity) if to else ""
            if unfit:
                raise PeerError(unfit)

        host, port = address_of(address)
        link: DialledLink | None = None
        try:
            async with asyncio.timeout(CONNECT_S):
                transport, link = await asyncio.get_running_loop().create_connection(
                    lambda: DialledLink(hello, check), host, port, ssl=context,
                    server_hostname="raftq" if context else None,
                )  # fmt: skip
                _keep_alive(transport.get_extra_info("socket"))
                await link.ready
        except BaseException:
            if link is not None:
                link.abort()
            raise
        return link

    async def ask(self, address: str, purpose: str, question: bytes, timeout_s: float) -> bytes:
        """Ask one question on a connection of its own. Raises ``AskError``."""
        try:
            async with asyncio.timeout(timeout_s):
                link = await self.connect(address, purpose, "")
                try:
                    link.take(question)
                    link.flush()
                    return await link.answer
                finally:
                    link.abort()
        except (*_FAILURES, ValueError) as error:
            raise AskError(f"{address} cannot be asked: {_reason(error)}") from error


def _keep_alive(sock: Any) -> None:
    if sock is None:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "it did not answer in time"
    return str(error) or repr(error)


class Route:
    """Keeps a connection to one member."""

    def __init__(
        self,
        peer: str,
        address: str,
        dialler: Dialler,
        purpose: str,
        random: Callable[[], float],
        owner: PeerOwner,
    ) -> None:
        self.peer = peer
        self.address = address
        self.link: DialledLink | None = None
        self.reconnects = 0
        self._dialler = dialler
        self._purpose = purpose
        self._random = random
        self._owner = owner
        self._told = ""  # the last reason that was logged
        self._nudged = asyncio.Event()
        self._task = asyncio.create_task(self._keep_up(), name=f"raft route to {peer}")

    def nudge(self) -> None:
        """The member is there: do not wait any longer before dialling."""
        self._nudged.set()

    def stop(self) -> None:
        """Give the connection up."""
        self._task.cancel()
        if self.link is not None:
            self.link.abort()

    async def _keep_up(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while True:
            try:
                link = await self._dialler.connect(self.address, self._purpose, self.peer)
            except (*_FAILURES, ValueError) as error:
                self._tell(_reason(error))
                if isinstance(error, UnfitError):
                    self._owner.on_unfit(str(error), has_lost_past=isinstance(error, LostPastError))
            else:
                backoff_s = BACKOFF_MIN_S
                await self._use(link)
            wait_s = backoff_s * (0.5 + self._random())
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
            try:
                async with asyncio.timeout(wait_s):
                    await self._nudged.wait()
                backoff_s = BACKOFF_MIN_S
            except TimeoutError:
                pass
            self._nudged.clear()

    async def _use(self, link: DialledLink) -> None:
        self._told = ""
        self.link = link
        self.reconnects += 1
        self._owner.on_up(self.peer)
        try:
            await link.closed
        finally:
            self.link = None
        self._owner.on_down(self.peer)

    def _tell(self, reason: str) -> None:
        """Log a reason once, not at each attempt."""
        if reason != self._told:
            self._told = reason
            _log.warning("node %s at %s is not connected: %s", self.peer, self.address, reason)
