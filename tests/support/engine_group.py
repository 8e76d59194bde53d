"""Several engines in one loop, over disks in memory, with a clock and a network by hand.

    group = EngineGroup(3)
    await group.elect("n1")
    told = group.submit("n2", put("a"))
    await group.settle()            # deliver and sync until nothing moves

Messages wait on their link until ``settle`` or ``deliver``; a test may hold, look at or replay them. Time
passes only by ``pass_s``.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from raftq_cluster.backends.raft.chain_watch import ChainWatch
from raftq_cluster.backends.raft.commands import Member
from raftq_cluster.backends.raft.core_api import LEADER
from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.log_clock import LogClock
from raftq_cluster.backends.raft.messages import Message, decode, encode
from raftq_cluster.backends.raft.odd_one import Difference, sentence
from raftq_cluster.backends.raft.replica import Replica
from raftq_cluster.backends.raft.segments import segments_of
from raftq_cluster.backends.raft.surroundings import Surroundings
from raftq_cluster.codec.formats import FORMATS, Formats
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.operations import Operation
from tests.support.held_disk import HeldDisk
from tests.support.raft_operations import Told

EPOCH_NS = 1_700_000_000_000_000_000
STEPS_MAX = 2_000


class Link:
    """Messages from one node to another."""

    def __init__(self) -> None:
        self.is_up = True
        self.is_held = False
        self.frames: deque[bytes] = deque()


class GroupNetwork:
    """One node's network."""

    address = ""

    def __init__(self, group: "EngineGroup", me: str) -> None:
        self._group = group
        self._me = me
        self._taken: list[tuple[str, bytes]] = []

    def set_peers(self, addresses: Mapping[str, str]) -> None:
        del addresses

    def is_up(self, peer: str) -> bool:
        return peer in self._group.nodes and self._group.link(self._me, peer).is_up

    def send(self, peer: str, frame: bytes) -> bool:
        if not self.is_up(peer):
            return False
        self._taken.append((peer, frame))
        return True

    def flush(self) -> None:
        taken, self._taken = self._taken, []
        for peer, frame in taken:
            self._group.link(self._me, peer).frames.append(frame)


class SnapshotsWanted:
    """Notes who would be sent a snapshot."""

    def __init__(self) -> None:
        self.wanted: list[str] = []

    def begin_or_continue(self, peer: str, term: int) -> None:
        del term
        self.wanted.append(peer)

    def forget(self, peer: str) -> None:
        del peer


class GroupNode:
    """One engine with its disk. ``syncs_by_itself`` False: the test lets syncs through."""

    def __init__(self, group: "EngineGroup", node_id: str, disk: HeldDisk) -> None:
        self.id = node_id
        self.disk = disk
        self.syncs_by_itself = True
        self.failures: list[str] = []
        self.differences: list[Difference] = []
        self.may_lead = True
        self.unfit: set[str] = set()  # voters to whom it would not hand over
        self.snapshots = SnapshotsWanted()
        formats = group.formats.get(node_id, FORMATS)
        self.replica = Replica(Machine(), disk.base_index, group.members, formats=formats)
        group.lives += 1  # a process never has the random numbers of an earlier one
        surroundings = Surroundings(
            clock=LogClock(lambda: EPOCH_NS + group.now_ns, lambda: group.now_ns),
            random=Random(group.lives),
            monotonic=lambda: group.seconds,
            may_lead=lambda: self.may_lead,
            formats=formats,
            fits=lambda voter: voter not in self.unfit,
        )
        network: Any = GroupNetwork(group, node_id)  # what an engine does not ask for is left out
        self.engine = Engine(
            node_id,
            disk,
            self.replica,
            self,
            surroundings,
            network,
            self.snapshots,
        )
        self.watch: ChainWatch | None = None
        if group.compares:
            self.watch = ChainWatch(
                node_id, self.engine, self.replica, lambda: group.seconds, self._on_odd
            )

    def _on_odd(self, difference: Difference) -> None:
        self.differences.append(difference)
        self.engine.fail(sentence(self.id, difference, "its report"))

    def applied(self) -> None:
        if self.watch is not None:
            self.watch.applied()

    def members_changed(self) -> None:
        """Nobody dials here."""

    def failed(self, sentence: str) -> None:
        self.failures.append(sentence)

    @property
    def role(self) -> str:
        return self.engine.core.role

    @property
    def commands(self) -> list[bytes]:
        return self.disk.commands()


class EngineGroup:
    """Engines named n1, n2, …, all of them voters unless ``members`` says otherwise.

    With ``compares`` they tell each other what their entries have come to, as nodes do.
    """

    def __init__(
        self,
        count: int,
        *,
        members: tuple[Member, ...] = (),
        compares: bool = False,
        formats: Mapping[str, Formats] | None = None,
    ) -> None:
        ids = [f"n{number + 1}" for number in range(count)]
        self.members = members or tuple(Member(id_, f"{id_}:1", True, f"b-{id_}") for id_ in ids)
        self.compares = compares
        self.formats = dict(formats or {})  # of nodes of another version
        self.seconds = 1_000.0
        self.lives = 0
        self._links: dict[tuple[str, str], Link] = {}
        self.nodes: dict[str, GroupNode] = {}
        for id_ in ids:
            self.add(id_)

    def add(self, node_id: str, disk: HeldDisk | None = None) -> GroupNode:
        """Start a node; on the disk of an earlier life if one is given."""
        node = GroupNode(self, node_id, disk or HeldDisk())
        self.nodes[node_id] = node
        node.engine.start()
        for other in self.nodes.values():
            if other is not node:
                self.connect(node_id, other.id)
        return node

    @property
    def now_ns(self) -> int:
        return int(self.seconds * 1e9)

    def link(self, source: str, target: str) -> Link:
        return self._links.setdefault((source, target), Link())

    def __getitem__(self, node_id: str) -> GroupNode:
        return self.nodes[node_id]

    # --- what happens ---------------------------------------------------------------------------

    def submit(self, node_id: str, *operations: Operation) -> Told:
        told = Told()
        for segment in segments_of(operations, 0, told):
            self[node_id].engine.offer(segment)
        return told

    def connect(self, one: str, other: str) -> None:
        """New connections both ways; what was under way on old ones is lost."""
        for source, target in ((one, other), (other, one)):
            link = self.link(source, target)
            link.frames.clear()
            link.is_up = True
            self[source].engine.on_up(target)

    def cut(self, one: str, other: str) -> None:
        """Both connections are lost, with what was under way."""
        for source, target in ((one, other), (other, one)):
            link = self.link(source, target)
            link.is_up = False
            link.frames.clear()
        for source, target in ((one, other), (other, one)):
            if source in self.nodes:
                self[source].engine.on_down(target)

    def isolate(self, node_id: str) -> None:
        for other in [id_ for id_ in self.nodes if id_ != node_id]:
            self.cut(node_id, other)

    def heal(self) -> None:
        for one in self.nodes:
            for other in self.nodes:
                if one < other and not self.link(one, other).is_up:
                    self.connect(one, other)

    async def kill(self, node_id: str) -> HeldDisk:
        """End a node; gives the disk as the next life finds it after a power cut."""
        node = self.nodes.pop(node_id)
        node.engine.stop("the process is gone")
        for other in self.nodes:
            self.cut(node_id, other)
        await self.turn()
        return node.disk.power_cut()

    def hold(self, source: str, target: str) -> Link:
        """Keep what is sent on this link until ``is_held`` is False again."""
        link = self.link(source, target)
        link.is_held = True
        return link

    def inject(self, source: str, target: str, message: Message) -> None:
        """Let a message arrive that nobody sent just now: an old one, or a forged one."""
        self[target].engine.on_frame(source, encode(message))
        self[target].engine.on_received()

    def waiting(self, source: str, target: str) -> list[Message]:
        return [decode(frame) for frame in self.link(source, target).frames]

    async def deliver(self, source: str, target: str, count: int = 1_000_000) -> None:
        """Let up to so many messages arrive on one link."""
        frames = self.link(source, target).frames
        while frames and count:
            self[target].engine.on_frame(source, frames.popleft())
            count -= 1
        self[target].engine.on_received()
        await self.turn()

    async def turn(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Deliver and sync until nothing moves any more."""
        for _ in range(STEPS_MAX):
            await self.turn()
            if not (self._sync() or await self._deliver_all()):
                return
        raise AssertionError("it does not come to rest")

    def _sync(self) -> bool:
        syncing = [n for n in self.nodes.values() if n.syncs_by_itself and n.disk.is_syncing]
        for node in syncing:
            node.disk.complete_sync()
        return bool(syncing)

    async def _deliver_all(self) -> bool:
        moved = False
        for (source, target), link in list(self._links.items()):
            if target in self.nodes and link.is_up and not link.is_held and link.frames:
                await self.deliver(source, target)
                moved = True
        return moved

    async def pass_s(self, seconds: float, step_s: float = 0.05) -> None:
        """Let time pass, with timers and messages, in small steps."""
        until_s = self.seconds + seconds
        while self.seconds < until_s - 1e-9:
            self.seconds = min(until_s, self.seconds + step_s)
            for node in self.nodes.values():
                node.engine._wake()
                if node.watch is not None:
                    node.watch.tick()
            await self.settle()

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Let time pass until something is so."""
        for _ in range(int(seconds / 0.05)):
            if condition():
                return
            await self.pass_s(0.05)
        raise AssertionError("it does not happen")

    async def elect(self, node_id: str) -> GroupNode:
        """Let this node lead, with its no-op applied everywhere."""
        node = self[node_id]
        for other in self.nodes.values():
            other.engine.core.postpone_election(1e6 if other is not node else 0.01)
        await self.until(lambda: node.role == LEADER and node.engine.is_serving)
        await self.pass_s(0.1)
        return node

    @property
    def leader(self) -> GroupNode | None:
        leading = [node for node in self.nodes.values() if node.role == LEADER]
        return max(leading, key=lambda node: node.engine.core.term, default=None)

    def stop(self) -> None:
        for node in self.nodes.values():
            node.engine.stop("the test is over")

    def digests(self) -> set[str]:
        return {node.replica.machine.digest() for node in self.nodes.values()}
