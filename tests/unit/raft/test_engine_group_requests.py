"""Several nodes: reads, forwarded operations, power cuts, and messages that must commit nothing."""

import pytest
import pytest_asyncio
from tests.support.engine_group import EngineGroup
from tests.support.raft_operations import put

from raftq_cluster.backends.raft.core_api import LEADER
from raftq_cluster.backends.raft.core_pysyncobj import RaftCore
from raftq_cluster.backends.raft.messages import (
    Append,
    Forward,
    Heard,
    SnapshotChunk,
)
from raftq_cluster.core.outcomes import Modified

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def three():
    group = EngineGroup(3)
    await group.elect("n1")
    yield group
    group.stop()
    assert [node.failures for node in group.nodes.values()] == [[]] * len(group.nodes)


# --- reads --------------------------------------------------------------------------------------


async def test_a_read_at_any_node_sees_what_was_acknowledged_before(three):
    three.hold("n1", "n3")
    told = three.submit("n2", put("a"))
    await three.settle()
    assert isinstance(told.outcomes[0], Modified)
    read = three["n3"].engine.confirm()
    await three.settle()
    assert not read.done()  # it must not be answered from what n3 has
    three.link("n1", "n3").is_held = False
    await three.pass_s(0.5)
    assert read.done()
    assert three["n3"].replica.machine.load()[0] == 1


async def test_a_cut_off_leader_answers_no_read(three):
    three.isolate("n1")
    read = three["n1"].engine.confirm()
    await three.pass_s(0.5)
    assert not read.done()
    three.heal()
    await three.pass_s(2.0)
    assert read.done()


async def test_a_read_takes_no_entry_and_no_sync(three):
    entries, syncs = len(three["n1"].commands), three["n1"].disk.syncs_begun
    reads = [node.engine.confirm() for node in three.nodes.values() for _ in range(5)]
    await three.settle()
    assert all(read.done() for read in reads)
    assert (len(three["n1"].commands), three["n1"].disk.syncs_begun) == (entries, syncs)


async def test_reads_of_one_turn_share_one_question(three):
    three.hold("n2", "n1")
    for _ in range(100):
        three["n2"].engine.confirm()
    await three.turn()
    asked = [m for m in three.waiting("n2", "n1") if type(m).__name__ == "AskRead"]
    assert len(asked) == 1


# --- forwarding ---------------------------------------------------------------------------------


async def test_what_a_follower_forwarded_to_a_leader_that_died_is_done_once(three):
    three.hold("n1", "n2"), three.hold("n1", "n3")
    told = three.submit("n2", put("a"), put("b"))
    await three.settle()  # the leader has it; nobody else does
    await three.kill("n1")
    await three.pass_s(2.0)
    assert [type(outcome) for outcome in told.outcomes] == [Modified, Modified]
    assert len(told.calls) == 1
    assert three["n3"].replica.machine.load()[0] == 2


async def test_what_the_next_leader_has_already_is_not_sent_again(three):
    three.hold("n1", "n2")
    told = three.submit("n2", put("a"))
    await three.settle()  # committed by n1 and n3; n2 has not heard
    assert told.calls == []
    three["n2"].engine.core.postpone_election(1e6)
    await three.kill("n1")
    await three.pass_s(2.0)
    assert isinstance(told.outcomes[0], Modified)
    assert three["n3"].replica.machine.load()[0] == 1


async def test_what_was_forwarded_on_a_broken_connection_is_sent_again_and_done_once(three):
    three.hold("n2", "n1")
    told = [three.submit("n2", put(f"{i}")) for i in range(3)]
    await three.turn()
    three.cut("n1", "n2")
    three.link("n2", "n1").is_held = False
    three.heal()
    await three.pass_s(1.0)
    assert all(isinstance(one.outcomes[0], Modified) for one in told)
    assert three["n1"].replica.machine.load()[0] == 3


async def test_what_came_twice_over_a_new_connection_is_logged_once(three):
    three.hold("n1", "n2"), three.hold("n1", "n3")
    told = three.submit("n2", put("a"))
    await three.settle()
    three.link("n1", "n3").is_held = False
    three.connect("n1", "n2")  # n2 cannot know that n1 has it, and sends it again
    three.link("n1", "n2").is_held = False
    await three.pass_s(1.0)
    assert isinstance(told.outcomes[0], Modified)
    assert len(told.calls) == 1


async def test_order_is_kept_through_a_change_of_leader(three):
    three.hold("n1", "n3"), three.hold("n1", "n2")
    told = [three.submit("n2", put("same", value=b"%d" % number)) for number in range(4)]
    await three.settle()
    await three.kill("n1")
    await three.pass_s(2.0)
    kinds = [type(one.outcomes[0]).__name__ for one in told]
    assert kinds == ["Modified", "Refused", "Refused", "Refused"]


async def test_without_a_majority_operations_end_as_unknown_or_unavailable(three):
    three.isolate("n1")
    at_leader = three.submit("n1", put("a"))
    await three.kill("n2")
    at_follower = three.submit("n3", put("b"))
    await three.pass_s(6.0)
    assert at_leader.outcomes[0].code in ("outcome_unknown", "unavailable")
    assert at_follower.outcomes[0].code == "unavailable"


async def test_a_malformed_segment_of_a_peer_is_refused_and_harms_nobody(three):
    term = three["n1"].engine.core.term
    three.inject("n2", "n1", Forward(term, 77, ((1, b"\xc1"), (2, b"\x91\x91\x63"))))
    told = three.submit("n1", put("a"))
    await three.settle()
    assert isinstance(told.outcomes[0], Modified)


# --- power cuts, disks --------------------------------------------------------------------------


async def test_what_was_acknowledged_survives_a_power_cut_of_all_nodes(three):
    told = [three.submit(f"n{1 + i % 3}", put(f"{i}")) for i in range(9)]
    await three.settle()
    assert all(one.calls for one in told)
    disks = {id_: await three.kill(id_) for id_ in list(three.nodes)}
    for id_, disk in disks.items():
        three.add(id_, disk)
    await three.until(lambda: three.leader is not None and three.leader.engine.is_serving)
    await three.pass_s(0.5)
    assert {node.replica.machine.load()[0] for node in three.nodes.values()} == {9}


async def test_a_follower_with_a_slow_disk_does_not_make_the_leader_step_down(three):
    for id_ in ("n2", "n3"):
        three[id_].syncs_by_itself = False
    three.submit("n1", put("a"))
    await three.pass_s(3.0)
    assert three["n1"].role == LEADER
    for id_ in ("n2", "n3"):
        three[id_].syncs_by_itself = True
    await three.settle()


async def test_a_snapshot_chunk_commits_nothing(three):
    """One chunk of a later term made a deposed leader apply what only it had."""
    three.isolate("n1")
    lost = three.submit("n1", put("lost"))
    await three.settle()
    before = three["n1"].replica.index
    term = three["n1"].engine.core.term + 1
    three.inject("n2", "n1", Append(term, 1, 0, 0, 0, 0, True, ()))
    three.inject("n2", "n1", SnapshotChunk(term, 100, term, 1_000, 0, b"x"))
    await three.settle()
    assert three["n1"].replica.index == before
    assert lost.calls == []


async def test_a_heartbeat_of_a_later_term_commits_nothing_that_it_does_not_verify(three):
    three.isolate("n1")
    lost = three.submit("n1", put("lost"))
    await three.settle()
    before = three["n1"].replica.index
    term = three["n1"].engine.core.term + 1
    three.inject("n2", "n1", Append(term, 1, 0, 10**6, 1, 1, True, ()))
    await three.settle()
    assert three["n1"].replica.index == before
    assert lost.calls == []


async def test_an_answer_to_a_round_of_another_term_confirms_no_read(three):
    three.isolate("n1")
    read = three["n1"].engine.confirm()
    await three.turn()
    term = three["n1"].engine.core.term
    three.inject("n2", "n1", Heard(term - 1, 10**6))
    three.inject("n2", "n1", Heard(term + 1, 10**6))
    await three.settle()
    assert not read.done()


async def test_rounds_without_news_do_not_count_commits_again(three, monkeypatch):
    counted: list[str] = []
    tick = RaftCore.tick

    def counting(core):
        counted.append(core.role)
        tick(core)

    monkeypatch.setattr(RaftCore, "tick", counting)
    for _ in range(20):
        three.nodes["n1"].engine.on_up("n2")  # wakes it, and brings nothing to count
        await three.turn()
    assert counted == []
    three.submit("n1", put("a"))
    await three.settle()
    assert 1 <= len(counted) <= 3  # its own sync, and the answers of two peers


async def test_a_leader_whose_disk_is_first_waits_for_an_answer_and_then_commits(three):
    leader = three["n1"].engine
    before = leader.core.commit_index
    three["n2"].syncs_by_itself = three["n3"].syncs_by_itself = False
    told = three.submit("n1", put("a"))
    await three.settle()
    assert leader.consensus.awaits_peers
    assert leader.core.commit_index == before
    three["n2"].syncs_by_itself = True
    await three.settle()
    assert [type(outcome) for outcome in told.outcomes] == [Modified]


async def test_a_leader_whose_disk_is_last_commits_when_its_sync_is_complete(three):
    three["n1"].syncs_by_itself = False
    told = three.submit("n1", put("a"))
    await three.settle()
    assert told.calls == []
    three["n1"].disk.complete_sync()
    await three.turn()
    assert [type(outcome) for outcome in told.outcomes] == [Modified]
