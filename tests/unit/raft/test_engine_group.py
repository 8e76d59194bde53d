"""Several nodes: what Raft promises, and what the library's core breaks of it without the shell."""

import asyncio

import pytest
import pytest_asyncio
from tests.support.engine_group import EngineGroup
from tests.support.raft_operations import put, take

from raftq_cluster.backends.raft.core_api import CANDIDATE, LEADER
from raftq_cluster.backends.raft.messages import (
    Ack,
    Append,
    AskVote,
    PreVote,
    TimeoutNow,
    Vote,
)
from raftq_cluster.core.outcomes import Claimed, Modified

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def three():
    group = EngineGroup(3)
    await group.elect("n1")
    yield group
    group.stop()
    assert [node.failures for node in group.nodes.values()] == [[]] * len(group.nodes)


@pytest_asyncio.fixture
async def five():
    group = EngineGroup(5)
    await group.elect("n1")
    yield group
    group.stop()
    assert [node.failures for node in group.nodes.values()] == [[]] * len(group.nodes)


# --- the way of an operation --------------------------------------------------------------------


@pytest.mark.parametrize("node_id", ["n1", "n2", "n3"])
async def test_any_node_answers_its_own_clients(three, node_id):
    told = three.submit(node_id, put("a"), take())
    await three.settle()
    assert [type(outcome) for outcome in told.outcomes] == [Modified, Claimed]
    await three.pass_s(0.2)
    assert len(three.digests()) == 1


async def test_operations_of_all_nodes_become_one_entry_while_another_is_under_way(three):
    three.hold("n2", "n1"), three.hold("n3", "n1")
    three.submit("n1", put("first"))
    await three.settle()
    before = len(three["n1"].commands)
    for number in range(10):
        three.submit("n1", put(f"{number}"))
        await three.settle()
    assert len(three["n1"].commands) == before
    three.link("n2", "n1").is_held = three.link("n3", "n1").is_held = False
    await three.settle()
    assert len(three["n1"].commands) == before + 1


async def test_nothing_is_answered_before_a_majority_has_it_on_disk(three):
    for node in three.nodes.values():
        node.syncs_by_itself = False
    told = three.submit("n1", put("a"))
    await three.settle()
    assert told.calls == []
    three["n1"].disk.complete_sync()
    await three.settle()
    assert told.calls == []  # the leader's disk alone is no majority
    three["n2"].disk.complete_sync()
    await three.settle()
    assert isinstance(told.outcomes[0], Modified)


async def test_two_disks_without_the_leaders_do_not_commit_here(three):
    three["n1"].syncs_by_itself = False
    told = three.submit("n1", put("a"))
    await three.settle()
    assert told.calls == []
    three["n1"].disk.complete_sync()
    await three.settle()
    assert isinstance(told.outcomes[0], Modified)


async def test_a_follower_acknowledges_only_what_its_sync_covered(three):
    follower = three["n2"]
    follower.syncs_by_itself = False
    three.hold("n3", "n1")
    first = three.submit("n1", put("a"))
    await three.settle()  # n2 syncs the first entry; the second arrives meanwhile
    second = three.submit("n1", *[put(f"{i}") for i in range(256)])
    await three.settle()
    follower.disk.complete_sync()
    await three.settle()
    assert isinstance(first.outcomes[0], Modified)
    assert second.calls == []
    follower.disk.complete_sync()
    await three.settle()
    assert isinstance(second.outcomes[0], Modified)


# --- P1, P2: appends ----------------------------------------------------------------------------


async def test_a_late_heartbeat_truncates_nothing(three):
    old = Append(1, 1, 0, 0, 1, 1, True, ())
    told = [three.submit("n1", put(f"{i}")) for i in range(5)]
    await three.settle()
    before = three["n2"].commands
    three.inject("n1", "n2", old)
    await three.settle()
    assert three["n2"].commands == before
    assert all(isinstance(one.outcomes[0], Modified) for one in told)


async def test_a_repeated_append_truncates_nothing(three):
    link = three.hold("n1", "n2")
    three.submit("n1", put("a"))
    await three.settle()
    frames = list(link.frames)
    link.is_held = False
    await three.settle()
    three.submit("n1", put("b"))
    await three.settle()
    before = three["n2"].commands
    for frame in frames:
        three["n2"].engine.on_frame("n1", frame)
    await three.settle()
    assert three["n2"].commands == before


async def test_entries_of_a_deposed_leader_give_way_to_those_of_the_next(three):
    three.isolate("n1")
    lost = three.submit("n1", put("lost"))
    await three.settle()
    await three.until(lambda: three.leader.id != "n1" and three.leader.engine.is_serving)
    kept = three.submit(three.leader.id, put("kept"))
    await three.settle()
    assert isinstance(kept.outcomes[0], Modified)
    three.heal()
    await three.pass_s(1.0)
    assert len(three.digests()) == 1
    # It was certainly not in the log any more, so it was sent again, and done.
    assert isinstance(lost.outcomes[0], Modified)
    assert three["n2"].replica.machine.load()[0] == 2


async def test_what_is_in_flight_is_not_sent_again_with_every_answer(three):
    link = three.hold("n1", "n2")
    for number in range(20):
        three.submit("n1", put(f"{number}"))
        await three.settle()
    sent = [row for message in three.waiting("n1", "n2") for row in getattr(message, "rows", ())]
    assert len(sent) == len(set(sent)) == 20
    link.is_held = False
    await three.settle()


# --- P3, P4: terms and voters -------------------------------------------------------------------


async def test_an_acknowledgement_of_an_older_leadership_does_not_count(five):
    for follower in ("n2", "n3", "n4", "n5"):
        five.hold("n1", follower)
    told = five.submit("n1", put("a"))
    await five.settle()
    last = five["n1"].disk.last_index
    term = five["n1"].engine.core.term
    for follower in ("n2", "n3", "n4", "n5"):
        five.inject(follower, "n1", Ack(term - 1, 1, 0, last))
    await five.settle()
    assert told.calls == []


async def test_a_vote_counts_once_for_each_voter(five):
    five.isolate("n5")
    node = five["n5"]
    await five.until(lambda: not node.engine.consensus.lives())
    node.engine.core.elect_now()
    await five.pass_s(0.05)  # it asks for pre-votes
    five.inject("n1", "n5", PreVote(node.engine.core.term + 1, node.engine.core.term, True))
    five.inject("n2", "n5", PreVote(node.engine.core.term + 1, node.engine.core.term, True))
    await five.settle()
    term = node.engine.core.term
    assert node.role == CANDIDATE
    for _ in range(5):
        five.inject("n1", "n5", Vote(term))
    await five.settle()
    assert node.role != LEADER


async def test_a_vote_of_a_stranger_does_not_count(three):
    three.isolate("n3")
    node = three["n3"]
    term = node.engine.core.term
    await three.pass_s(0.6)
    three.inject("n1", "n3", PreVote(term + 1, term, True))
    await three.pass_s(0.1)
    three.inject("n9", "n3", Vote(node.engine.core.term))
    await three.settle()
    assert node.role != LEADER


# --- P7, P8: who leads --------------------------------------------------------------------------


async def test_a_node_that_comes_back_does_not_depose_a_healthy_leader(three):
    term = three["n1"].engine.core.term
    three.isolate("n3")
    await three.pass_s(5.0)
    three.heal()
    await three.pass_s(2.0)
    assert (three["n1"].role, three["n1"].engine.core.term) == (LEADER, term)


async def test_a_request_for_votes_against_a_living_leader_is_not_heard(three):
    term = three["n2"].engine.core.term
    three.inject("n3", "n2", AskVote(term + 7, 10**6, term + 6, False))
    await three.settle()
    assert three["n2"].engine.core.term == term


async def test_a_leader_without_a_majority_steps_down_within_two_seconds(three):
    three.isolate("n1")
    await three.pass_s(2.0)
    assert three["n1"].role != LEADER
    assert not three["n1"].engine.is_serving


async def test_a_leader_whose_connections_close_is_followed_by_another_at_once(three):
    await three.kill("n1")
    began_s = three.seconds
    await three.until(lambda: three.leader is not None and three.leader.engine.is_serving)
    assert three.seconds - began_s <= 0.4


async def until_one_leads(group, seconds):
    """Let time pass in steps of a few milliseconds; fail if nobody serves as a leader by then."""
    until_s = group.seconds + seconds
    while group.leader is None or not group.leader.engine.is_serving:
        assert group.seconds < until_s, f"nobody leads after {seconds} s"
        await group.pass_s(0.005, step_s=0.005)


async def test_candidates_that_split_the_votes_try_again_at_once(three):
    await three.kill("n1")
    links = [three.hold("n2", "n3"), three.hold("n3", "n2")]
    for node in three.nodes.values():
        node.engine.core.postpone_election(0.01)
    await three.pass_s(0.015, step_s=0.015)
    for _question_then_answer in range(2):
        await three.deliver("n2", "n3", 1)
        await three.deliver("n3", "n2", 1)
    await three.settle()
    assert [type(m) for m in three.waiting("n2", "n3")] == [AskVote]
    assert [type(m) for m in three.waiting("n3", "n2")] == [AskVote]
    for link in links:
        link.is_held = False
    await until_one_leads(three, 0.4)


async def test_who_has_more_of_the_log_stands_when_another_asks_in_vain(three):
    three.hold("n1", "n3")
    three.submit("n1", put("only n2 has it"))
    await three.settle()
    three.cut("n2", "n3"), three.connect("n2", "n3")
    await three.kill("n1")
    three["n2"].engine.core.postpone_election(0.01)
    three["n3"].engine.core.postpone_election(0.06)
    three.hold("n2", "n3")  # what n2 asks comes to nothing: n3 is busy
    await three.pass_s(0.03, step_s=0.01)
    three.link("n2", "n3").frames.clear()
    three.link("n2", "n3").is_held = False
    await until_one_leads(three, 0.3)
    assert three.leader.id == "n2"


async def test_pre_votes_that_nobody_heard_are_asked_for_again_soon(three):
    await three.kill("n1")
    three.cut("n2", "n3")
    await three.pass_s(0.15)
    three.connect("n2", "n3")
    await until_one_leads(three, 0.4)


async def test_a_leader_that_falls_silent_is_followed_by_another_within_two_seconds(three):
    three.hold("n1", "n2"), three.hold("n1", "n3")
    await three.pass_s(2.0)
    others = [three["n2"], three["n3"]]
    assert any(node.role == LEADER for node in others)


async def test_one_broken_link_elects_nobody(three):
    term = three["n1"].engine.core.term
    three.cut("n1", "n3")
    await three.pass_s(3.0)
    assert (three["n1"].role, three["n1"].engine.core.term) == (LEADER, term)


async def test_a_node_whose_clock_is_off_does_not_stand_for_election(three):
    three["n2"].may_lead = False
    await three.kill("n1")
    await three.until(lambda: three.leader is not None)
    assert three.leader.id == "n3"


async def test_a_new_leader_leads_only_when_its_vote_is_on_disk(three):
    for node in three.nodes.values():
        node.syncs_by_itself = node.id == "n3"
    await three.kill("n1")
    three["n3"].engine.core.postpone_election(1e6)
    await three.pass_s(1.0)
    assert three["n2"].role != LEADER
    assert not [m for m in three.waiting("n2", "n3") if isinstance(m, AskVote)]
    three["n2"].syncs_by_itself = True
    await three.pass_s(1.0)
    assert three["n2"].role == LEADER


# --- transfer -----------------------------------------------------------------------------------


async def test_the_leadership_moves_to_the_heir_without_a_pause(three):
    told = three.submit("n1", put("a"))
    three["n1"].engine.transfer("n2")
    await three.settle()
    await three.pass_s(0.1)
    assert three.leader.id == "n2"
    later = three.submit("n1", put("b"))
    await three.pass_s(0.2)
    assert isinstance(told.outcomes[0], Modified)
    assert isinstance(later.outcomes[0], Modified)


async def test_nothing_is_cut_in_a_term_that_a_power_cut_could_take_away(three):
    leader, node = three["n1"], three["n3"]
    three.isolate("n2")
    three.hold("n3", "n1")  # what n1 proposes now is on the disk of n3 and not committed
    three.submit("n1", put("a"))
    await three.settle()
    term, last = node.engine.core.term, node.disk.last_index
    told = node.engine.consensus.held()
    assert told == (term, last)
    node.syncs_by_itself = False
    await three.kill("n1")
    cut = Append(term + 1, 1, 0, 0, last - 1, term, True, ((term + 1, b"\x01"),))
    three.inject("n2", "n3", cut)
    await three.turn()
    assert (node.engine.core.term, node.disk.last_term) == (term + 1, term)
    node.disk.complete_sync()
    three.inject("n2", "n3", cut)
    await three.turn()
    assert (node.disk.last_index, node.disk.last_term) == (last, term + 1)
    assert node.disk.power_cut().term == term + 1
    assert leader.failures == node.failures == []


async def test_who_lacks_too_much_of_the_log_is_no_heir_for_whom_appending_stops(three):
    three["n3"].syncs_by_itself = False
    three["n1"].unfit = {"n2"}
    for number in range(4):
        three.submit("n1", put(f"{number}"))
        await three.pass_s(0.2)
    consensus = three["n1"].engine.consensus
    assert consensus.is_live("n3")
    assert consensus.best_heir() == "n3"
    assert [consensus.best_heir(lag_max) for lag_max in (4, 3)] == ["n3", "n2"]
    await three.kill("n2")
    await three.pass_s(0.1)
    assert [consensus.best_heir(lag_max) for lag_max in (4, 3)] == ["n3", ""]


async def test_a_transfer_to_a_node_that_is_gone_is_given_up(three):
    three.hold("n1", "n2")
    three["n1"].engine.transfer("n2")
    told = three.submit("n1", put("a"))
    await three.settle()
    assert told.calls == []
    await three.pass_s(1.5)
    assert three["n1"].role == LEADER
    assert isinstance(told.outcomes[0], Modified)


async def test_only_the_leader_can_ask_a_node_to_take_over(three):
    term = three["n2"].engine.core.term
    three.inject("n3", "n2", TimeoutNow(term))
    await three.pass_s(0.2)
    assert three.leader.id == "n1"
    assert three["n2"].engine.core.term == term


async def test_a_draining_leader_hands_over_first(three):
    drained = asyncio.ensure_future(three["n1"].engine.drain(5.0))
    await three.settle()
    await three.pass_s(0.3)
    assert await drained
    assert three.leader.id != "n1"


@pytest.mark.parametrize("unfit", ["n2", "n3"])
async def test_a_draining_leader_passes_over_a_voter_that_is_no_fit_leader(three, unfit):
    three["n1"].unfit = {unfit}
    drained = asyncio.ensure_future(three["n1"].engine.drain(5.0))
    await three.settle()
    await three.pass_s(0.3)
    assert await drained
    assert three.leader.id == ({"n2", "n3"} - {unfit}).pop()


async def test_a_peer_whose_connection_to_us_broke_still_hears_from_us(three):
    three["n1"].engine.on_down("n2")  # ours to it lives on: nobody will say that it is up again
    told = three.submit("n2", put("a"))
    await three.settle()
    await three.pass_s(0.3)
    assert isinstance(told.outcomes[0], Modified)
    assert len(three.digests()) == 1
