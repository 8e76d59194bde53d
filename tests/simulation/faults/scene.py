"""Where faults happen: the cluster, who is hit, and what ends by itself after a while."""

from collections.abc import Callable
from random import Random

from tests.simulation.cluster import Cluster
from tests.simulation.coverage import states_of
from tests.simulation.node import SimNode


class Scene:
    """One cluster under faults. Once ``is_over``, nothing begins any more, and ``mend`` makes all well."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.is_over = False
        self.met: tuple[SimNode, list[str]] | None = None  # who was chosen last, in which states

    def choose(self, node: SimNode) -> SimNode:
        """Remember in which states a fault meets its victim."""
        self.met = (node, states_of(node))
        return node

    def members(self) -> list[SimNode]:
        """Those that take part, or should."""
        ids = set(self.cluster.member_ids())
        return [node for node in self.cluster.nodes.values()
                if node.name in ids and not node.is_removed]  # fmt: skip

    def victim(self, chance: Random) -> SimNode:
        """Who is hit: more often the leader than anybody else."""
        leader = self.cluster.leader
        if leader is not None and chance.random() < 0.4:
            return self.choose(leader)
        return self.choose(chance.choice(self.members()))

    def pair(self, chance: Random) -> tuple[SimNode, SimNode]:
        one, other = chance.sample(self.members(), 2)
        return self.choose(one), other

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Let something happen after a while, unless all was mended before."""
        self.world.after_s(seconds, lambda: None if self.is_over else action())

    def others(self, node: SimNode) -> list[SimNode]:
        return [other for other in self.cluster.nodes.values() if other is not node]
