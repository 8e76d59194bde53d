"""The stock Raft library as it is released, one node at a time, with a network and a clock by hand."""

from typing import Any

import pytest
from pysyncobj import SyncObj, SyncObjConf, replicated, syncobj
from pysyncobj.node import Node
from pysyncobj.transport import Transport

LONG_S = 10.0  # no election timeout is longer


class Silence(Transport):  # type: ignore[misc] # the library has no types
    """A network on which nothing arrives, and which remembers what was sent."""

    def __init__(self) -> None:
        super().__init__(None, None, [])
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, node: Any, message: dict[str, Any]) -> bool:
        self.sent.append((node.id, message))
        return True

    def dropNode(self, node: Any) -> None:  # noqa: N802 - the library's name
        del node


class Counter(SyncObj):  # type: ignore[misc]
    """A replicated list."""

    def __init__(self, others: tuple[str, ...] = (), **conf: Any) -> None:
        self.values: list[Any] = []
        self.network = Silence()
        settings = SyncObjConf(autoTick=False, **conf)
        nodes = [Node(name) for name in others]
        super().__init__(Node("n1"), nodes, settings, transport=self.network)

    @replicated  # type: ignore[untyped-decorator]
    def append(self, value: Any) -> None:
        if value == "poison":
            raise RuntimeError("a bad command")
        self.values.append(value)

    def hear(self, peer: str, **message: Any) -> None:
        """Let a message of a peer arrive."""
        self._SyncObj__onMessageReceived(Node(peer), message)

    def hear_append(self, term: int, prev: tuple[int, int], *entries: Any, commit: int = 1) -> None:
        """Let entries of the leader n2 arrive, none in a heartbeat. The log begins with (1, 0)."""
        self.hear(
            "n2",
            type="append_entries",
            term=term,
            commit_index=commit,
            prevLogIdx=prev[0],
            prevLogTerm=prev[1],
            entries=list(entries),
        )

    def answers(self) -> list[dict[str, Any]]:
        """What was sent since the last call."""
        sent, self.network.sent = self.network.sent, []
        return [message for _peer, message in sent]


def noop(index: int, term: int) -> tuple[bytes, int, int]:
    """An entry that does nothing."""
    return bytes([syncobj._COMMAND_TYPE.NO_OP]), index, term


def hand_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by hand, in a list of one."""
    seconds = [100.0]
    monkeypatch.setattr(syncobj, "monotonicTime", lambda: seconds[0])
    return seconds


def lead(node: Counter, clock: list[float]) -> Counter:
    """Let a node win an election, with the votes of all others."""
    stand(node, clock)
    for other in node.otherNodes:
        node.hear(other.id, type="response_vote", term=node.raftCurrentTerm)
    node.doTick()
    assert node._isLeader()
    return node


def stand(node: Counter, clock: list[float]) -> None:
    """Let a node stand for election, connected to all others."""
    clock[0] += LONG_S
    for other in node.otherNodes:
        node._SyncObj__connectedNodes.add(other)
    node.doTick()
