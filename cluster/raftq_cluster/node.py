"""The composition root: settings in, a running node out.

The only place that names concrete classes. Starts from the bottom up (backend and service, text, HTTP),
stops from the top down, and whatever fails on the way up closes what was opened before it. Knows
nothing of flags, signals or standard output.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import SystemRandom
from typing import Final, NamedTuple, Protocol

import structlog

from raftq_cluster.auth.store import TokensError, TokenStore
from raftq_cluster.backends.api import Backend
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.backends.raft.backend import RaftBackend
from raftq_cluster.backends.raft.formation import Alone, Initial, Join, Plan
from raftq_cluster.backends.raft.running import Outside
from raftq_cluster.backends.raft.transport.network import PeerNetwork
from raftq_cluster.backends.raft.transport.tls import PeerTls
from raftq_cluster.backends.raft.upkeep import Bounds
from raftq_cluster.config import StartError, why_not_listened
from raftq_cluster.config.settings import (
    Address,
    Settings,
    initial_members,
    join_addresses,
    without_password,
)
from raftq_cluster.observability.loop_delay import LoopDelay
from raftq_cluster.observability.metrics import Metrics
from raftq_cluster.servers.http.server import HttpServer
from raftq_cluster.servers.listening import try_to_listen
from raftq_cluster.servers.text.server import TextServer
from raftq_cluster.servers.tls import ServerTls, TlsFiles
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.facade import Service
from raftq_cluster.service.limits import Limits
from raftq_cluster.version import VERSION

_BACKEND_STOP_S: Final = 30.0  # a disk that hangs must not keep a stopping node for ever
_LOOK_S: Final = 1.0  # how soon files that have changed count
_MEMORY_NODE_ID: Final = "n1"

_log = structlog.get_logger(__name__)


class NodeFailedError(Exception):
    """The node stopped itself. The message is one sentence for the operator."""


class Facts(NamedTuple):
    """What a node can say of itself once it serves."""

    node: str
    http: Address
    text: Address
    peer: str  # HOST:PORT where other nodes reach it, "" if they cannot
    role: str  # as the list of members has it; "joining" if that does not have this node yet
    data: str  # absolute path, or "memory", or the database


class Server(Protocol):
    """What this module asks of a server."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        ...

    async def start(self) -> None:
        """Listen. Raises :class:`StartError` if the address cannot be listened on."""
        ...

    async def stop(self, drain_s: float) -> None:
        """Stop listening; give open requests this long."""
        ...


class Node:
    """One node, from start to stop.

    Args:
        settings: all that the operator decided.
        stopping: set from outside to stop the node, and by the node when it must stop itself.
    """

    def __init__(self, settings: Settings, stopping: asyncio.Event) -> None:
        self._settings = settings
        self._stopping = stopping
        self._failure = ""
        self._network: PeerNetwork | None = None
        self._tls: ServerTls | None = None
        self._tokens: TokenStore | None = None

    async def run(self, ready: Callable[[Facts], None]) -> None:
        """Serve until ``stopping`` is set, and drain. ``ready`` is called once all ports are open.

        Raises:
            StartError: something the operator can put right.
            NodeFailedError: the node could not go on.
        """
        async with AsyncExitStack() as opened:
            self._read_files()
            service = Service(self._backend(), _limits(self._settings))
            opened.push_async_callback(self._stop_service, service)
            await service.start()
            servers = await self._listen(service, opened)
            facts = self._facts(service, servers)
            service.advertise(
                http=str(facts.http.reached(facts.peer)), text=str(facts.text.reached(facts.peer))
            )
            looking = asyncio.create_task(self._look_after_files())
            opened.callback(looking.cancel)
            ready(facts)
            await self._stopping.wait()
            _log.info("node stopping", drain_ms=self._settings.drain_ms)
            service.drain()
        if self._failure:
            raise NodeFailedError(self._failure)

    def fail(self, sentence: str) -> None:
        """Stop the node because it cannot go on; the first reason is the one that is told."""
        _log.error("node failed", reason=sentence)
        self._failure = self._failure or sentence
        self._stopping.set()

    def reload(self) -> None:
        """Read the tokens and the certificates again, whether their files have changed or not."""
        self._refresh(always=True)

    def _refresh(self, *, always: bool = False) -> None:
        for files in (self._tokens, self._tls, self._network):
            if files is not None:
                files.refresh(always=always)

    async def _look_after_files(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self._refresh()

    def _read_files(self) -> None:
        settings = self._settings
        if settings.tls_cert:
            ca = Path(settings.tls_ca) if settings.tls_ca else None
            files = TlsFiles(Path(settings.tls_cert), Path(settings.tls_key), ca)
            self._tls = ServerTls(files)
        if settings.tokens:
            try:
                self._tokens = TokenStore(Path(settings.tokens))
            except TokensError as error:
                raise StartError(f"--tokens: {error}") from error

    def _backend(self) -> Backend:
        settings = self._settings
        if settings.backend == "memory":
            return MemoryBackend(node_id=settings.node_id or _MEMORY_NODE_ID)
        if settings.backend == "postgres":
            return self._postgres()
        self._network = _network(settings)
        return RaftBackend(
            Path(settings.data_dir),
            node_id=settings.node_id,
            on_fatal=self.fail,
            outside=Outside(
                bounds=Bounds(
                    bytes_between_min=settings.snapshot_bytes,
                    disk_free_bytes_min=settings.disk_free_bytes_min,
                ),
                network=self._network,
                plan=_plan(settings),
                clock_skew_ms_max=settings.clock_skew_ms_max,
                try_ports=self._try_ports,
            ),
        )

    async def _try_ports(self) -> None:
        """A start that could not listen in the end must not make a data directory a node's first."""
        for name, address in (("text", self._settings.text), ("http", self._settings.http)):
            try:
                await try_to_listen(*address)
            except OSError as error:
                raise StartError(f"--{name}: {address} {why_not_listened(error)}") from error

    def _postgres(self) -> Backend:
        try:
            from raftq_cluster.backends.postgres.backend import PostgresBackend  # noqa: PLC0415 - an extra
            from raftq_cluster.backends.postgres.connecting import Place  # noqa: PLC0415
        except ImportError as error:
            raise StartError(
                f"--backend postgres needs pip install 'raftq[postgres]': {error}"
            ) from None
        settings = self._settings
        place = Place(settings.postgres_dsn, settings.postgres_schema, not settings.postgres_poll)
        return PostgresBackend(place, node_id=settings.node_id, on_fatal=self.fail)

    async def _listen(self, service: Service, opened: AsyncExitStack) -> dict[str, Server]:
        settings = self._settings
        node_id, metrics = service.status().node, Metrics(VERSION)
        delay = LoopDelay(metrics.loop_delay)
        delay.start()
        opened.callback(delay.stop)
        doors, tls = Doors(service, self._tokens), self._tls
        context = None if tls is None else lambda: tls.context
        text = TextServer(doors, *settings.text, acked_ends=settings.acked_ends, tls=context)
        http = HttpServer(doors, *settings.http, node_id=node_id, metrics=metrics, tls=context)
        wanted: tuple[tuple[str, Address, Server], ...] = (
            ("text", settings.text, text),
            ("http", settings.http, http),
        )
        started: dict[str, Server] = {}
        opened.push_async_callback(self._stop_servers, started)
        for name, address, server in wanted:
            try:
                await server.start()
            except OSError as error:
                raise StartError(f"--{name}: {address} {why_not_listened(error)}") from error
            started[name] = server
        return started

    def _facts(self, service: Service, servers: dict[str, Server]) -> Facts:
        status = service.status()
        roles = {member.id: member.role for member in status.members}
        return Facts(
            node=status.node,
            http=Address(*servers["http"].address[:2]),
            text=Address(*servers["text"].address[:2]),
            peer="" if self._network is None else self._network.address,
            role=roles.get(status.node, "joining"),
            data=_place_of_data(self._settings),
        )

    async def _stop_servers(self, servers: dict[str, Server]) -> None:
        drain_s = 0.0 if self._failure else self._settings.drain_ms / 1000
        async with asyncio.TaskGroup() as group:
            for server in servers.values():
                group.create_task(server.stop(drain_s))

    async def _stop_service(self, service: Service) -> None:
        try:
            async with asyncio.timeout(_BACKEND_STOP_S):
                await service.stop()
        except TimeoutError:
            _log.error("backend did not stop", waited_s=_BACKEND_STOP_S)


def _place_of_data(settings: Settings) -> str:
    if settings.backend == "memory":
        return "memory"
    if settings.backend == "postgres":
        return without_password(settings.postgres_dsn)
    return str(Path(settings.data_dir).resolve())


def _network(settings: Settings) -> PeerNetwork:
    files = (settings.peer_cert, settings.peer_key, settings.peer_ca)
    return PeerNetwork(
        settings.peer,
        advertise=settings.peer_advertise,
        tls=PeerTls(*map(Path, files)) if all(files) else None,
        insecure=settings.insecure,
        random=SystemRandom().random,
    )


def _plan(settings: Settings) -> Plan:
    if settings.initial_cluster:
        return Initial(initial_members(settings.initial_cluster))
    if settings.join:
        return Join(join_addresses(settings.join))
    return Alone()


def _limits(settings: Settings) -> Limits:
    return Limits(
        body_bytes_max=settings.body_bytes_max,
        value_bytes_max=settings.value_bytes_max,
        bytes_held_max=settings.bytes_held_max,
        disk_free_bytes_min=settings.disk_free_bytes_min,
        operations_max=settings.operations_max,
        connections_max=settings.connections_max,
        text_rate_max=settings.text_rate_max,
        waiters_max=settings.waiters_max,
    )
