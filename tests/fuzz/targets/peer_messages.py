"""Frames between members: one that is none is refused and changes nothing; any other one does not upset the engine.

The first byte chooses: frames are read and written back, or a live engine of three is given them by ``n2``: any bytes, or
messages of good shape whose fields say anything.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import msgpack

from raftq_cluster.backends.raft import messages
from raftq_cluster.backends.raft.commands import sent_command
from raftq_cluster.backends.raft.messages import decode, encode
from raftq_cluster.backends.raft.peer_api import PeerError
from raftq_cluster.codec.entries import encode_entry, encode_segment
from tests.fuzz.source import Source
from tests.support.engine_group import EngineGroup
from tests.support.raft_operations import put

NUMBERS: Final = (0, 1, 2, 3, 1, 2, 4, 5, 1_000, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
TEXTS: Final = ("", "unavailable", "invalid", "nonsense", "a" * 500, "\u00fc\0")
SEGMENT: Final = encode_segment([put("a")])
COMMAND: Final = sent_command([(7, 1)], encode_entry(1_800_000_000_000, 5, [SEGMENT]))
BLOBS: Final = (b"\1", COMMAND, SEGMENT, b"\x10\x92\1\x90", b"\x12\2", b"\xff", b"x" * 40)
VALUES: Final = (None, True, -1, 0, 3, 2**64 - 1, "x", b"x", 1.5, (), (1, 2), (1, -2), {"a": 1})
FACTS: Final = ("applied", "http", "text", "version", "clock", "held", "reads", "full", "other")
CHECKS: Final = messages._KINDS


def fuzz(data: bytes) -> None:
    """Give frames to the codec, or to an engine."""
    source = Source(data)
    if source.below(2):
        asyncio.run(_engine(source))
    else:
        _codec(source.rest())


def _codec(frame: bytes) -> None:
    try:
        message = decode(frame)
    except PeerError:
        return
    again = encode(message)
    assert decode(again) == message or "nan" in repr(message)
    assert encode(decode(again)) == again
    assert len(again) <= len(frame), "msgpack has no shorter form than the one we write"


async def _engine(source: Source) -> None:
    group = EngineGroup(3, compares=True)
    await group.elect(source.pick(("n1", "n1", "n2")))
    node = group["n1"]
    group.submit("n1", put("z"))
    await group.settle()
    group.hold("n1", "n2")
    group.hold("n1", "n3")
    for _ in range(1 + source.below(6)):
        frame = (
            source.blob(60) if source.below(4) == 3 else encode(made(source, node.engine.core.term))
        )
        before = (node.engine.core.term, node.commands)
        try:
            message = decode(frame)
        except PeerError:
            message = None
        with suppress(PeerError):
            node.engine.on_frame("n2", frame)
        if message is None:
            assert (node.engine.core.term, node.commands) == before
        node.engine.on_received()
        await group.settle()
        await group.pass_s(source.pick((0, 0, 0.1)))
    # That two lead in one term, or a log is acknowledged that nobody has, is proof that Raft is broken: it stops.
    upset = [sentence for sentence in node.failures if "has failed:" in sentence]
    assert not [sentence for sentence in upset if "TwoLeadersError" not in sentence], upset
    group.stop()
    await group.turn()


def made(source: Source, term: int) -> Any:
    """A message of good shape."""
    kind, checks = source.pick(list(CHECKS.values()))
    fields = [_field(source, check) for check in checks]
    if source.below(4) and fields and type(fields[0]) is int:
        fields[0] = term + source.pick((0, 0, 0, 1))  # mostly one that is looked at
    return kind(*fields)


def _field(source: Source, check: Any) -> Any:
    for value in (
        source.pick(NUMBERS),
        bool(source.below(2)),
        source.pick(TEXTS),
        source.pick(BLOBS),
    ):
        if check(value) and check is not messages._is_rows:
            return value
    if check is messages._is_rows:
        return tuple((source.pick(NUMBERS), source.pick(BLOBS)) for _ in range(source.below(4)))
    if check is messages._is_numbers:
        return tuple(source.pick(NUMBERS) for _ in range(source.below(4)))
    assert check is messages._is_map, check
    return {source.pick(FACTS): source.pick(VALUES) for _ in range(source.below(6))}


def seeds() -> Iterator[bytes]:
    """A message of each kind as bytes, and for an engine; rows of all shapes."""
    for number in range(len(CHECKS)):
        script = bytes((number, *(1, 0, 1, 1) * 8))
        yield b"\0" + encode(made(Source(script), 1))
        yield bytes((1, 0, 2, 0)) + script + bytes((0,)) + script
    yield b"\0" + msgpack.packb((17, {"clock": (1, 2.5, None), "x": [{}] * 3}))
    yield bytes((1, 1, 1, 3, 5)) + b"\x93\x01\x02\xc0"
