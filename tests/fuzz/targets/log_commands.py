"""Bytes of log entries, their origins, member lists and formats: a value that is written back alike, or CodecError."""

from collections.abc import Iterator
from typing import Final

from raftq_cluster.backends.raft import commands
from raftq_cluster.backends.raft.commands import Member
from raftq_cluster.backends.raft.replica import Replica, ReplicaError
from raftq_cluster.codec.entries import (
    decode_entry,
    encode_entry,
    encode_segment,
    split_entry,
)
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.core import operations as op
from raftq_cluster.core.machine import Machine
from tests.fuzz.source import Source

MEMBERS: Final = (Member("n1", "h:1", True, "b1"), Member("n2", "h:2", False, "b2", True))


def fuzz(data: bytes) -> None:
    """Read the rest as what the first byte says."""
    source = Source(data)
    reader = source.pick((_entry, _head, _sent, _members, _base, _format, _command))
    try:
        reader(source.rest())
    except CodecError:
        return


def _entry(data: bytes) -> None:
    entry = decode_entry(data)
    segments = [encode_segment(segment) for segment in entry.segments]
    again = encode_entry(entry.now_ms, entry.seed, segments)
    assert decode_entry(again) == entry
    assert encode_entry(*decode_entry(again)[:2], segments) == again


def _head(data: bytes) -> None:
    head = split_entry(data)
    assert all(type(segment) is bytes for segment in head.segments)
    assert split_entry(encode_entry(*head)) == head


def _sent(data: bytes) -> None:
    origins, entry = commands.decode_sent(b"\x11" + data)
    assert all(type(number) is int for origin in origins for number in origin)
    assert commands.decode_sent(commands.sent_command(origins, entry)) == (origins, entry)


def _members(data: bytes) -> None:
    members = commands.decode_members(data)
    _check_members(members)
    assert commands.decode_members(commands.encode_members(members)) == members


def _base(data: bytes) -> None:
    members, log_format = commands.decode_base(data)
    _check_members(members)
    again = commands.encode_base(members, log_format)
    assert commands.decode_base(again) == (members, log_format)


def _check_members(members: tuple[Member, ...]) -> None:
    for member in members:
        assert [type(field) for field in member] == [str, str, bool, str, bool]


def _format(data: bytes) -> None:
    number = commands.decode_format(b"\x12" + data)
    assert commands.decode_format(commands.format_command(number)) == number


def _command(data: bytes) -> None:
    try:
        Replica(Machine(), 0, MEMBERS).apply(1, data or b"\1")
    except ReplicaError as error:
        why = str(error)
    else:
        return
    # Operations are checked before they are logged; what they are made of is not checked again.
    assert "cannot be applied" not in why or data[:1] in b"\x00\x11"


def seeds() -> Iterator[bytes]:
    """Each kind as nodes write it."""
    segment = encode_segment([op.Tick(), op.Forget(op.FORGET, ("k",))])
    entry = encode_entry(1_800_000_000_000, 2**63 + 1, [segment, segment])
    yield b"\0" + entry
    yield b"\1" + entry
    sent = commands.sent_command([(2**62, 1), (5, 2)], entry)
    yield b"\2" + sent[1:]
    yield b"\3" + commands.encode_members(MEMBERS)
    yield b"\3" + commands.encode_members(MEMBERS[:1])
    yield b"\4" + commands.encode_base(MEMBERS, 1)
    yield b"\4" + commands.encode_base(MEMBERS, 3)
    yield b"\5" + commands.format_command(2)[1:]
    for command in (sent, commands.data_command(entry), commands.config_command(MEMBERS), b"\1",
                    commands.format_command(2)):  # fmt: skip
        yield b"\6" + command
