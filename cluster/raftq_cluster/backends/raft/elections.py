"""Who may stand for election, and whose votes count.

What the library lacks: a pre-vote, so that a node that comes back deposes nobody; stickiness, so that nobody
votes against a leader who is alive; votes that are counted per voter. Votes and requests for them wait here until
term and vote are on disk.

Source: Raft, 5.2 and 6 (a live leader is not deposed), thesis 9.6 (pre-vote) and 3.10 (transfer).
"""

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Final

from raftq_cluster.backends.raft.core_api import CANDIDATE, LEADER, Log
from raftq_cluster.backends.raft.core_pysyncobj import RaftCore
from raftq_cluster.backends.raft.messages import AskPreVote, AskVote, Message, PreVote, Vote

# A follower whose connection to the leader breaks waits so long, by chance, before it asks for
# pre-votes: long enough that two seldom ask at once.
SUSPICION_MIN_S: Final = 0.02
SUSPICION_MAX_S: Final = 0.12
# Pre-votes bind nobody, so they are asked for again long before a term would have been given up: by
# then the others have noticed what this node has, or a lost connection is there again.
ASK_AGAIN_MIN_S: Final = 0.1
ASK_AGAIN_MAX_S: Final = 0.25


def is_majority(count: int, voters: int) -> bool:
    """Whether ``count`` of ``voters`` is more than half."""
    return 2 * count > voters


class Elections:
    """One node's part in elections. ``me`` is its id; ``send`` takes ``(peer, message)``.

    ``may_lead`` is asked before this node stands: a node whose clock is off does not.
    """

    def __init__(
        self,
        me: str,
        log: Log,
        send: Callable[[str, Message], bool],
        random: Callable[[], float],
        may_lead: Callable[[], bool],
    ) -> None:
        self._me = me
        self._log = log
        self._send = send
        self._random = random
        self._may_lead = may_lead
        self._voters: frozenset[str] = frozenset()
        self._pre_term = 0  # for which pre-votes are asked
        self._pre_votes: set[str] = set()
        self._vote_term = 0
        self._votes: set[str] = set()
        self._take_over_term = 0  # the leader of this term has asked us to take over
        self._forced_term = 0  # in which we stand because of that
        self._unsent: list[tuple[str, Message, int]] = []  # with the term that they are good for
        self.count = 0  # elections that this node stood for

    def set_voters(self, voters: Iterable[str]) -> None:
        """Follow the members in force."""
        self._voters = frozenset(voters)

    def take_over(self, term: int) -> None:
        """The leader of ``term`` wants this node to be the next one."""
        self._take_over_term = term

    # --- asking -------------------------------------------------------------------------------

    def may_elect(self, core: RaftCore) -> bool:
        """Decide what to do when the election timeout has passed."""
        if self._me not in self._voters:
            core.postpone_election()
            return False
        is_forced = 0 < self._take_over_term == core.term
        if not is_forced and not self._may_lead():
            core.postpone_election()
            return False
        if is_forced or len(self._voters) == 1 or self._has_pre_votes(core.term + 1):
            self.count += 1
            self._vote_term = core.term + 1
            self._votes = {self._me}
            self._take_over_term = 0
            self._forced_term = core.term + 1 if is_forced else 0
            return True
        core.postpone_election(self._between(ASK_AGAIN_MIN_S, ASK_AGAIN_MAX_S))
        self._ask_pre_votes(core)
        return False

    def _has_pre_votes(self, term: int) -> bool:
        granted = self._pre_votes & self._voters
        return self._pre_term == term and is_majority(len(granted), len(self._voters))

    def _ask_pre_votes(self, core: RaftCore) -> None:
        self._pre_term = core.term + 1
        self._pre_votes = {self._me}
        question = AskPreVote(self._pre_term, self._log.last_index, self._log.last_term)
        for voter in sorted(self._voters - {self._me}):
            self._send(voter, question)

    def on_pre_vote(self, voter: str, answer: PreVote, core: RaftCore, *, lives: bool) -> None:
        """Count a pre-vote. ``lives``: whether a leader lives as far as this node knows."""
        if answer.term > core.term:
            if not lives:
                core.step_down(answer.term)
            return
        if not answer.is_granted or core.role == LEADER or lives:
            return
        if answer.asked_term == self._pre_term == core.term + 1:
            self._pre_votes.add(voter)
            if self._has_pre_votes(self._pre_term):
                core.elect_now()

    def ask_vote(self, voter: str, term: int) -> None:
        """Ask for a vote, once our own is on disk."""
        is_forced = self._forced_term == term
        ask = AskVote(term, self._log.last_index, self._log.last_term, is_forced)
        self._unsent.append((voter, ask, term))

    def on_vote(self, voter: str, vote: Vote, core: RaftCore) -> None:
        """Count a vote, once for each voter."""
        is_mine = core.role == CANDIDATE and vote.term == core.term == self._vote_term
        if is_mine and voter in self._voters and voter not in self._votes:
            self._votes.add(voter)
            core.receive_vote(voter, vote.term)

    # --- answering ----------------------------------------------------------------------------

    def on_ask_pre_vote(
        self, candidate: str, ask: AskPreVote, core: RaftCore, *, lives: bool
    ) -> None:
        """Say whether this node would vote for the candidate; no term and no vote changes."""
        theirs = (ask.last_term, ask.last_index)
        ours = (self._log.last_term, self._log.last_index)
        is_granted = ask.term > core.term and theirs >= ours and not lives
        self._send(candidate, PreVote(ask.term, core.term, is_granted))
        if theirs < ours and not lives:
            self._stand_soon(core)  # that candidate cannot win, and this node may

    def _stand_soon(self, core: RaftCore) -> None:
        if core.due_in_s() > SUSPICION_MAX_S:
            core.postpone_election(self.suspicion_s())

    def on_ask_vote(self, candidate: str, ask: AskVote, core: RaftCore, *, lives: bool) -> None:
        """Let the core vote, unless a leader lives and did not ask for this."""
        if lives and not ask.is_forced:
            return
        if core.role == CANDIDATE and ask.term == core.term:
            self._stand_soon(core)  # split votes: perhaps nobody wins, which no message would tell
        core.receive_vote_request(candidate, ask.term, ask.last_index, ask.last_term)

    def grant(self, candidate: str, term: int) -> None:
        """Vote for a candidate, once that is on disk."""
        self._unsent.append((candidate, Vote(term), term))

    def release(self, term: int) -> None:
        """Send what waited for the disk, if (term, vote) is there."""
        if not self._unsent or not self._log.vote_is_durable:
            return
        unsent, self._unsent = self._unsent, []
        for peer, message, good_for in sorted(
            unsent, key=itemgetter(0)
        ):  # the core's order is chance
            if good_for == term:
                self._send(peer, message)

    def suspicion_s(self) -> float:
        """How long to wait after the connection to the leader broke."""
        return self._between(SUSPICION_MIN_S, SUSPICION_MAX_S)

    def _between(self, low_s: float, high_s: float) -> float:
        return low_s + (high_s - low_s) * self._random()
