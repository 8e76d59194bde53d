"""The formats of entries and snapshots, by number: the one place where another one is added.

A format is in force for a whole stretch of the log, from an entry on that says so, and for the snapshots taken there. So a
new version of raftq has to *read* the formats of earlier ones, and writes them too until every member
reads the new one; who decides that is ``backends/raft``. Numbers rise and are never used for anything else.

What a new format must keep: segments are packed before it is known in which entry they will be, so a format
reads segments of the one before it as well.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from raftq_cluster.codec.entries import Head, encode_entry, split_entry
from raftq_cluster.codec.snapshots import decode_chunk, encode_chunk
from raftq_cluster.core.snapshot import Record


class Format(NamedTuple):
    """One way to write and read."""

    encode_entry: Callable[[int, int, Sequence[bytes]], bytes]
    split_entry: Callable[[bytes], Head]
    encode_chunk: Callable[[Sequence[Record]], bytes]
    decode_chunk: Callable[[bytes], list[Record]]


Formats = Mapping[int, Format]
"""All formats that a node reads and writes; it knows each number from ``FIRST`` to the largest."""

FIRST: Final = 1
FORMATS: Final[Formats] = {FIRST: Format(encode_entry, split_entry, encode_chunk, decode_chunk)}
