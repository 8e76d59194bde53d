"""Faults that wait for their moment: until some node is in a state, and then a few turns more.

What is over within milliseconds (an install, a transfer, a candidacy) is met by chance too seldom. A hunt that finds
nobody in time strikes anyway, so that a run has as many faults with hunts as without.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from tests.simulation.cluster import Cluster
from tests.simulation.node import SimNode
from tests.simulation.states import is_in

PATIENCE_S: Final = 6.0
_LOOK_S: Final = 0.05  # between looks at nodes that have no turns
_TURNS: Final = (0, 0, 0, 0, 0, 1, 1, 2, 5)

Strike = Callable[[SimNode | None], None]


class Hunt:
    """One of them. ``strike`` is called once: with the node that was met, or None if none was in time.

    ``bring`` is to get some node into the state; it is called once more when half the time is over.
    """

    def __init__(
        self,
        cluster: Cluster,
        state: str,
        chance: Random,
        strike: Strike,
        bring: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._state = state
        self._strike = strike
        self._turns = chance.choice(_TURNS)
        self._met: SimNode | None = None
        self._bring: Callable[[], None] | None = bring
        self._until_ns = cluster.world.now_ns + round(PATIENCE_S * 1e9)
        cluster.hunters[self.look] = None
        self._look_round()
        bring()

    def look(self, node: SimNode) -> None:
        """A node has had a turn."""
        if self._met is None and not node.is_removed and is_in(node, self._state):
            self._met = node
        if self._met is not node:
            return
        if self._turns:
            self._turns -= 1
        else:
            self._end()

    def _look_round(self) -> None:
        """Nodes that are down, or that were met and went down, have no turns."""
        if self.look not in self._cluster.hunters:
            return
        for node in self._cluster.nodes.values():
            if not node.is_alive and self.look in self._cluster.hunters:
                self.look(node)
        if self._cluster.world.now_ns >= self._until_ns:
            self._end()
            return
        if self._bring is not None and self._met is None and self._is_late():
            bring, self._bring = self._bring, None
            bring()
        self._cluster.world.after_s(_LOOK_S, self._look_round)

    def _is_late(self) -> bool:
        return self._cluster.world.now_ns >= self._until_ns - PATIENCE_S / 2 * 1e9

    def _end(self) -> None:
        if self._cluster.hunters.pop(self.look, self) is None:
            # Not in the middle of the node's turn.
            self._cluster.world.after_s(0.0, lambda: self._strike(self._met))
