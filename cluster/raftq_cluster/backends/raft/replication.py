"""The leader's side of replication: what each peer has, and what it is sent next.

Replaces the library's send loop, which resends what is in flight with every answer, and sends large
entries in pieces through pickle. A peer is sent entries without waiting for answers, within a window; a
refusal winds it back once, because it names the *epoch* of the sending that it refuses.

Source: Raft, 5.3, and thesis 10.2.1 (pipelining). Knows nothing of disks and votes.
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from raftq_cluster.backends.raft.core_api import Log
from raftq_cluster.backends.raft.messages import Append, LogRow, Message

# One frame: as much as a sync writes quickly, or one larger entry.
APPEND_BYTES_MAX: Final = 1 << 20
APPEND_ENTRIES_MAX: Final = 64
# In flight to one peer: some round trips of a fast disk; small enough to be sent again.
WINDOW_ENTRIES: Final = 1_024
WINDOW_BYTES: Final = 8 << 20
# A peer whose clients wait for an entry hears of its commit at once, the others with the next entries, or
# after this: a frame by itself costs two nodes a wake-up. Far below what a waiting worker notices.
NOTICE_S: Final = 0.005
NEVER_S: Final = float("inf")


class Snapshots(Protocol):
    """Sends the state to peers whose next entry the log does not hold any more."""

    def begin_or_continue(self, peer: str, term: int) -> None:
        """See that the newest snapshot is on its way."""
        ...

    def forget(self, peer: str) -> None:
        """Stop sending to this peer."""
        ...


class Progress:
    """What is known of one peer in this leadership."""

    __slots__ = (
        "awaited",
        "epoch",
        "heard_s",
        "is_probing",
        "is_up",
        "match",
        "next",
        "round",
        "sent_bytes",
        "sent_commit",
        "sent_round",
    )

    def __init__(self, next_index: int, now_s: float, *, is_up: bool) -> None:
        self.match = 0  # it holds all up to here, on disk
        self.next = next_index  # to be sent
        self.epoch = 1
        self.round = 0  # the last read round that it has heard of
        self.heard_s = now_s
        self.is_up = is_up
        self.is_probing = True  # it is not known whether ``next`` fits: one append at a time
        self.sent_bytes = 0  # of entries behind ``match``, roughly
        self.sent_commit = 0
        self.sent_round = 0
        self.awaited = 0  # the last entry for which its clients wait

    def rewind(self, next_index: int) -> None:
        """Go back, or forth, to where the peer's log ends; what is in flight does not count."""
        self.next = max(next_index, self.match + 1)
        self.epoch += 1
        self.is_probing = True
        self.sent_bytes = 0
        self.sent_commit = 0


class Replication:
    """All peers of a leader. ``send`` takes ``(peer, message)`` and may refuse it."""

    def __init__(
        self, log: Log, send: Callable[[str, Message], bool], snapshots: Snapshots
    ) -> None:
        self._log = log
        self._send = send
        self._snapshots = snapshots
        self._peers: dict[str, Progress] = {}
        self.notice_due_s = NEVER_S  # when some peer must be told of a commit

    def begin(self, peers: Iterable[str], up: Callable[[str], bool], now_s: float) -> None:
        """Start a leadership, whose no-op is in the log already."""
        self.end()
        next_index = self._log.last_index
        self._peers = {peer: Progress(next_index, now_s, is_up=up(peer)) for peer in peers}

    def end(self) -> None:
        """The leadership is over."""
        for peer in self._peers:
            self._snapshots.forget(peer)
        self._peers = {}

    def set_peers(self, peers: Iterable[str], up: Callable[[str], bool], now_s: float) -> None:
        """Follow a change of the members."""
        before, self._peers = self._peers, {}
        next_index = self._log.last_index + 1
        for peer in peers:
            known = before.get(peer)
            self._peers[peer] = known or Progress(next_index, now_s, is_up=up(peer))
        for peer in before.keys() - self._peers.keys():
            self._snapshots.forget(peer)

    def of(self, peer: str) -> Progress | None:
        """What is known of a peer; None if it is none."""
        return self._peers.get(peer)

    def goes_beyond(self, index: int) -> bool:
        """Whether any peer has acknowledged more than up to ``index``."""
        return any(progress.match > index for progress in self._peers.values())

    def needed_from(self, since_s: float) -> int | None:
        """The lowest entry that a peer lacks which was heard of since then, and can do with the log.

        None if there is no such peer.
        """
        base = self._log.base_index
        lagging = [item.match + 1 for item in self._peers.values()
                   if item.heard_s >= since_s and item.match >= base and item.next > base]  # fmt: skip
        return min(lagging, default=None)

    def on_up(self, peer: str) -> None:
        """What was sent on an older connection may be lost."""
        progress = self._peers.get(peer)
        if progress is not None:
            progress.is_up = True
            progress.rewind(progress.next)
            self._snapshots.forget(peer)

    def on_down(self, peer: str) -> None:
        """Nothing can be sent for a while."""
        progress = self._peers.get(peer)
        if progress is not None:
            progress.is_up = False
            self._snapshots.forget(peer)

    def on_ack(self, peer: str, epoch: int, match: int) -> None:
        """The peer holds all up to ``match``."""
        progress = self._peers[peer]
        if match > progress.match:
            progress.match = match
            progress.next = max(progress.next, match + 1)
        if progress.next == progress.match + 1:
            progress.sent_bytes = 0
        if epoch == progress.epoch:
            progress.is_probing = False

    def on_refuse(self, peer: str, epoch: int, next_index: int) -> None:
        """The peer's log does not go as far as we thought. One refusal of each epoch counts."""
        progress = self._peers[peer]
        if epoch == progress.epoch:
            progress.rewind(min(next_index, self._log.last_index + 1))

    def skip_to(self, peer: str, index: int) -> None:
        """The peer needs nothing up to ``index`` any more: try how the log goes on from there."""
        progress = self._peers.get(peer)
        if progress is not None and progress.next <= index:
            progress.rewind(index + 1)

    def await_commit(self, peer: str, index: int) -> None:
        """The peer has clients that wait for this entry."""
        progress = self._peers.get(peer)
        if progress is not None:
            progress.awaited = index

    def push(
        self, term: int, commit: int, round_: int, now_s: float, *, is_heartbeat: bool
    ) -> None:
        """Send every peer what it lacks: entries, the commit index, a read round, a sign of life."""
        is_notice_due = now_s >= self.notice_due_s
        is_late = False  # whether somebody does not know of the commit yet
        for peer, progress in self._peers.items():
            if not progress.is_up:
                continue
            is_news = is_heartbeat or round_ > progress.sent_round
            if progress.next <= self._log.base_index:
                self._snapshots.begin_or_continue(peer, term)
                if is_news:
                    progress.sent_round = round_
                    bare = Append(term, progress.epoch, round_, 0, 0, 0, is_heartbeat, ())
                    self._send(peer, bare)
                continue
            self._push(peer, progress, (term, commit, round_), is_heartbeat=is_heartbeat)
            if commit <= progress.sent_commit and not is_news:
                continue
            if is_news or is_notice_due or progress.awaited > progress.sent_commit:
                if round_ > progress.sent_round or commit > progress.sent_commit:
                    self._append(peer, progress, (term, commit, round_), (), wants_ack=False)
            else:
                is_late = True
        if not is_late:
            self.notice_due_s = NEVER_S
        elif self.notice_due_s == NEVER_S:
            self.notice_due_s = now_s + NOTICE_S

    def _push(
        self, peer: str, progress: Progress, now: tuple[int, int, int], *, is_heartbeat: bool
    ) -> None:
        """Send entries, or a sign of life if there are none to be sent."""
        log = self._log
        while progress.next <= log.last_index and self._has_room(progress):
            rows, size = self._batch(progress.next)
            if not self._append(peer, progress, now, rows, wants_ack=True):
                return
            progress.next += len(rows)
            progress.sent_bytes += size
            is_heartbeat = False
        if is_heartbeat:
            self._append(peer, progress, now, (), wants_ack=True)

    def _has_room(self, progress: Progress) -> bool:
        in_flight = progress.next - progress.match - 1
        if progress.is_probing:
            # One append that is not answered yet is enough: its epoch tells the answer.
            return progress.sent_bytes == 0
        return in_flight < WINDOW_ENTRIES and progress.sent_bytes < WINDOW_BYTES

    def _append(
        self,
        peer: str,
        progress: Progress,
        now: tuple[int, int, int],
        rows: tuple[LogRow, ...],
        *,
        wants_ack: bool,
    ) -> bool:
        term, commit, round_ = now
        prev = progress.next - 1
        prev_term = self._log.term_at(prev)
        sent = Append(term, progress.epoch, round_, commit, prev, prev_term, wants_ack, rows)
        if not self._send(peer, sent):
            return False
        progress.sent_commit, progress.sent_round = commit, round_
        return True

    def _batch(self, start: int) -> tuple[tuple[LogRow, ...], int]:
        """Entries from ``start`` on: at least one, within the bounds of a frame if there are more."""
        found = self._log.entries(start, start + APPEND_ENTRIES_MAX)
        size = 0
        for count, (_term, command) in enumerate(found):
            size += len(command)
            if size > APPEND_BYTES_MAX and count:
                return tuple(found[:count]), size - len(command)
        return tuple(found), size
