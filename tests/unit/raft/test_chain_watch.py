"""Nodes that compare what their entries have come to, and the odd one out, which stops itself."""

import pytest
import pytest_asyncio
from tests.support.engine_group import EPOCH_NS, EngineGroup
from tests.support.planted import planted
from tests.support.raft_operations import drop, put, take

from raftq_cluster.backends.raft import replica
from raftq_cluster.backends.raft.core_api import LEADER
from raftq_cluster.backends.raft.messages import AskChain, Chain
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.outcomes import Modified, Refused

pytestmark = pytest.mark.asyncio
EPOCH_MS = EPOCH_NS // 1_000_000


@pytest_asyncio.fixture
async def three():
    group = EngineGroup(3, compares=True)
    await group.elect("n1")
    yield group
    group.stop()


def keyed(id_, key):
    return put(id_)._replace(key=key, mark=b"mark")


# Each of these ends with the entry that shows the bug.
STORIES = {
    "loses a key": [keyed("a", "k")],
    "chooses another task": [*map(put, "abc"), take()],
    "skips an expiry": [put("late", at_ms=EPOCH_MS + 1_001_000), "wait", put("b")],
    "does not modify": [put("a")],
}


async def tell(group, story, node_id="n1"):
    for step in story:
        if step == "wait":
            await group.pass_s(3.0)
        else:
            group.submit(node_id, step)
            await group.settle()


def failed(group):
    return {node.id for node in group.nodes.values() if node.failures}


async def test_nodes_that_do_the_same_verify_each_other_and_nobody_stops(three):
    await tell(three, [*map(put, "abcd"), take(), drop("a", 7), put("late", at_ms=EPOCH_MS)])
    await three.pass_s(1.0)
    index = three["n1"].replica.index
    assert failed(three) == set()
    for node in three.nodes.values():
        others = {id_: index for id_ in three.nodes if id_ != node.id}
        assert node.watch.verified == others
        assert node.watch.verified_index == index
        assert node.watch.comparisons >= 2


@pytest.mark.parametrize("odd", ["n2", "n1"], ids=["a follower", "the leader"])
@pytest.mark.parametrize("bug", STORIES)
async def test_the_odd_one_stops_at_once_and_the_others_go_on(three, bug, odd):
    three[odd].replica.machine = planted(bug)
    await tell(three, STORIES[bug])
    await three.pass_s(0.2)
    assert failed(three) == {odd}
    (sentence,) = three[odd].failures
    (difference,) = three[odd].differences
    assert f"the state of node {odd} differs from that of a majority at entry" in sentence
    assert difference.is_by_majority
    assert difference.said[odd] not in {
        said for node, said in difference.said.items() if node != odd
    }
    assert len(difference.said) >= 3
    assert difference.entry <= three[odd].replica.index
    await three.kill(odd)
    await three.until(lambda: three.leader is not None and three.leader.engine.is_serving)
    told = three.submit("n3", put("after"))
    await three.pass_s(1.0)
    assert isinstance(told.outcomes[0], Modified)
    assert failed(three) == set()


async def test_a_node_whose_entry_has_other_bytes_is_found_although_nothing_came_of_it(three):
    link = three.hold("n1", "n2")
    three.submit("n1", keyed("a", "k" * 20))
    await three.settle()
    for place, frame in enumerate(link.frames):
        link.frames[place] = frame.replace(b"mark", b"MARK")
    link.is_held = False
    await three.pass_s(0.3)
    assert failed(three) == {"n2"}


async def test_nothing_is_served_with_an_odd_state(three):
    three["n2"].replica.machine = planted("does not modify")
    await tell(three, [put("a")])
    await three.pass_s(0.2)
    told = three.submit("n2", take())
    await three.settle()
    assert told.outcomes[0].code == "unavailable"


async def test_without_a_majority_whoever_differs_from_the_leader_stops(three):
    await three.kill("n3")
    three["n2"].replica.machine = planted("does not modify")
    await tell(three, [put("a")])
    await three.pass_s(0.5)
    assert failed(three) == set()  # n3 may still be heard, and would decide
    await three.pass_s(1.0)
    assert failed(three) == {"n2"}
    (difference,) = three["n2"].differences
    assert not difference.is_by_majority
    assert difference.leader == "n1"
    assert "differs from that of the leader n1" in three["n2"].failures[0]


async def test_of_two_nodes_the_one_that_does_not_lead_stops_at_once():
    group = EngineGroup(2, compares=True)
    await group.elect("n1")
    group["n1"].replica.machine = planted("does not modify")
    await tell(group, [put("a")])
    await group.pass_s(0.2)
    assert failed(group) == {"n2"}
    group.stop()


async def test_a_node_that_differs_while_it_is_alone_is_found_when_it_comes_back(three):
    three["n3"].replica.machine = planted("does not modify")
    three.isolate("n3")
    await tell(three, [put("a"), put("b")])
    await three.pass_s(2.0)
    assert failed(three) == set()
    three.heal()
    await three.pass_s(2.0)
    assert failed(three) == {"n3"}


async def test_a_node_far_behind_compares_when_it_has_caught_up(three):
    link = three.hold("n1", "n3")
    three["n3"].replica.machine = planted("does not modify")
    three.inject("n2", "n3", Chain(three["n1"].replica.index + 1, 1))
    await tell(three, [put("a")])
    assert three["n3"].watch.comparisons == 0 or failed(three) == set()
    link.is_held = False
    await three.pass_s(1.5)
    assert failed(three) == {"n3"}


async def test_one_false_word_of_another_node_stops_nobody(three):
    await tell(three, [put("a")])
    three.inject("n2", "n1", Chain(three["n1"].replica.index, 12_345))
    await three.pass_s(3.0)
    assert failed(three) == set()


async def test_what_is_too_long_ago_or_not_known_is_not_compared(three):
    await tell(three, [put("a")])
    watch = three["n1"].watch
    before = watch.comparisons
    three.inject("n2", "n1", Chain(0, 99))
    assert watch.comparisons in (before, before + 1)
    three["n1"].replica._chains_from = three["n1"].replica.index
    three.inject("n2", "n1", Chain(three["n1"].replica.index - 1, 99))
    three.inject("n2", "n1", AskChain(three["n1"].replica.index - 1))
    await three.pass_s(1.0)
    assert failed(three) == set()


async def test_what_comes_after_everybody_has_forgotten_it_is_no_difference(monkeypatch):
    monkeypatch.setattr(replica, "CHAINS_KEPT", 4)
    group = EngineGroup(3, compares=True)
    await group.elect("n1")
    both = [("n1", "n3"), ("n2", "n3"), ("n3", "n1"), ("n3", "n2")]
    await tell(group, [put("first")])
    links = [group.hold(*ends) for ends in both]  # n3 as if it stood still, and its last words late
    group["n3"].watch._tell()
    for number in range(12):
        await tell(group, [put(f"{number}")])
        await group.pass_s(0.2)
    old, ask = group.waiting("n3", "n1"), AskChain(group["n3"].replica.index)
    assert any(type(message) is Chain for message in old)
    assert group["n1"].replica.chain_at(ask.entry) is None
    group.inject("n3", "n1", ask)
    for link in links:
        link.is_held = False
    await group.pass_s(3.0)
    await tell(group, [put("last")])
    await group.pass_s(1.0)
    index = group["n1"].replica.index
    assert failed(group) == set()
    assert [node.watch.verified_index for node in group.nodes.values()] == [index] * 3
    group.stop()


async def test_a_question_about_an_entry_that_is_not_applied_yet_is_answered_when_it_is(three):
    await tell(three, [put("a")])
    await three.pass_s(0.5)
    entries, answers = three.hold("n1", "n2"), three.hold("n2", "n3")
    index = three["n2"].replica.index + 1
    three.inject("n3", "n2", AskChain(index))
    await tell(three, [put("b"), put("c")])
    entries.is_held = False
    await three.pass_s(0.1)
    assert three["n2"].replica.index == index + 1
    answer = Chain(index, three["n1"].replica.chain_at(index))
    assert answer in three.waiting("n2", "n3")
    answers.is_held = False


async def test_a_node_that_starts_again_goes_on_with_the_same_chain(three):
    await tell(three, [*map(put, "abc"), take()])
    disk = await three.kill("n3")
    await tell(three, [put("d")])
    node = three.add("n3", disk)
    await three.pass_s(2.0)
    await tell(three, [put("e")])
    await three.pass_s(1.0)
    assert failed(three) == set()
    assert node.watch.verified_index == three["n1"].replica.index


async def test_a_refusal_where_others_succeed_is_a_difference(three):
    three["n2"].replica.machine._handlers[2] = lambda _operation: Refused("dependency")
    await tell(three, [drop("none")])  # is refused everywhere: no difference
    await three.pass_s(0.5)
    assert failed(three) == set()
    await tell(three, [put("a")])
    await three.pass_s(0.5)
    assert failed(three) == {"n2"}


async def test_a_state_that_another_has_taken_the_place_of_is_not_judged_any_more(three):
    node = three["n3"]
    right, node.replica.machine = node.replica.machine, Machine()
    node.replica.machine.chain = 999
    for source in ("n1", "n2"):
        three.hold(source, "n3")
    three.inject("n1", "n3", Chain(node.replica.index, 12_345))  # it asks, and hears nothing yet
    assert node.watch._inquiry is not None
    node.replica.replace(right, node.replica.index, node.replica.members)  # as an install does
    for source in ("n1", "n2"):
        three.link(source, "n3").is_held = False
    await three.pass_s(2.0)
    assert failed(three) == set()


async def test_the_leadership_moves_when_the_leader_is_odd(three):
    three["n1"].replica.machine = planted("does not modify")
    await tell(three, [put("a")])
    await three.pass_s(0.2)
    assert failed(three) == {"n1"}
    await three.kill("n1")
    await three.until(
        lambda: any(node.role == LEADER and node.engine.is_serving for node in three.nodes.values())
    )
