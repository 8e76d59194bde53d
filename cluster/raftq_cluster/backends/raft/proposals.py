"""Operations on their way into the log: segments that wait, and how many go into one entry.

Group commit happens here: whatever arrives while the disk is busy waits in one queue and leaves it as
one entry. Knows neither the log nor the machine.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from raftq_cluster.backends.api import Sink
from raftq_cluster.core.operations import Operation

# Applying an operation and telling its sink takes 4 to 7 us: an entry holds the loop for 1 to 2 ms.
ENTRY_OPERATIONS_MAX: Final = 256
# A write of this size does not delay a sync by more than a millisecond or two, and the entry fits
# one message to a peer. A single larger operation goes alone.
ENTRY_BYTES_MAX: Final = 1 << 20
# The largest operation: four times the largest request body of the default limits.
OPERATION_BYTES_MAX: Final = 16 << 20
# What may wait for the disk. Callers have limits of their own; this is the last one.
WAITING_BYTES_MAX: Final = 256 << 20


class Segment:
    """Operations that go into one entry together, and who wants to know of them."""

    __slots__ = ("data", "operations", "sink")

    def __init__(self, operations: Sequence[Operation], data: bytes, sink: Sink) -> None:
        self.operations = operations
        self.data = data
        self.sink = sink


class Proposal:
    """An entry that this node has appended, by what it was made of."""

    __slots__ = ("now_ms", "seed", "segments", "term")

    def __init__(self, term: int, now_ms: int, seed: int, segments: list[Segment]) -> None:
        self.term = term
        self.now_ms = now_ms
        self.seed = seed
        self.segments = segments


class WaitingSegments:
    """First in, first out."""

    def __init__(self) -> None:
        self._segments: deque[Segment] = deque()
        self.operations = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._segments)

    def add(self, segment: Segment) -> None:
        """Let a segment wait."""
        self._segments.append(segment)
        self.operations += len(segment.operations)
        self.bytes += len(segment.data)

    def fills_an_entry(self) -> bool:
        """Tell whether waiting longer could not make the next entry larger."""
        return self.operations >= ENTRY_OPERATIONS_MAX or self.bytes >= ENTRY_BYTES_MAX

    def take_entry(self) -> list[Segment]:
        """Take the segments of the next entry: at least one, within both bounds if there are more."""
        segments = self._segments
        taken = [segments.popleft()]
        operations, size = len(taken[0].operations), len(taken[0].data)
        while segments:
            operations += len(segments[0].operations)
            size += len(segments[0].data)
            if operations > ENTRY_OPERATIONS_MAX or size > ENTRY_BYTES_MAX:
                break
            taken.append(segments.popleft())
        self.operations -= sum(len(segment.operations) for segment in taken)
        self.bytes -= sum(len(segment.data) for segment in taken)
        return taken

    def take_all(self) -> list[Segment]:
        """Take everything, to refuse it."""
        taken = list(self._segments)
        self._segments.clear()
        self.operations = self.bytes = 0
        return taken
