"""A text server on a port of its own, and a peer that says exactly the bytes it is told.

    async with serving() as node, node.peer() as peer:
        assert await peer.ask(b"1 ping\\n", 7) == b"1 pong\\n"

Time stands still until the test moves it. Knows nothing of the protocol.
"""

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, Self

from raftq_cluster.auth.store import TokenStore
from raftq_cluster.backends.api import Backend, Sink
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.core.operations import Operation
from raftq_cluster.servers.text.connection import AckedEnds
from raftq_cluster.servers.text.limits import Patience
from raftq_cluster.servers.text.server import TextServer
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.facade import Service
from raftq_cluster.service.limits import Limits
from tests.support.http_node import ManualClock
from tests.support.stores import opened_store

ANSWER_S: Final = 20.0  # a loaded machine answers well within it


class HeldBackend(MemoryBackend):
    """A memory backend that does nothing until it is told to, like one that waits for a disk."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock, seed=1)
        self.is_holding = False
        self._held: deque[tuple[Sequence[Operation], Sink]] = deque()

    @property
    def held(self) -> int:
        """How many submissions wait."""
        return len(self._held)

    def submit(self, operations: Sequence[Operation], sink: Sink) -> None:
        """Keep operations back while holding."""
        if self.is_holding:
            self._held.append((operations, sink))
        else:
            super().submit(operations, sink)

    def release(self) -> None:
        """Do what was kept back, and hold no more."""
        self.is_holding = False
        while self._held:
            super().submit(*self._held.popleft())


class Peer:
    """One connection. Every read has a bound, so that a server that says nothing fails a test."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._address = (host, port)
        self._tls = tls

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(*self._address, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def send(self, text: bytes) -> None:
        """Say some bytes."""
        self.writer.write(text)
        await self.writer.drain()

    async def ask(self, text: bytes, reply_bytes: int) -> bytes:
        """Say some bytes and give as many of the replies."""
        await self.send(text)
        return await self.read(reply_bytes)

    async def read(self, reply_bytes: int) -> bytes:
        """Give the next bytes; fewer if the server closes the connection."""
        async with asyncio.timeout(ANSWER_S):
            try:
                return await self.reader.readexactly(reply_bytes)
            except asyncio.IncompleteReadError as error:
                return error.partial

    async def line(self) -> bytes:
        """Give the next line."""
        async with asyncio.timeout(ANSWER_S):
            return await self.reader.readline()

    async def lines(self, count: int) -> list[bytes]:
        """Give the next lines."""
        return [await self.line() for _ in range(count)]

    async def end(self) -> bytes:
        """Wait until the server closes the connection; give what it still said."""
        async with asyncio.timeout(ANSWER_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    def die(self) -> None:
        """Vanish as a killed process does: the server's system is told by a reset."""
        connected = self.writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def hang_up_sending(self) -> None:
        """Say that no more will be said."""
        self.writer.write_eof()


class Node(NamedTuple):
    """A server, what it serves, and its clock."""

    server: TextServer
    service: Service
    backend: Backend
    clock: ManualClock

    def peer(self, tls: ssl.SSLContext | None = None) -> Peer:
        """Make a peer; entering it connects, with TLS if there is a context for it."""
        return Peer(*self.server.address, tls)

    async def until_waiting(self, count: int = 1) -> None:
        """Return once so many claims wait at this node."""
        await until(lambda: self.service.waiting() == count)

    def pass_time(self, ms: int) -> None:
        """Move the clock and let what is due happen."""
        self.clock.now_ms += ms
        self.service.check_due()


async def until(condition: Callable[[], bool]) -> None:
    """Return once a condition holds."""
    async with asyncio.timeout(ANSWER_S):
        while not condition():
            await asyncio.sleep(0)


@asynccontextmanager
async def serving(
    *,
    limits: Limits | None = None,
    patience: Patience | None = None,
    acked_ends: AckedEnds = "auto",
    ids: Callable[[], str] | None = None,
    tokens: TokenStore | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Node]:
    """Start a node and stop it in the end."""
    context = None if tls is None else lambda: tls
    clock = ManualClock()
    async with opened_store(clock, lambda: HeldBackend(clock)) as backend:
        service = Service(backend, limits, ids)
        await service.start()
        server = TextServer(
            Doors(service, tokens),
            "127.0.0.1",
            0,
            tls=context,
            acked_ends=acked_ends,
            patience=patience,
        )
        await server.start()
        try:
            yield Node(server, service, backend, clock)
        finally:
            await server.stop(drain_s=0)
            await service.stop()
