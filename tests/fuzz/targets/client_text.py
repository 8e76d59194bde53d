"""The client over the text protocol, and a node that says anything: never a wrong success, never another error."""

import asyncio
from collections.abc import Iterator
from typing import Final

from raftq.transport.text import TextChannel, _Connection
from raftq.transport.urls import Address
from raftq.wire.text import CONNECTION_RID, FramingError, Reply, ReplyParser
from tests.fuzz.asking import ANSWERS, CALLS, ask, check_answered
from tests.fuzz.source import Source
from tests.support.text_transport import FakeTransport

HEADS: Final = (b"1 ok %d %b\n", b"1 ok %d %b\n", b"1 fail dependency %d %b\n", b"1 fail nonsense %d %b\n",
                b"2 ok %d %b\n", b"01 ok %d %b\n", b"1 deqed q 1 %d %b\n")  # fmt: skip
LINES: Final = (b"1 error no\n", b"1 error unavailable: none\n", b"- error bad_request: what?\n", b"1 pong\n",
                b"1 authed\n", b"1 enqed q 1\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"1 ok 5 abc", b"\xff\n", b"\n",
                b"1 ok 999999999999 x\n")  # fmt: skip


class AnyNode(FakeTransport):
    """Answers what it is asked first with all it has to say, and hangs up."""

    def __init__(self, protocol: asyncio.Protocol, pieces: list[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces = pieces
        self._is_lost = False
        super().__init__(protocol)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self._loop.call_soon(self._answer)

    def _answer(self) -> None:
        while self._pieces and not self._is_closing:
            self._protocol.data_received(self._pieces.pop(0))
        self.abort()

    def abort(self) -> None:
        super().abort()
        if not self._is_lost:
            self._is_lost = True
            self._loop.call_soon(self._protocol.connection_lost, None)


class Channel(TextChannel):
    """A text channel to such a node."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(Address("raftq", "node", 1))
        self._pieces = pieces

    async def _open(self) -> _Connection:
        self._connecting = None
        self._connection = _Connection("node", 1.0, 1.0)
        AnyNode(self._connection, self._pieces)
        return self._connection


def fuzz(data: bytes) -> None:
    """Read replies, and have them answer a call."""
    source = Source(data)
    call = source.pick(CALLS)
    said = b"".join(_said(source) for _ in range(source.below(4)))
    pieces = source.pieces(said + source.rest())
    replies = _replies(pieces)
    told, error = asyncio.run(ask(call, Channel(list(pieces))))
    mine = [reply for reply in replies if reply.rid in (1, CONNECTION_RID)]
    if mine and mine[0].word == "ok":
        check_answered(call, mine[0].body, told, error)
    elif not mine or mine[0].rid != CONNECTION_RID:
        assert error is not None, "a success that nobody told"
        if call.changes and not replies:
            assert error.code in ("outcome_unknown", "protocol")


def _said(source: Source) -> bytes:
    if source.below(4) == 3:
        return source.pick(LINES)
    body = source.pick(ANSWERS).encode()
    if source.below(8) == 7:
        at = source.below(len(body))
        body = body[:at] + source.blob(3) + body[at + source.below(3) :]
    return source.pick(HEADS) % (len(body), body)


def _replies(pieces: list[bytes]) -> list[Reply]:
    """The replies up to what is none; the same however they are cut."""
    stream = b"".join(pieces)
    single, _ = _read([stream[at : at + 1] for at in range(len(stream))])
    cut, is_cut_good = _read(pieces)
    whole, is_good = _read([stream])
    assert is_cut_good == is_good
    if is_good:
        assert cut == whole == single
    assert single[: len(cut)] == cut
    return cut


def _read(pieces: list[bytes]) -> tuple[list[Reply], bool]:
    parser = ReplyParser(body_bytes_max=5_000)
    replies: list[Reply] = []
    try:
        for piece in pieces:
            replies += parser.feed(piece)
    except FramingError:
        return replies, False
    return replies, True


def seeds() -> Iterator[bytes]:
    """Each call with the answer that fits it, with others, and with lines that answer nothing."""
    for number in range(len(CALLS)):
        for answer in range(len(ANSWERS)):
            yield bytes((number, 1, 0, answer, 0, 0))
        yield bytes((number, 1, 0, 0, 2)) + bytes((3, 4, 9, 30))
    for line in range(len(LINES)):
        yield bytes((0, 2, 3, line, 0, 0, 0, 2))
    yield b"\0\0\0" + b"SSH-2.0-OpenSSH_9.2\r\n"
