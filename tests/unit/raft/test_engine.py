"""Rounds of one node over a disk whose syncs the test lets through."""

import asyncio
import time
from random import Random

import pytest
import pytest_asyncio
from tests.support.held_disk import HeldDisk
from tests.support.raft_operations import Told, put

from raftq_cluster.backends.raft.commands import Member
from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.engine_api import StoppedError
from raftq_cluster.backends.raft.log_clock import LogClock
from raftq_cluster.backends.raft.nobody import Nobody
from raftq_cluster.backends.raft.proposals import (
    ENTRY_OPERATIONS_MAX,
    WAIT_S,
    WAITING_BYTES_MAX,
    Segment,
)
from raftq_cluster.backends.raft.replica import Replica
from raftq_cluster.backends.raft.segments import segments_of
from raftq_cluster.backends.raft.storage.errors import StorageFailedError, StorageFullError
from raftq_cluster.backends.raft.surroundings import Surroundings
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.outcomes import Modified


class NoSnapshots:
    def begin_or_continue(self, peer, term):
        raise AssertionError(peer, term)

    def forget(self, peer):
        raise AssertionError(peer)


class Node:
    """An engine, what it told its owner, and the disk under it."""

    def __init__(self, disk):
        self.disk = disk
        self.failures = []
        self.rounds_applied = 0
        self.replica = Replica(Machine(), disk.base_index, (Member("n1", "", True),))
        self.late_s = 0.0
        surroundings = Surroundings(
            clock=LogClock(), random=Random(1), monotonic=lambda: time.monotonic() + self.late_s
        )
        self.engine = Engine("n1", disk, self.replica, self, surroundings, Nobody(), NoSnapshots())

    def applied(self):
        self.rounds_applied += 1

    def members_changed(self):
        pass

    def failed(self, sentence):
        self.failures.append(sentence)

    def submit(self, *operations):
        told = Told()
        for segment in segments_of(operations, 0, told):
            self.engine.offer(segment)
        return told

    async def serve(self):
        """Lead, with the no-op applied."""
        self.engine.start()
        while not self.engine.is_serving:
            await self.turn()
            if self.disk.is_syncing and not self.disk.automatic:
                self.disk.complete_sync()
        return self

    async def turn(self):
        """Let the loop run what is due now, twice: a callback and what it scheduled."""
        for _ in range(3):
            await asyncio.sleep(0)

    async def sync(self):
        self.disk.complete_sync()
        await self.turn()


@pytest_asyncio.fixture
async def node():
    node = Node(HeldDisk())
    await node.serve()
    yield node
    node.engine.stop("the test is over")


@pytest.mark.asyncio
async def test_no_outcome_is_told_before_its_entry_is_on_disk(node):
    told = node.submit(put("a"))
    await node.turn()
    assert node.disk.is_syncing
    assert told.calls == []
    await node.sync()
    assert [type(outcome) for outcome in told.outcomes] == [Modified]


@pytest.mark.asyncio
async def test_a_sync_does_not_vouch_for_what_was_written_while_it_ran(node):
    first = node.submit(put("a"))
    await node.turn()
    later = [node.submit(*[put(f"{i}.{j}") for j in range(ENTRY_OPERATIONS_MAX)]) for i in range(2)]
    await node.turn()
    assert len(node.disk.commands()) == 4  # the no-op, the first, and two full entries
    await node.sync()
    assert len(first.calls) == 1
    assert [told.calls for told in later] == [[], []]
    await node.sync()
    assert [len(told.outcomes) for told in later] == [ENTRY_OPERATIONS_MAX] * 2


@pytest.mark.asyncio
async def test_a_lone_operation_is_written_without_waiting_for_a_timer(node):
    begun = node.disk.syncs_begun
    node.submit(put("a"))
    await asyncio.sleep(0)
    assert node.disk.syncs_begun == begun + 1


@pytest.mark.asyncio
async def test_what_arrives_in_one_turn_of_the_loop_is_one_entry_and_one_sync(node):
    begun = node.disk.syncs_begun
    told = [node.submit(put(str(i))) for i in range(50)]
    await node.turn()
    assert (len(node.disk.commands()), node.disk.syncs_begun) == (2, begun + 1)
    await node.sync()
    assert {one.index for one in told} == {2}


@pytest.mark.asyncio
async def test_what_arrives_during_a_sync_becomes_one_entry_when_it_is_complete(node):
    node.submit(put("a"))
    await node.turn()
    for i in range(50):
        node.submit(put(str(i)))
        await node.turn()
    assert len(node.disk.commands()) == 2
    await node.sync()
    assert len(node.disk.commands()) == 3
    assert node.disk.is_syncing


@pytest.mark.asyncio
async def test_the_disk_is_put_to_work_before_the_last_entry_is_applied(node):
    order = []
    node.submit(put("a"))
    await node.turn()
    node.submit(put("b"))
    begin, apply = node.disk.begin_sync, node.replica.apply
    node.disk.begin_sync = lambda done: (order.append("sync"), begin(done))
    node.replica.apply = lambda *entry: (order.append("apply"), apply(*entry))
    await node.sync()
    assert order == ["sync", "apply"]


@pytest.mark.asyncio
async def test_operations_are_applied_in_the_order_of_their_submissions(node):
    told = [node.submit(put("same")) for _ in range(3)]
    await node.turn()
    await node.sync()
    assert [type(one.outcomes[0]).__name__ for one in told] == ["Modified", "Refused", "Refused"]


@pytest.mark.asyncio
async def test_a_failed_sync_stops_the_node_and_leaves_outcomes_unknown(node):
    in_log = node.submit(put("a"))
    await node.turn()
    waiting = node.submit(put("b"))
    node.disk.fail_sync(StorageFailedError(node_path(), "syncing failed: Input/output error"))
    assert node.failures == ["log: syncing failed: Input/output error"]
    assert in_log.outcomes[0].code == "outcome_unknown"
    assert waiting.outcomes[0].code == "unavailable"
    assert node.submit(put("c")).outcomes[0].code == "unavailable"


def node_path():
    from pathlib import Path

    return Path("log")


@pytest.mark.asyncio
async def test_a_full_disk_refuses_operations_and_the_node_goes_on_when_there_is_space(node):
    node.disk.append_error = StorageFullError(
        node_path(), "writing failed: No space left on device"
    )
    refused = node.submit(put("a"), put("b"))
    await node.turn()
    assert [outcome.code for outcome in refused.outcomes] == ["store_full"] * 2
    assert node.failures == []
    node.disk.append_error = None
    told = node.submit(put("a"))
    await node.turn()
    await node.sync()
    assert isinstance(told.outcomes[0], Modified)


@pytest.mark.asyncio
async def test_an_entry_that_cannot_be_applied_stops_the_node(node):
    told = node.submit(put("a"))
    await node.turn()
    node.replica.machine.index = 99  # as if memory had been damaged
    await node.sync()
    assert len(node.failures) == 1
    assert node.failures[0].startswith("entry 2")
    assert told.outcomes[0].code == "outcome_unknown"


@pytest.mark.asyncio
async def test_too_many_waiting_bytes_are_refused(node):
    node.submit(put("a"))
    await node.turn()
    told = Told()
    node.engine.offer(Segment([put("b")], bytes(WAITING_BYTES_MAX), Told()))
    node.engine.offer(Segment([put("c")], b"c", told))
    assert told.outcomes[0].code == "unavailable"


@pytest.mark.asyncio
async def test_what_no_leader_took_in_its_time_was_certainly_not_done():
    node = Node(HeldDisk())
    told = node.submit(put("a"))
    await node.turn()
    assert told.calls == []
    node.late_s = WAIT_S + 1
    node.engine._wake()
    await node.turn()
    assert told.outcomes[0].code == "unavailable"
    node.engine.stop("the test is over")


@pytest.mark.asyncio
async def test_what_was_appended_and_not_committed_in_its_time_is_unknown(node):
    told = node.submit(put("a"))
    await node.turn()
    node.late_s = WAIT_S + 1
    node.engine._wake()
    await node.turn()
    assert told.outcomes[0].code == "outcome_unknown"


@pytest.mark.asyncio
async def test_a_restarted_node_applies_what_is_on_disk_before_it_serves(node):
    for i in range(5):
        node.submit(put(str(i)))
        await node.turn()
        await node.sync()
    node.submit(put("never on disk"))
    await node.turn()
    after = await Node(node.disk.power_cut()).serve()
    assert after.replica.machine.load()[0] == 5
    after.engine.stop("the test is over")


@pytest.mark.asyncio
async def test_a_read_waits_until_the_node_serves():
    node = Node(HeldDisk())
    node.engine.start()
    read = asyncio.ensure_future(node.engine.read_barrier())
    await node.turn()
    assert not read.done()
    await node.sync()
    await node.sync()
    await read
    node.engine.stop("the test is over")


@pytest.mark.asyncio
async def test_a_read_is_answered_at_once_when_everything_committed_is_applied(node):
    node.submit(put("a"))
    await node.turn()
    await asyncio.wait_for(node.engine.read_barrier(), 1.0)


@pytest.mark.asyncio
async def test_a_read_fails_when_the_node_stops():
    node = Node(HeldDisk())
    node.engine.start()
    read = asyncio.ensure_future(node.engine.read_barrier())
    await node.turn()
    node.engine.stop("the test is over")
    with pytest.raises(StoppedError, match="the test is over"):
        await read
    with pytest.raises(StoppedError, match="the test is over"):
        await node.engine.read_barrier()


@pytest.mark.asyncio
async def test_draining_finishes_what_is_under_way_and_takes_nothing_new_in(node):
    first = node.submit(put("a"))
    drained = asyncio.ensure_future(node.engine.drain(5.0))
    await node.turn()
    assert node.submit(put("b")).outcomes[0].code == "unavailable"
    assert not drained.done()
    await node.sync()
    assert await drained
    assert isinstance(first.outcomes[0], Modified)


@pytest.mark.asyncio
async def test_draining_gives_up_after_its_time(node):
    told = node.submit(put("a"))
    await node.turn()
    assert not await node.engine.drain(0.01)
    node.engine.stop("stopping")
    assert told.outcomes[0].code == "outcome_unknown"


@pytest.mark.asyncio
async def test_a_settled_node_has_nothing_under_way(node):
    assert node.engine.is_settled
    node.submit(put("a"))
    assert not node.engine.is_settled
    await node.turn()
    assert not node.engine.is_settled
    await node.sync()
    assert node.engine.is_settled


@pytest.mark.asyncio
async def test_log_time_goes_on_from_the_logs_own_when_the_wall_clock_is_behind():
    node = Node(HeldDisk(automatic=True))
    node.replica.machine.now_ms = 4_000_000_000_000
    await node.serve()
    assert node.engine.now_ms() >= 4_000_000_000_000
    node.engine.stop("the test is over")
