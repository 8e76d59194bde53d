"""TaskQ's promises over real nodes: integer ids that never repeat, whatever dies, and one queue seen from every node."""

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest
from tests.support.node_process import NodeProcess
from tests.support.real_nodes import OF_ONE, OF_THREE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
over_one = pytest.mark.parametrize("kind", OF_ONE)
over_three = pytest.mark.parametrize("kind", OF_THREE)
ANSWER_S = 20.0


class Lines:
    """A text connection: a line out, a line in."""

    def __init__(self, node: NodeProcess) -> None:
        self._socket = socket.create_connection(node.text, ANSWER_S)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, line: str) -> list[str]:
        self._socket.sendall(f"{line}\n".encode())
        return self._file.readline().decode().split()


def ask_http(
    node: NodeProcess, method: str, path: str, body: bytes | None = None, kind: str = "text/plain"
) -> bytes:
    request = urllib.request.Request(
        node.http_url + path, body, {"Content-Type": kind}, method=method
    )
    with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
        data: bytes = answer.read()
        return data


def enq(node: NodeProcess, queue: str = "q") -> int:
    with Lines(node) as lines:
        reply = lines.ask(f"1 enq {queue} 1 x")
        assert reply[:3] == ["1", "enqed", queue], reply
        return int(reply[3])


def drain(node: NodeProcess, queue: str = "q") -> list[int]:
    ids = []
    with Lines(node) as lines:
        while (reply := lines.ask(f"2 deq {queue}"))[1] == "deqed":
            ids.append(int(reply[3]))
            assert lines.ask(f"3 ack {queue} {reply[3]}") == ["3", "acked", queue, reply[3]]
    return ids


def settings(node: NodeProcess, **document: Any) -> None:
    ask_http(node, "PUT", "/v1/settings", json.dumps(document).encode(), "application/json")


@over_one
def test_t21_ids_go_on_after_the_queue_was_empty_and_after_kill_9(
    kind: str, tmp_path: Path
) -> None:
    with OF_ONE[kind](tmp_path) as nodes:
        node = nodes["n1"]
        assert [enq(node), enq(node), enq(node, "other")] == [1, 2, 1]
        assert drain(node) == [1, 2]
        node.kill()
        node.start()
        assert enq(node) == 3
        with Lines(node) as lines:
            assert lines.ask("4 deq q")[3] == "3"
        node.kill()
        node.start()
        with Lines(node) as lines:
            assert lines.ask("5 deq q")[:2] == ["5", "error"]
            assert lines.ask("6 ack q 3") == ["6", "acked", "q", "3"]
        assert enq(node) == 4


@over_three
def test_t5_and_t20_ids_go_on_through_a_failover_and_the_loss_of_all_nodes(
    kind: str, tmp_path: Path
) -> None:
    with OF_THREE[kind](tmp_path) as cluster:
        leader = cluster.leader()
        assert [enq(cluster[leader]) for _ in range(3)] == [1, 2, 3]
        assert drain(cluster[cluster.follower()]) == [1, 2, 3]
        cluster.kill(leader)
        survivor = cluster.leader()
        assert enq(cluster[survivor]) == 4
        cluster.start(leader)
        assert drain(cluster[leader]) == [4]
        cluster.kill()
        cluster.start()
        assert enq(cluster[cluster.follower()]) == 5


@over_three
def test_t17_a_queue_is_the_same_from_every_node_in_either_dialect(
    kind: str, tmp_path: Path
) -> None:
    with OF_THREE[kind](tmp_path) as cluster:
        one, two, three = cluster.nodes.values()
        assert ask_http(one, "POST", "/apps/taskq/q/tasks", b"hello") == b"task 1 enqueued\n"
        with Lines(two) as lines:
            assert lines.ask("7 deq q") == ["7", "deqed", "q", "1", "5", "hello"]
        assert ask_http(three, "DELETE", "/apps/taskq/q/tasks/1") == b"task 1 acknowledged\n"


@over_one
def test_t15_a_queue_can_have_an_expiry_of_its_own(kind: str, tmp_path: Path) -> None:
    with OF_ONE[kind](tmp_path) as nodes:
        node = nodes["n1"]
        settings(node, pattern="quick*", lease_ms=1)
        enq(node, "quick1")
        enq(node, "slow")
        with Lines(node) as lines:
            assert lines.ask("1 deq quick1")[1] == "deqed"
            assert lines.ask("2 deq slow")[1] == "deqed"
            again = lines.ask("3 deq quick1")
            while again[1] == "error":  # until its millisecond is over
                again = lines.ask("3 deq quick1")
            assert again[:4] == ["3", "deqed", "quick1", "1"]
            assert lines.ask("4 deq slow")[1] == "error"
