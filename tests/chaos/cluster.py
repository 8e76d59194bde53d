"""The nodes of one run: real ``raftqd`` processes at their places, and what an operator can do with them."""

import asyncio
import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.disks import FREE_BYTES_MIN, Disk
from tests.chaos.networks.api import HTTP, TEXT, Network
from tests.chaos.raftqd import CLOCK, PLANT, WallClock
from tests.support.node_process import NodeFailedError, NodeProcess
from tests.support.peer_certificates import Authority

ASK_S: Final = 2.0  # a node that is stopped, or behind a cut, does not answer
CHANGE_S: Final = 9.0  # changes of members take up to seven
_PAUSE_S: Final = 0.1
PROGRAM: Final = "tests.chaos.raftqd"
# A snapshot every few seconds, so that many are taken, sent and read back.
SNAPSHOT_BYTES: Final = 1 << 20


@dataclass
class Node:
    """One node, whatever its process does. ``is_meant``: its process is meant to run."""

    id: str
    place: str
    process: NodeProcess
    disk: Disk
    clock: WallClock
    is_meant: bool = False
    is_paused: bool = False
    is_full: bool = False  # its disk is, or was a moment ago: it may end because of it
    is_leaving: bool = False  # it is being removed, and ends when it hears of it
    is_busy: bool = False  # a fault has it in hand
    lives: int = 0
    ends: list[int] = field(default_factory=list)  # exit codes of ends that were allowed


class ChaosCluster:
    """``places`` beyond ``count`` are for nodes that come later. ``blame`` takes what must not happen."""

    def __init__(
        self,
        folder: Path,
        network: Network,
        places: Collection[str],
        count: int,
        blame: Callable[[str], None],
        *,
        has_disks: bool,
        plant: str = "",
    ) -> None:
        self._folder = folder
        self.network = network
        self.count = count
        self.has_disks = has_disks
        self._plant = plant
        self._blame = blame
        self._authority: Authority | None = None
        self._free = list(places)
        self._joined = 0
        self.gone: list[Node] = []
        self.nodes: dict[str, Node] = {}
        first = self._free[:count]
        members = ",".join(f"{place}={network.peer_address(place)}" for place in first)
        for place in first:
            self._make(place, "--initial-cluster", members)

    def _make(self, id_: str, *flags: str) -> Node:
        place = self._free.pop(0)
        disk = Disk(self._folder / f".{id_}", self._folder / id_, is_mounted=self.has_disks)
        disk.open()
        clock = self._folder / f"{id_}.clock"
        env = {CLOCK: str(clock)} | ({PLANT: self._plant} if self._plant else {})
        own = (
            *self.network.flags(place), "--node-id", id_,
            "--snapshot-bytes", str(SNAPSHOT_BYTES), "--drain-ms", "3000",
            *(("--disk-free-bytes-min", str(FREE_BYTES_MIN)) if self.has_disks else ()),
        )  # fmt: skip
        if self.network.prefix(place):  # others could connect: peers show certificates
            own += self._certificate(id_)
        process = NodeProcess(
            self._folder / id_, *own, *flags, env=env, program=PROGRAM,
            before=self.network.prefix(place),
        )  # fmt: skip
        node = self.nodes[id_] = Node(id_, place, process, disk, WallClock(clock))
        return node

    def _certificate(self, id_: str) -> tuple[str, ...]:
        if self._authority is None:
            self._authority = Authority(self._folder / "certificates")
        tls = self._authority.certify(id_)
        words = zip(
            ("--peer-cert", "--peer-key", "--peer-ca"), (tls.cert, tls.key, tls.ca), strict=True
        )
        return tuple(str(word) for pair in words for word in pair)

    # --- processes ------------------------------------------------------------------------------

    async def start_all(self) -> None:
        """Form the cluster."""
        await asyncio.gather(*(self.start(id_) for id_ in self.nodes))

    async def start(self, id_: str) -> None:
        """Start a node, and wait until it is ready; it may take as long as others are away.

        Raises:
            NodeFailedError: it ends by itself, or takes too long.
        """
        node = self.nodes[id_]
        node.lives += 1
        try:
            await asyncio.to_thread(node.process.start)
        except NodeFailedError as error:
            if error.code is not None:
                self._note_end(node, error.code)
            raise
        finally:
            node.is_meant = node.process.is_running

    def kill(self, *ids: str) -> None:
        """SIGKILL."""
        for id_ in ids:
            node = self.nodes[id_]
            node.is_meant = node.is_paused = False
            node.process.kill()

    def pause(self, id_: str) -> None:
        """SIGSTOP."""
        self.nodes[id_].is_paused = True
        self.nodes[id_].process.signal(signal.SIGSTOP)

    def resume(self, id_: str) -> None:
        """SIGCONT."""
        self.nodes[id_].is_paused = False
        self.nodes[id_].process.signal(signal.SIGCONT)

    async def stop(self, id_: str) -> int:
        """SIGTERM, and its exit code. A node that does not end is killed, and that is a breach."""
        node = self.nodes[id_]
        if not node.process.is_running:
            if node.is_meant:  # nobody has noticed yet
                self._has_ended(node)
            return node.process.wait()
        node.is_meant = False
        node.process.signal(signal.SIGTERM)
        try:
            code = await asyncio.to_thread(node.process.wait)
        except subprocess.TimeoutExpired:
            self._blame(f"{id_} does not end after SIGTERM")
            node.process.kill()
            return -1
        if code and not (node.is_full or node.is_leaving):
            self._blame(f"{id_} ended with code {code} after SIGTERM")
        return code

    async def watch(self) -> None:
        """Say so when a node ends by itself. Until cancelled."""
        while True:
            for node in self.nodes.values():
                if node.is_meant and not node.process.is_running:
                    self._has_ended(node)
            await asyncio.sleep(_PAUSE_S)

    def _has_ended(self, node: Node) -> None:
        node.is_meant = False
        self._note_end(node, node.process.wait())

    def _note_end(self, node: Node, code: int) -> None:
        """It has ended by itself, as it served or as it started."""
        node.ends.append(code)
        if not (node.is_full or node.is_leaving):
            said = node.process.logs().strip().splitlines()
            self._blame(f"{node.id} ended by itself with code {code}: {said[-1] if said else ''}")

    def close(self, *, keep: bool) -> None:
        """End all processes and disks, whatever is under way: how they end now is nobody's breach."""
        self._blame = lambda _sentence: None
        for node in (*self.nodes.values(), *self.gone):
            node.process.kill()
            if keep:
                with suppress(OSError):
                    node.disk.keep()
            node.disk.close()

    # --- what an operator does ------------------------------------------------------------------

    def place_of(self, id_: str) -> str:
        """Where a node is, or was."""
        found = self.nodes.get(id_) or next(node for node in self.gone if node.id == id_)
        return found.place

    def address(self, id_: str, door: str) -> str:
        """HOST:PORT for clients."""
        host, port = self.network.client_address(self.place_of(id_), door)
        return f"{host}:{port}"

    async def ask(
        self, id_: str, method: str, path: str, document: Any = None, within_s: float = ASK_S
    ) -> Any:
        """What a node answers; None if it does not, or refuses."""
        url = f"http://{self.address(id_, HTTP)}{path}"
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(
            url, body, {"Content-Type": "application/json"}, method=method
        )

        def answer() -> Any:
            try:
                with urllib.request.urlopen(request, timeout=within_s) as reply:
                    return json.loads(reply.read() or b"{}")
            except (OSError, ValueError):
                return None

        return await asyncio.to_thread(answer)

    async def statuses(self) -> dict[str, dict[str, Any]]:
        """What each node says of the cluster; those that do not answer are left out."""
        ids = [id_ for id_, node in self.nodes.items() if node.is_meant and not node.is_paused]
        told = await asyncio.gather(*(self.ask(id_, "GET", "/v1/cluster") for id_ in ids))
        return {id_: document for id_, document in zip(ids, told, strict=True) if document}

    async def leader(self) -> str:
        """Who leads, as far as it is known: the one of the highest term that says so; "" for nobody."""
        leading = [
            (document["term"], id_)
            for id_, document in (await self.statuses()).items()
            if document["leader"] == id_
        ]
        return max(leading)[1] if leading else ""

    async def order(self, method: str, path: str, document: Any = None) -> Any:
        """Have any node carry out an order; None if none could."""
        for id_ in [id_ for id_, node in self.nodes.items() if node.is_meant]:
            if (told := await self.ask(id_, method, path, document, CHANGE_S)) is not None:
                return told
        return None

    def has_room(self) -> bool:
        """Whether there is a place for one more node."""
        return bool(self._free)

    def add(self) -> Node:
        """Make a new node that will ask to be taken in once it is started."""
        self._joined += 1
        asked = ",".join(self.network.peer_address(node.place) for node in self.nodes.values())
        return self._make(f"m{self._joined}", "--join", asked)

    async def role(self, id_: str) -> str | None:
        """What a member is, as the leader knows it; "" if it is none, None if no leader tells."""
        leader = await self.leader()
        document = await self.ask(leader, "GET", "/v1/cluster") if leader else None
        if not document:
            return None
        roles = {member["id"]: member["role"] for member in document["members"]}
        return str(roles.get(id_, ""))

    async def forget(self, id_: str) -> None:
        """A node is no member any more: its process ends by itself, or is ended; its place is free."""
        node = self.nodes[id_]
        deadline_s = time.monotonic() + CHANGE_S
        while node.process.is_running and time.monotonic() < deadline_s:
            await asyncio.sleep(_PAUSE_S)
        node.is_meant = False
        node.process.kill()
        self.gone.append(self.nodes.pop(id_))
        self._free.append(node.place)
        with suppress(OSError):  # it stays where it is then
            await asyncio.to_thread(node.disk.put_away)

    def text_url(self) -> str:
        """The client's address of all nodes."""
        return "raftq://" + ",".join(self.address(id_, TEXT) for id_ in self.nodes)
