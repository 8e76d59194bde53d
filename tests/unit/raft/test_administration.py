"""Changing a cluster of whole backends over real connections, from any of its nodes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_operations import put

from raftq_cluster.backends.api import (
    AddMember,
    BackendError,
    MemberChange,
    PromoteMember,
    RemoveMember,
    ReplaceMember,
    TransferLeadership,
)
from raftq_cluster.backends.raft.formation import Join
from raftq_cluster.core.outcomes import Modified

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

WAITING = Join(())


@pytest_asyncio.fixture
async def three() -> AsyncIterator[RaftCluster]:
    cluster = RaftCluster()
    await cluster.form(3)
    await cluster.do("n1", put("kept"))
    yield cluster
    await cluster.close()


def follower(cluster: RaftCluster) -> str:
    return next(node_id for node_id in sorted(cluster.backends) if node_id != cluster.leader())


def voters(cluster: RaftCluster, node_id: str) -> list[str]:
    return [member.id for member in cluster.running(node_id).engine.members if member.voter]


async def refused(cluster: RaftCluster, node_id: str, change: MemberChange) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await cluster.backends[node_id].change_members(change)
    return caught.value


async def wait_with(cluster: RaftCluster, node_id: str) -> "asyncio.Task[object]":
    """Start a node that waits to be added; done once it serves."""
    starting = asyncio.create_task(cluster.start(node_id, WAITING))
    network = cluster.backends.get(node_id)
    while network is None or not await is_there(cluster, node_id):
        await asyncio.sleep(0)
        network = cluster.backends.get(node_id)
    return starting


async def is_there(cluster: RaftCluster, node_id: str) -> bool:
    host, _, port = cluster.addresses[node_id].rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


async def test_a_follower_has_the_leadership_moved(three: RaftCluster) -> None:
    heir = follower(three)
    await three.backends[heir].change_members(TransferLeadership(heir))
    await three.until(lambda: all(b.status().leader == heir for b in three.backends.values()))


async def test_a_node_that_waits_is_added_and_votes_when_it_has_caught_up(
    three: RaftCluster,
) -> None:
    starting = await wait_with(three, "n4")
    await three.backends[follower(three)].change_members(AddMember(three.addresses["n4"], True))
    await starting
    await three.until(lambda: "n4" in voters(three, "n4"))
    assert isinstance((await three.do("n4", put("through n4")))[0], Modified)
    assert len(await three.digests()) == 1


async def test_a_learner_votes_only_after_it_is_promoted(three: RaftCluster) -> None:
    starting = await wait_with(three, "n4")
    leader = three.backends[three.leader()]
    await leader.change_members(AddMember(three.addresses["n4"], voter=False))
    await starting
    three.running(three.leader()).steward.tick()
    assert "n4" not in voters(three, three.leader())
    await leader.change_members(PromoteMember("n4"))
    assert "n4" in voters(three, three.leader())


async def test_adding_may_be_repeated(three: RaftCluster) -> None:
    starting = await wait_with(three, "n4")
    add = AddMember(three.addresses["n4"], voter=True)
    await three.backends["n1"].change_members(add)
    await starting
    await three.backends["n2"].change_members(add)
    assert len(three.running(three.leader()).engine.members) == 4


async def test_nobody_is_added_who_is_not_there_or_belongs_to_others(three: RaftCluster) -> None:
    nobody = await refused(three, "n1", AddMember("127.0.0.1:1", voter=True))
    assert nobody.code == "unavailable"
    other = RaftCluster()
    await other.start("x1")
    stranger = await refused(three, "n1", AddMember(other.addresses["x1"], voter=True))
    assert (stranger.code, "belongs to cluster" in stranger.detail) == ("change_refused", True)
    await other.close()


async def test_a_removed_follower_ends_with_one_sentence(three: RaftCluster) -> None:
    gone = follower(three)
    await three.backends[three.leader()].change_members(RemoveMember(gone))
    await three.until(lambda: bool(three.fatal[gone]))
    assert three.fatal[gone][0].startswith(f"node {gone} was removed from cluster ")
    await three.end(gone)
    assert isinstance((await three.do(three.leader(), put("after")))[0], Modified)


async def test_a_leader_that_is_removed_hands_over_first(three: RaftCluster) -> None:
    old = three.leader()
    await three.backends[old].change_members(RemoveMember(old))
    rest = [node_id for node_id in three.backends if node_id != old]
    await three.until(lambda: all(voters(three, node_id) == rest for node_id in rest))
    await three.until(lambda: bool(three.fatal[old]))


async def test_the_second_of_three_that_is_left_cannot_be_removed(three: RaftCluster) -> None:
    dead, alive = sorted(set(three.backends) - {three.leader()})
    await three.end(dead)
    leader = three.leader()
    await three.until(lambda: not three.running(leader).engine.consensus.is_live(dead))
    last = await refused(three, leader, RemoveMember(alive))
    assert (last.code, "only 1 of the 2 voters" in last.detail) == ("change_refused", True)
    await three.backends[alive].change_members(RemoveMember(dead))
    assert sorted(voters(three, three.leader())) == sorted([leader, alive])


async def test_where_no_voter_more_can_be_a_replacement_is_refused_with_what_to_do() -> None:
    seven = RaftCluster()
    await seven.form(7)
    try:
        starting = await wait_with(seven, "n8")
        asked = follower(seven)
        order = ReplaceMember("n7", seven.addresses["n8"])
        error = await refused(seven, asked, order)
        assert error.code == "change_refused"
        assert "at most 7 voters" in error.detail
        assert "remove node n7 first" in error.detail
        assert "n8" not in [member.id for member in seven.running(asked).engine.members]
        await seven.backends[asked].change_members(AddMember(seven.addresses["n8"], True))
        await starting  # it waits, as a learner, for its turn to vote
        error = await refused(seven, asked, ReplaceMember("n7", "n8"))
        assert "at most 7 voters" in error.detail
        await seven.end("n7")
        await seven.until(lambda: bool(seven.leader()))
        await seven.backends["n8"].change_members(RemoveMember("n7"))
        await seven.until(lambda: "n8" in voters(seven, "n8"))
    finally:
        await seven.close()


async def test_a_dead_node_is_replaced_while_operations_go_on(three: RaftCluster) -> None:
    dead = follower(three)
    await three.end(dead)
    starting = await wait_with(three, "n4")
    some = next(iter(sorted(set(three.backends) - {"n4"})))
    replacing = asyncio.create_task(
        three.backends[some].change_members(ReplaceMember(dead, three.addresses["n4"]))
    )
    count = 0
    while not replacing.done():
        assert isinstance((await three.do(some, put(f"during {count}")))[0], Modified)
        count += 1
    await replacing
    await starting
    assert count > 0
    await three.until(lambda: voters(three, "n4") == sorted(three.backends))
    assert len(await three.digests()) == 1


@pytest.mark.parametrize(
    "change",
    [RemoveMember("n9"), PromoteMember("n9"), ReplaceMember("n9", "n1"), ReplaceMember("n1", "n9"),
     TransferLeadership("n9")],
)  # fmt: skip
async def test_who_is_not_a_member_is_named(three: RaftCluster, change: MemberChange) -> None:
    error = await refused(three, follower(three), change)
    assert error.code == "member_not_found"
    assert error.detail.startswith("node n9 is not a ")
