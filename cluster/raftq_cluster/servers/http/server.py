"""The HTTP server: a listening socket, its connections, and an end that loses no answer.

Starts and stops; what is said over the connections is the application's. Other parts of the node reach
it through ``start``, ``stop`` and ``address`` alone.
"""

import asyncio
from collections.abc import Callable
from ssl import SSLContext
from typing import Final

from aiohttp import web

from raftq_cluster.observability.metrics import Metrics
from raftq_cluster.servers.greeting import Greeting
from raftq_cluster.servers.http.answers import Answers
from raftq_cluster.servers.http.application import make_application
from raftq_cluster.servers.http.connection import Connection, Guard
from raftq_cluster.servers.http.context import Context
from raftq_cluster.servers.http.limits import Patience
from raftq_cluster.servers.http.reading import BodyReader
from raftq_cluster.servers.listening import Listener, address_of, listen
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.refusals import Refusal

CUT_OFF_S: Final = 0.1  # for handlers to notice that the drain is over


class HttpServer:
    """Serves one node's service over HTTP.

    Args:
        doors: to a service that is started, and outlives this server.
        host: address to listen on.
        port: 0 lets the system choose; see ``address``.
        node_id: said in every answer.
        metrics: counts requests, and is shown at ``/metrics``.
        tls: gives the context of a new connection; None: connections are not encrypted.
        patience: how long to wait for peers.
    """

    def __init__(
        self,
        doors: Doors,
        host: str,
        port: int,
        *,
        node_id: str,
        metrics: Metrics,
        tls: Callable[[], SSLContext] | None = None,
        patience: Patience | None = None,
    ) -> None:
        service = self._service = doors.service
        self._host = host
        self._port = port
        self._tls = tls
        self._patience = patience or Patience()
        self._answers = answers = Answers(node_id, lambda: service.status().index)
        limits = service.limits
        self._guard = Guard(
            limits.connections_max, self._patience, answers, asks=not doors.are_open
        )
        context = Context(
            service=service,
            doors=doors,
            answers=answers,
            bodies=BodyReader(limits.body_bytes_max, self._patience.body_s),
            guard=self._guard,
            metrics=metrics,
        )
        # A handler whose peer is gone is cancelled: it may be waiting for a task.
        self._runner = web.AppRunner(
            make_application(context), handler_cancellation=True, shutdown_timeout=CUT_OFF_S
        )
        self._listening: Listener | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that the server listens on, once started."""
        assert self._listening is not None
        return address_of(self._listening)

    @property
    def connections(self) -> int:
        """How many connections are served now."""
        return self._guard.served

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        await self._runner.setup()
        manager = self._runner.server
        assert manager is not None
        try:
            self._listening = await listen(
                lambda: Connection(self._guard, manager, loop=loop),
                self._host,
                self._port,
                self._tls and Greeting(self._tls, self._plainly),
            )
        except OSError:
            await self._runner.cleanup()
            raise
        self._sweep()

    async def stop(self, drain_s: float) -> None:
        """Stop listening, drain the service, answer what was asked, close.

        Waiting claims are answered, with nothing, at once; each other request has ``drain_s`` seconds
        to end, and its connection is closed after its answer. Idempotent.
        """
        listening, self._listening = self._listening, None
        if listening is None:
            return
        listening.close()
        self._guard.drain()
        self._service.drain()
        try:
            async with asyncio.timeout(drain_s):
                await self._guard.gone.wait()
        except TimeoutError:
            pass  # the peers that are left are cut off
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        await self._runner.cleanup()

    def _plainly(self) -> bytes:
        return self._answers.last_words(Refusal("bad_request", "this port speaks TLS: https://"))

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._guard.sweep(loop.time())
        self._sweep_timer = loop.call_later(self._patience.sweep_s, self._sweep)
