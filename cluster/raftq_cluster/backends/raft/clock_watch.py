"""What a node does about clocks: it does not lead while its own is off, and follows the leader's log time.

    off, and does not lead     does not stand for election while others can
    off, and leads             hands over to a voter whose clock is not off, and leads until one takes over
    follows                    its log time is the leader's, so that a change of leader does not make time jump

A cluster is never without a leader because of it: a node that has seen no leader for ``PATIENCE_S`` stands for
election whatever its clock shows. What is known and what is off is ``clock_board``'s to say.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

from raftq_cluster.backends.raft.clock_board import OFF, OK, SPLIT, ClockBoard, Now, Verdict
from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.log_clock import LogClock
from raftq_cluster.backends.raft.transfer import HEIR_LAG_MAX

_log: Final = logging.getLogger(__name__)

# Three to six election timeouts: by then those with good clocks have had their turn.
PATIENCE_S: Final = 3.0
# The default bound: a lease is shortened by at most as much when the leader changes.
SKEW_MS_MAX: Final = 500


class ClockWatch:
    """The clocks as node ``me`` sees them. ``engine`` is set before anything is asked."""

    engine: Engine

    def __init__(
        self, me: str, clock: LogClock, monotonic: Callable[[], float], skew_ms_max: int
    ) -> None:
        self._me = me
        self._clock = clock
        self._monotonic = monotonic
        self._skew_ms_max = skew_ms_max
        self._board = ClockBoard(me, skew_ms_max)
        self.latest = Verdict({}, {})  # as of a second ago, for status
        self._led_s = monotonic()  # when a leader was known last, or this node started

    def verdict(self) -> Verdict:
        """Compare all clocks."""
        engine = self.engine
        ids = [member.id for member in engine.members]
        return self._board.judge(ids, engine.consensus.voters, self._now())

    def may_lead(self) -> bool:
        """Whether to stand for election, for all that is known of clocks."""
        self._note_leader()
        state = self.verdict().state_of(self._me)
        is_urgent = self._monotonic() - self._led_s >= PATIENCE_S
        if is_urgent and state == OFF:
            _log.warning("nobody has led for %d s: this node stands for election with a clock"
                         " that is off", PATIENCE_S)  # fmt: skip
        return state in {OK, SPLIT} or is_urgent

    def fits(self, voter: str) -> bool:
        """Whether a voter is better not passed over because of its clock."""
        return self.verdict().state_of(voter) != OFF

    def tell(self) -> dict[str, Any]:
        """What other members should know of our clocks."""
        return self._board.tell(self._now())

    def hear(self, peer: str, told: object) -> bool:
        """Take what a member tells of its clocks. Gives whether to tell it ours at once."""
        is_first = self._board.hear(peer, told, self._now())
        if peer == self.engine.consensus.leader:
            self._follow(peer)
        return is_first

    def forget(self, peer: str) -> None:
        """The connection to a member is new."""
        self._board.forget(peer)

    def _follow(self, leader: str) -> None:
        known = self._board.log_us_of(leader, self._now())
        if known is not None:
            log_us, uncertainty_us = known
            self._clock.follow(log_us * 1_000, uncertainty_us * 1_000)

    def each_second(self) -> None:
        """Say what has changed, and hand over what this node should not lead."""
        self._note_leader()
        verdict, before = self.verdict(), self.latest.state_of(self._me)
        self.latest, state = verdict, verdict.state_of(self._me)
        if state != before:
            self._tell_operator(verdict, before)
        if state == OFF and self.engine.is_leader and not self.engine.is_transferring:
            heir = self.engine.consensus.best_heir(HEIR_LAG_MAX)
            if heir and verdict.state_of(heir) == OK:
                self.engine.transfer(heir)

    def _tell_operator(self, verdict: Verdict, before: str) -> None:
        if verdict.state_of(self._me) == OFF:
            _log.error(
                "the clock of this node is off by %d ms from the other voters' (%d ms are allowed): it does"
                " not lead while others can; set its clock right",
                verdict.offsets_ms[self._me], self._skew_ms_max,
            )  # fmt: skip
        elif verdict.state_of(self._me) == SPLIT:
            apart = ", ".join(f"{id_} {ms:+d} ms" for id_, ms in verdict.offsets_ms.items())
            _log.error("no majority of the voters agrees on the time, so any may lead: %s", apart)
        elif before in {OFF, SPLIT}:
            _log.info("the clock of this node is %s again", verdict.state_of(self._me))

    def _note_leader(self) -> None:
        if self.engine.consensus.leader:
            self._led_s = self._monotonic()

    def _now(self) -> Now:
        monotonic_us = int(self._monotonic() * 1_000_000)
        return Now(monotonic_us, self._clock.wall_ns() // 1_000, self._clock.now_ns() // 1_000)
