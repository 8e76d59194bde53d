"""Claims that wait at any node of a cluster: woken by what comes in through another, and one at a time."""

import asyncio
from pathlib import Path

import pytest
from tests.support.cluster_process import ClusterProcess, until
from tests.support.logged_operations import logged_operations

import raftq
from raftq_cluster.core import operations as op

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.asyncio]

WAITERS = 1_000
WAIT_MS = 120_000
CLAIMS_MAX = 12  # a node tries once for an arrival, or twice; there are three nodes


async def herd(cluster: ClusterProcess, waiters: int) -> list[str]:
    """Wait in a crowd at all nodes, put one task in, and give what came of all waits."""
    clients = [
        raftq.AsyncClient(cluster.text_url(name), claimant=name, timeout_s=60.0)
        for name in cluster.nodes
    ]
    waits = [
        asyncio.ensure_future(clients[number % len(clients)].claim("/herd", wait_ms=WAIT_MS))
        for number in range(waiters)
    ]
    names = list(cluster.nodes)
    await asyncio.to_thread(
        until,
        lambda: sum(waiting_at(cluster, name) for name in names) == waiters,
        "all claims wait",
    )
    for (
        client
    ) in clients:  # what came before it is confirmed: no wait has a claim under way any more
        assert await client.claim("/nothing") == []
    await clients[0].put("/herd", "one")
    done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    found = [task.value for wait in done for task in wait.result()]
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)
    for client in clients:
        await client.close()
    return found


def waiting_at(cluster: ClusterProcess, name: str) -> int:
    """How many claims wait at a node, as its metrics say."""
    line = next(
        line
        for line in cluster.page(name, "/metrics").splitlines()
        if line.startswith("raftq_waiting_claims ")
    )
    return int(float(line.split()[1]))


async def test_a_thousand_waiting_workers_do_not_herd(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path, 3) as cluster:
        found = await herd(cluster, WAITERS)
        leader = cluster.leader()
        assert cluster[leader].stop() == 0
    assert found == ["one"]
    kinds = [operation[0] for operation in logged_operations(tmp_path / leader)]
    # Not those before: a claim is logged of which no majority has said within a second that there is nothing.
    woken = kinds[kinds.index(op.MODIFY) :]
    assert 1 <= woken.count(op.CLAIM) <= CLAIMS_MAX
