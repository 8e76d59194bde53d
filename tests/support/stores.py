"""What keeps the tasks of the node under test: memory, a log, three nodes' log, or PostgreSQL in a schema of its own.

    with stored_in("postgres"):
        async with serving() as node: ...

The suites under ``tests/conformance`` that start a node run once for each store. Of three nodes it is one that
follows. Disks are in memory.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from raftq_cluster.backends.api import Backend
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.backends.postgres.backend import PostgresBackend
from raftq_cluster.backends.raft.log_clock import LogClock
from tests.support.postgres_server import fresh_schema, shared_server
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_node import NS_PER_MS, Hands, RaftNode
from tests.support.virtual_disk import VirtualDisk

NODE_ID: Final = "n1"
MEMORY: Final = "memory"
RAFT: Final = "raft"
CLUSTER: Final = "cluster"
POSTGRES: Final = "postgres"
QUICK: Final = (MEMORY, POSTGRES)
STORES: Final = (MEMORY, RAFT, CLUSTER, POSTGRES)
_current = [MEMORY]


@contextmanager
def stored_in(store: str) -> Iterator[None]:
    """Have nodes keep their tasks there meanwhile."""
    _current.append(store)
    try:
        yield
    finally:
        _current.pop()


@asynccontextmanager
async def opened_store(
    clock: Callable[[], int], memory: Callable[[], Backend] | None = None
) -> AsyncIterator[Backend]:
    """Make a backend, not started, whose time is the clock's; ``memory`` makes one in memory."""
    store = _current[-1]
    if store == POSTGRES:
        async with fresh_schema(shared_server()) as place:
            yield PostgresBackend(place, node_id=NODE_ID, clock=clock, seed=1)
    elif store == RAFT:
        yield RaftNode(VirtualDisk(), hands=_HandsOf(clock), node_id=NODE_ID).backend
    elif store == CLUSTER:
        cluster = RaftCluster(clock=clock)
        yield await cluster.form_around(NODE_ID, 3)
        del cluster.backends[NODE_ID]  # whoever started it has stopped it
        await cluster.close()
    elif memory is not None:
        yield memory()
    else:
        yield MemoryBackend(clock=clock, node_id=NODE_ID, seed=1)


class _HandsOf(Hands):
    """Clocks that show what another one does."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__()
        self._clock = clock

    def clock(self) -> LogClock:
        return LogClock(lambda: self._clock() * NS_PER_MS, lambda: self._clock() * NS_PER_MS)
