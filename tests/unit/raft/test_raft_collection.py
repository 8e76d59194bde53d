"""Collection over three nodes: the leader has it done, and all are left with the same."""

import asyncio

import pytest
import pytest_asyncio
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_operations import put

from raftq_cluster.core.queries import Queues
from raftq_cluster.service.collecting import PIECE, Collecting

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


@pytest_asyncio.fixture
async def three():
    cluster = RaftCluster()
    await cluster.form(3)
    yield cluster
    await cluster.close()
    assert not any(cluster.fatal.values()), cluster.fatal


async def fill(cluster: RaftCluster, count: int) -> None:
    for node_id in cluster.backends:
        queue = f"/{node_id}/gc=0"
        inserts = [put(f"{node_id}-{number}", queue) for number in range(count)]
        await cluster.do(node_id, *inserts)
    await cluster.do("n1", put("kept", "/plain"), put("never", "/t/gc=whenever"))


async def test_only_the_leader_collects_and_all_nodes_are_left_with_the_same(three):
    await fill(three, PIECE + 10)
    collecting = {node_id: Collecting(backend) for node_id, backend in three.backends.items()}
    await asyncio.gather(*[one.sweep() for one in collecting.values()])
    leader = three.backends["n1"].status().leader
    ended = {node_id: one.tasks for node_id, one in collecting.items()}
    assert ended == dict.fromkeys(ended, 0) | {leader: 3 * (PIECE + 10)}
    assert collecting[leader].malformed == 1
    assert len(await three.digests()) == 1
    for backend in three.backends.values():
        left = (await backend.read(Queues((), (), 10))).value
        assert [queue.name for queue in left] == ["/plain", "/t/gc=whenever"]


async def test_the_next_leader_goes_on(three):
    await fill(three, 5)
    leader = three.backends["n1"].status().leader
    await three.end(leader)
    survivors = [node_id for node_id in three.backends if node_id != leader]
    await three.until(lambda: three.backends[survivors[0]].status().leader in survivors)
    for node_id in survivors:
        await three.until(lambda node_id=node_id: three.backends[node_id].status().ready)
        await Collecting(three.backends[node_id]).sweep()
    await three.start(leader)
    assert len(await three.digests()) == 1
    left = (await three.backends[leader].read(Queues((), (), 10))).value
    assert [queue.name for queue in left] == ["/plain", "/t/gc=whenever"]
