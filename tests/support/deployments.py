"""The same cluster in three forms: the client's double, a text server and an HTTP server over memory.

    async with DEPLOYMENTS["text"]() as cluster:
        client = cluster.client("me")
        await cluster.pass_time(30_000)

Time stands still until the test moves it; clients are closed at the end.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from raftq import AsyncClient, Client
from raftq.testing import ManualClock, MemoryQueue
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.observability.metrics import Metrics
from raftq_cluster.servers.http.server import HttpServer
from raftq_cluster.servers.text.server import TextServer
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.facade import Service

NODE_ID: Final = "n1"
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


def _over(
    scheme: str, make: Callable[[Service], Server]
) -> Callable[[], AbstractAsyncContextManager[Cluster]]:
    @asynccontextmanager
    async def served() -> AsyncIterator[Cluster]:
        clock = ManualClock()
        service = Service(MemoryBackend(clock=clock.time_ms, node_id=NODE_ID, seed=1))
        await service.start()
        server = make(service)
        await server.start()
        host, port = server.address
        url = f"{scheme}://{host}:{port}"
        cluster = Cluster(
            clock,
            lambda claimant: AsyncClient(url, claimant=claimant),
            lambda claimant: Client(url, claimant=claimant),
            service.check_due,
        )
        try:
            yield cluster
        finally:
            await cluster.close()
            await server.stop(drain_s=STOP_S)
            await service.stop()

    return served


def _text(service: Service) -> Server:
    return TextServer(Doors(service), "127.0.0.1", 0)


def _http(service: Service) -> Server:
    return HttpServer(Doors(service), "127.0.0.1", 0, node_id=NODE_ID, metrics=Metrics("0"))


DEPLOYMENTS: Final[dict[str, Callable[[], AbstractAsyncContextManager[Cluster]]]] = {
    "double": double,
    "text": _over("raftq", _text),
    "http": _over("http", _http),
}
