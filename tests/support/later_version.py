"""A later version of raftq, as far as its formats go: it reads and writes a second one, which this version cannot read."""

from collections.abc import Sequence
from typing import Final

from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.formats import FIRST, FORMATS, Format, Formats
from raftq_cluster.core.snapshot import Record

LATER: Final = FIRST + 1
_MARK: Final = b"\xc1of a later version"  # no MessagePack begins like this
_FIRST: Final = FORMATS[FIRST]


def _strip(data: bytes) -> bytes:
    if not bytes(data).startswith(_MARK):
        raise CodecError("not of the later format")
    return bytes(data)[len(_MARK) :]


def _encode_entry(now_ms: int, seed: int, segments: Sequence[bytes]) -> bytes:
    return _MARK + _FIRST.encode_entry(now_ms, seed, segments)


def _encode_chunk(records: Sequence[Record]) -> bytes:
    return _MARK + _FIRST.encode_chunk(records)


def is_later(data: bytes) -> bool:
    """Whether some bytes of a log or a snapshot hold something of the later format."""
    return _MARK in data


LATER_FORMATS: Final[Formats] = {
    FIRST: _FIRST,
    LATER: Format(
        _encode_entry,
        lambda data: _FIRST.split_entry(_strip(data)),
        _encode_chunk,
        lambda data: _FIRST.decode_chunk(_strip(data)),
    ),
}
