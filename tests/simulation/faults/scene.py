"""Where faults happen: the cluster, who is hit, and what ends by itself after a while."""

from collections.abc import Callable
from random import Random

from tests.simulation.cluster import Cluster
from tests.simulation.node import SimNode
from tests.simulation.states import states_of


class Scene:
    """One cluster under faults. Once ``is_over``, nothing begins any more, and ``mend`` makes all well."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.is_over = False
        self._met: list[str] | None = None  # the states of who was chosen last
        self.aim: SimNode | None = None  # who is to be hit, if that was chosen already

    def take_aim(self, node: SimNode | None) -> None:
        """Before a fault: whom it is to hit, None if it may choose."""
        self._met, self.aim = None, node

    def hit(self) -> list[str] | None:
        """After a fault: in which states it has met whom it has hit, None if nobody."""
        self.aim = None
        return self._met

    def choose(self, node: SimNode) -> SimNode:
        """Remember in which states a fault meets its victim."""
        self._met = states_of(node)
        return node

    def spare(self) -> None:
        """Nobody is hit after all."""
        self._met = None

    def members(self) -> list[SimNode]:
        """Those that take part, or should; while nobody runs who knows, all that were not removed."""
        ids = set(self.cluster.member_ids())
        there = [node for node in self.cluster.nodes.values() if not node.is_removed]
        return [node for node in there if node.name in ids] or there

    def victim(self, chance: Random) -> SimNode:
        """Who is hit: who was aimed at, and else more often the leader than anybody else."""
        if self.aim is not None:
            return self.choose(self.aim)
        leader = self.cluster.leader
        if leader is not None and chance.random() < 0.4:
            return self.choose(leader)
        return self.choose(chance.choice(self.members()))

    def pair(self, chance: Random) -> tuple[SimNode, SimNode]:
        one, other = self.shuffled(chance)[:2]
        return self.choose(one), other

    def shuffled(self, chance: Random) -> list[SimNode]:
        """All members in any order, but for who is aimed at: that one is the first."""
        nodes = self.members()
        chance.shuffle(nodes)
        if self.aim is not None:
            nodes = [self.aim, *(node for node in nodes if node is not self.aim)]
        return nodes

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Let something happen after a while, unless all was mended before."""
        self.world.after_s(seconds, lambda: None if self.is_over else action())

    def others(self, node: SimNode) -> list[SimNode]:
        return [other for other in self.cluster.nodes.values() if other is not node]
