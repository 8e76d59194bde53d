"""A cluster that is upgraded node by node: it writes what all read, and refuses who cannot read it any more."""

import pytest
import pytest_asyncio
from tests.support.later_version import LATER, LATER_FORMATS, is_later
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_node import DIRECTORY
from tests.support.raft_operations import put

from raftq_cluster.config import StartError
from raftq_cluster.core.outcomes import Modified

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]
NODES = ("n1", "n2", "n3")


@pytest_asyncio.fixture
async def three():
    cluster = RaftCluster(snapshot_bytes=20_000, entries_kept=5)
    await cluster.form(3)
    yield cluster
    await cluster.close()


def format_at(cluster, node_id):
    return cluster.running(node_id).engine.log_format


def wrote_later(cluster):
    disks = [(disk, path) for disk in cluster.disks.values() for path in disk.paths()]
    return any(is_later(disk.content(path)) for disk, path in disks)


async def upgrade(cluster, *ids):
    for node_id in ids:
        await cluster.stop(node_id)
        cluster.formats[node_id] = LATER_FORMATS
        await cluster.start(node_id)
        outcomes = await cluster.do(node_id, put(f"by {node_id}"))
        assert isinstance(outcomes[0], Modified)


async def downgraded(cluster, node_id):
    await cluster.stop(node_id)
    del cluster.formats[node_id]
    with pytest.raises(StartError) as refused:
        await cluster.start(node_id)
    cluster.backends.pop(node_id)
    return refused.value.sentence


async def test_the_later_format_is_written_once_the_last_node_reads_it_and_not_before(three):
    await upgrade(three, "n1", "n2")
    leading = three.running(three.leader())
    told = leading.facts._told
    await three.until(lambda: LATER in {item.reads for item in told.values()})
    await three.until(lambda: leading.facts.read_by_all() == 1)
    leading._upgrading.tick()
    assert {format_at(three, id_) for id_ in NODES} == {1}
    assert not wrote_later(three)
    await upgrade(three, "n3")
    await three.until(lambda: {format_at(three, id_) for id_ in NODES} == {LATER})
    assert isinstance((await three.do("n2", put("later")))[0], Modified)
    assert wrote_later(three)
    assert len(await three.digests()) == 1
    assert not any(three.fatal.values())


async def test_a_node_that_goes_back_to_the_earlier_version_does_not_start(three):
    await upgrade(three, *NODES)
    await three.until(lambda: {format_at(three, id_) for id_ in NODES} == {LATER})
    sentence = await downgraded(three, "n3")
    assert "reads formats up to 1: start this node with a newer version" in sentence
    assert isinstance((await three.do("n1", put("without it")))[0], Modified)
    await upgrade_back(three, "n3")
    assert len(await three.digests()) == 1


async def upgrade_back(cluster, node_id):
    cluster.formats[node_id] = LATER_FORMATS
    await cluster.start(node_id)


async def test_a_node_of_the_earlier_version_that_was_away_is_refused_by_the_others(three):
    await upgrade(three, "n1", "n2")
    await three.end("n3")
    kept = three.disks["n3"]
    await three.running("n1").steward.remove("n3")
    await three.until(lambda: format_at(three, "n1") == format_at(three, "n2") == LATER)
    three.disks["n4"] = type(kept)()
    with pytest.raises(StartError, match="node n4 reads formats of the log up to 1"):
        await three.join("n4", through="n1")
    three.backends.pop("n4")


async def test_a_newcomer_gets_a_snapshot_in_the_later_format_and_an_earlier_version_cannot(three):
    await upgrade(three, *NODES)
    await three.until(lambda: format_at(three, three.leader()) == LATER)
    for number in range(60):
        await three.do("n1", put(f"{number}", value=bytes(1_000)))
    snapshots = [path for path in three.disks["n1"].paths() if path.suffix == ".snap"]
    assert any(is_later(three.disks["n1"].content(path)) for path in snapshots)
    three.formats["n4"] = LATER_FORMATS
    await three.join("n4", through="n1")
    await three.do("n4", put("by the newcomer"))
    assert format_at(three, "n4") == LATER
    assert len(await three.digests()) == 1
    assert DIRECTORY / "node.toml" in three.disks["n4"].paths()
    assert "reads formats up to 1" in await downgraded(three, "n4")
