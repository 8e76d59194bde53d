"""The same cluster in several forms: the client's double, and text and HTTP servers over each store.

    async with DEPLOYMENTS["text"]() as cluster:
        client = cluster.client("me")
        await cluster.pass_time(30_000)

Time stands still until the test moves it; clients are closed at the end.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, NamedTuple, Protocol

from raftq import AsyncClient, Client
from raftq.testing import ManualClock, MemoryQueue
from raftq_cluster.backends.api import Backend
from raftq_cluster.observability.metrics import Metrics
from raftq_cluster.servers.http.server import HttpServer
from raftq_cluster.servers.text.server import TextServer
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.facade import Service
from tests.support.stores import MEMORY, NODE_ID, POSTGRES, opened_store, stored_in

STOP_S: Final = 5.0


class Server(Protocol):
    """What the two servers have in common."""

    @property
    def address(self) -> tuple[str, int]: ...

    async def start(self) -> None: ...

    async def stop(self, drain_s: float) -> None: ...


class Cluster:
    """One deployment. ``open_client`` makes a client with a claimant (None: its own)."""

    def __init__(
        self,
        clock: ManualClock,
        open_client: Callable[[str | None], AsyncClient],
        open_blocking: Callable[[str | None], Client],
        after_time: Callable[[], None],
    ) -> None:
        self.clock = clock
        self._open_client = open_client
        self._open_blocking = open_blocking
        self._after_time = after_time
        self._clients: list[AsyncClient] = []
        self._blocking: list[Client] = []

    def client(self, claimant: str | None = None) -> AsyncClient:
        """Make an async client."""
        client = self._open_client(claimant)
        self._clients.append(client)
        return client

    def blocking_client(self, claimant: str | None = None) -> Client:
        """Make a synchronous client."""
        client = self._open_blocking(claimant)
        self._blocking.append(client)
        return client

    async def pass_time(self, ms: int) -> None:
        """Move the clock, and let what is due happen."""
        await self.clock.advance(ms)
        self._after_time()

    async def close(self) -> None:
        """Close all clients."""
        for client in self._clients:
            await client.close()
        for blocking in self._blocking:
            await asyncio.to_thread(blocking.close)


@asynccontextmanager
async def double() -> AsyncIterator[Cluster]:
    """The in-memory double."""
    clock = ManualClock()
    queue = MemoryQueue(clock=clock, seed=1)
    cluster = Cluster(clock, queue.async_client, queue.client, lambda: None)
    try:
        yield cluster
    finally:
        await cluster.close()


class _Served(NamedTuple):
    service: Service
    server: Server


@asynccontextmanager
async def _served(backend: Backend, make: Callable[[Service], Server]) -> AsyncIterator[_Served]:
    service = Service(backend)
    await service.start()
    server = make(service)
    await server.start()
    try:
        yield _Served(service, server)
    finally:
        await server.stop(drain_s=STOP_S)
        await service.stop()


def _over(
    scheme: str, make: Callable[[Service], Server], store: str = MEMORY
) -> Callable[[], AbstractAsyncContextManager[Cluster]]:
    @asynccontextmanager
    async def deployed() -> AsyncIterator[Cluster]:
        clock = ManualClock()
        with stored_in(store):
            async with opened_store(clock.time_ms) as backend, _served(backend, make) as served:
                host, port = served.server.address
                url = f"{scheme}://{host}:{port}"
                cluster = Cluster(
                    clock,
                    lambda claimant: AsyncClient(url, claimant=claimant),
                    lambda claimant: Client(url, claimant=claimant),
                    served.service.check_due,
                )
                try:
                    yield cluster
                finally:
                    await cluster.close()

    return deployed


def _text(service: Service) -> Server:
    return TextServer(Doors(service), "127.0.0.1", 0)


def _http(service: Service) -> Server:
    return HttpServer(Doors(service), "127.0.0.1", 0, node_id=NODE_ID, metrics=Metrics("0"))


DEPLOYMENTS: Final[dict[str, Callable[[], AbstractAsyncContextManager[Cluster]]]] = {
    "double": double,
    "text": _over("raftq", _text),
    "http": _over("http", _http),
    "text-postgres": _over("raftq", _text, POSTGRES),
    "http-postgres": _over("http", _http, POSTGRES),
}
