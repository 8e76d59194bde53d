"""Every Backend that the conformance suite looks at, and what each can do beside the common part.

A subject owns a backend, the clock that it reads, and its lives: a durable one can be
started again over what it kept.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from raftq_cluster.backends.api import Backend
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.backends.postgres.backend import PostgresBackend
from raftq_cluster.backends.postgres.connecting import Place
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Outcome
from raftq_cluster.core.queries import Query
from tests.support.postgres_server import Server, fresh_schema, shared_server
from tests.support.raft_node import RaftNode
from tests.support.virtual_disk import Loss, VirtualDisk

START_MS: Final = 1_700_000_000_000
ANSWER_S: Final = 10.0


class Node(Protocol):
    """One life of a backend, and its clock."""

    backend: Backend

    def pass_ms(self, ms: int) -> None:
        """Let the clock go on, or back."""
        ...

    async def restarted(self) -> "Node":
        """Stop it, and start it over what it kept."""
        ...

    async def after_power_cut(self) -> "Node":
        """Lose all that was not durable, and start over what was."""
        ...


class Subject:
    """A backend under test."""

    def __init__(self, node: Node) -> None:
        self.node = node

    @property
    def backend(self) -> Backend:
        return self.node.backend

    async def run(self, *operations: Operation) -> list[Outcome]:
        """Have operations done, and wait for their outcomes."""
        told: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()
        self.backend.submit(operations, lambda _, outcomes: told.set_result(outcomes))
        return list(await asyncio.wait_for(told, ANSWER_S))

    async def do(self, operation: Operation) -> Any:
        (outcome,) = await self.run(operation)
        return outcome

    async def ask(self, query: Query, *, stale: bool = False) -> Any:
        return (await self.backend.read(query, stale=stale)).value

    def pass_ms(self, ms: int) -> None:
        self.node.pass_ms(ms)

    async def restart(self) -> None:
        self.node = await self.node.restarted()

    async def cut_power(self) -> None:
        self.node = await self.node.after_power_cut()


Opened: TypeAlias = Callable[[], AbstractAsyncContextManager[Subject]]


class Kind(NamedTuple):
    """A kind of backend, and its capabilities."""

    open: Opened
    is_durable: bool  # what it acknowledged survives the process


class MemoryNode:
    """A memory backend and the clock it reads."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.backend: Backend = MemoryBackend(clock=lambda: self.now_ms, seed=1)

    def pass_ms(self, ms: int) -> None:
        self.now_ms += ms

    async def restarted(self) -> Node:
        raise AssertionError("nothing of it survives")

    async def after_power_cut(self) -> Node:
        raise AssertionError("nothing of it survives")


class OneNodeOfRaft:
    """A raft backend over a disk in memory."""

    def __init__(self, node: RaftNode) -> None:
        self._node = node
        self.backend: Backend = node.backend

    def pass_ms(self, ms: int) -> None:
        self._node.hands.pass_ms(ms)

    async def restarted(self) -> Node:
        return OneNodeOfRaft(await self._node.restarted())

    async def after_power_cut(self) -> Node:
        return OneNodeOfRaft(await self._node.after_power_cut(Loss.EVERYTHING))


class NodeOverPostgres:
    """A PostgreSQL backend over a schema of its own. Time is the test's."""

    def __init__(self, server: Server, place: Place, now_ms: int = START_MS) -> None:
        self._server = server
        self.place = place
        self.now_ms = now_ms
        self.backend: Backend = PostgresBackend(place, clock=lambda: self.now_ms, seed=1)

    def pass_ms(self, ms: int) -> None:
        self.now_ms += ms

    async def restarted(self) -> Node:
        await self.backend.stop()
        return await self._next_life()

    async def after_power_cut(self) -> Node:
        self._server.crash()
        await self.backend.stop()
        self._server.start()
        return await self._next_life()

    async def _next_life(self) -> Node:
        node = NodeOverPostgres(self._server, self.place, self.now_ms)
        await node.backend.start()
        return node


@asynccontextmanager
async def postgres() -> AsyncIterator[Subject]:
    server = shared_server()
    async with fresh_schema(server) as place:
        subject = Subject(NodeOverPostgres(server, place))
        await subject.backend.start()
        try:  # an example that hypothesis gives up must leave no connections behind
            yield subject
        finally:
            await subject.backend.stop()


@asynccontextmanager
async def memory() -> AsyncIterator[Subject]:
    subject = Subject(MemoryNode())
    await subject.backend.start()
    try:
        yield subject
    finally:
        await subject.backend.stop()


@asynccontextmanager
async def raft() -> AsyncIterator[Subject]:
    subject = Subject(OneNodeOfRaft(await RaftNode(VirtualDisk()).start()))
    try:
        yield subject
    finally:
        await subject.backend.stop()


KINDS: Final = {
    "memory": Kind(memory, is_durable=False),
    "raft": Kind(raft, is_durable=True),
    "postgres": Kind(postgres, is_durable=True),
}
DURABLE: Final = [name for name, kind in KINDS.items() if kind.is_durable]
