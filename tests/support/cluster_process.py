"""Real ``raftqd`` processes that form one cluster on loopback, for tests that need one.

    with ClusterProcess(tmp_path, 3) as cluster:
        cluster.kill(cluster.leader())     # SIGKILL, as a power cut would
        cluster.start("n1")                # comes back with its directory and its ports
        cluster.join("n4")                 # through whoever lives

Ports stay a node's own from one start to the next. Nothing waits by the clock: ``until`` asks until it is so.
"""

import json
import signal
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from free_ports import free_ports
from tests.support.node_process import NodeProcess

WAIT_S: Final = 60.0  # a machine that others keep busy does what a quiet one does in a second
_ASK_S: Final = 2.0  # a node that is stopped does not answer
_PAUSE_S: Final = 0.01


def until(condition: Callable[[], bool], what: str) -> None:
    """Ask until something is so. Only for what nobody can be told of.

    Raises:
        AssertionError: it did not become so; ``what`` says what was waited for.
    """
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        time.sleep(_PAUSE_S)


class ClusterProcess:
    """Nodes n1, n2, … by name; one of them is a standalone node. ``flags`` go to each of them."""

    form_a_cluster = True

    def __init__(
        self, folder: Path, count: int, *flags: str, env: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._env = env
        self._flags = flags
        self._ports = free_ports(3 * count)
        self._peers: dict[str, str] = {}
        self.nodes: dict[str, NodeProcess] = {}
        self._stopped: set[str] = set()
        ids = [f"n{number + 1}" for number in range(count)]
        members = ",".join(
            f"{id_}=127.0.0.1:{port}" for id_, port in zip(ids, self._ports[::3], strict=True)
        )
        together = ("--initial-cluster", members) if count > 1 and self.form_a_cluster else ()
        for id_ in ids:
            self._make(id_, *together)

    def _make(self, id_: str, *flags: str) -> NodeProcess:
        peer, text, http = (f"127.0.0.1:{self._ports.pop(0)}" for _ in range(3))
        self._peers[id_] = peer
        node = self.nodes[id_] = NodeProcess(
            self._folder / id_, *self._flags, "--node-id", id_, "--peer", peer,
            "--text", text, "--http", http, *flags, env=self._env,
        )  # fmt: skip
        return node

    def __getitem__(self, id_: str) -> NodeProcess:
        return self.nodes[id_]

    def start(self, *ids: str) -> Self:
        """Start nodes, all of them if none is named, and wait until they are ready."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            started = [pool.submit(self.nodes[id_].start) for id_ in ids or self.nodes]
        for node in started:
            node.result()
        return self

    def join(self, id_: str, through: str = "") -> NodeProcess:
        """Start a new node that asks to be taken in, and wait until it is ready."""
        asked = [through] if through else self._answering()
        addresses = ",".join(self._peers[name] for name in asked)
        self._ports += free_ports(3)
        return self._make(id_, "--join", addresses).start()

    def rejoin(self, id_: str, through: tuple[str, int]) -> None:
        """Have a node ask others to be taken in at its next start, with the directory that it has."""
        node = self.nodes[id_]
        self.nodes[id_] = NodeProcess(node.data_dir, "--join", f"{through[0]}:{through[1]}")

    def kill(self, *ids: str) -> None:
        """End nodes at once, all of them if none is named."""
        nodes = [self.nodes[id_] for id_ in ids or self.nodes]
        for node in nodes:
            with suppress(ProcessLookupError, AssertionError):
                node.signal(signal.SIGKILL)
        for node in nodes:
            node.kill()
        self._stopped.difference_update(ids or self.nodes)

    def pause(self, *ids: str) -> None:
        """Stop nodes as SIGSTOP does: their connections live, and nothing comes."""
        for id_ in ids:
            self._stopped.add(id_)
            self.nodes[id_].signal(signal.SIGSTOP)

    def resume(self, *ids: str) -> None:
        """Let stopped nodes go on."""
        for id_ in ids:
            self.nodes[id_].signal(signal.SIGCONT)
            self._stopped.discard(id_)

    def page(self, id_: str, path: str) -> str:
        """What a node answers to a GET.

        Raises:
            OSError: it does not answer in time, or with an error.
        """
        host, port = self.nodes[id_].http
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=_ASK_S) as answer:
            text: str = answer.read().decode()
            return text

    def status(self, id_: str) -> dict[str, Any]:
        """What a node says of the cluster; nothing if it does not answer."""
        try:
            document: dict[str, Any] = json.loads(self.page(id_, "/v1/cluster"))
        except (OSError, ValueError):
            return {}
        return document

    def leader(self) -> str:
        """Wait until somebody leads, as the leader itself knows; give its name."""
        found: list[str] = []

        def is_known() -> bool:
            found[:] = [id_ for id_ in self._answering() if self.status(id_).get("leader") == id_]
            return bool(found)

        until(is_known, "a node leads")
        return found[0]

    def follower(self) -> str:
        """A node that lives and does not lead."""
        leader = self.leader()
        return next(id_ for id_ in self._answering() if id_ != leader)

    def _answering(self) -> Iterable[str]:
        return [
            id_ for id_ in self.nodes if id_ not in self._stopped and self.nodes[id_].is_running
        ]

    def roles(self) -> dict[str, str]:
        """``leader``, ``follower`` or ``learner`` of each member, as the leader knows them."""
        members = self.status(self.leader()).get("members", [])
        return {member["id"]: member["role"] for member in members}

    def text_url(self, *ids: str) -> str:
        """The client's address of these nodes, in this order; of all if none is named."""
        nodes = [self.nodes[id_] for id_ in ids or self.nodes]
        return "raftq://" + ",".join(node.facts["text"] for node in nodes)

    def peer(self, id_: str) -> tuple[str, int]:
        """Where a node listens to its peers."""
        host, _, port = self._peers[id_].rpartition(":")
        return host, int(port)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
