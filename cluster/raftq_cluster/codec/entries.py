"""Log entries: a small head, and segments of operations that pass through unread.

An entry is the MessagePack array ``[version, now_ms, seed, segments]``; a segment is a ``bin`` that
holds one MessagePack array of operations. A node packs what it received into segments once; whoever
leads joins segments into an entry without reading them (joining costs a fifth of
packing again, ``scripts/bench``). Golden vectors: ``tests/vectors/entries.json``.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgpack

from raftq_cluster.codec.errors import CodecError
from raftq_cluster.core.operations import Operation

VERSION: Final = 1

_packb = msgpack.Packer(use_bin_type=True).pack


class Entry(NamedTuple):
    """A decoded entry."""

    now_ms: int  # the leader's time, in ms since the epoch
    seed: int  # 0 to 2**64 - 1
    segments: list[list[Operation]]


def encode_segment(operations: Sequence[Operation]) -> bytes:
    """Pack operations. Their order is kept."""
    packed: bytes = _packb(operations)
    return packed


def decode_segment(data: bytes) -> list[Operation]:
    """Unpack a segment.

    Raises:
        CodecError: these bytes are no segment.
    """
    operations = _unpack(data)
    if not isinstance(operations, tuple):
        raise CodecError("a segment is not a list")
    return list(operations)


def encode_entry(now_ms: int, seed: int, segments: Sequence[bytes]) -> bytes:
    """Join segments into one entry."""
    packed: bytes = _packb((VERSION, now_ms, seed, segments))
    return packed


class Head(NamedTuple):
    """An entry whose segments are not decoded."""

    now_ms: int
    seed: int
    segments: tuple[bytes, ...]


def split_entry(data: bytes) -> Head:
    """Unpack the head of an entry, and leave its segments as they are.

    Raises:
        CodecError: these bytes are no entry, or one of a version that this node does not know.
    """
    fields = _unpack(data)
    if not isinstance(fields, tuple) or len(fields) != 4:
        raise CodecError("an entry has four fields")
    version, now_ms, seed, segments = fields
    if version != VERSION:
        raise CodecError(f"entries of version {version} cannot be read")
    if not (type(now_ms) is int and type(seed) is int and type(segments) is tuple):
        raise CodecError("the head of an entry is malformed")
    if any(type(segment) is not bytes for segment in segments):
        raise CodecError("a segment of an entry is not bytes")
    return Head(now_ms, seed, segments)


def decode_entry(data: bytes) -> Entry:
    """Unpack an entry and its segments.

    Raises:
        CodecError: these bytes are no entry, or one of a version that this node does not know.
    """
    now_ms, seed, segments = split_entry(data)
    return Entry(now_ms, seed, [decode_segment(segment) for segment in segments])


def _unpack(data: bytes) -> object:
    try:
        return msgpack.unpackb(data, use_list=False, raw=False, strict_map_key=True)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CodecError(f"not MessagePack: {error}") from None
