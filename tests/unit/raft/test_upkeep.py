"""Snapshots and the log behind them, on a disk in memory."""

import asyncio
import errno
import gc
import sys
from pathlib import Path

import pytest
from tests.support.raft_node import in_turn
from tests.support.raft_operations import drop, put
from tests.support.virtual_disk import Fault, Loss, VirtualDisk

from raftq_cluster.backends.raft.commands import Member, data_command
from raftq_cluster.backends.raft.recovery import UNSEEN_TASKS, collector_off, recover
from raftq_cluster.backends.raft.storage.journal import Journal
from raftq_cluster.backends.raft.storage.segments import SEGMENT_BYTES
from raftq_cluster.backends.raft.storage.store import Store
from raftq_cluster.backends.raft.upkeep import YOUNG_TASKS_MAX, Bounds, Upkeep
from raftq_cluster.codec.entries import encode_entry, encode_segment
from raftq_cluster.core.task import Task

pytestmark = pytest.mark.asyncio

ME = (Member("n1", "", True),)
DIRECTORY = Path("/node")
BOUNDS = Bounds(bytes_between_min=10_000, entries_kept=5, bytes_kept=8 << 20)


class Log:
    """A store with a replica, applied to its end by hand; all of it is on disk."""

    def __init__(self, disk, *, bounds=BOUNDS, segment_bytes=8_192):
        self.disk = disk
        self.failures = []
        self.needed = None
        disk.make_directory(DIRECTORY)
        self.store = Store.open(disk, DIRECTORY, b"n1", segment_bytes=segment_bytes)
        recovered = recover(self.store, ME)
        self.replica = recovered.replica
        journal = self.store.journal
        for index in range(self.replica.index + 1, journal.last_index + 1):
            self.replica.apply(index, journal.entry(index)[1])
        self.upkeep = Upkeep(
            self.store,
            self.replica,
            self.failures.append,
            last_bytes=recovered.snapshot_bytes,
            bounds=bounds,
            in_thread=in_turn,
            needed_from=lambda: self.needed,
        )

    def add(self, value_bytes=1_000):
        index = self.store.journal.last_index + 1
        self.do(put(f"t{index}", value=bytes(value_bytes)))

    def do(self, *operations):
        index = self.store.journal.last_index + 1
        command = data_command(encode_entry(1_000, index, [encode_segment(operations)]))
        self.store.journal.append(1, command)
        self.sync()
        self.replica.apply(index, command)

    def sync(self):
        plan = self.store.begin_sync()
        plan.run()
        self.store.end_sync(plan)

    async def snapshot(self):
        """Add entries until a snapshot is due, and take it."""
        before = self.snapshots()
        while self.snapshots() == before:
            self.add()
            self.upkeep.consider()
            await self.upkeep_done()

    async def upkeep_done(self):
        while self.upkeep._task is not None:
            await asyncio.wait([self.upkeep._task])

    def snapshots(self):
        return [path.name for path in self.disk.paths() if path.suffix == ".snap"]

    def segments(self):
        return [path.name for path in self.disk.paths() if path.suffix == ".log"]


async def test_a_snapshot_is_due_when_enough_was_logged_and_not_before():
    log = Log(VirtualDisk())
    for _ in range(9):
        log.add()
        log.upkeep.consider()
        await log.upkeep_done()
    assert log.snapshots() == ["0" * 20 + "-" + "0" * 20 + ".snap"]
    log.add()
    log.upkeep.consider()
    await log.upkeep_done()
    assert log.snapshots() == [f"{10:020d}-{1:020d}.snap"]


async def test_the_next_snapshot_is_due_when_as_much_was_logged_as_the_last_one_held():
    log = Log(VirtualDisk())
    sizes = []
    for _ in range(4):
        before = log.replica.index
        await log.snapshot()
        sizes.append(log.replica.index - before)
    assert sizes[0] == 10
    assert sizes[1] >= 9
    assert sizes[2] > 1.5 * sizes[1]
    assert sizes[3] > 1.5 * sizes[2]


async def test_the_collector_does_not_look_through_what_a_large_snapshot_has_to_take():
    log = Log(VirtualDisk(), segment_bytes=SEGMENT_BYTES)
    log.do(*(put(f"t{number}") for number in range(UNSEEN_TASKS)))
    gc.collect()
    before = {id(seen) for seen in gc.get_objects()}
    log.upkeep.consider()
    await asyncio.sleep(0)  # it begins, and has taken one slice
    large = [
        len(seen)
        for seen in gc.get_objects()
        if id(seen) not in before and isinstance(seen, list) and len(seen) >= UNSEEN_TASKS
    ]
    gc.unfreeze()
    assert log.upkeep._task is not None
    await log.upkeep_done()
    assert large == []


async def test_tasks_that_come_as_others_go_do_not_pile_up_before_the_collector():
    log = Log(VirtualDisk(), segment_bytes=SEGMENT_BYTES, bounds=Bounds(bytes_between_min=1 << 30))
    log.do(*(put(f"old{number}") for number in range(2 * YOUNG_TASKS_MAX)))
    gc.collect()
    most = 0
    with collector_off():  # it counts, and would not run: as many objects go as come
        for start in range(0, 2 * YOUNG_TASKS_MAX, 1_000):
            come = [put(f"new{number}") for number in range(start, start + 1_000)]
            log.do(*come, *(drop(f"old{number}", 0) for number in range(start, start + 1_000)))
            log.upkeep.consider()
            young = gc.get_objects(0) + gc.get_objects(1)
            most = max(most, sum(isinstance(seen, Task) for seen in young))
            del young
    assert len(log.replica.machine.tasks) == 2 * YOUNG_TASKS_MAX
    assert 0 < most <= YOUNG_TASKS_MAX


async def test_a_snapshot_is_due_when_what_the_last_one_holds_is_gone():
    log = Log(VirtualDisk())
    for _ in range(20):
        log.add()
    log.upkeep.consider()
    await log.upkeep_done()
    full = log.snapshots()
    log.do(*(drop(f"t{number}", 0) for number in range(1, 10)))
    log.upkeep.consider()
    await log.upkeep_done()
    assert log.snapshots() == full
    log.do(*(drop(f"t{number}", 0) for number in range(10, 21)))
    log.upkeep.consider()
    await log.upkeep_done()
    assert log.snapshots() == [f"{22:020d}-{1:020d}.snap"]


async def test_a_state_that_was_drained_is_written_once():
    log = Log(VirtualDisk())
    for _ in range(20):
        log.add()
    log.upkeep.consider()
    await log.upkeep_done()
    log.do(*(drop(f"t{number}", 0) for number in range(1, 21)))
    log.upkeep.consider()
    await log.upkeep_done()
    drained = log.snapshots()
    log.add(1)
    log.upkeep.consider()
    await log.upkeep_done()
    assert log.snapshots() == drained == [f"{21:020d}-{1:020d}.snap"]


async def test_a_due_snapshot_is_begun_although_nobody_asks_for_anything():
    log = Log(VirtualDisk())
    for _ in range(10):
        log.add()
    log.upkeep.each_second(sys.maxsize)
    await log.upkeep_done()
    assert log.snapshots() == [f"{10:020d}-{1:020d}.snap"]


async def test_the_log_keeps_the_newest_entries_and_drops_the_others():
    log = Log(VirtualDisk())
    await log.snapshot()
    journal = log.store.journal
    assert (journal.first_index, journal.last_index) == (6, 10)


async def test_of_large_entries_fewer_are_kept():
    log = Log(VirtualDisk(), bounds=BOUNDS._replace(bytes_kept=2_500))
    await log.snapshot()
    assert len(log.store.journal) == 2


@pytest.mark.parametrize(
    ("needed", "bytes_lagging", "first"),
    [
        (3, 1 << 20, 3),  # a peer lags: all that it needs
        (8, 1 << 20, 6),  # it lags less than what is kept anyway
        (2, 7_500, 4),  # but never more than a bound
        (11, 1 << 20, 6),  # nobody lags
        (None, 1 << 20, 6),
    ],
)
async def test_the_log_keeps_what_a_peer_that_lags_needs_within_a_bound(
    needed, bytes_lagging, first
):
    log = Log(VirtualDisk(), bounds=BOUNDS._replace(bytes_lagging=bytes_lagging))
    log.needed = needed
    await log.snapshot()
    assert (log.store.journal.first_index, log.store.journal.last_index) == (first, 10)


async def test_a_long_log_is_cut_without_a_look_at_each_entry(monkeypatch):
    log = Log(VirtualDisk())
    log.needed = 1
    asked = []
    look = Journal.entry
    monkeypatch.setattr(Journal, "entry", lambda *args: asked.append(args[1]) or look(*args))
    await log.snapshot()
    assert log.store.journal.first_index == 1
    assert asked == []


EARLY = BOUNDS._replace(
    bytes_between_min=1 << 20, early_bytes_min=5_000, disk_free_bytes_min=10_000
)


async def early(log, entries, free_bytes):
    for _ in range(entries):
        log.add()
    log.upkeep.each_second(free_bytes)
    await log.upkeep_done()
    return len(log.snapshots()) == 1 and not log.snapshots()[0].startswith("0" * 20)


async def test_a_disk_that_is_nearly_full_has_a_snapshot_before_it_is_due():
    assert not await early(Log(VirtualDisk(), bounds=EARLY), 6, 1 << 20)
    log = Log(VirtualDisk(), bounds=EARLY)
    assert await early(log, 6, 20_000)
    assert log.store.journal.first_index == 2


async def test_the_room_for_the_next_snapshot_is_counted():
    log = Log(VirtualDisk(), bounds=EARLY._replace(disk_free_bytes_min=0))
    assert await early(log, 6, 5_000)  # six values of a thousand bytes need more


async def test_a_snapshot_that_gives_no_room_back_is_not_begun():
    assert not await early(Log(VirtualDisk(), bounds=EARLY), 4, 0)


async def test_segments_that_are_not_needed_are_removed_once_the_disk_knows():
    log = Log(VirtualDisk(), bounds=BOUNDS._replace(bytes_between_min=30_000))
    await log.snapshot()
    before = log.segments()
    log.sync()
    log.upkeep.each_second(sys.maxsize)
    await log.upkeep_done()
    assert len(log.segments()) <= 3 < len(before)


async def test_an_idle_log_notes_once_how_far_it_is_synced():
    log = Log(VirtualDisk())
    log.add()
    notes = []
    for _ in range(4):
        log.upkeep.each_second(sys.maxsize)
        notes.append(log.store.dirty)
        log.sync()
    assert notes == [False, True, False, False]


async def test_a_snapshot_with_a_log_tail_recovers_to_the_same_state():
    disk = VirtualDisk()
    log = Log(disk)
    await log.snapshot()
    log.add()
    before = log.replica.machine.digest()
    disk.kill()
    after = Log(disk)
    assert after.replica.machine.digest() == before
    assert (after.replica.index, after.replica.members) == (11, ME)


async def test_a_state_of_large_values_is_written_in_small_chunks():
    disk = VirtualDisk()
    log = Log(disk, segment_bytes=SEGMENT_BYTES, bounds=BOUNDS._replace(bytes_between_min=4 << 20))
    for size in (*(10 for _ in range(300)), 1 << 20, 2 << 20, 3 << 20):
        log.add(size)
    before = log.replica.machine.digest()
    await log.snapshot()
    reader = log.store.snapshots.latest()
    assert max(len(chunk) for chunk in reader.chunks()) < 4 << 20
    reader.close()
    assert recover(log.store, ME).replica.machine.digest() != before  # one more was added
    assert recover(log.store, ME).replica.machine.digest() == log.replica.machine.digest()


@pytest.mark.parametrize("loss", list(Loss))
async def test_a_power_cut_at_any_call_leaves_the_old_snapshot_or_the_new_one(loss):
    """Every call of a snapshot, of cutting the log behind it and of removing what is not needed."""
    calls = await calls_of_a_snapshot(VirtualDisk())
    for cut in range(1, calls + 1):
        disk = VirtualDisk(seed=cut)
        log = Log(disk)
        for _ in range(10):
            log.add()
        before = log.replica.machine.digest()
        disk.cut_at = disk.calls + cut
        log.upkeep.consider()
        task = log.upkeep._task
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        disk.cut_power(loss)
        assert Log(disk).replica.machine.digest() == before


async def calls_of_a_snapshot(disk):
    log = Log(disk)
    for _ in range(10):
        log.add()
    before = disk.calls
    log.upkeep.consider()
    await log.upkeep_done()
    assert log.snapshots() == [f"{10:020d}-{1:020d}.snap"]
    return disk.calls - before


async def test_a_full_disk_puts_the_next_snapshot_off_and_stops_nobody(caplog):
    log = Log(VirtualDisk())
    log.disk.faults.append(Fault("write", errno.ENOSPC, name=".snap", times=1))
    for _ in range(12):
        log.add()
        log.upkeep.consider()
        await log.upkeep_done()
    assert log.failures == []
    assert "no space for a snapshot" in caplog.text
    assert len([path for path in log.disk.paths() if path.suffix == ".new"]) == 0
    assert log.snapshots() == ["0" * 20 + "-" + "0" * 20 + ".snap"]


@pytest.mark.parametrize("call", ["write", "sync", "rename"])
async def test_a_failing_disk_stops_the_node(call):
    log = Log(VirtualDisk())
    log.disk.faults.append(Fault(call, errno.EIO, name=".snap", times=1))
    for _ in range(10):
        log.add()
    log.upkeep.consider()
    await log.upkeep_done()
    assert len(log.failures) == 1
    assert "Input/output error" in log.failures[0]


async def test_a_state_that_cannot_be_written_stops_the_node(caplog):
    log = Log(VirtualDisk())
    for _ in range(10):
        log.add()
    log.replica.machine.tasks["t1"].value = object()
    log.upkeep.consider()
    await log.upkeep_done()
    assert len(log.failures) == 1
    assert log.failures[0].startswith("the state cannot be written to a snapshot")
    assert "taking a snapshot has failed" in caplog.text


async def test_closing_gives_a_snapshot_up_and_begins_none():
    log = Log(VirtualDisk())
    for _ in range(10):
        log.add()
    log.upkeep.consider()
    await log.upkeep.close()
    log.upkeep.consider()
    await log.upkeep.close()
    assert log.snapshots() == ["0" * 20 + "-" + "0" * 20 + ".snap"]
    assert log.replica.machine.keeper is None
