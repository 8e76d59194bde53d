"""Whole backends over real connections: forming, joining, changing, catching up."""

import asyncio

import pytest
import pytest_asyncio
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_operations import put, take

from free_ports import free_address
from raftq_cluster.backends.raft import running as running_module
from raftq_cluster.backends.raft.calls import CallError
from raftq_cluster.backends.raft.commands import Member, config_command
from raftq_cluster.backends.raft.consensus import Consensus
from raftq_cluster.backends.raft.formation import Initial, Join
from raftq_cluster.backends.raft.messages import SnapshotChunk
from raftq_cluster.config import StartError
from raftq_cluster.core.outcomes import Claimed, Modified

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


@pytest_asyncio.fixture
async def three():
    cluster = RaftCluster()
    await cluster.form(3)
    yield cluster
    await cluster.close()
    assert not any(cluster.fatal.values()), cluster.fatal


async def test_three_new_nodes_with_the_same_list_are_one_cluster(three):
    ids = {backend.status().cluster_id for backend in three.backends.values()}
    assert len(ids) == 1
    for node_id in three.backends:
        outcomes = await three.do(node_id, put(f"from {node_id}"))
        assert isinstance(outcomes[0], Modified)
    assert len(await three.digests()) == 1


async def test_what_one_node_acknowledged_every_node_reads(three):
    for number in range(60):
        writer, reader = (f"n{1 + (number + shift) % 3}" for shift in (0, 1))
        await three.do(writer, put(f"{number}"))
        outcomes = await three.do(reader, take())
        assert isinstance(outcomes[0], Claimed)
        assert [task.id for task in outcomes[0].tasks] == [f"{number}"]


async def test_an_empty_claim_takes_no_entry_on_any_node(three):
    await three.do("n1", put("a", "/other"))
    before = max(backend.status().index for backend in three.backends.values())
    for node_id in three.backends:
        assert (await three.do(node_id, take()))[0] == Claimed(())
    assert max(backend.status().index for backend in three.backends.values()) == before


async def test_every_node_knows_how_far_the_others_are_and_where_they_serve(three):
    await three.do("n1", put("a"))
    for node_id, backend in three.backends.items():
        backend.advertise(f"http-{node_id}", f"text-{node_id}")

    def known():
        members = [m for backend in three.backends.values() for m in backend.status().members]
        return {(m.id, m.http, m.text, m.applied, m.lag) for m in members}

    for backend in three.backends.values():
        backend._running.facts.tick()
    await three.until(lambda: len(known()) == 3)
    index = three.backends["n1"].status().index
    assert known() == {(n, f"http-{n}", f"text-{n}", index, 0) for n in ("n1", "n2", "n3")}


async def test_operations_go_on_when_the_leader_is_lost(three):
    lost = three.leader()
    await three.end(lost)
    for node_id in three.backends:
        assert isinstance((await three.do(node_id, put(f"after {node_id}")))[0], Modified)
    await three.start(lost)
    await three.until(lambda: three.backends[lost].status().ready)
    assert len(await three.digests()) == 1


async def test_a_leader_that_stops_hands_over_and_nobody_waits_for_a_timeout(three):
    leader = three.leader()
    loop = asyncio.get_running_loop()
    stopping = asyncio.ensure_future(three.stop(leader))
    others = [node_id for node_id in three.backends if node_id != leader]
    began_s = loop.time()
    await asyncio.gather(*(three.do(node_id, put(node_id)) for node_id in others))
    assert loop.time() - began_s < 0.45  # the least election timeout is half a second
    await stopping


async def test_a_follower_that_was_away_for_long_gets_the_state_and_catches_up():
    cluster = RaftCluster(snapshot_bytes=20_000, entries_kept=5)
    await cluster.form(3)
    away = next(node_id for node_id in cluster.backends if node_id != cluster.leader())
    await cluster.end(away)
    for number in range(400):
        await cluster.do(cluster.leader(), put(f"{number}", value=b"x" * 100))
    leader = cluster.running(cluster.leader())
    await cluster.until(lambda: leader._files.store.journal.base_index > 50)
    await cluster.start(away)
    await cluster.until(lambda: cluster.backends[away].status().index >= 400)
    assert len(await cluster.digests()) == 1
    assert leader._sender.sent >= 1
    await cluster.end(away)  # and what it got is on its disk
    await cluster.start(away)
    assert len(await cluster.digests()) == 1
    await cluster.close()
    assert not any(cluster.fatal.values())


async def test_a_follower_that_was_away_shortly_needs_no_state():
    cluster = RaftCluster(snapshot_bytes=20_000, entries_kept=5, bytes_lagging=1 << 20)
    await cluster.form(3)
    away = next(node_id for node_id in cluster.backends if node_id != cluster.leader())
    await cluster.end(away)
    for number in range(400):
        await cluster.do(cluster.leader(), put(f"{number}", value=b"x" * 100))
    leader = cluster.running(cluster.leader())
    assert [name for name in cluster.disks[cluster.leader()].paths() if name.suffix == ".snap"]
    await cluster.start(away)
    await cluster.until(lambda: cluster.backends[away].status().index >= 400)
    assert leader._sender.sent == 0
    assert leader._files.store.journal.base_index < 50
    assert len(await cluster.digests()) == 1
    await cluster.close()
    assert not any(cluster.fatal.values())


async def test_a_standalone_node_with_tasks_grows_to_three():
    cluster = RaftCluster()
    await cluster.start("n1")
    await cluster.do("n1", put("kept"))
    await cluster.join("n2", "n1")
    await cluster.join("n3", "n2")
    steward = cluster.running("n1").steward

    def voters():
        steward.tick()
        return [m.id for m in cluster.running("n1").engine.members if m.voter]

    await cluster.until(lambda: voters() == ["n1", "n2", "n3"])
    assert len(await cluster.digests()) == 1
    await cluster.end("n1")
    assert [t.id for t in (await cluster.do("n3", take()))[0].tasks] == ["kept"]
    await cluster.close()


async def test_a_lost_node_is_removed_and_another_takes_its_place(three):
    lost = next(node_id for node_id in three.backends if node_id != three.leader())
    await three.end(lost)
    leader = three.running(three.leader())
    await leader.steward.remove(lost)
    await three.join("n4", three.leader())
    await three.until(lambda: leader.steward.tick() or len(leader.engine.consensus.voters) == 3)
    assert lost not in leader.engine.consensus.voters
    assert isinstance((await three.do("n4", put("a")))[0], Modified)


async def test_a_removed_node_that_comes_back_is_told_so(three):
    lost = next(node_id for node_id in three.backends if node_id != three.leader())
    await three.end(lost)
    await three.running(three.leader()).steward.remove(lost)
    with pytest.raises(StartError, match=f"node {lost} was removed from cluster"):
        await three.start(lost)
    del three.backends[lost]
    three.fatal.pop(lost)


async def test_a_wiped_node_does_not_come_back_under_its_name(three):
    wiped = next(node_id for node_id in three.backends if node_id != three.leader())
    await three.end(wiped)
    del three.disks[wiped]
    with pytest.raises(StartError, match="its data was lost or replaced"):
        await three.start(wiped)
    del three.backends[wiped]
    del three.disks[wiped]
    with pytest.raises(StartError, match="another data directory"):
        await three.start(wiped, Join((three.addresses[three.leader()],)))
    del three.backends[wiped]


async def join_as_a_voter(cluster, leader):
    """Start a node ``n4`` and wait until the leader has it as a voter."""
    await cluster.join("n4", leader)
    running = cluster.running(leader)
    await cluster.until(lambda: running.steward.tick() or "n4" in running.engine.consensus.voters)


async def test_a_node_that_was_away_finds_a_leader_that_came_meanwhile(three):
    leader = three.leader()
    away, replaced = [node_id for node_id in three.backends if node_id != leader]
    await three.end(away)
    await join_as_a_voter(three, leader)
    await three.running(leader).steward.remove(replaced)
    await three.end(replaced)
    await three.running(leader).steward.transfer("n4")
    await three.start(away)  # all that it knows of n4 is what others say
    await three.until(lambda: three.backends[away].status().ready)
    assert isinstance((await three.do(away, put("a")))[0], Modified)


async def test_a_node_that_was_away_votes_for_one_that_came_meanwhile_while_nobody_leads(three):
    leader = three.leader()
    away, other = [node_id for node_id in three.backends if node_id != leader]
    await three.end(away)
    await join_as_a_voter(three, leader)
    await three.until(lambda: "n4" in three.running(other).engine.consensus.voters)
    await three.end(other)
    # An entry that n4 alone has of those who will be left: nobody but n4 can lead them.
    before = three.running("n4").engine._member_log.last_index
    three.backends[leader].submit([put("a")], lambda _index, _told: None)
    await three.until(lambda: three.running("n4").engine._member_log.last_index > before)
    await three.end(leader)
    await asyncio.gather(three.start(away), three.start(other))
    await three.until(lambda: three.backends[away].status().ready)
    assert three.leader() == "n4"


async def test_a_leader_that_an_uncommitted_list_has_removed_cuts_it(three):
    leader = three.leader()
    heir, follower = [node_id for node_id in three.backends if node_id != leader]
    engine = three.running(follower).engine
    others = [member for member in engine.members if member.id != heir]
    # What the leader has appended, and sent to this follower alone, before the heir's term.
    engine._member_log.append(engine.core.term, config_command(others))
    await three.end(follower)
    await three.running(leader).steward.transfer(heir)
    await three.until(lambda: three.running(heir).engine.is_leader)
    await three.start(follower)
    await three.until(lambda: three.backends[follower].status().ready)
    assert heir in three.running(follower).engine.consensus.voters


async def test_the_leader_is_removed_after_it_has_handed_over(three):
    leader = three.leader()
    other = next(node_id for node_id in three.backends if node_id != leader)
    await three.running(other).steward.remove(leader)
    assert leader not in three.running(other).engine.consensus.voters
    assert three.leader() != leader


async def test_the_leadership_is_moved_on_request_through_any_node(three):
    leader = three.leader()
    heir, other = [node_id for node_id in three.backends if node_id != leader]
    await three.running(other).steward.transfer(heir)
    await three.until(lambda: three.running(heir).engine.is_leader)


async def test_a_change_that_would_lose_the_majority_is_refused(three):
    leader = three.leader()
    first, second = [node_id for node_id in three.backends if node_id != leader]
    await three.end(first)
    consensus = three.running(leader).engine.consensus
    await three.until(lambda: not consensus.is_live(first))
    with pytest.raises(CallError, match="only 1 of the 2 voters"):
        await three.running(leader).steward.remove(second)


async def test_who_joins_waits_while_too_few_members_can_be_reached(three, monkeypatch):
    leader = three.leader()
    asked = asyncio.Event()
    consensus = three.running(leader).engine.consensus
    with monkeypatch.context() as patch:
        patch.setattr(consensus, "is_live", lambda _peer: bool(asked.set()))
        joining = asyncio.create_task(three.join("n4", leader))
        await asked.wait()
    await joining
    assert three.running("n4").engine.consensus.leader == leader


async def test_an_address_of_a_member_cannot_be_taken_by_another(three):
    leader = three.leader()
    other = next(node_id for node_id in three.backends if node_id != leader)
    member = Member("n9", three.addresses[other], voter=False, birth="0" * 16)
    with pytest.raises(CallError, match="is the address of node"):
        await three.running(leader).steward.add(member, 1)


async def test_nodes_with_different_lists_do_not_form():
    cluster = RaftCluster()
    here, there, else_ = free_address(), free_address(), free_address()
    cluster.addresses = {"n1": here, "n2": there}
    first = asyncio.ensure_future(cluster.start("n1", Initial({"n1": here, "n2": there})))
    with pytest.raises(StartError, match="must be the same on all nodes"):
        await cluster.start("n2", Initial({"n1": here, "n2": there, "n3": else_}))
    first.cancel()
    await asyncio.wait([first])


async def test_a_node_of_another_cluster_is_refused(three):
    stranger = RaftCluster()
    await stranger.start("n1")
    own = stranger.running("n1")
    why = three.running("n1")._why_not(own._peering.me)
    assert "belongs to cluster" in why
    await stranger.close()


async def moved(cluster, plan_of):
    """Give all nodes other addresses at once, and start them with other flags."""
    for node_id in list(cluster.backends):
        await cluster.end(node_id)
    cluster.addresses = {node_id: free_address() for node_id in cluster.addresses}
    await asyncio.gather(*(cluster.start(id_, plan_of(id_)) for id_ in cluster.addresses))
    await cluster.until(lambda: bool(cluster.leader()))


async def test_nodes_that_have_all_moved_find_each_other_by_a_new_initial_cluster(three):
    await three.do("n1", put("a"))
    await moved(three, lambda _id: Initial(dict(three.addresses)))
    await three.do("n3", put("b"))
    addresses = set(three.addresses.values())
    await three.until(lambda: {m.peer for m in three.backends["n1"].status().members} == addresses)
    assert len(await three.digests()) == 1


async def test_nodes_that_have_all_moved_find_each_other_through_one_address(three):
    await moved(three, lambda _id: Join((three.addresses["n1"],)))
    await three.do("n3", put("b"))
    assert len(await three.digests()) == 1


async def test_no_snapshot_is_taken_in_a_term_that_a_power_cut_could_take_away(three, monkeypatch):
    leader = three.leader()
    follower = next(three.running(id_) for id_ in three.backends if id_ != leader)
    term = follower.engine.consensus.term
    chunk = SnapshotChunk(term, 1_000, term, 10, 0, b"abc")
    with monkeypatch.context() as patch:
        patch.setattr(Consensus, "is_term_durable", False)
        follower._on_snapshot_chunk(leader, chunk)
        assert follower._receiver._partial is None
    follower._on_snapshot_chunk(leader, chunk)
    assert follower._receiver._partial.held == 3


async def test_a_leader_whose_disk_is_full_hands_over_to_one_that_has_room(three):
    before = three.leader()
    other = next(node_id for node_id in three.backends if node_id != before)
    three.disks[other].room_bytes = 1_000
    three.disks[before].room_bytes = 1_000
    await three.until(lambda: three.leader() not in {"", before, other})
    await three.do(before, put("a"))
    assert len(await three.digests()) == 1


async def test_a_leader_goes_on_where_nobody_has_room(three):
    leader = three.leader()
    others = [node_id for node_id in three.backends if node_id != leader]
    running = three.running(leader)
    for node_id in others:
        three.disks[node_id].room_bytes = 1_000
    await three.until(lambda: not any(map(running.facts.has_room, others)))
    three.disks[leader].room_bytes = 1_000
    await three.until(lambda: running.facts.is_full)
    assert not running.engine.is_transferring
    await three.do(leader, put("a"))
    assert three.leader() == leader


async def test_a_full_leader_does_not_stop_appending_for_an_heir_that_is_far_behind(
    three, monkeypatch
):
    monkeypatch.setattr(running_module, "HEIR_LAG_MAX", -1)  # all others lack more than this
    leader = three.leader()
    three.disks[leader].room_bytes = 1_000
    await three.until(lambda: three.running(leader).facts.is_full)
    assert not three.running(leader).engine.is_transferring
    await three.do(leader, put("a"))
    assert three.leader() == leader


async def test_who_has_room_again_may_lead_again(three):
    full = next(node_id for node_id in three.backends if node_id != three.leader())
    board = three.running(three.leader()).facts
    three.disks[full].room_bytes = 1_000
    await three.until(lambda: not board.has_room(full))
    three.disks[full].room_bytes = 1 << 40
    await three.until(lambda: board.has_room(full))
