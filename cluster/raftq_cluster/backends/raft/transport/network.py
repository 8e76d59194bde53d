"""The network of a real node: a listener, a route to each member, and who sends to us.

A ``peer_api.Network``. Each node sends on the connection that it made and receives on those it accepted, so no
two nodes have to agree on one connection, and the end of a process is seen at once on both.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Final

from raftq_cluster.backends.raft.peer_api import AskError, Identity, PeerOwner
from raftq_cluster.backends.raft.transport.accepting import HANDSHAKE_S, AcceptedLink
from raftq_cluster.backends.raft.transport.dialling import Dialler, Route
from raftq_cluster.backends.raft.transport.hello import ASK, PEER, Hello
from raftq_cluster.backends.raft.transport.tls import Contexts, PeerTls
from raftq_cluster.config import StartError, why_not_listened

_log: Final = logging.getLogger(__name__)

# Connections of which it is not known yet whose they are: beyond, the oldest must go.
STRANGERS_MAX: Final = 64
BACKLOG: Final = 128
COMPLAINTS_MAX: Final = 1_000  # after so many different ones, each is logged once more


class PeerNetwork:
    """Connections to other members.

    Args:
        listen: host and port; port 0 lets the system choose.
        advertise: ``HOST:PORT`` where others reach this node; "" is where it listens.
        tls: both sides must show a certificate of the same authority; None: only loopback.
        insecure: allow other addresses without TLS.
        random: a float in [0, 1); spreads attempts to connect.
    """

    def __init__(
        self,
        listen: tuple[str, int],
        *,
        advertise: str = "",
        tls: PeerTls | None = None,
        insecure: bool = False,
        random: Callable[[], float],
    ) -> None:
        self._listen = listen
        self._advertise = advertise
        self._tls_files = tls
        self._contexts: Contexts | None = None
        self._insecure = insecure
        self._random = random
        self._server: asyncio.Server | None = None
        self._strangers: dict[AcceptedLink, None] = {}  # by age
        self._accepted: dict[str, AcceptedLink] = {}
        self._routes: dict[str, Route] = {}
        self._wanted: dict[str, str] = {}
        self._callers: dict[
            str, str
        ] = {}  # where those are that have connected to us, if we know otherwise
        self._taken: dict[Route, None] = {}
        self._dialler = Dialler(
            self._identity, lambda: self.address, self._client_context, self._why_unfit
        )
        self.uses_tls = tls is not None
        self._complaints: set[tuple[str, str]] = set()  # that were logged
        self.refused = 0
        self.received_bytes = self.received_frames = 0
        self.sent_bytes = self.sent_frames = 0

    # --- Network ------------------------------------------------------------------------------

    async def start(self, owner: PeerOwner) -> None:
        """Listen. See ``peer_api.Network``."""
        self.owner = owner
        host, port = self._listen
        if self._tls_files is not None:
            self._contexts = Contexts(self._tls_files)
        elif not (self._insecure or _is_loopback(host)):
            raise StartError(
                f"--peer: {host} can be reached from other machines, and peers are not"
                " authenticated: give --peer-cert, --peer-key and --peer-ca, or say --insecure"
            )
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: AcceptedLink(self),
                host,
                port,
                backlog=BACKLOG,
                ssl=None if self._contexts is None else self._contexts.server,
                ssl_handshake_timeout=HANDSHAKE_S if self._contexts else None,
            )
        except OSError as error:
            raise StartError(f"--peer: {host}:{port} {why_not_listened(error)}") from error

    async def stop(self) -> None:
        """Close everything. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.set_peers({})
        for link in (*self._strangers, *self._accepted.values()):
            link.abort()
        await asyncio.sleep(0)

    def refresh(self, *, always: bool = False) -> None:
        """Read the certificates again if they have changed, or in any case, for new connections."""
        if self._contexts is not None:
            self._contexts.refresh(always=always)

    @property
    def address(self) -> str:
        """Where other nodes reach this one."""
        if self._advertise:
            return self._advertise
        host, port = self._listen
        if self._server is not None and self._server.sockets:
            port = self._server.sockets[0].getsockname()[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def set_peers(self, addresses: Mapping[str, str]) -> None:
        """Keep a connection to each of these. See ``peer_api.Network``."""
        self._wanted = dict(addresses)
        if not addresses:
            self._callers.clear()
        self._follow()
        for peer, link in list(self._accepted.items()):
            if peer not in self._wanted and not self._is_admitted(link):
                link.abort()

    def _is_admitted(self, link: AcceptedLink) -> bool:
        return link.identity is not None and not self.owner.admit(link.identity)

    def _follow(self) -> None:
        """Start and stop routes."""
        wanted = {**self._wanted, **self._callers}
        for peer, route in list(self._routes.items()):
            if wanted.get(peer) != route.address:
                del self._routes[peer]
                self._taken.pop(route, None)
                is_up = route.link is not None
                route.stop()
                if is_up:
                    self.owner.on_down(peer)
        for peer, address in wanted.items():
            if peer not in self._routes and self._may_dial(address):
                self._routes[peer] = Route(
                    peer, address, self._dialler, PEER, self._random, self.owner
                )

    def _why_unfit(self, peer: Identity) -> str:
        return self.owner.why_unfit(peer) or self.owner.what_is_lost(peer)

    def is_up(self, peer: str) -> bool:
        """Whether ``send`` would take a frame."""
        route = self._routes.get(peer)
        return route is not None and route.link is not None and route.link.is_ready

    def send(self, peer: str, frame: bytes) -> bool:
        """Take a frame. See ``peer_api.Network``."""
        route = self._routes.get(peer)
        if route is None or route.link is None or not route.link.take(frame):
            return False
        self._taken[route] = None
        self.sent_frames += 1
        self.sent_bytes += len(frame)
        return True

    def flush(self) -> None:
        """Write what was taken: one write for each connection."""
        for route in self._taken:
            if route.link is not None:
                route.link.flush()
        self._taken.clear()

    async def ask(self, address: str, question: bytes, *, timeout_s: float) -> bytes:
        """Ask one question. See ``peer_api.Network``."""
        if not self._may_dial(address):
            raise AskError(f"{address} is another machine, and peers are not authenticated")
        return await self._dialler.ask(address, ASK, question, timeout_s)

    def _may_dial(self, address: str) -> bool:
        """Without TLS, only this machine is trusted."""
        host = address.rpartition(":")[0]
        is_allowed = self.uses_tls or self._insecure or _is_loopback(host)
        if not is_allowed:
            _log.error("%s is not connected: peers on other machines need TLS", address)
        return is_allowed

    def _identity(self) -> Identity:
        return self.owner.identity()

    def _client_context(self) -> ssl.SSLContext | None:
        if self._contexts is None:
            return None
        self._contexts.refresh()
        return self._contexts.client

    # --- for accepted connections (Host) ------------------------------------------------------

    def arrived(self, link: AcceptedLink) -> None:
        """Count who has not said who they are; the oldest of too many goes."""
        self._strangers[link] = None
        if len(self._strangers) > STRANGERS_MAX:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            self.refused += 1
            oldest.abort()

    def identified(self, link: AcceptedLink, hello: Hello) -> None:
        """A member sends on this connection; an older one of it is late from now on."""
        self._strangers.pop(link, None)
        peer = hello.node_id
        before = self._accepted.get(peer)
        self._accepted[peer] = link
        if before is not None:
            before.is_replaced = True
            before.abort()
        if hello.address and self._wanted.get(peer) != hello.address:
            # It has moved; or it leads, and will tell us why we do not know it: it must hear us.
            self._callers[peer] = hello.address
            self._follow()
        if peer in self._routes:
            self._routes[peer].nudge()

    def left(self, link: AcceptedLink) -> None:
        """A connection is gone."""
        self._strangers.pop(link, None)
        if link.peer and self._accepted.get(link.peer) is link:
            del self._accepted[link.peer]
            self.owner.on_down(link.peer)
            if self._callers.pop(link.peer, None):
                self._follow()

    def complain(self, peer: str, reason: str) -> None:
        """Log why a connection is closed; whoever tries again and again is logged once."""
        self.refused += 1
        if (peer, reason) in self._complaints:
            return
        if len(self._complaints) >= COMPLAINTS_MAX:
            self._complaints.clear()
        self._complaints.add((peer, reason))
        _log.warning("%s%s", f"node {peer}: " if peer else "", reason)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
