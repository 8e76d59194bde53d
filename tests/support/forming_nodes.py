"""New nodes that form a cluster in memory: directories that last, processes that die at any step.

world = FormingWorld({"n1": "h1:1", "n2": "h2:1"})
starts = await world.run()

A step is a question that a node asks, its pause between two rounds, or the write of what it decided.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from raftq_cluster.backends.raft.commands import encode_members
from raftq_cluster.backends.raft.formation import Formation, Initial, Newborn, Plan, Start
from raftq_cluster.backends.raft.peer_api import AskError, Identity
from raftq_cluster.backends.raft.questions import Formed, decode_question, encode

TURNS_MAX = 10_000  # of the loop, before a world counts as stuck


class Crashed(BaseException):  # an event, not an error: nothing may catch it as one
    """This process is gone."""


@dataclass
class Directory:
    """What a node keeps through a crash."""

    birth: str
    start: Start | None = None


@dataclass
class FormingWorld:
    """Nodes at addresses. ``crash_at``: the steps at which a node's process dies, once each."""

    addresses: Mapping[str, str]
    crash_at: dict[str, set[int]] = field(default_factory=dict)
    births: int = 0
    plans: dict[str, Plan] = field(default_factory=dict)
    directories: dict[str, Directory] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    alive: dict[str, Formation | None] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)

    def birth(self) -> str:
        self.births += 1
        return f"{self.births:016x}"

    async def run(self, *nodes: str) -> dict[str, Start]:
        """Start these nodes (all by default), again after each crash, until all have a cluster."""
        names = nodes or tuple(self.addresses)
        await asyncio.gather(*(self.live(name) for name in names))
        return {name: self.started(name) for name in names}

    def started(self, name: str) -> Start:
        start = self.directories[name].start
        assert start is not None
        return start

    async def live(self, name: str) -> None:
        while True:
            try:
                await self.process(name)
            except Crashed:
                self.alive.pop(name, None)
                await asyncio.sleep(0)
            else:
                return

    async def process(self, name: str) -> None:
        """One process of a node, from its start until it serves."""
        directory = self.directories.get(name)
        if directory is None:
            directory = self.directories[name] = Directory(self.birth())
        if directory.start is None:
            me = Newborn(name, directory.birth, self.addresses[name])
            plan = self.plans.get(name, Initial(self.addresses))
            formation = Formation(
                plan, me, _Asking(self, name), self.birth, sleep=lambda _s: self.pause(name)
            )
            self.alive[name] = formation
            start = await formation.settle()
            self.step(name)
            directory.start = start
            self.step(name)
        self.alive[name] = None

    async def pause(self, name: str) -> None:
        self.step(name)
        await asyncio.sleep(0)

    def step(self, name: str) -> None:
        number = self.steps[name] = self.steps.get(name, 0) + 1
        assert number < TURNS_MAX, f"{name} does not get on"
        if number in self.crash_at.get(name, ()):
            raise Crashed

    async def answer(self, asker: str, address: str, question: bytes) -> bytes:
        name = next((name for name, at in self.addresses.items() if at == address), "")
        if name not in self.alive or name in self.down:
            raise AskError(f"{address} cannot be reached")
        formation, directory = self.alive[name], self.directories[name]
        start = self.directories[asker].start
        identity = Identity(start.cluster_id if start else "", asker, self.directories[asker].birth)
        if formation is not None:
            return await formation.answer(identity, question)
        decode_question(question)
        assert directory.start is not None
        packed = encode_members(directory.start.members)
        return encode(
            Formed(
                cluster_id=directory.start.cluster_id,
                node_id=name,
                birth=directory.birth,
                members=packed,
                index=directory.start.first_index,
                is_committed=True,
                first_members=packed,
                first_index=directory.start.first_index,
            )
        )


class _Asking:
    """The network as one node sees it."""

    def __init__(self, world: FormingWorld, name: str) -> None:
        self._world = world
        self._name = name

    async def ask(self, address: str, question: bytes, *, timeout_s: float) -> bytes:
        del timeout_s
        self._world.step(self._name)
        await asyncio.sleep(0)
        return await self._world.answer(self._name, address, question)
