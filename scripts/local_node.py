"""``raftqd`` processes on loopback, one or a cluster: started, waited for, killed, stopped.

For the demo and the benchmarks.

Knows how a node is started and what its first line says, nothing of tasks.
"""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from free_ports import free_or_any, free_ports
from ready_line import START_S, facts_of, first_line, without_settings

HTTP_PORT: Final = 7677
TEXT_PORT: Final = 7979
STOP_S: Final = 30.0


class NodeNotStartedError(Exception):
    """The node ended, or said nothing in time; the message has the end of its log."""


class Place(NamedTuple):
    """Where a node of a cluster is: its name, its ports, and the list that all of them share."""

    node_id: str
    http: int
    text: int
    peer: int
    initial_cluster: str = ""
    join: str = ""


class LocalNode:
    """One node. A standalone one has the usual ports where they are free, else the system's choice."""

    def __init__(self, data_dir: Path, place: Place | None = None) -> None:
        self.data_dir = data_dir
        self._place = place
        self.log_path = data_dir.with_name(f"{data_dir.name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._facts: dict[str, str] = {}

    @property
    def text_address(self) -> str:
        """``HOST:PORT`` of the text protocol."""
        return self._facts["text"]

    @property
    def http_address(self) -> str:
        """``HOST:PORT`` of HTTP."""
        return self._facts["http"]

    @property
    def pid(self) -> int:
        assert self._process is not None, "the node was not started"
        return self._process.pid

    def start(self) -> Self:
        """Start the node and wait until it serves.

        Raises:
            NodeNotStartedError: it does not.
        """
        self.launch()
        self.wait_until_ready()
        return self

    def _flags(self) -> list[str]:
        place = self._place
        if place is None:
            http, text, peer = free_or_any(HTTP_PORT), free_or_any(TEXT_PORT), 0
            cluster = []
        else:
            http, text, peer = place.http, place.text, place.peer
            cluster = ["--node-id", place.node_id]
            cluster += ["--join", place.join] if place.join else []
            cluster += ["--initial-cluster", place.initial_cluster] if not place.join else []
        return [
            "--data-dir", str(self.data_dir), "--http", f"127.0.0.1:{http}",
            "--text", f"127.0.0.1:{text}", "--peer", f"127.0.0.1:{peer}", *cluster,
        ]  # fmt: skip

    def launch(self) -> None:
        """Start the node, and do not wait for it."""
        command = [sys.executable, "-m", "raftq_cluster", *self._flags()]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=without_settings(),
                start_new_session=True,  # Ctrl-C is for us: we stop the node when it is time
            )

    def kill(self) -> None:
        """End the process as a power cut would."""
        process = self._process
        assert process is not None, "the node was not started"
        process.kill()
        process.wait()
        self.stop()

    def stop(self) -> None:
        """Let the node drain and end; end it the hard way if it does not. Idempotent."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None

    def wait_until_ready(self, patience_s: float = START_S) -> None:
        """Read the first line: ``raftq ready node=n1 http=… text=… …``.

        Raises:
            NodeNotStartedError: it did not come.
        """
        process = self._process
        assert process is not None, "the node was not launched"
        line = first_line(process, patience_s)
        self._facts = facts_of(line)
        if not self._facts:
            self.kill()
            said = self.log_path.read_text(errors="replace")[-2000:]
            raise NodeNotStartedError(f"raftqd did not start: {line}{said}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class LocalCluster:
    """Nodes n1, n2, … that form one cluster. Their ports stay theirs from one start to the next."""

    def __init__(self, folder: Path, count: int = 3) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        ids = [f"n{number + 1}" for number in range(count)]
        ports = free_ports(3 * count)
        peers = ports[2 * count :]
        self._join = ",".join(f"127.0.0.1:{port}" for port in peers)
        members = ",".join(f"{id_}=127.0.0.1:{port}" for id_, port in zip(ids, peers, strict=True))
        self.nodes = {
            id_: LocalNode(
                folder / id_, Place(id_, ports[place], ports[count + place], peers[place], members)
            )
            for place, id_ in enumerate(ids)
        }

    def start(self) -> Self:
        """Start all nodes and wait until all of them serve.

        Raises:
            NodeNotStartedError: one of them does not.
        """
        for node in self.nodes.values():
            node.launch()
        for node in self.nodes.values():
            node.wait_until_ready()
        return self

    def add(self, node_id: str) -> LocalNode:
        """Make one more node, which will join through whoever lives; it is not started."""
        http, text, peer = free_ports(3)
        place = Place(node_id, http, text, peer, join=self._join)
        node = self.nodes[node_id] = LocalNode(self._folder / node_id, place)
        return node

    def stop(self) -> None:
        """Stop all nodes. Idempotent."""
        for node in self.nodes.values():
            node.stop()

    def leader(self) -> str:
        """The id of the leader as the first node that answers knows it, "" while there is none."""
        for node in self.nodes.values():
            try:
                url = f"http://{node.http_address}/v1/cluster"
                with urllib.request.urlopen(url, timeout=2.0) as answer:
                    leader: str = json.load(answer)["leader"]
            except OSError:
                continue
            if leader:
                return leader
        return ""

    def is_level(self) -> bool:
        """Whether every node knows the same leader and all have applied the same entry."""
        seen = set()
        for node in self.nodes.values():
            try:
                url = f"http://{node.http_address}/v1/cluster"
                with urllib.request.urlopen(url, timeout=2.0) as answer:
                    known = json.load(answer)
            except OSError:
                return False
            seen.add((known["leader"], known["term"], known["index"]))
        return len(seen) == 1

    @property
    def text_addresses(self) -> list[str]:
        """``HOST:PORT`` of the text protocol of every node."""
        return [node.text_address for node in self.nodes.values()]

    @property
    def http_addresses(self) -> list[str]:
        """``HOST:PORT`` of HTTP of every node."""
        return [node.http_address for node in self.nodes.values()]

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [node.pid for node in self.nodes.values()]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
