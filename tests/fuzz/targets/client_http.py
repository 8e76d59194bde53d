"""The client over HTTP, and a server that says anything: never a wrong success, never another error.

The server is real and on loopback: what reads its bytes is the library's own.
"""

import asyncio
import atexit
from collections.abc import Iterator
from functools import cache
from typing import Final

from raftq.transport.http import HttpChannel
from raftq.transport.urls import Address
from tests.fuzz.asking import ANSWERS, CALLS, ask, check_answered
from tests.fuzz.source import Source

STATUSES: Final = (b"200 OK", b"200 OK", b"409 Conflict", b"503 x", b"500 x", b"301 x", b"100 Continue", b"204 x",
                   b"999 x", b"abc")  # fmt: skip
TYPES: Final = (b"application/json", b"application/json", b"application/problem+json", b"text/html", b"", b"/", b";;",
                b"application/json; charset=x", b"application/json; charset=\xff")  # fmt: skip
FIELDS: Final = (b"X-Raftq-Index: 7", b"X-Raftq-Index: " + b"9" * 5_000, b"X-Raftq-Index: \xd9\xa3", b"X-Raftq-Index: -1",
                 b"Content-Encoding: gzip", b"Content-Encoding: deflate", b"Transfer-Encoding: chunked",
                 b"Location: http://127.0.0.1:1/", b"Set-Cookie: a=b; Domain=\xff", b"Connection: close",
                 b"Content-Length: 99", b"Retry-After: never", b"A" * 9_000 + b": x", b"Upgrade: x")  # fmt: skip


class Server:
    """Says the same to whoever asks, and hangs up."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.runner = asyncio.Runner()
        self.port = 0
        self.runner.run(self._start())
        atexit.register(self.close)

    async def _start(self) -> None:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        for piece in self.pieces:
            writer.write(piece)
        try:
            writer.write_eof()
            await reader.read()
        except OSError:
            pass  # the client has hung up
        writer.close()

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()
        self.runner.close()


@cache
def _server() -> Server:
    return Server()


def fuzz(data: bytes) -> None:
    """Answer a call with these bytes."""
    source, server = Source(data), _server()
    call = source.pick(CALLS)
    body = _body(source)
    is_plain = source.below(2) == 0
    said = _plain(source, body) if is_plain else _odd(source, body)
    server.pieces = [said]
    channel = HttpChannel(Address("http", "127.0.0.1", server.port))
    told, error = server.runner.run(ask(call, channel))
    good = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    if is_plain and said.startswith(good % len(body)):
        check_answered(call, body, told, error)
    if error is None:
        assert b" 200 " in said


def _body(source: Source) -> bytes:
    body = source.pick(ANSWERS).encode()
    if source.below(8) == 7:
        at = source.below(len(body))
        body = body[:at] + source.blob(3) + body[at + source.below(3) :]
    return body


def _plain(source: Source, body: bytes) -> bytes:
    status, type_ = source.pick(STATUSES), source.pick(TYPES)
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n" % (status, type_, len(body))
    if source.below(4) == 3:
        head += FIELDS[source.below(4)] + b"\r\n"
    return head + b"\r\n" + body


def _odd(source: Source, body: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + source.pick(STATUSES)] if source.below(8) != 7 else [source.blob(20)]
    if source.below(4) != 3:
        lines.append(b"Content-Type: " + source.pick(TYPES))
    if source.below(4) != 3:
        lines.append(b"Content-Length: %d" % (len(body) + source.pick((0, 0, 0, -1, 1, 2**40))))
    lines += [source.pick(FIELDS) for _ in range(source.below(3))]
    if source.below(8) == 7:
        lines.insert(source.below(len(lines) + 1), source.blob(20))
    return b"\r\n".join([*lines, b"", body]) + source.rest()


def seeds() -> Iterator[bytes]:
    """Each call with the answer that fits; statuses, types and fields of all kinds."""
    for number in range(len(CALLS)):
        for answer in range(len(ANSWERS)):
            yield bytes((number, answer, 0, 0, 0, 0, 0))
    for status in range(len(STATUSES)):
        yield bytes((0, 0, 0, 0, status, status % len(TYPES), 0))
    for field in range(len(FIELDS)):
        yield bytes((0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, field, 0))
    for field in range(4):
        yield bytes((0, 0, 0, 0, 0, 0, 3, field))
    yield bytes((0, 0, 0, 1, 7, 9)) + b"1 ping\n" + bytes(3)
