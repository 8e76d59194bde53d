"""What a cluster of real processes says while some of its nodes are gone, and that it says nothing stale."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.support.cluster_process import ClusterProcess

import raftq

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CHECKS = 500
CALL_S = 30.0  # patience where something must be done
REFUSED_S = 1.5  # and where nothing can be
SLACK_S = 5.0  # a loaded machine is no failure


@pytest.fixture
def clients(cluster: ClusterProcess) -> Iterator[Callable[..., raftq.Client]]:
    """Makes clients of some nodes only."""
    with ExitStack() as opened:

        def make(*names: str, timeout_s: float = CALL_S) -> raftq.Client:
            url = cluster.text_url(*names)
            return opened.enter_context(raftq.Client(url, claimant="test", timeout_s=timeout_s))

        yield make


def minority(cluster: ClusterProcess) -> list[str]:
    """As many nodes as may be gone, the leader among them."""
    leader = cluster.leader()
    others = [name for name in cluster.nodes if name != leader]
    return [leader, *others][: (len(cluster.nodes) - 1) // 2]


def rest(cluster: ClusterProcess, gone: list[str]) -> list[str]:
    return [name for name in cluster.nodes if name not in gone]


def test_what_was_acknowledged_is_read_at_once_through_any_other_node(
    cluster: ClusterProcess, clients: Callable[..., raftq.Client]
) -> None:
    chance, by_node = random.Random(1), {name: clients(name) for name in cluster.nodes}
    stale = []
    for number in range(CHECKS):
        writer, reader = chance.sample(list(by_node), 2)
        task = by_node[writer].put("/mine", number)
        if by_node[reader].task(task.id).version != task.version:
            stale.append(number)
        by_node[reader].delete(task)
        if by_node[writer].tasks(id=task.id):
            stale.append(number)
    assert stale == []


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_minority_that_is_gone_stops_nobody(
    cluster: ClusterProcess, clients: Callable[..., raftq.Client], how: str
) -> None:
    gone = minority(cluster)
    client = clients(*gone, *rest(cluster, gone))  # connected to who goes
    queue = f"/minority/{how}"
    before = client.put(queue, "before")
    cluster.kill(*gone) if how == "killed" else cluster.pause(*gone)
    for name in rest(cluster, gone):
        clients(name).put(queue, name)
    client.put(queue, "after")
    assert client.task(before.id).value == "before"
    cluster.start(*gone) if how == "killed" else cluster.resume(*gone)
    for name in gone:
        found = {task.value for task in clients(name).tasks(queue)}
        assert found == {"before", "after", *rest(cluster, gone)}


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_without_a_majority_nothing_is_done_and_everybody_is_told_in_time(
    cluster: ClusterProcess, clients: Callable[..., raftq.Client], how: str
) -> None:
    gone = [*minority(cluster), rest(cluster, minority(cluster))[0]]
    left = rest(cluster, gone)
    queue = f"/majority/{how}"
    kept = clients(left[0]).put(queue, "kept")
    cluster.kill(*gone) if how == "killed" else cluster.pause(*gone)
    client = clients(*left, timeout_s=REFUSED_S)
    began_s = time.monotonic()
    with pytest.raises((raftq.Unavailable, raftq.OutcomeUnknown, raftq.ConnectionLost)) as write:
        client.put(queue, "not yet")
    with pytest.raises((raftq.Unavailable, raftq.ConnectionLost)):
        client.tasks(queue)
    assert time.monotonic() - began_s < 2 * (REFUSED_S + SLACK_S)
    assert [task.value for task in clients(left[0]).tasks(queue, stale=True)] == ["kept"]
    cluster.start(*gone) if how == "killed" else cluster.resume(*gone)
    key = getattr(write.value, "idempotency_key", "")
    again = clients(gone[0]).put(queue, "not yet", idempotency_key=key)
    found = clients(gone[-1]).tasks(queue)
    assert {task.id for task in found} == {kept.id, again.id}
