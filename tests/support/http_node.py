"""An HTTP server on a port of its own, and a peer that says exactly the bytes it is told.

    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("GET", "/v1/time")

Time stands still until the test moves it. Knows HTTP just well enough to read an answer.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Self

import msgspec

from raftq_cluster.auth.store import TokenStore
from raftq_cluster.observability.metrics import Metrics
from raftq_cluster.servers.http.limits import Patience
from raftq_cluster.servers.http.server import HttpServer
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.facade import Service
from raftq_cluster.service.limits import Limits
from tests.support.stores import opened_store

START_MS: Final = 1_800_000_000_000
ANSWER_S: Final = 20.0  # a loaded machine answers well within it
JSON: Final = ("Content-Type", "application/json")
MSGPACK: Final = ("Content-Type", "application/msgpack")

Header = tuple[str, str]


class ManualClock:
    """Milliseconds that pass when told."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


class Answer(NamedTuple):
    """One response, with header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def document(self) -> Any:
        """Read the body in the format that the answer names."""
        if self.headers["content-type"].endswith("msgpack"):
            return msgspec.msgpack.decode(self.body)
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem document."""
        assert "/problem+" in self.headers["content-type"], self
        code = self.document()["code"]
        assert isinstance(code, str)
        return code


class Peer:
    """One connection. Every read has a bound, so that a server that says nothing fails a test."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._address = (host, port)
        self._tls = tls

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(*self._address, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._writer.transport.abort()

    async def send(self, raw: bytes) -> None:
        """Say some bytes."""
        self._writer.write(raw)
        await self._writer.drain()

    async def ask(
        self,
        method: str,
        path: str,
        *headers: Header,
        document: Any = None,
        body: bytes = b"",
    ) -> Answer:
        """Send a request, a document in JSON unless the headers say MessagePack; give the answer."""
        await self.send(request(method, path, headers, document=document, body=body))
        return await self.answer(with_body=method != "HEAD")

    async def answer(self, *, with_body: bool = True) -> Answer:
        """Give the next answer."""
        async with asyncio.timeout(ANSWER_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = (line.partition(": ") for line in head[1:] if line)
            headers = {name.lower(): value for name, _, value in fields}
            length = int(headers.get("content-length", "0")) if with_body else 0
            body = await self._reader.readexactly(length)
        return Answer(int(head[0].split()[1]), headers, body)

    def stop_reading(self) -> None:
        """Take nothing more off the network."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined] # it can read too

    async def first_byte(self) -> bytes:
        """Give the first byte that the server says, none if it hangs up."""
        async with asyncio.timeout(ANSWER_S):
            try:
                return await self._reader.read(1)
            except ConnectionResetError:
                return b""

    async def end(self) -> bytes:
        """Wait until the server closes the connection; give what it still said."""
        async with asyncio.timeout(ANSWER_S):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""


def request(
    method: str,
    path: str,
    headers: Iterable[Header] = (),
    *,
    document: Any = None,
    body: bytes = b"",
) -> bytes:
    """Give the bytes of a request; a document brings its Content-Type if none is given."""
    fields = dict(headers)
    if document is not None:
        if fields.setdefault(*JSON) == JSON[1]:
            body = json.dumps(document).encode()
        else:
            body = msgspec.msgpack.encode(document)
    lines = [f"{method} {path} HTTP/1.1", "Host: node"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    if body or method in {"POST", "PUT"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "\r\n"]).encode() + body


class Node(NamedTuple):
    """A server, what it serves, and its clock."""

    server: HttpServer
    service: Service
    clock: ManualClock

    def peer(self, tls: ssl.SSLContext | None = None) -> Peer:
        """Make a peer; entering it connects, with TLS if there is a context for it."""
        return Peer(*self.server.address, tls)

    async def until_waiting(self, count: int = 1) -> None:
        """Return once so many claims wait at this node."""
        async with asyncio.timeout(ANSWER_S):
            while self.service.waiting() != count:
                await asyncio.sleep(0)

    async def until_served(self, count: int) -> None:
        """Return once so many connections are served."""
        async with asyncio.timeout(ANSWER_S):
            while self.server.connections != count:
                await asyncio.sleep(0)

    def pass_time(self, ms: int) -> None:
        """Move the clock and let what is due happen."""
        self.clock.now_ms += ms
        self.service.check_due()


@asynccontextmanager
async def serving(
    *,
    limits: Limits | None = None,
    patience: Patience | None = None,
    tokens: TokenStore | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Node]:
    """Start a node and stop it in the end."""
    context = None if tls is None else lambda: tls
    clock = ManualClock()
    async with opened_store(clock) as backend:
        service = Service(backend, limits)
        await service.start()
        server = HttpServer(
            Doors(service, tokens),
            "127.0.0.1",
            0,
            node_id="n1",
            metrics=Metrics("0"),
            tls=context,
            patience=patience,
        )
        await server.start()
        try:
            yield Node(server, service, clock)
        finally:
            await server.stop(drain_s=0)
            await service.stop()
