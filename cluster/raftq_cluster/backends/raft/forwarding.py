"""From any node into the leader's log: what this node's clients submit, and what other nodes forward.

A node that does not lead packs what it has into one message to the leader; a leader lets everything wait in
one queue. Whoever received operations answers for them, from its own apply: the leader sends no
outcomes back. ``proposals`` says why nothing can be logged twice, and what is known when a leader is lost.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from raftq_cluster.backends.raft.commands import Origin
from raftq_cluster.backends.raft.consensus import Consensus
from raftq_cluster.backends.raft.messages import Forward, ForwardRefused, Message
from raftq_cluster.backends.raft.proposals import (
    FORWARD_BYTES_MAX,
    WAIT_S,
    WAITING_BYTES_MAX,
    ForeignSegments,
    OwnSegments,
    Segment,
    WaitingSegments,
    foreign_segment,
)
from raftq_cluster.backends.raft.replica import UNAVAILABLE, UNKNOWN, Replica, abandon, tell
from raftq_cluster.codec.entries import decode_segment
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.shapes import check_segment
from raftq_cluster.core.outcomes import Outcome, Refused, Unfinished

_log: Final = logging.getLogger(__name__)

# Looking for operations whose time is up takes a walk over all of them.
EXPIRE_EVERY_S: Final = 0.1
_TOO_MUCH: Final = "too much is waiting for the disk"


class Forwarding:
    """Segments between clients, this node and the leader. ``process``: a random number of 63 bits."""

    def __init__(
        self,
        process: int,
        consensus: Consensus,
        replica: Replica,
        send: Callable[[str, Message], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self.queue = WaitingSegments()  # of this node while it leads
        self.forwarded = 0  # segments that this node has sent to a leader
        self._own = OwnSegments(process)
        self._foreign = ForeignSegments()
        self._peer_of: dict[int, str] = {}  # process -> node
        self._consensus = consensus
        self._replica = replica
        self._send = send
        self._monotonic = monotonic
        self._leading_term = 0
        self._reconnected: set[str] = set()  # what they were sent may be lost
        self._expired_s = 0.0
        replica.find_segments_with(self._find)
        self.handlers: Final[dict[type[Any], Callable[[str, Any], None]]] = {
            Forward: self._on_forward,
            ForwardRefused: self._on_refused,
        }

    @property
    def is_idle(self) -> bool:
        """Whether nothing of this node's clients is under way."""
        return self._own.is_empty

    def offer(self, segment: Segment, refusal: str) -> bool:
        """Take a segment; False if its sink was told that it cannot be taken."""
        if not refusal and self._own.is_full:
            refusal = _TOO_MUCH
        if refusal:
            abandon([segment], self._replica.index, UNAVAILABLE, refusal)
            return False
        self._own.add(segment, self._monotonic())
        return True

    # --- the round ----------------------------------------------------------------------------

    def follow_leadership(self) -> None:
        """Give up or fill the leader's queue."""
        consensus = self._consensus
        term = consensus.leading_term
        if term != self._leading_term:
            self._leading_term = term
            queued = self.queue.take_all()
            self._own.take_back_unproposed([item for item in queued if item.is_own])
            self._foreign.clear()
        if term and self._own.is_waiting and self.queue.bytes < WAITING_BYTES_MAX:
            for segment in self._own.send(term, WAITING_BYTES_MAX):
                self.queue.add(segment)

    def send_round(self) -> None:
        """Send the leader what waits here."""
        if self._own.is_empty:
            self._reconnected.clear()  # nothing was under way that could be lost
            return
        if self._leading_term or not (self._own.is_waiting or self._reconnected):
            return
        consensus = self._consensus
        leader = consensus.leader
        if not leader:
            return
        term = consensus.term
        if leader in self._reconnected:
            self._reconnected.discard(leader)
            if not self._forward(leader, term, self._own.sent_in(term)):
                self._reconnected.add(leader)
                return
        while self._own.is_waiting:
            segments = self._own.send(term, FORWARD_BYTES_MAX)
            if not segments:
                return
            if not self._forward(leader, term, segments):
                self._own.take_back_unproposed(segments)
                return
            self.forwarded += len(segments)

    def _forward(self, leader: str, term: int, segments: Sequence[Segment]) -> bool:
        start, size = 0, 0
        for place, segment in enumerate(segments):
            size += len(segment.data)
            if size > FORWARD_BYTES_MAX and place > start:
                if not self._send_rows(leader, term, segments[start:place]):
                    return False
                start, size = place, len(segment.data)
        return start >= len(segments) or self._send_rows(leader, term, segments[start:])

    def _send_rows(self, leader: str, term: int, segments: Sequence[Segment]) -> bool:
        rows = tuple((segment.origin[1], segment.data) for segment in segments)
        return self._send(leader, Forward(term, self._own.process, rows))

    def note_applied(self, term: int) -> None:
        """Entries up to one of ``term`` are applied."""
        self._own.take_back(term)

    def on_up(self, peer: str) -> None:
        """What was sent on an older connection may be lost."""
        self._reconnected.add(peer)

    def expire(self) -> None:
        """Tell those who have waited too long what is known."""
        if self.is_idle:
            return
        now_s = self._monotonic()
        if now_s - self._expired_s < EXPIRE_EVERY_S:
            return
        self._expired_s = now_s
        index, since_s = self._replica.index, now_s - WAIT_S
        nobody_leads = f"no leader took the operation within {WAIT_S:g} s"
        abandon(self._own.take_waiting(since_s), index, UNAVAILABLE, nobody_leads)
        no_majority = f"no majority confirmed the operation within {WAIT_S:g} s"
        abandon(self._own.take_sent(since_s), index, UNKNOWN, no_majority)

    # --- what becomes of segments ---------------------------------------------------------------

    def _find(self, origin: Origin) -> Segment | None:
        """The entry with this segment is being applied."""
        process, number = origin
        if process == self._own.process:
            return self._own.take(number)
        return self._foreign.take(origin)

    def refuse(self, segments: Iterable[Segment], code: str, detail: str) -> None:
        """These are in no log and will be in none."""
        numbers: dict[int, list[int]] = {}
        for segment in segments:
            process, number = segment.origin
            if segment.is_own:
                self._tell_refused([number], code, detail)
            else:
                self._foreign.take(segment.origin)
                numbers.setdefault(process, []).append(number)
        for process, refused in numbers.items():
            term = self._consensus.term
            answer = ForwardRefused(term, process, tuple(refused), code, detail)
            self._send(self._peer_of[process], answer)

    def senders_of(self, segments: Iterable[Segment]) -> set[str]:
        """The nodes that answer for these, other than this one."""
        return {self._peer_of[item.origin[0]] for item in segments if not item.is_own}

    def _tell_refused(self, numbers: Sequence[int], code: str, detail: str) -> None:
        outcome: Outcome
        outcome = Unfinished(code, detail) if code == UNAVAILABLE else Refused(code, detail)
        for segment in self._own.refuse(numbers):
            tell(segment.sink, self._replica.index, [outcome] * len(segment.operations))

    def abandon_sent(self, detail: str) -> None:
        """Whatever a leader has may have been logged and is not going to be applied entry by entry."""
        unknown = self._own.take_sent(float("inf"))
        abandon(unknown, self._replica.index, UNKNOWN, detail)

    def stop(self, reason: str) -> None:
        """Tell everyone who waits what is known."""
        self._own.take_back_unproposed([item for item in self.queue.take_all() if item.is_own])
        index = self._replica.index
        forever = float("inf")
        abandon(self._own.take_waiting(forever), index, UNAVAILABLE, reason)
        abandon(self._own.take_sent(forever), index, UNKNOWN, reason)

    # --- messages -----------------------------------------------------------------------------

    def _on_forward(self, peer: str, forward: Forward) -> None:
        """Queue segments; a leader of another term says nothing: they are sent again if need be."""
        consensus = self._consensus
        self.follow_leadership()
        if not consensus.is_leader or forward.term != consensus.term:
            return
        self._peer_of[forward.origin] = peer
        for number, data in self._foreign.fresh(forward.origin, forward.rows):
            origin = (forward.origin, number)
            try:
                operations = decode_segment(data)
                check_segment(operations)
            except CodecError as error:
                _log.error("%s forwarded a segment that is none: %s", peer, error)
                self.refuse([foreign_segment(origin, (), data)], "invalid", str(error))
                continue
            segment = foreign_segment(origin, operations, data)
            if self.queue.bytes >= WAITING_BYTES_MAX:
                self.refuse([segment], UNAVAILABLE, _TOO_MUCH)
                continue
            self._foreign.add(segment)
            self.queue.add(segment)

    def _on_refused(self, _peer: str, answer: ForwardRefused) -> None:
        if answer.origin == self._own.process:
            self._tell_refused(answer.numbers, answer.code, answer.detail)
