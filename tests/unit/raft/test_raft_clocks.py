"""Whole backends whose clocks do not agree: who leads, what is said, and what becomes of leases."""

import pytest
import pytest_asyncio
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_operations import put, take

from raftq_cluster.core.outcomes import Claimed, Modified

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]
DAY_MS = 86_400_000


@pytest_asyncio.fixture
async def cluster():
    cluster = RaftCluster()
    yield cluster
    await cluster.close()
    assert not any(cluster.fatal.values()), cluster.fatal


def clock_of(cluster, node_id, of):
    members = {member.id: member for member in cluster.backends[node_id].status().members}
    return members[of].clock


async def until_known(cluster, of, state):
    await cluster.until(lambda: {clock_of(cluster, id_, of) for id_ in cluster.backends} == {state})


@pytest.mark.parametrize("jump_ms", [DAY_MS, -DAY_MS])
async def test_a_leader_whose_clock_jumps_hands_over_and_all_nodes_say_so(cluster, jump_ms):
    await cluster.form(3)
    before = cluster.leader()
    assert isinstance((await cluster.do("n1", put("a")))[0], Modified)
    cluster.wall_offset_ms[before] = jump_ms
    await cluster.until(lambda: cluster.leader() not in {"", before})
    await until_known(cluster, before, "off")
    offsets = [m.clock_offset_ms for m in cluster.backends["n1"].status().members if m.id == before]
    assert abs(offsets[0] - jump_ms) < 1_000
    # Time has not jumped in the log: the task that is claimed now stays claimed.
    assert isinstance((await cluster.do("n1", take(lease_ms=60_000)))[0], Claimed)
    assert (await cluster.do("n2", take()))[0] == Claimed(())


async def test_a_clock_that_is_right_again_is_ok_again(cluster):
    await cluster.form(3)
    cluster.wall_offset_ms["n3"] = 10_000
    await until_known(cluster, "n3", "off")
    cluster.wall_offset_ms["n3"] = 0
    await until_known(cluster, "n3", "ok")


async def test_a_node_that_starts_with_a_wrong_clock_neither_leads_nor_makes_time_jump(cluster):
    cluster.wall_offset_ms["n1"] = DAY_MS
    await cluster.form(3)
    assert cluster.leader() in {"n2", "n3"}
    await cluster.do("n1", put("a"))
    now_ms = cluster.backends[cluster.leader()].now_ms()
    await cluster.until(lambda: abs(cluster.backends["n1"].now_ms() - now_ms) < 30_000)
    assert len(await cluster.digests()) == 1


async def test_a_cluster_in_which_no_two_clocks_agree_has_a_leader_nevertheless(cluster):
    cluster.wall_offset_ms = {"n1": 0, "n2": DAY_MS, "n3": -DAY_MS}
    await cluster.form(3)
    await cluster.until(lambda: bool(cluster.leader()))
    assert isinstance((await cluster.do("n2", put("a")))[0], Modified)
    await until_known(cluster, "n1", "split")


async def test_the_last_two_of_three_go_on_also_if_one_of_them_is_off(cluster):
    cluster.wall_offset_ms["n1"] = DAY_MS
    await cluster.form(3)
    await until_known(cluster, "n1", "off")
    await cluster.end("n2")
    assert isinstance((await cluster.do("n1", put("a")))[0], Modified)
    await cluster.end("n3")
    await cluster.start("n2")
    assert isinstance((await cluster.do("n1", put("b")))[0], Modified)
