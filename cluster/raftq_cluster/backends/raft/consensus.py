"""Raft between this node and its peers: the library's core, and everything around it that keeps it safe.

Takes the messages of peers, lets through to the core what the core can be trusted with, and sends what a round
has to send. An acknowledgement says what is on disk, never what was merely written. Knows segments, tasks
and files not at all; ``engine`` says when.

    message --> filter --> core --> what to send --.
                                                   '--> appends, read rounds: at once
                                                        acknowledgements, votes: when they are on disk

Source: Raft, figure 2; ``DESIGN.md`` has what was wrong with the core, and which of these lines cures it.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from raftq_cluster.backends.raft.append_filter import judge
from raftq_cluster.backends.raft.commands import Member
from raftq_cluster.backends.raft.core_pysyncobj import RaftCore
from raftq_cluster.backends.raft.elections import Elections, is_majority
from raftq_cluster.backends.raft.member_log import MemberLog
from raftq_cluster.backends.raft.membership import Listed
from raftq_cluster.backends.raft.messages import (
    Ack,
    Append,
    AskPreVote,
    AskRead,
    AskVote,
    Heard,
    Message,
    PreVote,
    ReadAt,
    Refuse,
    Stale,
    TimeoutNow,
    Vote,
)
from raftq_cluster.backends.raft.reads import Reads
from raftq_cluster.backends.raft.replication import Replication, Snapshots
from raftq_cluster.backends.raft.storage.errors import StorageFullError
from raftq_cluster.backends.raft.surroundings import Surroundings

_NOT_COUNTED: Final = (-1, -1)  # (durable index, acknowledgements) when commits were counted last


class TwoLeadersError(Exception):
    """What Raft rules out has happened: this node must stop."""


class Consensus:
    """One member. ``send`` takes ``(peer, message)`` and says whether it was taken."""

    def __init__(
        self,
        me: str,
        log: MemberLog,
        send: Callable[[str, Message], bool],
        snapshots: Snapshots,
        surroundings: Surroundings,
    ) -> None:
        self.me = me
        self._log = log
        self._send = send
        self._monotonic = surroundings.monotonic
        self._timing = surroundings.timing
        self._fits = surroundings.fits
        self.core = RaftCore(
            me,
            log,
            self,
            timing=surroundings.timing,
            monotonic=surroundings.monotonic,
            random=surroundings.random.random,
        )
        self.reads = Reads(send)
        self.elections = Elections(me, log, send, surroundings.random.random, surroundings.may_lead)
        self.replication = Replication(log, send, snapshots)
        self._up: set[str] = set()
        self.leading_term = 0  # of the leadership that the tables are about; 0: none
        self._is_heartbeat_due = False
        self._counted = _NOT_COUNTED
        self._acks = 0
        self.voters = _voters(log.members)  # ids of those in force
        self._is_alone = self.voters == [me]
        self.has_news = False  # an answer of a peer has something for a round to do
        self._sees_leader_s = -float("inf")  # when the leader of this term was heard last
        # --- as a follower of the leader of ``_following_term``
        self._following_term = 0
        self._verified = 0  # up to here the log is the leader's
        self._acked = 0
        self._append: Append | None = None  # the last one of this term
        self._is_owed = False  # it has no answer yet
        self._heard_round = 0
        self._commit = 0  # known to be committed, and verified to be in this log
        self.handlers: Final = self._handler_table()

    def _handler_table(self) -> dict[type[Any], Callable[[str, Any], None]]:
        return {
            Append: self._on_append,
            Ack: self._on_ack,
            Refuse: self._on_refuse,
            Heard: self._on_heard,
            Stale: self._on_stale,
            AskPreVote: self._on_ask_pre_vote,
            PreVote: self._on_pre_vote,
            AskVote: self._on_ask_vote,
            Vote: self._on_vote,
            TimeoutNow: self._on_timeout_now,
            AskRead: self._on_ask_read,
            ReadAt: self._on_read_at,
        }

    # --- what others ask ----------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """Whether this node leads, as far as it knows."""
        return self.core.is_leader

    @property
    def leader(self) -> str:
        """The leader of this term, "" while none is known or it has been silent for long."""
        if self.is_leader:
            return self.me
        return self.core.leader if self.lives() else ""

    @property
    def term(self) -> int:
        """The current term."""
        return self.core.term

    @property
    def is_term_durable(self) -> bool:
        """Whether this term is on disk: only then what an earlier one has left in the log may be cut."""
        return self._log.vote_is_durable

    @property
    def is_alone(self) -> bool:
        """Whether this node is the only voter."""
        return self._is_alone

    @property
    def awaits_peers(self) -> bool:
        """Whether this leader can commit nothing more, whatever its own disk has, before a peer answers."""
        is_led = bool(self.leading_term) and not self.is_alone
        return is_led and not self.replication.goes_beyond(self.core.commit_index)

    def is_live(self, peer: str) -> bool:
        """Whether a peer is connected and has answered this leader within an election timeout."""
        progress = self.replication.of(peer)
        since_s = self._monotonic() - self._timing.election_min_s
        return progress is not None and progress.is_up and progress.heard_s >= since_s

    def lives(self) -> bool:
        """Whether a leader lives: for a follower, heard of lately; for a leader, heard by a majority."""
        if self.is_leader:
            live = sum(peer == self.me or self.is_live(peer) for peer in self.voters)
            return is_majority(live, len(self.voters))
        silent_s = self._monotonic() - self._sees_leader_s
        return bool(self.core.leader) and silent_s < self._timing.election_min_s

    def match_of(self, peer: str) -> int:
        """Up to where a peer's log is known to equal this leader's, on its disk."""
        progress = self.replication.of(peer)
        return 0 if progress is None else progress.match

    def held(self) -> tuple[int, int] | None:
        """``(term, index)``: so far the log is the leader's, on disk, in this term.

        None while the term is not on disk. Neither goes back, unless the disk is another one's or an older one.
        """
        log, term = self._log, self.core.term
        if not log.vote_is_durable:
            return None
        verified = self._verified if self._following_term == term else 0
        return term, log.durable_index if self.is_leader else min(verified, log.durable_index)

    def log_end(self) -> tuple[int, int]:
        """The term, and the last index of the log."""
        return self.core.term, self._log.last_index

    def best_heir(self, lag_max: float = float("inf")) -> str:
        """The live voter whose log goes furthest, "" if none lacks at most ``lag_max`` entries; a bad clock comes last."""
        since = self._log.last_index - lag_max
        live = [voter for voter in self.voters
                if self.is_live(voter) and self.match_of(voter) >= since]  # fmt: skip
        return max(live, key=lambda voter: (self._fits(voter), self.match_of(voter)), default="")

    # --- the round ----------------------------------------------------------------------------

    def tick(self) -> None:
        """Elections, commits, step-down. The core is asked only when it may have something to do."""
        core = self.core
        core.raise_commit(self._commit)
        if self.leading_term:
            counted = (self._log.durable_index, self._acks)
            is_due = counted != self._counted
            self._counted = counted
        else:
            is_due = False
        if is_due or core.due_in_s() <= 0:
            core.tick()
        self.note_leadership()

    def finish_election(self) -> None:
        """Begin a leadership that waited for the disk."""
        self.core.finish_election()
        self.note_leadership()

    def note_leadership(self) -> None:
        """Begin or end what belongs to a leadership."""
        term = self.core.term if self.is_leader else 0
        if term == self.leading_term:
            return
        self.leading_term = term
        self._counted = _NOT_COUNTED
        self.reads.end_leadership()
        if term:
            self.replication.begin(self._peers(), self._up.__contains__, self._monotonic())
            self._append = None
        else:
            self.replication.end()

    def resume_at(self, index: int) -> None:
        """A snapshot of ``index`` was installed: the log up to there is the leader's."""
        self._commit = max(self._commit, index)
        self._verified = max(self._verified, index)
        self._is_owed = True

    def send_round(self) -> None:
        """Send what this round has to send."""
        if self.is_leader:
            self._send_as_leader()
        else:
            self._send_ack()
            if self.reads.is_waiting and (leader := self.leader):
                self.reads.ask(leader, self._monotonic())
        self.elections.release(self.core.term)

    def _send_as_leader(self) -> None:
        core, reads = self.core, self.reads
        if reads.is_waiting and core.commit_index >= core.noop_index:
            reads.begin_round(core.commit_index)
        self.replication.push(
            core.term,
            core.commit_index,
            reads.round,
            self._monotonic(),
            is_heartbeat=self._is_heartbeat_due,
        )
        self._is_heartbeat_due = False
        self.confirm_reads()

    def confirm_reads(self) -> None:
        """Answer the reads of rounds of which a majority has heard."""
        if not self.reads.is_waiting:
            return
        rounds = [self.reads.round if peer == self.me else self._round_of(peer)
                  for peer in self.voters]  # fmt: skip
        rounds.sort(reverse=True)
        self.reads.confirm(rounds[len(rounds) // 2])

    def _round_of(self, peer: str) -> int:
        progress = self.replication.of(peer)
        return 0 if progress is None else progress.round

    def _send_ack(self) -> None:
        """Acknowledge what is verified and on disk, when that is news or the leader waits for it."""
        log, append = self._log, self._append
        if append is None or append.term != self.core.term or not log.vote_is_durable:
            return
        match = min(self._verified, log.durable_index)
        if match > self._acked or (self._is_owed and match == self._verified):
            self._acked = match
            self._is_owed = match < self._verified
            self._send(self.core.leader, Ack(append.term, append.epoch, append.round, match))

    # --- connections and members --------------------------------------------------------------

    def on_up(self, peer: str) -> None:
        """A new connection to a peer."""
        self._up.add(peer)
        self.replication.on_up(peer)

    def on_down(self, peer: str, *, is_ours: bool) -> bool:
        """A connection was lost; ``is_ours``: the one on which this node sends.

        Tells whether the election timeout has changed.
        """
        if is_ours:
            self._up.discard(peer)
            self.replication.on_down(peer)
        if self.is_leader or peer != self.core.leader:
            return False
        # One broken link alone elects nobody: the others refuse their pre-votes.
        self._sees_leader_s = -float("inf")
        self.core.postpone_election(self.elections.suspicion_s())
        return True

    def follow_members(self) -> None:
        """The members in force have changed."""
        members = self._log.members
        self.voters = _voters(members)
        self._is_alone = self.voters == [self.me]
        others = [member for member in members if member.id != self.me]
        self.core.set_members(
            [member.id for member in others if member.voter],
            [member.id for member in others if not member.voter],
        )
        self.elections.set_voters(self.voters)
        self._counted = _NOT_COUNTED  # what is a majority may have changed
        if self.leading_term:
            self.replication.set_peers(self._peers(), self._up.__contains__, self._monotonic())

    def _peers(self) -> list[str]:
        return [member.id for member in self._log.members if member.id != self.me]

    @property
    def member_lists(self) -> tuple[Listed, ...]:
        """The member lists of the log; see ``MemberLog.lists``."""
        return self._log.lists

    def member(self, peer: str) -> Member | None:
        """A member in force."""
        return next((item for item in self._log.members if item.id == peer), None)

    # --- messages: appends and their answers ----------------------------------------------------

    def _on_append(self, leader: str, append: Append) -> None:
        core = self.core
        if append.term < core.term:
            self._send(leader, Stale(core.term))
            return
        if append.term == core.term and core.is_leader:
            raise TwoLeadersError(f"{leader} leads term {core.term} too")
        if append.term != self._following_term:
            self._follow(append.term)
        verdict = judge(self._log, core.commit_index, append)
        rows = verdict.rows
        if rows and not (self._may_cut(append.term, verdict.prev_index) and self._has_room(rows)):
            # The leader hears of us, but of no progress; its next heartbeat finds the gap and asks again.
            rows, verdict = (), verdict._replace(verified=0)
        commit = min(append.commit, verdict.verified)
        core.receive_append(
            leader, append.term, commit, (verdict.prev_index, verdict.prev_term), rows
        )
        self.note_leadership()
        self._sees_leader_s = self._monotonic()
        self._commit = max(self._commit, commit)
        self._answer(leader, append, verdict.verified, verdict.next)

    def _follow(self, term: int) -> None:
        self._following_term = term
        self._verified = self._acked = self._heard_round = 0
        self._append = None

    def _may_cut(self, term: int, prev_index: int) -> bool:
        """Whether what lies behind ``prev_index`` may give way to what a leader of ``term`` has.

        Not before that term is on disk. A power cut could leave the log short and the term forgotten: of a term in
        which this node has told that it holds more (``pasts``), and would be taken for an older copy of itself.
        """
        is_cut = prev_index < self._log.last_index
        return not is_cut or (term == self.core.term and self.is_term_durable)

    def _has_room(self, rows: tuple[tuple[int, bytes], ...]) -> bool:
        try:
            self._log.reserve(sum(len(command) for _term, command in rows), len(rows))
        except StorageFullError:
            return False
        return True

    def _answer(self, leader: str, append: Append, verified: int, next_index: int) -> None:
        self._verified = max(self._verified, verified)
        is_waiting = self._verified > self._log.durable_index
        if append.round > self._heard_round or (
            is_waiting and append.wants_ack and not append.rows
        ):
            # A read, or a sign of life, does not wait for a disk.
            self._heard_round = append.round
            self._send(leader, Heard(append.term, append.round))
        if next_index:
            self._send(leader, Refuse(append.term, append.epoch, append.round, next_index))
        else:
            self._append = append
            self._is_owed = self._is_owed or append.wants_ack

    def _on_ack(self, peer: str, ack: Ack) -> None:
        if not self._is_answer(peer, ack.term):
            return
        if ack.match > self._log.last_index:
            raise TwoLeadersError(f"{peer} acknowledges entry {ack.match}, which is not in the log")
        self._note_round(peer, ack.round)
        self.replication.on_ack(peer, ack.epoch, ack.match)
        self.core.receive_ack(peer, ack.match)
        self._acks += 1
        progress = self.replication.of(peer)
        assert progress is not None
        is_for_commit = ack.match > self.core.commit_index
        if is_for_commit or progress.next <= self._log.last_index or self.reads.is_waiting:
            self.has_news = True

    def _on_refuse(self, peer: str, refuse: Refuse) -> None:
        if self._is_answer(peer, refuse.term):
            self._note_round(peer, refuse.round)
            self.replication.on_refuse(peer, refuse.epoch, refuse.next)
            self.core.heard_from(peer)

    def _on_heard(self, peer: str, heard: Heard) -> None:
        if self._is_answer(peer, heard.term):
            self._note_round(peer, heard.round)
            self.core.heard_from(peer)

    def _is_answer(self, peer: str, term: int) -> bool:
        """Whether this is about our leadership: an answer of an older one must not count."""
        is_ours = bool(self.leading_term) and term == self.leading_term == self.core.term
        return is_ours and self.replication.of(peer) is not None

    def _note_round(self, peer: str, round_: int) -> None:
        progress = self.replication.of(peer)
        assert progress is not None
        progress.heard_s = self._monotonic()
        progress.round = max(progress.round, round_)

    def _on_stale(self, peer: str, stale: Stale) -> None:
        if stale.term > self.core.term and self.member(peer) is not None:
            self.core.step_down(stale.term)
            self.note_leadership()

    # --- messages: elections ------------------------------------------------------------------

    def _on_ask_pre_vote(self, candidate: str, ask: AskPreVote) -> None:
        self.elections.on_ask_pre_vote(candidate, ask, self.core, lives=self.lives())

    def _on_pre_vote(self, voter: str, answer: PreVote) -> None:
        self.elections.on_pre_vote(voter, answer, self.core, lives=self.lives())

    def _on_ask_vote(self, candidate: str, ask: AskVote) -> None:
        self.elections.on_ask_vote(candidate, ask, self.core, lives=self.lives())
        self.note_leadership()

    def _on_vote(self, voter: str, vote: Vote) -> None:
        self.elections.on_vote(voter, vote, self.core)
        self.note_leadership()

    def _on_timeout_now(self, leader: str, message: TimeoutNow) -> None:
        if message.term == self.core.term and leader == self.core.leader:
            self.elections.take_over(message.term)
            self.core.receive_timeout_now(leader, message.term)

    # --- messages: reads ----------------------------------------------------------------------

    def _on_ask_read(self, peer: str, question: AskRead) -> None:
        if self.is_leader:
            self.reads.on_question(peer, question)

    def _on_read_at(self, _peer: str, answer: ReadAt) -> None:
        self.reads.on_answer(answer.number, answer.read_index)

    # --- for the core (Shell) -----------------------------------------------------------------

    def may_elect(self) -> bool:
        """Whether to stand for election now."""
        return self.elections.may_elect(self.core)

    def heartbeat(self) -> None:
        """The next round tells every peer."""
        self._is_heartbeat_due = True

    def ask_vote(self, voter: str, term: int) -> None:
        """Ask for a vote once ours is on disk."""
        self.elections.ask_vote(voter, term)

    def grant_vote(self, candidate: str, term: int) -> None:
        """Send a vote once it is on disk."""
        self.elections.grant(candidate, term)


def _voters(members: Iterable[Member]) -> list[str]:
    return [member.id for member in members if member.voter]
