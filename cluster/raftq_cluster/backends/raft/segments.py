"""From a submission to segments: packed once, cut where they would be too large for one entry.

Most submissions are one segment. The others are cut, and their outcomes are joined again, so that
their sink is told once. An operation that cannot be packed, or is too large to replicate, is refused
here and never reaches the log.
"""

from collections.abc import Sequence
from typing import Final

from raftq_cluster.backends.api import Sink
from raftq_cluster.backends.raft.proposals import (
    ENTRY_BYTES_MAX,
    ENTRY_OPERATIONS_MAX,
    OPERATION_BYTES_MAX,
    Segment,
)
from raftq_cluster.codec.entries import encode_segment
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Outcome, Refused

_MALFORMED: Final = Refused("invalid", "the operation has a value that cannot be stored")
_TOO_LARGE: Final = Refused(
    "too_large",
    f"an operation may take at most {OPERATION_BYTES_MAX} bytes of the log",
    limit_name="operation_bytes_max",
    limit=OPERATION_BYTES_MAX,
)


def segments_of(operations: Sequence[Operation], index: int, sink: Sink) -> list[Segment]:
    """Pack a submission into segments, in order.

    ``sink`` is told at once, at ``index``, if nothing of the submission can be logged.
    """
    if len(operations) <= ENTRY_OPERATIONS_MAX:
        data = _pack(operations)
        if data is not None and len(data) <= ENTRY_BYTES_MAX:
            return [Segment(operations, data, sink)]
    pieces = _cut(operations)
    joining = _JoiningSink(len(pieces), sink)
    segments = []
    for place, (piece, result) in enumerate(pieces):
        if isinstance(result, Refused):
            joining.take(place, index, [result])
        else:
            segments.append(Segment(piece, result, joining.sink_of(place)))
    return segments


_Piece = tuple[Sequence[Operation], bytes | Refused]


def _cut(operations: Sequence[Operation]) -> list[_Piece]:
    """Halve until every piece fits, or is one operation."""
    if len(operations) <= ENTRY_OPERATIONS_MAX:
        data = _pack(operations)
        if data is not None and (len(data) <= ENTRY_BYTES_MAX or len(operations) == 1):
            fits = len(data) <= OPERATION_BYTES_MAX
            return [(operations, data if fits else _TOO_LARGE)]
        if len(operations) == 1:
            return [(operations, _MALFORMED)]
    half = len(operations) // 2
    return _cut(operations[:half]) + _cut(operations[half:])


def _pack(operations: Sequence[Operation]) -> bytes | None:
    try:
        return encode_segment(operations)
    except (TypeError, ValueError, OverflowError):
        return None


class _JoiningSink:
    """Tells one sink what several were told, in their order, at the highest of their indexes."""

    def __init__(self, parts: int, sink: Sink) -> None:
        self._parts: list[Sequence[Outcome]] = [()] * parts
        self._missing = parts
        self._sink = sink
        self._index = 0

    def sink_of(self, place: int) -> Sink:
        """The sink of one part."""
        return lambda index, outcomes: self.take(place, index, outcomes)

    def take(self, place: int, index: int, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of one part."""
        self._parts[place] = outcomes
        self._index = max(self._index, index)
        self._missing -= 1
        if not self._missing:
            self._sink(self._index, [outcome for part in self._parts for outcome in part])
