"""Segments on their way into the log: those that wait at a leader, and those that this node answers for.

A segment is known by its *origin*: the process that received it from clients, and the number that this
process gave it. The entry that holds it carries the origin, so that each node finds its own in what it applies.

Whoever leads lets all segments wait in one queue, which they leave as entries: group commit. A segment that
this node answers for is in one of three places:

    waiting      nobody has it                                            certainly not in the log
    sent         the leader of a term has it, or had it                   not known
    (told)       its entry was applied, or its time was up

Logs are ordered by term. So when the first entry of term T is applied here, everything that was sent in an earlier
term and was not applied by then can never be: it goes back to waiting, and is sent again. Nothing is ever
sent again while it could still be applied. Knows neither the log nor the machine.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from raftq_cluster.backends.api import Sink
from raftq_cluster.backends.raft.commands import Origin
from raftq_cluster.backends.raft.messages import SegmentRow
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
# One frame of forwarded segments, or one larger segment.
FORWARD_BYTES_MAX: Final = 1 << 20
# How long a segment may wait for a leader, and for its entry: clients have deadlines of this order.
WAIT_S: Final = 5.0


class Segment:
    """Operations that go into one entry together, and who wants to know of them."""

    __slots__ = ("data", "is_own", "operations", "origin", "sent_term", "since_s", "sink")

    def __init__(self, operations: Sequence[Operation], data: bytes, sink: Sink) -> None:
        self.operations = operations
        self.data = data
        self.sink = sink
        self.origin: Origin = (0, 0)  # until it is offered
        self.is_own = True  # this process answers for it
        self.sent_term = 0  # of the leader that has it; 0 while it waits
        self.since_s = 0.0  # when it was offered


def foreign_segment(origin: Origin, operations: Sequence[Operation], data: bytes) -> Segment:
    """A segment that another process answers for."""
    segment = Segment(operations, data, _nobody)
    segment.origin = origin
    segment.is_own = False
    return segment


def _nobody(_index: int, _outcomes: object) -> None:
    """Whoever received the operations tells their sinks."""


class WaitingSegments:
    """Segments that a leader has, and that are in no entry yet. First in, first out."""

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
        """Take everything: this node does not lead any more."""
        taken = list(self._segments)
        self._segments.clear()
        self.operations = self.bytes = 0
        return taken


class OwnSegments:
    """Segments that this process answers for. ``process`` is its number: random, of 63 bits."""

    def __init__(self, process: int) -> None:
        self.process = process
        self._number = 0
        self._waiting: deque[Segment] = deque()
        self._sent: dict[int, Segment] = {}  # by number; rising
        self._bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether this process answers for nothing at the moment."""
        return not (self._sent or self._waiting)

    @property
    def is_waiting(self) -> bool:
        """Whether there are some that nobody has."""
        return bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether no more can be taken."""
        return self._bytes >= WAITING_BYTES_MAX

    def add(self, segment: Segment, now_s: float) -> None:
        """Answer for a segment, which nobody has yet."""
        self._number += 1
        segment.origin = (self.process, self._number)
        segment.since_s = now_s
        self._bytes += len(segment.data)
        self._waiting.append(segment)

    def send(self, term: int, bytes_max: int) -> list[Segment]:
        """Give those that wait to the leader of ``term``, in order, at most so many bytes.

        None while it is not known what became of those that an earlier leader has.
        """
        taken: list[Segment] = []
        if self._sent and next(iter(self._sent.values())).sent_term < term:
            return taken
        size = 0
        while self._waiting:
            size += len(self._waiting[0].data)
            if size > bytes_max and taken:
                break
            segment = self._waiting.popleft()
            segment.sent_term = term
            self._sent[segment.origin[1]] = segment
            taken.append(segment)
        return taken

    def sent_in(self, term: int) -> list[Segment]:
        """What the leader of this term was given, in order: its connection broke, give it again."""
        return [segment for segment in self._sent.values() if segment.sent_term == term]

    def take(self, number: int) -> Segment | None:
        """Its entry is applied: give the segment, if it was not told already."""
        segment = self._sent.pop(number, None)
        if segment is not None:
            self._bytes -= len(segment.data)
        return segment

    def take_back(self, before_term: int) -> None:
        """What was sent in an earlier term can not be applied any more: let it wait again."""
        if not self._sent or next(iter(self._sent.values())).sent_term >= before_term:
            return  # terms rise with the numbers
        lost = [segment for segment in self._sent.values() if segment.sent_term < before_term]
        self._wait_again(lost)

    def take_back_unproposed(self, segments: Sequence[Segment]) -> None:
        """These were given to this very node, which has put them into no entry."""
        self._wait_again([item for item in segments if item.origin[1] in self._sent])

    def _wait_again(self, segments: Sequence[Segment]) -> None:
        for segment in reversed(segments):
            del self._sent[segment.origin[1]]
            segment.sent_term = 0
            self._waiting.appendleft(segment)

    def take_waiting(self, offered_s: float) -> list[Segment]:
        """Take those that were offered then or earlier and are certainly in no log."""
        return self._pick([item for item in self._waiting if item.since_s <= offered_s])

    def take_sent(self, offered_s: float) -> list[Segment]:
        """Take those that were offered then or earlier and may be in a log."""
        return self._pick([item for item in self._sent.values() if item.since_s <= offered_s])

    def refuse(self, numbers: Sequence[int]) -> list[Segment]:
        """Take those that a leader has not put into its log, and will not."""
        return self._pick([self._sent[number] for number in numbers if number in self._sent])

    def _pick(self, segments: list[Segment]) -> list[Segment]:
        if not segments:
            return segments
        picked = {segment.origin[1] for segment in segments}
        for segment in segments:
            self._sent.pop(segment.origin[1], None)
            self._bytes -= len(segment.data)
        self._waiting = deque(item for item in self._waiting if item.origin[1] not in picked)
        return segments


class ForeignSegments:
    """Segments that other processes answer for and this leader has. Of one leadership."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}  # process -> number of the last segment that came
        self._known: dict[Origin, Segment] = {}

    def clear(self) -> None:
        """The leadership is over."""
        self._last.clear()
        self._known.clear()

    def fresh(self, process: int, rows: Sequence[SegmentRow]) -> list[SegmentRow]:
        """Leave out what came before: it was sent again because a connection broke."""
        last = self._last.get(process, 0)
        found = [row for row in rows if row[0] > last]
        if found:
            self._last[process] = found[-1][0]
        return found

    def add(self, segment: Segment) -> None:
        """Keep a segment until its entry is applied, so that it is not decoded twice."""
        self._known[segment.origin] = segment

    def take(self, origin: Origin) -> Segment | None:
        """Its entry is applied."""
        return self._known.pop(origin, None)
