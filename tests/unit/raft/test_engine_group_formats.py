"""Nodes of two versions in one group of engines: what may be written, and who stops when it is."""

import pytest
from tests.support.engine_group import EngineGroup
from tests.support.later_version import LATER, LATER_FORMATS, is_later
from tests.support.raft_operations import put

from raftq_cluster.backends.raft.commands import format_command
from raftq_cluster.core.outcomes import Modified

pytestmark = pytest.mark.asyncio
NEW = {"n1": LATER_FORMATS, "n2": LATER_FORMATS}


async def raised(group, leader="n1"):
    """Have the leader write the later format, whoever reads it."""
    await group.elect(leader)
    group[leader].engine.propose(format_command(LATER))
    await group.pass_s(0.3)


async def put_one(group, at, id_):
    told = group.submit(at, put(id_))
    await group.pass_s(0.3)
    return told


async def test_a_newer_leader_writes_the_first_format_until_it_is_told_otherwise():
    group = EngineGroup(3, formats=NEW)
    await group.elect("n1")
    told = await put_one(group, "n3", "a")
    assert isinstance(told.outcomes[0], Modified)
    assert not any(is_later(command) for command in group["n1"].commands)
    assert len(group.digests()) == 1
    group.stop()


async def test_behind_the_entry_that_says_so_all_is_written_and_read_in_the_later_format():
    group = EngineGroup(3, formats={**NEW, "n3": LATER_FORMATS})
    await raised(group)
    for at in ("n1", "n2", "n3"):
        told = await put_one(group, at, f"of {at}")
        assert isinstance(told.outcomes[0], Modified)
        assert is_later(group["n2"].commands[-1])
    assert len(group.digests()) == 1
    assert all(node.failures == [] for node in group.nodes.values())
    group.stop()


async def test_the_next_leader_goes_on_in_the_format_of_the_log():
    group = EngineGroup(3, formats={**NEW, "n3": LATER_FORMATS})
    await raised(group)
    group["n1"].engine.transfer("n2")
    await group.pass_s(0.3)
    assert group.leader.id == "n2"
    await put_one(group, "n2", "a")
    assert is_later(group["n3"].commands[-1])
    assert len(group.digests()) == 1
    group.stop()


async def test_a_node_that_cannot_read_on_stops_with_a_sentence_and_takes_nothing_of_it():
    group = EngineGroup(3, formats=NEW)
    await raised(group)
    told = await put_one(group, "n1", "a")
    (sentence,) = group["n3"].failures
    assert (
        "the log goes on in format 2, and this version of raftq reads formats up to 1" in sentence
    )
    assert not any(
        is_later(command) or command == format_command(LATER) for command in group["n3"].commands
    )
    assert isinstance(told.outcomes[0], Modified)
    group.stop()


async def test_a_format_of_which_only_a_lost_leader_knew_is_not_in_force():
    group = EngineGroup(3, formats=NEW)
    await group.elect("n1")
    group.isolate("n1")
    group["n1"].engine.propose(format_command(LATER))
    group.submit("n1", put("lost"))
    await group.until(lambda: group.leader.id != "n1")
    group.heal()
    told = await put_one(group, "n3", "a")
    await group.pass_s(2.0)
    assert isinstance(told.outcomes[0], Modified)
    assert group["n1"].engine.log_format == 1
    assert not any(is_later(command) for command in group["n1"].commands)
    assert len(group.digests()) == 1
    group.stop()
