"""What keeps the tasks of the node under test: memory, or PostgreSQL in a schema of its own.

    with stored_in("postgres"):
        async with serving() as node: ...

The suites under ``tests/conformance`` that start a node run once for each store.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from raftq_cluster.backends.api import Backend
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.backends.postgres.backend import PostgresBackend
from tests.support.postgres_server import fresh_schema, shared_server

NODE_ID: Final = "n1"
MEMORY: Final = "memory"
POSTGRES: Final = "postgres"
STORES: Final = (MEMORY, POSTGRES)
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
    if _current[-1] == POSTGRES:
        async with fresh_schema(shared_server()) as place:
            yield PostgresBackend(place, node_id=NODE_ID, clock=clock, seed=1)
    elif memory is not None:
        yield memory()
    else:
        yield MemoryBackend(clock=clock, node_id=NODE_ID, seed=1)
