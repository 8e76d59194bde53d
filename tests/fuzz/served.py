"""A node's servers without sockets: bytes in at a connection, bytes out, time that stands still.

Whatever a server logs as an error is a failure of the property that bytes of strangers upset nothing.
"""

import asyncio
import atexit
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from random import Random
from typing import Any

import structlog
from aiohttp import web

from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.core.machine import Machine
from raftq_cluster.observability.metrics import Metrics
from raftq_cluster.servers.http.answers import Answers
from raftq_cluster.servers.http.application import make_application
from raftq_cluster.servers.http.connection import Connection as HttpConnection
from raftq_cluster.servers.http.connection import Guard as HttpGuard
from raftq_cluster.servers.http.context import Context
from raftq_cluster.servers.http.limits import Patience as HttpPatience
from raftq_cluster.servers.http.reading import BodyReader
from raftq_cluster.servers.text.connection import AckedEnds, Connection
from raftq_cluster.servers.text.guard import Guard
from raftq_cluster.servers.text.limits import Patience
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.facade import Service
from raftq_cluster.service.limits import Limits
from tests.support.http_node import START_MS
from tests.support.text_transport import FakeTransport

TURNS_MAX = 300  # of the loop, until an answer must be there


class Complaints(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        reason = record.exc_info[1] if record.exc_info else ""
        self.heard.append(f"{record.getMessage()} {reason!r}")


class NoSocket(FakeTransport):
    """A transport as aiohttp looks at it."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("peer", 1) if name == "peername" else default

    def pause_reading(self) -> None:
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        self.is_reading_paused = False


class Served:
    """One node with nothing in it."""

    def __init__(self, limits: Limits | None) -> None:
        self._backend = MemoryBackend(lambda: START_MS, seed=1)
        self.service = Service(self._backend, limits)
        self.doors = Doors(self.service)
        self._guard = Guard(10, Patience())
        self._manager: web.Server | None = None

    def text(self, acked_ends: AckedEnds = "line_end") -> tuple[Connection, FakeTransport]:
        """A new connection to the text port."""
        connection = Connection(self.doors, self._guard, acked_ends)
        return connection, FakeTransport(connection)

    def forget(self) -> None:
        """Begin again with nothing."""
        self._backend._machine = Machine()
        self._backend._random = Random(1)

    async def open_http(self) -> None:
        """Make the HTTP application."""
        patience, limits = HttpPatience(), self.service.limits
        answers = Answers("n1", lambda: self.service.status().index)
        self._http_guard = HttpGuard(10, patience, answers)
        context = Context(
            service=self.service, doors=self.doors, answers=answers,
            bodies=BodyReader(limits.body_bytes_max, patience.body_s), guard=self._http_guard,
            metrics=Metrics("0"),
        )  # fmt: skip
        self.runner = web.AppRunner(make_application(context), handler_cancellation=True)
        await self.runner.setup()
        self._manager = self.runner.server

    def http(self) -> tuple[HttpConnection, FakeTransport]:
        """A new connection to the HTTP port."""
        assert self._manager is not None
        loop = asyncio.get_running_loop()
        connection = HttpConnection(self._http_guard, self._manager, loop=loop)
        return connection, NoSocket(connection)


async def settle(transport: FakeTransport) -> None:
    """Let the loop turn until nothing more is said."""
    silent = 0
    for _ in range(TURNS_MAX):
        said = len(transport.writes)
        await asyncio.sleep(0)
        silent = silent + 1 if len(transport.writes) == said else 0
        if silent > 12:
            return


@contextmanager
def heeded() -> Iterator[None]:
    """See in the end that nothing was logged as an error."""
    complaints = Complaints()
    logger = logging.getLogger()
    logger.addHandler(complaints)
    try:
        with structlog.testing.capture_logs() as events:
            yield
    finally:
        logger.removeHandler(complaints)
    loud = [str(event) for event in events if event["log_level"] in ("error", "critical")]
    assert not complaints.heard + loud, complaints.heard + loud


@asynccontextmanager
async def served(limits: Limits | None = None) -> AsyncIterator[Served]:
    """Serve, and see in the end that nothing was logged as an error."""
    with heeded():
        node = Served(limits)
        await node.service.start()
        yield node
        await node.service.stop()


class Stage:
    """One node with an HTTP application, kept: to make one takes longer than to ask it. Call ``run`` only."""

    def __init__(self, limits: Limits) -> None:
        self._runner = asyncio.Runner()
        self._limits = limits
        self.node = self._runner.run(self._open())
        atexit.register(self.close)

    async def _open(self) -> Served:
        node = Served(self._limits)
        await node.service.start()
        await node.open_http()
        return node

    def run(self, play: Coroutine[Any, Any, None]) -> None:
        """Play to a node with nothing in it, and see that nothing was logged as an error."""
        self.node.forget()
        with heeded():
            self._runner.run(play)

    def close(self) -> None:
        """Give everything back."""
        self._runner.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        await self.node.runner.cleanup()
        await self.node.service.stop()
