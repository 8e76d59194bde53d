"""Whoever comes to the ports of a cluster without being a member or a client does nothing that lasts."""

import os
import pickle
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.cluster_process import ClusterProcess, until

import raftq
from raftq_cluster.backends.raft.transport.framing import length_of
from raftq_cluster.backends.raft.transport.hello import ASK, PEER, Hello, pack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ANSWER_S = 30.0
IDLE = 500
GREEDY = 80  # connections to a node that may open only a few more files
SPARE = 24
GROWTH_BYTES_MAX = 64 << 20
PORTS = ("peer", "text", "http")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    """Three nodes; five would show nothing else here."""
    with ClusterProcess(tmp_path_factory.mktemp("cluster"), 3) as running:
        yield running


@pytest.fixture
def unharmed(cluster: ClusterProcess) -> Iterator[None]:
    """Whatever the test does: the same leader and term, every node works, and nothing has grown."""
    leader, term = cluster.leader(), cluster.status(cluster.leader())["term"]
    before = {name: resident_bytes(cluster, name) for name in cluster.nodes}
    yield
    for name in cluster.nodes:
        with raftq.Client(cluster.text_url(name), timeout_s=ANSWER_S) as client:
            task = client.put("/strangers", name)
            client.delete(task)
        assert resident_bytes(cluster, name) - before[name] < GROWTH_BYTES_MAX
        assert "Traceback" not in cluster[name].logs()
    assert (cluster.leader(), cluster.status(leader)["term"]) == (leader, term)


def resident_bytes(cluster: ClusterProcess, name: str) -> int:
    pages = Path(f"/proc/{cluster[name].pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def address(cluster: ClusterProcess, name: str, port: str) -> tuple[str, int]:
    node = cluster[name]
    return {"peer": cluster.peer(name), "text": node.text, "http": node.http}[port]


def connect(place: tuple[str, int]) -> socket.socket:
    return socket.create_connection(place, timeout=ANSWER_S)


def last_words(stranger: socket.socket) -> bytes:
    """What the node says until it ends the connection, for which it has ``ANSWER_S``."""
    said = b""
    with suppress(ConnectionError):
        while piece := stranger.recv(65_536):
            said += piece
    return said


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def hello(cluster: ClusterProcess, **changed: Any) -> bytes:
    known = {
        "protocol_min": 1, "protocol_max": 1, "purpose": PEER, "node_id": "n2", "birth": "f" * 16,
        "cluster_id": cluster.status(cluster.leader())["cluster_id"], "to": "n1",
    }  # fmt: skip
    frame = pack(Hello(**{**known, **changed}))
    return length_of(frame) + frame


@pytest.mark.usefixtures("unharmed")
def test_a_pickle_is_not_opened(cluster: ClusterProcess, tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "opened"))
    for port in PORTS:
        for words in (bomb, length_of(bomb) + bomb, bomb + b"\r\n\r\n"):
            with connect(address(cluster, "n1", port)) as stranger:
                stranger.sendall(words)
                stranger.shutdown(socket.SHUT_WR)
                last_words(stranger)
    with connect(cluster.peer("n1")) as stranger:  # as the question of somebody who is let in
        question = length_of(bomb) + bomb
        stranger.sendall(hello(cluster, purpose=ASK) + question)
        assert b"raftq welcome" in last_words(stranger)
    assert not (tmp_path / "opened").exists()


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    "forged",
    [
        {"birth": "0" * 16},
        {"birth": ""},
        {"cluster_id": "0" * 16},
        {"cluster_id": ""},
        {"node_id": "n9"},
        {"node_id": "n1"},
        {"to": "n3"},
        {"protocol_min": 9, "protocol_max": 9},
    ],
    ids="-".join,
)
def test_a_forged_member_is_not_heard(cluster: ClusterProcess, forged: dict[str, Any]) -> None:
    with connect(cluster.peer("n1")) as stranger:
        stranger.sendall(hello(cluster, **forged))
        said = last_words(stranger)
    assert b"raftq refusal" in said
    assert b"raftq welcome" not in said


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("port", PORTS)
def test_two_gigabytes_are_not_waited_for(cluster: ClusterProcess, port: str) -> None:
    head = {
        "peer": (2**31).to_bytes(4, "big"),
        "text": b"1 call modify 2147483648 ",
        "http": b"POST /v1/modify HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2147483648\r\n\r\n",
    }[port]
    with connect(address(cluster, "n1", port)) as stranger:
        stranger.sendall(head)
        with suppress(ConnectionError):
            for _ in range(64):
                stranger.sendall(bytes(65_536))
        last_words(stranger)


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("port", PORTS)
def test_a_crowd_that_says_nothing_keeps_nobody_out(cluster: ClusterProcess, port: str) -> None:
    with ExitStack() as crowd:
        for _ in range(IDLE):
            crowd.enter_context(connect(address(cluster, "n1", port)))
        with raftq.Client(cluster.text_url("n1"), timeout_s=ANSWER_S) as client:
            client.delete(client.put("/strangers", "meanwhile"))
        # A member finds its way in, too.
        other = next(name for name in ("n2", "n3") if name != cluster.leader())
        cluster.kill(other)
        cluster.start(other)
        with raftq.Client(cluster.text_url(other), timeout_s=ANSWER_S) as client:
            client.delete(client.put("/strangers", "back"))


@pytest.mark.usefixtures("unharmed")
def test_a_peer_that_speaks_slowly_is_not_waited_for(cluster: ClusterProcess) -> None:
    words = hello(cluster)
    with connect(cluster.peer("n1")) as stranger, connect(cluster.peer("n1")) as other:
        other.settimeout(0.1)  # between its bytes
        with suppress(ConnectionError):
            for place in range(len(words)):
                other.sendall(words[place : place + 1])
                with suppress(TimeoutError):
                    if not other.recv(1):
                        break
        last_words(stranger)
        other.settimeout(ANSWER_S)
        last_words(other)


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("port", PORTS)
def test_a_node_without_descriptors_serves_its_clients_and_recovers(
    cluster: ClusterProcess, port: str
) -> None:
    pid = cluster["n1"].pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    with raftq.Client(cluster.text_url("n1"), timeout_s=ANSWER_S) as client, ExitStack() as greedy:
        client.delete(client.put("/strangers", "before"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (taken + SPARE, limits[1]))
        try:
            for _ in range(GREEDY):
                greedy.enter_context(connect(address(cluster, "n1", port)))
            client.delete(client.put("/strangers", "during"))
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        greedy.close()
        client.delete(client.put("/strangers", "after"))
    until(lambda: cluster.status("n1") != {}, "it takes connections again")
    other = next(name for name in ("n2", "n3") if name != cluster.leader())
    cluster.kill(other)
    cluster.start(other)  # it serves only when the others have taken its connections
