"""A data directory that is an older copy of itself: refused by those who remember, and harmless."""

import asyncio
import copy

import pytest
import pytest_asyncio
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_operations import put
from tests.support.virtual_disk import VirtualDisk

from raftq_cluster.backends.raft import witnessing
from raftq_cluster.config import StartError
from raftq_cluster.core.outcomes import Modified

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


@pytest_asyncio.fixture
async def three():
    cluster = RaftCluster()
    await cluster.form(3)
    yield cluster
    await cluster.close()


async def copy_and_run_on(cluster, node_id):
    """Keep a copy of a node's disk as it is now, then let the cluster do more."""
    await cluster.stop(node_id)
    kept = copy.deepcopy(cluster.disks[node_id])
    await cluster.start(node_id)
    for number in range(5):
        writer = next(iter(cluster.backends))
        assert isinstance((await cluster.do(writer, put(f"later {number}")))[0], Modified)
    return kept


def index_told_by(cluster, node_id, at):
    birth = cluster.running(node_id).identity.birth
    told = cluster.running(at)._witness._pasts.known.get(birth)
    return told.last if told else 0


async def until_told(cluster, node_id, by):
    """Wait until the others have heard how far a node is, which is once a second."""
    index = by.status().index
    others = [id_ for id_ in cluster.backends if id_ != node_id]
    await cluster.until(lambda: all(index_told_by(cluster, node_id, at) >= index for at in others))


async def test_a_restored_copy_is_refused_and_harms_nobody(three):
    await three.do("n1", put("a"))
    kept = await copy_and_run_on(three, "n3")
    await until_told(three, "n3", three.backends["n3"])
    await three.end("n3")
    three.disks["n3"] = kept
    with pytest.raises(StartError, match="older copy of itself: it held entry"):
        await three.start("n3")
    three.backends.pop("n3")
    assert isinstance((await three.do("n1", put("b")))[0], Modified)
    assert len(await three.digests()) == 1


async def test_a_restored_copy_is_refused_also_by_nodes_that_have_started_since(three):
    kept = await copy_and_run_on(three, "n3")
    await until_told(three, "n3", three.backends["n3"])
    for node_id in ("n3", "n1", "n2"):
        await three.end(node_id)
    three.disks["n3"] = kept
    await three.start("n1")
    with pytest.raises(StartError, match="older copy of itself"):
        await three.start("n3")
    three.backends.pop("n3")
    # With n3 alone there would have been a majority that has forgotten what was acknowledged.
    assert three.leader() == ""
    await three.start("n2")
    await three.until(lambda: bool(three.leader()))
    assert isinstance((await three.do("n2", put("b")))[0], Modified)


async def test_a_copy_that_was_refused_once_does_not_start_when_all_have_forgotten(three):
    kept = await copy_and_run_on(three, "n3")
    await until_told(three, "n3", three.backends["n3"])
    await three.end("n3")
    three.disks["n3"] = kept
    with pytest.raises(StartError, match="older copy of itself"):
        await three.start("n3")
    three.backends.pop("n3")
    for node_id in ("n1", "n2"):
        await three.end(node_id)
        forget(three.disks[node_id])
    with pytest.raises(StartError, match=r"older_copy.txt: .* does not start again"):
        await three.start("n3")
    three.backends.pop("n3")
    await asyncio.gather(three.start("n1"), three.start("n2"))
    assert isinstance((await three.do("n1", put("b")))[0], Modified)


def forget(disk):
    """Remove what a node has kept of the others' pasts."""
    for path in disk.paths():
        if path.name == "witness":
            disk.remove(path)


async def test_a_copy_that_is_not_older_than_what_was_told_may_come_back(three):
    await three.do("n1", put("a"))
    await three.end("n3")
    kept = copy.deepcopy(three.disks["n3"])
    three.disks["n3"] = kept
    await three.start("n3")
    await three.do("n3", put("b"))
    assert len(await three.digests()) == 1


async def test_a_restored_node_is_replaced_by_a_new_one(three):
    kept = await copy_and_run_on(three, "n3")
    await until_told(three, "n3", three.backends["n3"])
    await three.end("n3")
    three.disks["n3"] = kept
    with pytest.raises(StartError):
        await three.start("n3")
    three.backends.pop("n3")
    await three.running("n1").steward.remove("n3")
    await three.join("n4", through="n1")
    await three.do("n4", put("b"))
    assert len(await three.digests()) == 1


async def test_who_joins_anew_under_the_name_of_a_former_member_is_not_taken_for_it(
    three, monkeypatch
):
    monkeypatch.setattr(witnessing, "KEEP_S", 1_000_000)  # nor is anything forgotten meanwhile
    await copy_and_run_on(three, "n3")
    await until_told(three, "n3", three.backends["n3"])
    before = three.running("n3").identity.birth
    await three.end("n3")
    await three.running("n1").steward.remove("n3")
    three.disks["n3"] = VirtualDisk()
    await three.join("n3", through="n1")
    assert before in three.running("n1")._witness._pasts.known  # what the former one had told
    await three.end("n3")
    await three.start("n3")
    await three.do("n3", put("b"))
    assert not any(three.fatal.values())
    assert len(await three.digests()) == 1


async def test_nodes_that_are_killed_and_come_back_are_not_taken_for_copies(three):
    for round_ in range(3):
        for node_id in ("n1", "n2", "n3"):
            await three.end(node_id)
            other = next(iter(three.backends))
            await three.do(other, put(f"{round_} {node_id}"))
            await three.start(node_id)
    assert not any(three.fatal.values())
    assert len(await three.digests()) == 1
