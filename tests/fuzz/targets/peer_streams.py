"""What comes over a peer connection: garbage closes that connection, whatever was said before, and nothing else.

The first byte chooses the side: a connection that was accepted, one that this node made, or a reader of frames alone.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from raftq_cluster.backends.raft.messages import AskChain, Facts, encode
from raftq_cluster.backends.raft.peer_api import FRAME_BYTES_MAX, Identity, PeerError
from raftq_cluster.backends.raft.transport.accepting import AcceptedLink
from raftq_cluster.backends.raft.transport.dialling import DialledLink
from raftq_cluster.backends.raft.transport.framing import (
    HELLO_BYTES_MAX,
    LENGTH_BYTES,
    FrameReader,
    length_of,
)
from raftq_cluster.backends.raft.transport.hello import Hello, Refusal, Welcome, pack
from tests.fuzz.source import Source
from tests.support.text_transport import FakeTransport

ME: Final = Identity("c1", "n1", "birth-n1", (3, 4))
LIMITS: Final = (1, 20, HELLO_BYTES_MAX, FRAME_BYTES_MAX)


class Host:
    """A network with its owner: lets ``n2`` of its cluster in, and counts."""

    uses_tls = False

    def __init__(self) -> None:
        self.owner: Any = self
        self.received_bytes = self.received_frames = 0
        self.frames: list[bytes] = []
        self.complaints: list[str] = []
        self.identified_as = ""
        self.has_left = False

    def identity(self) -> Identity:
        return ME

    def admit(self, peer: Identity) -> str:
        return "" if peer.cluster_id == ME.cluster_id else "another cluster"

    def why_unfit(self, peer: Identity) -> str:
        return "too old" if peer.reads > 1 else ""

    def what_is_lost(self, peer: Identity) -> str:
        return "a lost past" if peer.end == (1, 1) else ""

    def on_frame(self, peer: str, frame: bytes) -> None:
        assert peer == self.identified_as
        if frame.startswith(b"\xc1"):
            raise PeerError("poison")
        self.frames.append(frame)

    def on_received(self) -> None:
        """Nothing is done with them."""

    async def on_ask(self, peer: Identity, question: bytes) -> bytes:
        if question.startswith(b"\xc1"):
            raise PeerError("a bad question")
        return b"%d of %b" % (len(question), peer.node_id.encode(errors="replace"))

    def arrived(self, link: AcceptedLink) -> None:
        """It is looked at by the test alone."""

    def identified(self, link: AcceptedLink, hello: Hello) -> None:
        assert not self.identified_as, "twice"
        self.identified_as = hello.node_id

    def left(self, link: AcceptedLink) -> None:
        self.has_left = True

    def complain(self, peer: str, reason: str) -> None:
        self.complaints.append(reason)


def fuzz(data: bytes) -> None:
    """Say these bytes, in pieces."""
    source = Source(data)
    side = source.below(3)
    if side == 2:
        _frames(source)
    else:
        asyncio.run((_accepted, _dialled)[side](source))


def _read(limit: int, pieces: list[bytes]) -> tuple[list[bytes], bool]:
    reader = FrameReader(limit)
    frames: list[bytes] = []
    try:
        for piece in pieces:
            frames += reader.feed(piece)
            assert len(reader._buffer) <= LENGTH_BYTES + limit + len(piece)
    except PeerError:
        return frames, False
    return frames, True


def _frames(source: Source) -> None:
    limit = source.pick(LIMITS)
    pieces = source.pieces(stream := source.rest())
    whole, is_good = _read(limit, [stream])
    cut, is_cut_good = _read(limit, pieces)
    assert (cut, is_cut_good) == (whole, is_good) or not is_good
    assert cut[: len(whole)] == whole[: len(cut)]
    said = b"".join(length_of(frame) + frame for frame in whole)
    assert stream.startswith(said)


async def _accepted(source: Source) -> None:
    host = Host()
    link = AcceptedLink(host)
    transport = FakeTransport(link)
    for piece in _stream(source):
        if transport.is_closing():
            break
        link.data_received(piece)
        limit = FRAME_BYTES_MAX if host.identified_as else 1 << 20
        assert len(link._reader._buffer) <= limit + LENGTH_BYTES + len(piece)
    for _ in range(3):
        await asyncio.sleep(0)
    assert bool(host.complaints) <= transport.is_closing(), "it complains, and goes on"
    assert host.received_frames == len(host.frames) + (
        host.complaints == ["a peer connection is closed: poison"]
    )
    transport.lose()
    assert host.has_left


def _stream(source: Source) -> list[bytes]:
    """A hello that is good or near it, and then anything."""
    said = b""
    if source.below(4):
        hello = Hello(
            protocol_min=source.pick((1, 1, 1, 0, 2, -(2**63))),
            protocol_max=source.pick((1, 1, 1, 0, 2**64 - 1)),
            purpose=source.pick(("peer", "peer", "ask", "", "x")),
            cluster_id=source.pick(("c1", "c1", "", "c2")),
            node_id=source.pick(("n2", "n2", "", "n" * 100)),
            birth="b2",
            to=source.pick(("n1", "", "n3")),
            end=source.pick((None, (1, 2), (1, 1))),
        )
        frame = pack(hello)
        if source.below(4) == 0:
            at = source.below(len(frame))
            frame = frame[:at] + source.take(1) + frame[at + source.below(2) :]
        said = length_of(frame) + frame if frame else b""
    return source.pieces(said + source.rest())


async def _dialled(source: Source) -> None:
    told: list[Welcome] = []
    hello = Hello(
        protocol_min=1, protocol_max=1, purpose="ask", cluster_id="c1", node_id="n1", birth="b"
    )

    def check(welcome: Welcome | None, _certified: str) -> None:
        if welcome is not None:
            told.append(welcome)

    link = DialledLink(hello, check)
    transport = FakeTransport(link)
    for piece in source.pieces(source.rest()):
        if transport.is_closing():
            break
        link.data_received(piece)
        assert len(link._reader._buffer) <= (1 << 20) + LENGTH_BYTES + len(piece)
    transport.lose()
    assert link.ready.done()
    assert link.answer.done()
    assert isinstance(link.ready.exception() or PeerError(), PeerError)
    assert isinstance(link.answer.exception() or PeerError(), PeerError)
    assert link.answer.exception() or told, "an answer of whoever has not said who it is"


def seeds() -> Iterator[bytes]:
    """Both sides of a handshake, and frames behind it."""
    frames = b"".join(
        length_of(frame) + frame for frame in (encode(AskChain(1)), encode(Facts({"a": 1})))
    )
    yield bytes((0, 1, 0, 0, 0, 0, 0, 0, 0, 1)) + frames + bytes((2, 9, 30))
    yield bytes((0, 1, 0, 0, 2, 0, 0, 0, 0, 1)) + length_of(b"what?") + b"what?"
    yield bytes((0, 1, 0, 0, 0, 1, 0, 0, 2, 1)) + frames
    yield bytes((0, 0)) + b"GET / HTTP/1.1\r\n\r\n"
    yield bytes((0, 0)) + length_of(b"\x80") + b"\x80"
    for said in (
        Welcome(protocol=1, cluster_id="c1", node_id="n2", birth="b2"),
        Refusal(why="no", is_final=True),
        Refusal(why="no", is_final=True, has_lost_past=True),
    ):
        frame = pack(said)
        yield b"\1" + length_of(frame) + frame + length_of(b"answer") + b"answer"
    yield b"\2\1" + length_of(b"abc") + b"abc" + length_of(b"x" * 20) + b"x" * 20
    yield b"\2\3" + length_of(b"abc") + b"abc" + b"\xff\xff\xff\xff"
