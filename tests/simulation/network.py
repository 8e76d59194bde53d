"""The network between nodes: connections with delays, and everything that can be wrong with them.

Each node dials every other member and sends on its own connection, as real nodes do (``transport``). A ``Path``
is one direction between two machines, and what is wrong with it at the moment. Beyond what TCP can do to frames,
a path may lose, repeat and reorder them, and deliver those of an older connection late: Raft must
not need the order that a connection gives.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from raftq_cluster.backends.raft.peer_api import AskError, Identity, PeerError, PeerOwner
from raftq_cluster.config import StartError
from tests.simulation.process import ProcessLoop
from tests.simulation.world import World

BACKOFF_MIN_S: Final = 0.02
BACKOFF_MAX_S: Final = 1.0
CONNECT_S: Final = 2.0
SILENT_S: Final = 5.0  # a connection through which nothing comes is given up after this
# How final refusals begin.
UNFIT: Final = "unfit: "
LOST_PAST: Final = "lost past: "
RECENT: Final = 6  # packets of a broken connection that may come late


class Path:
    """One direction from machine to machine. Fields are set by faults and by ``mend``."""

    def __init__(self) -> None:
        self.mend()

    def mend(self) -> None:
        self.is_cut = False  # nothing passes, and nobody is told
        self.is_held = False  # frames wait; connections stay
        self.delay_s = (0.0002, 0.0012)
        self.loss = 0.0  # of packets, although their connection stays
        self.repeats = 0.0
        self.shuffles = 0.0  # a packet is delivered without regard to the order
        self.late = 0.0  # when a connection breaks, its last packets come after a newer one is made


class Link:
    """One connection, from the node that made it."""

    def __init__(self, path: Path, source: "SimNetwork", target: "SimNetwork") -> None:
        self.path = path
        self.source = source
        self.target = target
        self.label = f"{source.me}>{target.me}:".encode()
        self.is_open = True
        self.queue: list[bytes] = []  # of this round
        self.waiting: deque[list[bytes]] = deque()  # while the path is cut or held
        self.recent: deque[list[bytes]] = deque(maxlen=RECENT)
        self.free_ns = 0  # the last packet arrives then: the next ones after it


class Fabric:
    """All machines' networks, by address and by node id."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.random("network")
        self.listening: dict[str, SimNetwork] = {}
        self.links: dict[tuple[str, str], Link] = {}  # the open one from node to node
        self._paths: dict[tuple[str, str], Path] = {}
        self.frames = 0
        self.counts = dict.fromkeys(("lost", "repeated", "shuffled", "late"), 0)

    def path(self, source: str, target: str) -> Path:
        found = self._paths.get((source, target))
        if found is None:
            found = self._paths[source, target] = Path()
        return found

    def paths(self) -> list[tuple[tuple[str, str], Path]]:
        return sorted(self._paths.items(), key=lambda item: item[0])

    def delay_ns(self, path: Path) -> int:
        low, high = path.delay_s
        return round((low + (high - low) * self.chance.random()) * 1e9)

    # --- what faults do -------------------------------------------------------------------------

    def cut(self, source: str, target: str, *, is_reset: bool = False) -> None:
        """Let nothing pass. The connection is found broken after a while, or at once."""
        path = self.path(source, target)
        path.is_cut = True
        self.world.after_s(0.0 if is_reset else SILENT_S, lambda: self._give_up(source, target))

    def _give_up(self, source: str, target: str) -> None:
        link = self.links.get((source, target))
        if link is not None and link.path.is_cut:
            self.break_link(link)

    def release(self, source: str, target: str) -> None:
        """Let pass what waits, in its order, and what follows."""
        path = self.path(source, target)
        path.is_cut = path.is_held = False
        link = self.links.get((source, target))
        while link is not None and link.waiting:
            self.carry(link, link.waiting.popleft())

    def mend(self) -> None:
        for (source, target), path in self.paths():
            path.mend()
            self.release(source, target)

    def break_link(self, link: Link, after_s: float = 0.0) -> None:
        """A connection breaks; both ends are told a little later."""
        if not link.is_open:
            return
        link.is_open = False
        source, target = link.source, link.target
        if self.links.get((source.me, target.me)) is link:
            del self.links[source.me, target.me]
        if self.chance.random() < link.path.late:
            self._come_late(link)
        for end, other in ((source, target), (target, source)):
            delay_s = after_s + self.delay_ns(link.path) / 1e9
            self.world.after_s(delay_s, partial(self._tell_lost, end, other.me, link))

    @staticmethod
    def _tell_lost(end: "SimNetwork", peer: str, link: Link) -> None:
        end.process.deliver(lambda: end.lost(peer, link))

    def _come_late(self, link: Link) -> None:
        """What was on its way arrives after all, in any order, when nobody waits for it any more."""
        self.counts["late"] += len(link.recent)
        for frames in link.recent:
            delay_s = self.chance.choice((0.01, 0.3, 2.0)) * self.chance.random()
            late = partial(link.target.take, link, frames, is_late=True)
            self.world.after_s(delay_s, partial(link.target.process.deliver, late))

    # --- packets --------------------------------------------------------------------------------

    def carry(self, link: Link, frames: list[bytes]) -> None:
        """Bring frames to the other end."""
        path, world, chance = link.path, self.world, self.chance
        if path.is_cut or path.is_held:
            link.waiting.append(frames)
            return
        self.frames += len(frames)
        if path.late:
            link.recent.append(frames)
        if path.loss and chance.random() < path.loss:
            self.counts["lost"] += 1
            return
        at_ns = world.now_ns + self.delay_ns(path)
        target = link.target
        arrive = partial(target.process.deliver, partial(target.take, link, frames))
        if path.repeats and chance.random() < path.repeats:
            self.counts["repeated"] += 1
            world.after_s(chance.random() * 0.5, arrive)
        if path.shuffles and chance.random() < path.shuffles:
            self.counts["shuffled"] += 1
            world.after_s(chance.random() * 0.1, arrive)
            return
        link.free_ns = at_ns = max(at_ns, link.free_ns)
        world.at(at_ns, arrive)

    def gone(self, network: "SimNetwork", *, is_silent: bool) -> None:
        """A process is gone: its connections break, at once or when somebody finds out."""
        if self.listening.get(network.address) is network:
            del self.listening[network.address]
        for link in [link for link in self.links.values() if network in (link.source, link.target)]:
            after_s = SILENT_S * self.chance.random() if is_silent else 0.0
            self.break_link(link, after_s)


class Route:
    """A node's connection to one member, kept up."""

    def __init__(self, peer: str, address: str) -> None:
        self.peer = peer
        self.address = address
        self.link: Link | None = None
        self.backoff_s = BACKOFF_MIN_S
        self.attempt = 0  # of dialling; an older one's answer does not count


class SimNetwork:
    """One process's network: a ``peer_api.Network``."""

    owner: PeerOwner  # from ``start`` on

    def __init__(self, fabric: Fabric, process: ProcessLoop, me: str, address: str) -> None:
        self.fabric = fabric
        self.process = process
        self.me = me
        self.address = address
        self._routes: dict[str, Route] = {}
        self._wanted: dict[str, str] = {}
        self._callers: dict[str, str] = {}
        self._accepted: dict[str, Link] = {}
        self._taken: dict[Route, None] = {}
        self._random = fabric.world.random(f"dialling/{process.name}")

    async def start(self, owner: PeerOwner) -> None:
        self.owner = owner
        if self.address in self.fabric.listening:
            raise StartError(f"{self.address} is taken")
        self.fabric.listening[self.address] = self

    async def stop(self) -> None:
        self.set_peers({})
        self.fabric.gone(self, is_silent=False)

    def set_peers(self, addresses: Mapping[str, str]) -> None:
        self._wanted = dict(addresses)
        if not addresses:
            self._callers.clear()
        self._follow()
        for peer, link in list(self._accepted.items()):
            identity = link.source.identity
            if peer not in self._wanted and self.owner.admit(identity):
                self.fabric.break_link(link)

    @property
    def identity(self) -> Identity:
        return self.owner.identity()

    def _follow(self) -> None:
        wanted = {**self._wanted, **self._callers}
        for peer, route in list(self._routes.items()):
            if wanted.get(peer) != route.address:
                del self._routes[peer]
                self._taken.pop(route, None)
                route.attempt += 1
                if route.link is not None:
                    link, route.link = route.link, None
                    self.fabric.break_link(link)
                    self.owner.on_down(peer)
        for peer, address in wanted.items():
            if peer not in self._routes:
                route = self._routes[peer] = Route(peer, address)
                self._dial_after(route, 0.0)

    # --- dialling -------------------------------------------------------------------------------

    def _dial_after(self, route: Route, delay_s: float) -> None:
        route.attempt += 1
        attempt = route.attempt

        def dial() -> None:
            if route.attempt == attempt and route.link is None:
                self._dial(route)

        self.fabric.world.after_s(delay_s, lambda: self.process.deliver(dial))

    def _again(self, route: Route, after_s: float = 0.0) -> None:
        wait_s = route.backoff_s * (0.5 + self._random.random())
        route.backoff_s = min(2 * route.backoff_s, BACKOFF_MAX_S)
        self._dial_after(route, after_s + wait_s)

    def _dial(self, route: Route) -> None:
        """Ask the other side whether it takes us."""
        fabric, peer = self.fabric, route.peer
        target = fabric.listening.get(route.address)
        path = fabric.path(self.me, target.me if target else peer)
        if path.is_cut or path.is_held or (target is not None and target.process.is_paused):
            self._again(route, CONNECT_S)
        elif target is None:
            self._again(route)
        else:
            attempt, link, hello = route.attempt, Link(path, self, target), self.identity

            def arrive() -> None:
                target.process.deliver(lambda: answer(target.accept(link, peer, hello)))

            def answer(welcome: Identity | str) -> None:
                fabric.world.after_s(fabric.delay_ns(path) / 1e9, lambda: self.process.deliver(
                    lambda: self._connected(route, attempt, link, welcome)))  # fmt: skip

            fabric.world.after_s(fabric.delay_ns(path) / 1e9, arrive)

            def give_up() -> None:
                if route.attempt == attempt and route.link is None:
                    self._again(route)

            self.fabric.world.after_s(CONNECT_S, lambda: self.process.deliver(give_up))

    def accept(self, link: Link, to: str, hello: Identity) -> Identity | str:
        """The other side of a handshake: who this is, or a refusal, which may be final."""
        me, source = self.identity, link.source
        if to != me.node_id or hello.cluster_id != me.cluster_id or self.owner.admit(hello):
            return "refused"
        unfit, lost = self.owner.why_unfit(hello), self.owner.what_is_lost(hello)
        if unfit:
            return UNFIT + unfit
        if lost:
            return LOST_PAST + lost
        before = self._accepted.get(source.me)
        self._accepted[source.me] = link
        if before is not None:
            self.fabric.break_link(before)
        if self._wanted.get(source.me) != source.address:
            self._callers[source.me] = source.address
            self._follow()
        route = self._routes.get(source.me)
        if route is not None and route.link is None:
            route.backoff_s = BACKOFF_MIN_S
            self._dial_after(route, BACKOFF_MIN_S * self._random.random())
        return me

    def _connected(self, route: Route, attempt: int, link: Link, welcome: Identity | str) -> None:
        is_taken = not isinstance(welcome, str)
        if route.attempt != attempt or route.link is not None or not link.is_open:
            if is_taken:
                self.fabric.break_link(link)
        elif isinstance(welcome, str):
            if welcome.startswith(UNFIT):
                self.owner.on_unfit(welcome.removeprefix(UNFIT), has_lost_past=False)
            elif welcome.startswith(LOST_PAST):
                self.owner.on_unfit(welcome.removeprefix(LOST_PAST), has_lost_past=True)
            self._again(route)
        elif self.owner.why_unfit(welcome) or self.owner.what_is_lost(welcome):
            self.fabric.break_link(link)
            self._again(route)
        elif not link.target.process.is_alive:
            self._again(route)
        else:
            route.backoff_s = BACKOFF_MIN_S
            route.link = link
            self.fabric.links[self.me, route.peer] = link
            self.owner.on_up(route.peer)

    def lost(self, peer: str, link: Link) -> None:
        """One of our connections is gone, of either kind."""
        route = self._routes.get(peer)
        if route is not None and route.link is link:
            route.link = None
            self.owner.on_down(peer)
            self._again(route)
        if self._accepted.get(peer) is link:
            del self._accepted[peer]
            self.owner.on_down(peer)
            if self._callers.pop(peer, None):
                self._follow()

    # --- frames ---------------------------------------------------------------------------------

    def is_up(self, peer: str) -> bool:
        route = self._routes.get(peer)
        return route is not None and route.link is not None and route.link.is_open

    def send(self, peer: str, frame: bytes) -> bool:
        route = self._routes.get(peer)
        if route is None or route.link is None or not route.link.is_open:
            return False
        if not self.process.is_alive:
            return False
        route.link.queue.append(frame)
        self._taken[route] = None
        return True

    def flush(self) -> None:
        for route in self._taken:
            link = route.link
            if link is not None and link.queue:
                frames, link.queue = link.queue, []
                if self.process.is_alive:
                    self.fabric.carry(link, frames)
        self._taken.clear()

    def take(self, link: Link, frames: list[bytes], *, is_late: bool = False) -> None:
        """Frames have come."""
        if not is_late and self._accepted.get(link.source.me) is not link:
            return
        peer, owner = link.source.me, self.owner
        self.fabric.world.note_bytes(b"%b%d" % (link.label, len(frames)))
        try:
            for frame in frames:
                owner.on_frame(peer, frame)
        except PeerError:
            self.fabric.break_link(link)
        owner.on_received()

    async def ask(self, address: str, question: bytes, *, timeout_s: float) -> bytes:
        fabric, process = self.fabric, self.process
        answer: asyncio.Future[bytes] = process.create_future()
        me = self.identity

        def tell(settle: Callable[[], None], path: Path) -> None:
            fabric.world.after_s(fabric.delay_ns(path) / 1e9, lambda: process.deliver(
                lambda: None if answer.done() else settle()))  # fmt: skip

        async def serve(target: SimNetwork) -> None:
            back = fabric.path(target.me, self.me)
            try:
                data = await target.owner.on_ask(me, question)
            except PeerError as error:
                why = str(error)
                tell(lambda: answer.set_exception(AskError(why)), back)
            else:
                if not back.is_cut:
                    tell(lambda: answer.set_result(data), back)

        target = fabric.listening.get(address)
        if target is None:
            raise AskError(f"{address} cannot be asked: nobody listens there")
        path = fabric.path(self.me, target.me)
        if not path.is_cut:
            fabric.world.after_s(
                fabric.delay_ns(path) / 1e9, lambda: target.process.spawn(lambda: serve(target))
            )
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise AskError(f"{address} cannot be asked: it did not answer in time") from None
