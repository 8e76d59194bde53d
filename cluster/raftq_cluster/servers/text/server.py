"""The text server: a listening socket, its connections, and an end that loses no reply.

Starts and stops; what is said over a connection is :mod:`.connection`'s. Other parts of the node reach it
through ``start``, ``stop``, ``address`` and ``served`` alone.
"""

import asyncio
from collections.abc import Callable
from ssl import SSLContext

from raftq_cluster.servers.greeting import Greeting
from raftq_cluster.servers.listening import Listener, address_of, listen
from raftq_cluster.servers.text.connection import AckedEnds, Connection
from raftq_cluster.servers.text.guard import Guard
from raftq_cluster.servers.text.limits import Patience
from raftq_cluster.servers.text.parser import NO_RID
from raftq_cluster.servers.text.replies import error
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.refusals import Refusal


class TextServer:
    """Serves one node's service over the text protocol.

    Args:
        doors: to a service that is started, and outlives this server.
        host: address to listen on.
        port: 0 lets the system choose; see ``address``.
        tls: gives the context of a new connection; None: connections are not encrypted.
        acked_ends: how ``acked`` replies end.
        patience: how long to wait for peers.
    """

    def __init__(
        self,
        doors: Doors,
        host: str,
        port: int,
        *,
        acked_ends: AckedEnds = "auto",
        tls: Callable[[], SSLContext] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._service = doors.service
        self._doors = doors
        self._host = host
        self._port = port
        self._tls = tls
        self._acked_ends: AckedEnds = acked_ends
        self._patience = patience or Patience()
        self._guard = Guard(doors.service.limits.connections_max, self._patience)
        self._listening: Listener | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that the server listens on, once started."""
        assert self._listening is not None
        return address_of(self._listening)

    @property
    def served(self) -> int:
        """How many connections are served now."""
        return self._guard.served

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._listening = await listen(
            lambda: Connection(self._doors, self._guard, self._acked_ends),
            self._host,
            self._port,
            self._tls and Greeting(self._tls, _plainly),
        )
        self._sweep()

    async def stop(self, drain_s: float) -> None:
        """Stop listening, drain the service, answer what was asked, close.

        Waiting claims are answered, with nothing, at once; each other request has ``drain_s`` seconds
        to be answered. Peers are given a moment of that time to read and hang up. Idempotent.
        """
        listening, self._listening = self._listening, None
        if listening is None:
            return
        listening.close()
        self._service.drain()
        self._guard.drain()
        try:
            async with asyncio.timeout(drain_s):
                await self._guard.gone.wait()
        except TimeoutError:
            self._guard.abort()
            await self._guard.gone.wait()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._guard.sweep(loop.time())
        self._sweep_timer = loop.call_later(self._patience.sweep_s, self._sweep)


def _plainly() -> bytes:
    return error(NO_RID, Refusal("bad_request", "this port speaks TLS: raftqs://"))
