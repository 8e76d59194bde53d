"""Verification on demand: whole backends digest their states as of one entry, and the odd one stops."""

import asyncio

import pytest
import pytest_asyncio
from tests.support.planted import planted
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_node import DIRECTORY, RaftNode
from tests.support.raft_operations import drop, put
from tests.support.virtual_disk import Loss, VirtualDisk

from raftq_cluster.backends.api import (
    DIFFERENT,
    NONE,
    PENDING,
    SAME,
    SILENT,
    BackendError,
)
from raftq_cluster.backends.raft import state_digests
from raftq_cluster.backends.raft.backend import RaftBackend
from raftq_cluster.backends.raft.messages import AskDigest, StateDigest
from raftq_cluster.backends.raft.storage.data_dir import REPORT_NAME
from raftq_cluster.core import digest
from raftq_cluster.core.operations import Verify

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def three():
    cluster = RaftCluster()
    await cluster.form(3)
    yield cluster
    await cluster.close()


def follower(cluster):
    return next(node_id for node_id in cluster.backends if node_id != cluster.leader())


def states(found):
    return {member.id: member.state for member in found.members}


async def verified(cluster, node_id, entry=0):
    """Ask until nobody is pending."""
    found = await cluster.backends[node_id].verify(entry)
    while PENDING in states(found).values():
        found = await cluster.backends[node_id].verify(found.entry)
    return found


@pytest.mark.parametrize("node_id", ["n1", "n2", "n3"])
async def test_any_node_has_all_states_compared_as_of_one_entry(three, node_id):
    await three.do("n1", *(put(f"{number}") for number in range(20)))
    found = await verified(three, node_id)
    assert states(found) == {"n1": SAME, "n2": SAME, "n3": SAME}
    (value,) = {member.digest for member in found.members}
    assert len(value) == 32
    again = await verified(three, "n1", found.entry)
    assert again == found


async def test_the_digest_is_that_of_its_entry_whatever_happens_while_it_is_made(
    three, monkeypatch
):
    monkeypatch.setattr(digest, "SLICE_RECORDS", 1)
    await three.do("n1", *(put(f"{number}") for number in range(50)))
    machine = three.running("n1").replica.machine
    told, then = [], []

    def at_the_entry(entry):
        then.append((entry, machine.digest()))
        three.running("n1").digests.begin(entry)

    three.running("n1").replica.on_digest(at_the_entry)
    three.backends["n1"].submit([Verify()], lambda index, _outcomes: told.append(index))
    await three.until(lambda: bool(told))
    await three.do("n1", *(drop(f"{number}", 0) for number in range(50)))
    found = await verified(three, "n1", told[0])
    assert states(found) == {"n1": SAME, "n2": SAME, "n3": SAME}
    assert then == [(told[0], found.members[0].digest)]


async def test_a_state_that_only_a_digest_can_tell_apart_stops_its_node(three):
    odd = follower(three)
    three.running(odd).replica.machine = planted("keeps a wrong value")
    await three.do("n1", put("a", value=b"123"))
    await three.until(lambda: three.running("n1").watch.verified_index > 0)
    assert not any(three.fatal.values())
    other = next(node_id for node_id in three.backends if node_id != odd)
    found = await verified(three, other)
    assert states(found) == {**dict.fromkeys(three.backends, SAME), odd: DIFFERENT}
    await three.until(lambda: bool(three.fatal[odd]))
    assert f"differs from that of a majority at entry {found.entry}" in three.fatal[odd][0]
    report = three.disks[odd].content(DIRECTORY / REPORT_NAME).decode()
    assert "digest of the whole state" in report
    assert not any(three.fatal[node_id] for node_id in three.backends if node_id != odd)


async def test_a_leader_whose_state_is_odd_stops(three):
    odd = three.leader()
    three.running(odd).replica.machine = planted("keeps a wrong value")
    await three.do(follower(three), put("a", value=b"123"))
    await verified(three, follower(three))
    await three.until(lambda: bool(three.fatal[odd]))


async def test_a_member_that_cannot_be_heard_is_silent(three):
    silent = follower(three)
    await three.end(silent)
    asked = next(iter(three.backends))
    found = await verified(three, asked)
    assert states(found) == {**dict.fromkeys(three.backends, SAME), silent: SILENT}
    await three.start(silent)
    # It meets the entry in its log, which is young: so it can still say what it had.
    await three.until(lambda: three.backends[silent].status().ready)
    assert states(await verified(three, asked, found.entry))[silent] == SAME


async def test_of_an_entry_long_ago_there_is_no_digest(three):
    assert set(states(await verified(three, "n1", 1)).values()) == {NONE}


async def test_an_entry_that_has_not_come_yet_is_pending(three, monkeypatch):
    monkeypatch.setattr(state_digests, "REPORT_S", 0.05)
    found = await three.backends["n1"].verify(1_000_000)
    assert set(states(found).values()) == {PENDING}


async def test_of_two_nodes_that_differ_the_one_that_does_not_lead_stops():
    cluster = RaftCluster()
    await cluster.form(2)
    cluster.running(cluster.leader()).replica.machine = planted("keeps a wrong value")
    await cluster.do("n1", put("a", value=b"123"))
    stops = follower(cluster)
    found = await verified(cluster, cluster.leader())
    assert states(found) == {cluster.leader(): SAME, stops: DIFFERENT}
    await cluster.until(lambda: bool(cluster.fatal[stops]))
    await cluster.close()


async def test_more_than_a_few_at_once_are_refused_and_old_ones_forgotten(three, monkeypatch):
    monkeypatch.setattr(state_digests, "RUNNING_MAX", 0)
    found = await verified(three, "n1")
    assert set(states(found).values()) == {NONE}
    monkeypatch.setattr(state_digests, "RUNNING_MAX", 2)
    for _ in range(state_digests.REMEMBERED_MAX + 1):
        last = await verified(three, "n1")
    assert set(states(last).values()) == {SAME}
    assert len(three.running("n1").digests._entries) == state_digests.REMEMBERED_MAX


async def test_a_digest_whose_state_is_replaced_on_the_way_is_none(three, monkeypatch):
    monkeypatch.setattr(digest, "SLICE_RECORDS", 1)
    await three.do("n1", *(put(f"{number}") for number in range(50)))
    running = three.running("n1")
    machine, told = running.replica.machine, []

    def replace(index, _outcomes):
        running.replica.machine = planted("does not modify")  # as if one had been installed
        told.append(index)

    three.backends["n1"].submit([Verify()], replace)
    await three.until(lambda: bool(told))
    found = await verified(three, "n1", told[0])
    assert states(found)["n1"] == NONE
    assert machine.keeper is None
    running.replica.machine = machine


async def test_where_nobody_can_decide_the_others_are_waited_for_and_then_the_leader_counts(
    three, monkeypatch
):
    gone, other = (node_id for node_id in three.backends if node_id != three.leader())
    await three.end(gone)
    three.running(other).replica.machine = planted("keeps a wrong value")
    await three.do(three.leader(), put("a", value=b"123"))
    found = await verified(three, three.leader())
    assert states(found)[other] == DIFFERENT
    assert three.fatal[other] == []
    monkeypatch.setattr(state_digests, "DECIDE_S", 0.0)
    three.running(other).digests.tick()
    assert "differs from that of the leader" in three.fatal[other][0]


async def test_a_state_that_another_has_taken_the_place_of_is_not_judged_any_more(
    three, monkeypatch
):
    gone, other = (node_id for node_id in three.backends if node_id != three.leader())
    await three.end(gone)
    replica = three.running(other).replica
    right, replica.machine = replica.machine, planted("keeps a wrong value")
    await three.do(three.leader(), put("a", value=b"123"))
    assert states(await verified(three, three.leader()))[other] == DIFFERENT
    replica.machine = right  # as if it had been installed
    monkeypatch.setattr(state_digests, "DECIDE_S", 0.0)
    three.running(other).digests.tick()
    assert three.fatal[other] == []


async def test_what_others_say_out_of_turn_does_no_harm(three):
    digests, told = three.running("n1").digests, []
    for number in range(50):
        digests._on_digest("n2", StateDigest(1_000 + number, "ab"))
        digests._on_ask("n2", AskDigest(number))
    assert len(digests._entries) == state_digests.REMEMBERED_MAX
    assert told == []
    assert not any(three.fatal.values())


async def test_a_node_alone_verifies_itself_and_says_nothing_of_old_entries_after_a_restart():
    node = await RaftNode(VirtualDisk()).start()
    await node.do(put("a"))
    found = await node.backend.verify(0)
    assert states(found) == {"n1": SAME}
    assert await node.backend.verify(found.entry) == found
    node.hands.pass_ms(state_digests.STALE_MS + 1)
    node = await node.after_power_cut(Loss.EVERYTHING)
    assert states(await node.backend.verify(found.entry)) == {"n1": NONE}
    assert (await node.backend.verify(0)).members[0].digest
    await node.backend.stop()


async def test_a_node_that_does_not_run_verifies_nothing():
    with pytest.raises(BackendError) as caught:
        await RaftBackend(DIRECTORY, on_fatal=pytest.fail).verify(0)
    assert caught.value.code == "unavailable"


async def test_a_node_that_cannot_log_the_entry_says_so(three):
    for node_id in [id_ for id_ in three.backends if id_ != "n1"]:
        await three.end(node_id)
    three.running("n1").engine.stop("for the test")
    with pytest.raises(BackendError):
        async with asyncio.timeout(10):
            await three.backends["n1"].verify(0)
