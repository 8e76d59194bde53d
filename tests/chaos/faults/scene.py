"""Where faults happen: the cluster and its network, who is hit, and for how long."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Final

from tests.chaos.cluster import ChaosCluster, Node
from tests.chaos.networks.api import Link, Slow
from tests.support.node_process import NodeFailedError

HOLD_S: Final = (2.5, 6.0)  # several elections, and longer than most leases
_STARTS: Final = 3  # a node whose disk was full may not start before it is drained


class NobodyError(Exception):
    """There is nobody whom the fault could hit at the moment."""


class Scene:
    """One round under faults. Several may be on at once: cuts add up, a node is in one fault's hands only."""

    def __init__(self, cluster: ChaosCluster, note: Callable[[str], None]) -> None:
        self.cluster = cluster
        self.note = note
        self.is_over = asyncio.Event()
        self._cuts: Counter[Link] = Counter()
        self._slow: dict[str, Slow] = {}

    # --- who is hit -----------------------------------------------------------------------------

    def members(self) -> list[Node]:
        """All nodes, in order."""
        return list(self.cluster.nodes.values())

    def places(self) -> list[str]:
        """Where they are."""
        return [node.place for node in self.members()]

    async def leader_place(self) -> str:
        """Where the leader is.

        Raises:
            NobodyError: nobody leads.
        """
        leader = await self.cluster.leader()
        if not leader:
            raise NobodyError("nobody leads")
        return self.cluster.place_of(leader)

    async def victim_place(self, chance: Random) -> str:
        """Where somebody is: more often the leader than anybody else."""
        leader = await self.cluster.leader()
        if leader and chance.random() < 0.5:
            return self.cluster.place_of(leader)
        return chance.choice(self.places())

    @asynccontextmanager
    async def victim(self, chance: Random) -> AsyncIterator[Node]:
        """Somebody who runs and is in no other fault's hands.

        Raises:
            NobodyError: there is nobody.
        """
        leader = await self.cluster.leader()
        free = [node for node in self.members() if node.is_meant and not node.is_busy]
        if not free:
            raise NobodyError("no node is free")
        leading = [node for node in free if node.id == leader]
        node = leading[0] if leading and chance.random() < 0.5 else chance.choice(free)
        node.is_busy = True
        self.note(f"hits {node.id}{' (leader)' if node.id == leader else ''}")
        try:
            yield node
        finally:
            node.is_busy = False

    @asynccontextmanager
    async def everybody(self) -> AsyncIterator[list[Node]]:
        """All who run and are in no other fault's hands.

        Raises:
            NobodyError: there is nobody.
        """
        nodes = [node for node in self.members() if node.is_meant and not node.is_busy]
        if not nodes:
            raise NobodyError("no node is free")
        for node in nodes:
            node.is_busy = True
        try:
            yield nodes
        finally:
            for node in nodes:
                node.is_busy = False

    async def bring_back(self, node: Node) -> None:
        """Start a node again, however long it takes while others are away."""
        for _ in range(_STARTS):
            if node.is_meant or node.id not in self.cluster.nodes:
                return
            with suppress(NodeFailedError):
                await self.cluster.start(node.id)

    # --- for how long, and what -----------------------------------------------------------------

    async def hold(self, seconds: float) -> None:
        """Let it be as it is for a while, or until the round is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.is_over.wait(), seconds)

    @asynccontextmanager
    async def cut(self, links: Iterable[Link]) -> AsyncIterator[None]:
        """Nothing goes in these directions meanwhile."""
        links = list(links)
        self.note(f"cuts {', '.join(f'{source}>{target}' for source, target in links)}")
        self._cuts.update(links)
        await self._apply_cuts()
        try:
            yield
        finally:
            self._cuts.subtract(links)
            await self._apply_cuts()

    async def _apply_cuts(self) -> None:
        await self.cluster.network.set_cuts(
            {link for link, count in self._cuts.items() if count > 0}
        )

    @asynccontextmanager
    async def slow(self, places: Mapping[str, Slow]) -> AsyncIterator[None]:
        """These places are slow meanwhile."""
        self.note(f"slows {', '.join(f'{place} {tuple(slow)}' for place, slow in places.items())}")
        self._slow.update(places)
        await self.cluster.network.set_slow(self._slow)
        try:
            yield
        finally:
            for place in places:
                self._slow.pop(place, None)
            await self.cluster.network.set_slow(self._slow)


def both_ways(one: Collection[str], other: Collection[str]) -> list[Link]:
    """Every direction between two groups."""
    there = [(first, second) for first in one for second in other]
    return there + [(second, first) for first, second in there]


def hold_s(chance: Random) -> float:
    """How long a fault lasts."""
    return chance.uniform(*HOLD_S)
