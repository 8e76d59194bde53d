"""Continuous verification: nodes tell each other the chain of what they have applied, and compare.

Ten times a second at most, and once a second if nothing happens, a node tells all members its chain at the index that it
has applied. Whoever hears one compares it with its own at that index, which it remembers or will reach. Chains that
differ once differ for ever, so comparing now and then misses nothing.

    Chain(i, c) --> c is ours at i: verified
                    it is not:      ask all for theirs at one index j --> AskChain(j)
                                    their answers, Chain(j, c), decide who is odd: ``odd_one``

Every node decides about itself alone: the odd one stops, the others say in their logs that it should. Knows nothing of
how a chain is made (``core.chain``) nor of how a node stops.
"""

import logging
from collections.abc import Callable
from typing import Final

from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.messages import AskChain, Chain
from raftq_cluster.backends.raft.odd_one import AGREES, ODD, Difference, judge
from raftq_cluster.backends.raft.replica import Replica

_log: Final = logging.getLogger(__name__)

TELL_S: Final = 0.1
TELL_IDLE_S: Final = 1.0
# For all members to answer about one index; a node that has not by then is not waited for.
INQUIRY_S: Final = 1.0


class ChainWatch:
    """Compares one node, ``me``, with the others. ``on_odd`` is told once, when this node must stop."""

    def __init__(
        self,
        me: str,
        engine: Engine,
        replica: Replica,
        monotonic: Callable[[], float],
        on_odd: Callable[[Difference], None],
    ) -> None:
        self._me = me
        self._engine = engine
        self._replica = replica
        self._monotonic = monotonic
        self._on_odd = on_odd
        self.comparisons = 0
        self.verified: dict[str, int] = {}  # by member: up to here its chain is ours
        self._told_index = 0
        self._told_s = -float("inf")
        self._ahead: dict[str, Chain] = {}  # told of entries that are not applied here yet
        self._asked: dict[str, int] = {}  # entries not applied here yet whose chain a member wants
        self._inquiry: int | None = None  # the entry about which all were asked, if one is open
        self._asking = replica.machine  # whose chain is in question
        self._said: dict[str, int] = {}
        self._inquired_s = -float("inf")
        engine.on(Chain, self._on_chain)
        engine.on(AskChain, self._on_ask)

    @property
    def verified_index(self) -> int:
        """The last index at which a member's chain was seen to be this node's."""
        return max(self.verified.values(), default=0)

    def verified_of(self, node: str) -> int:
        """Up to which entry a member's chain is this node's; of this node itself, another member's is."""
        return self.verified_index if node == self._me else self.verified.get(node, 0)

    def applied(self) -> None:
        """Entries were applied: compare what waited for them, and tell, if it is time."""
        if self._ahead or self._asked:
            self._catch_up()
        if self._monotonic() - self._told_s >= TELL_S:
            self._tell()

    def tick(self) -> None:
        """Once a second or more often: tell again, and end an inquiry that not all have answered."""
        now_s = self._monotonic()
        if now_s - self._told_s >= (
            TELL_IDLE_S if self._told_index == self._replica.index else TELL_S
        ):
            self._tell()
        if self._inquiry is not None and now_s - self._inquired_s >= INQUIRY_S:
            self._decide(is_over=True)
            self._inquiry = None

    def _tell(self) -> None:
        replica = self._replica
        self._told_index, self._told_s = replica.index, self._monotonic()
        chain = Chain(replica.index, replica.machine.chain)
        for peer in self._others():
            self._engine.send(peer, chain)

    def _others(self) -> list[str]:
        return [member.id for member in self._engine.members if member.id != self._me]

    def _catch_up(self) -> None:
        index = self._replica.index
        for peer, told in list(self._ahead.items()):
            if told.entry <= index:
                del self._ahead[peer]
                self._compare(peer, told)
        for peer, asked in list(self._asked.items()):
            if asked <= index:
                del self._asked[peer]
                self._answer(peer, asked)

    # --- comparing --------------------------------------------------------------------------------

    def _on_chain(self, peer: str, told: Chain) -> None:
        if told.entry == self._inquiry:
            self._said[peer] = told.chain
            self._decide(is_over=False)
        if told.entry <= self._replica.index:
            self._compare(peer, told)
        else:
            # The first one is kept until it is reached: a node that is far behind would reach no later one.
            self._ahead.setdefault(peer, told)

    def _compare(self, peer: str, told: Chain) -> None:
        ours = self._replica.chain_at(told.entry)
        if ours is None:
            return  # too long ago, or before the snapshot that this node came from
        self.comparisons += 1
        if ours == told.chain:
            self.verified[peer] = max(self.verified.get(peer, 0), told.entry)
        elif self._inquiry is None and self._monotonic() - self._inquired_s >= INQUIRY_S:
            _log.error("the state of node %s differs from ours at entry %d", peer, told.entry)
            self._inquire()

    # --- who is odd -------------------------------------------------------------------------------

    def _inquire(self) -> None:
        """Ask all for their chain at one index; a difference that was there before is there still."""
        self._inquiry, self._inquired_s = self._replica.index, self._monotonic()
        self._asking = self._replica.machine
        self._said = {self._me: self._asking.chain}
        for peer in self._others():
            self._engine.send(peer, AskChain(self._inquiry))

    def _on_ask(self, peer: str, question: AskChain) -> None:
        if question.entry <= self._replica.index:
            self._answer(peer, question.entry)
        else:
            self._asked[peer] = question.entry

    def _answer(self, peer: str, index: int) -> None:
        chain = self._replica.chain_at(index)
        if chain is not None:
            self._engine.send(peer, Chain(index, chain))

    def _decide(self, *, is_over: bool) -> None:
        assert self._inquiry is not None
        if self._replica.machine is not self._asking:
            self._inquiry = None  # a snapshot of the leader has taken the state's place: it is gone
            return
        consensus = self._engine.consensus
        voters, leader = consensus.voters, consensus.leader
        verdict, is_by_majority = judge(self._me, self._said, voters, leader, is_over=is_over)
        if verdict == AGREES:
            odd = [node for node, chain in self._said.items() if chain != self._said[self._me]]
            if odd:
                names = " and ".join(sorted(odd))
                _log.error("node %s has another state than this one, and should stop", names)
                self._inquiry = None
        elif verdict == ODD:
            said = {node: f"{chain:016x}" for node, chain in self._said.items()}
            entry, self._inquiry = self._inquiry, None
            for peer in self._others():  # they see why this node is gone
                self._engine.send(peer, Chain(entry, self._said[self._me]))
            self._on_odd(
                Difference("chain of effects", entry, said, tuple(voters), leader, is_by_majority)
            )
