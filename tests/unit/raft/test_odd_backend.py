"""Whole backends of which one is odd: it leaves a report, stops, and does not start again."""

import pytest
import pytest_asyncio
from tests.support.planted import planted
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_node import DIRECTORY
from tests.support.raft_operations import put

from raftq_cluster.backends.raft.storage.data_dir import REPORT_NAME
from raftq_cluster.config import StartError
from raftq_cluster.core.outcomes import Modified

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def three():
    cluster = RaftCluster()
    await cluster.form(3)
    yield cluster
    await cluster.close()


def follower(cluster):
    return next(node_id for node_id in cluster.backends if node_id != cluster.leader())


async def test_the_odd_one_leaves_a_report_and_stops_and_the_others_go_on(three):
    odd = follower(three)
    three.running(odd).replica.machine = planted("does not modify")
    await three.do(three.leader(), put("a"))
    await three.until(lambda: bool(three.fatal[odd]))
    (sentence,) = three.fatal[odd]
    assert f"the state of node {odd} differs" in sentence
    assert str(DIRECTORY / REPORT_NAME) in sentence
    report = three.disks[odd].content(DIRECTORY / REPORT_NAME).decode()
    assert all(f"  {node_id}  " in report for node_id in three.backends)
    await three.end(odd)
    assert isinstance((await three.do(three.leader(), put("b")))[0], Modified)
    with pytest.raises(StartError, match="its state differed"):
        await three.start(odd)
    three.disks[odd].unlink(DIRECTORY / REPORT_NAME)  # told so by hand
    await three.backends.pop(odd).stop()
    await three.start(odd)  # what was planted was in memory only
    await three.until(lambda: three.running(odd).watch.verified_index > 0)
    assert three.fatal[odd] == [sentence]


async def test_a_report_that_cannot_be_written_keeps_nobody_from_stopping(three):
    odd = follower(three)
    three.running(odd).replica.machine = planted("does not modify")
    three.running(odd)._files.data_dir.close()
    three.disks[odd].make_directory(DIRECTORY / f"{REPORT_NAME}.new")
    await three.do(three.leader(), put("a"))
    await three.until(lambda: bool(three.fatal[odd]))
    assert f"the state of node {odd} differs" in three.fatal[odd][0]


async def test_nodes_that_take_a_snapshot_of_another_go_on_with_its_chain():
    cluster = RaftCluster(snapshot_bytes=20_000, entries_kept=5)
    await cluster.form(2)
    for number in range(60):
        await cluster.do("n1", put(f"{number}", value=bytes(1_000)))
    await cluster.join("n3", "n1")
    await cluster.do("n1", put("last"))
    await cluster.until(lambda: cluster.running("n3").watch.verified_index > 0)
    assert cluster.running("n3").replica._chains_from > 0
    status = cluster.backends["n3"].status()
    seen = {member.id: member.verified for member in status.members}
    assert seen["n3"] == max(seen["n1"], seen["n2"]) > 0
    assert status.comparisons > 0
    assert not any(cluster.fatal.values())
    await cluster.close()
