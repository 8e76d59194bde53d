"""The machines of one simulation, and those who look after them: a supervisor and an operator.

The operator is a program outside of the nodes. It changes members and moves the leadership through the same
interface as ``raftq cluster`` does, and tries again when it was not told that it is done.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

from raftq_cluster.backends.api import (
    AddMember,
    BackendError,
    MemberChange,
    RemoveMember,
    ReplaceMember,
    TransferLeadership,
)
from raftq_cluster.backends.raft.commands import Member
from raftq_cluster.backends.raft.formation import Initial, Join
from raftq_cluster.backends.raft.upkeep import Bounds
from tests.simulation.checkers.raft_rules import Raft
from tests.simulation.clock import ProcessClock
from tests.simulation.coverage import Coverage
from tests.simulation.judge import Judge
from tests.simulation.network import Fabric
from tests.simulation.node import SimNode
from tests.simulation.probes import Probes
from tests.simulation.process import ProcessLoop
from tests.simulation.world import World

NODES_MAX: Final = 20  # machines, as long as there are faults
# One that is damaged for good leaves a majority of three, and of no fewer.
VOTERS_MIN: Final = 3
LET_IN_TRIES: Final = 30
REFUSED: Final = "refused"
ORDER_S: Final = 12.0  # the operator's patience with one node


def _bounds(chance: Random) -> tuple[Bounds, int]:
    """Small bounds, so that snapshots, compaction and installs happen within a minute; and a segment's bytes."""
    bounds = Bounds(
        bytes_between_min=chance.choice((12, 24, 48, 96)) << 10,
        entries_kept=chance.choice((0, 10, 60, 200)),
        bytes_kept=chance.choice((8, 64)) << 10,
        bytes_lagging=chance.choice((0, 0, 32 << 10, 64 << 20)),
    )
    return bounds, chance.choice((8, 32)) << 10


class Cluster:
    """Nodes by name; ``leader`` and the like are as the simulation sees them, not any node."""

    def __init__(self, world: World, count: int) -> None:
        self.world = world
        self.judge = Judge(world.note)
        self.coverage = Coverage()
        self.fabric = Fabric(world)
        self.raft = Raft(self.judge.blame)
        self.probes = Probes(self.raft)
        self.raft.on_disk = lambda name, index, term: (
            name in self.probes.written and self.probes.written[name].has_on_disk(index, term)
        )
        self.graveyard: list[Any] = []
        self.nodes: dict[str, SimNode] = {}
        self.size = count
        self.operator = ProcessLoop(world, ProcessClock(world), "operator", self.judge.blame)
        self.chance = world.random("operator")
        self.orders = 0
        self._going: set[str] = set()  # whose removal was ordered: it may take effect late
        self.is_closing = False  # nothing new is begun
        self.on_new_node: Callable[[SimNode], None] = lambda _node: None
        self.hunters: dict[Callable[[SimNode], None], None] = {}  # told of each turn of a node
        self.clock_spread_ns = 0
        self.bounds, self.segment_bytes = _bounds(world.random("bounds"))
        names = [f"n{number + 1}" for number in range(count)]
        addresses = {name: f"127.0.0.1:{7000 + place}" for place, name in enumerate(names)}
        for name in names:
            self.nodes[name] = SimNode(self, name, Initial(addresses))
        self._members = [Member(name, "", voter=True, birth="") for name in names]

    def watch(self, node: SimNode) -> Callable[[Exception | None], None]:
        return self.probes.watch_sync(node)

    def turned(self, node: SimNode) -> None:
        """A node has had a turn."""
        for hunter in list(self.hunters):
            hunter(node)

    # --- who is what ----------------------------------------------------------------------------

    def alive(self) -> list[SimNode]:
        return [node for node in self.nodes.values() if node.is_alive]

    @property
    def leader(self) -> SimNode | None:
        leading = [node for node in self.alive()
                   if node.engine is not None and node.engine.core.role == "leader"]  # fmt: skip
        return max(leading, key=lambda node: node.engine.core.term, default=None)

    def members(self) -> list[Member]:
        """The members in force at the leader, or at whoever knows the newest list; while nobody runs, as they were."""
        leader = self.leader
        if leader is not None:
            self._members = list(leader.engine.members)
        else:
            known = [node.engine for node in self.alive() if node.engine is not None]
            newest = max(known, key=lambda engine: engine.config_index, default=None)
            if newest is not None:
                self._members = list(newest.members)
        return list(self._members)

    def member_ids(self) -> list[str]:
        return [member.id for member in self.members()]

    def staying_voters(self) -> list[str]:
        """Voters that remain some whatever comes of orders under way and of lists not committed yet."""
        staying = {member.id for member in self.members() if member.voter} - self._going
        for node in self.alive():
            if node.engine is not None:
                staying &= {member.id for member in node.engine.members if member.voter}
        return sorted(staying)

    def may_damage(self) -> bool:
        """Whether one member may be lost for good: one at a time, and never the quorum with it."""
        leader = self.leader
        if leader is None or leader.engine.config_index > leader.engine.core.commit_index:
            return False
        known = [member.id for node in self.alive() if node.engine is not None
                 for member in node.engine.members]  # fmt: skip
        is_only = not any(self.nodes[name].is_damaged for name in known)
        return is_only and len(self.staying_voters()) >= VOTERS_MIN

    def note_removed(self, node: SimNode, sentence: str) -> None:
        """A node says that it was removed: then a committed list must be without it."""
        leader = self.leader
        if leader is not None and node.name in [m.id for m in leader.engine.members]:
            self.judge.blame(f"{node.name} believes to be removed, and is a member: {sentence}")
        node.is_removed = True

    def note_clocks(self) -> None:
        """Remember how far the wall clocks are apart."""
        errors = [node.clock.error_ns() for node in self.nodes.values()]
        self.clock_spread_ns = max(self.clock_spread_ns, max(errors) - min(errors))

    # --- the operator ---------------------------------------------------------------------------

    def new_node(self) -> SimNode | None:
        """A machine that waits to be added, a new one if there is none; None if there were too many already."""
        known = {
            member.id for node in self.alive() if node.engine for member in node.engine.members
        }
        for node in self.nodes.values():
            if node.is_waiting and node.name not in known:
                return node
        if len(self.nodes) >= NODES_MAX and not self.is_closing:
            return None
        name = f"n{len(self.nodes) + 1}"
        node = self.nodes[name] = SimNode(self, name, Join(()))
        self.on_new_node(node)
        node.start()
        return node

    def order(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have the operator do something."""

        async def guarded() -> None:
            await work()

        self.operator.spawn(guarded)

    async def change(self, change: MemberChange, tries: int = 3) -> bool:
        """Ask nodes for a change, until one says that it is done."""
        is_refused = True
        for _ in range(tries):
            if self.is_closing and tries > 1:
                break
            serving = [node for node in self.nodes.values() if node.is_serving and node.is_alive]
            answer = await self._ask(self.chance.choice(serving), change) if serving else REFUSED
            if not answer:
                return True
            is_refused = is_refused and answer == REFUSED
            await asyncio.sleep(0.5)
        if is_refused and isinstance(change, RemoveMember | ReplaceMember):
            self._stays(change.id)
        return False

    async def _ask(self, node: SimNode, change: MemberChange) -> str:
        """What a node answers: "" that it is done, ``REFUSED`` that it is certainly not."""
        self.orders += 1
        done = self.operator.create_future()
        world = self.world
        world.note(f"operator asks {node.name}: {change}")

        def tell(result: str) -> None:
            def settle() -> None:
                if not done.done():
                    done.set_result(result)

            world.after_s(0.001, lambda: self.operator.deliver(settle))

        async def run() -> None:
            try:
                await node.backend.change_members(change)
            except BackendError as error:
                world.note(f"{node.name} tells the operator {error.code}: {error.detail}")
                tell("unknown" if error.code == "outcome_unknown" else REFUSED)
            else:
                tell("")

        node.process.spawn(run)
        try:
            async with asyncio.timeout(ORDER_S):
                answer: str = await done
        except TimeoutError:
            answer = "no answer"
        world.note(f"operator is told by {node.name}: {answer or 'done'}")
        return answer

    def _let_go(self, name: str) -> None:
        self._going.add(name)
        self.nodes[name].is_leaving = True

    def _stays(self, name: str) -> None:
        self._going.discard(name)
        self.nodes[name].is_leaving = False

    async def add(self) -> None:
        node = self.new_node()
        if node is not None:
            await asyncio.sleep(0.2)
            await self.change(AddMember(node.address, self.chance.random() < 0.8))

    async def remove(self, name: str) -> None:
        rest = [voter for voter in self.staying_voters() if voter != name]
        if len(rest) >= max(VOTERS_MIN, self.size - 1):
            self._let_go(name)
            await self.change(RemoveMember(name))

    async def replace(self, name: str) -> None:
        if len(self.member_ids()) > self.size:
            return  # a replacement before this one was cut off: there are enough
        node = self.new_node()
        if node is not None:
            self._let_go(name)
            await asyncio.sleep(0.2)
            await self.change(ReplaceMember(name, node.address))

    async def replace_by(self, name: str, node: SimNode) -> None:
        """Go on with a replacement until the member is gone; where there are enough, it just goes."""
        members = self.member_ids()
        if name in members:
            others = [member.id for member in self.members() if member.voter and member.id != name]
            is_spare = len(others) >= self.size
            change = RemoveMember(name) if is_spare else ReplaceMember(name, node.address)
            await self.change(change, tries=1)
            await asyncio.sleep(0.3)

    async def let_in(self, node: SimNode) -> None:
        """Go on with an addition until the node has come in: its order may have been cut off."""
        for _ in range(LET_IN_TRIES):
            await asyncio.sleep(1.0)
            if node.is_serving or node.is_damaged or node.is_removed:
                return
            if node.is_alive and self.leader is not None and node.name in self.member_ids():
                await self.change(AddMember(node.address, True), tries=1)

    async def transfer(self, name: str = "") -> None:
        await self.change(TransferLeadership(name), tries=1)
