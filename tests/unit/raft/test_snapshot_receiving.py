"""The follower's side of a snapshot on its way, with a leader by hand."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.snapshot_pair import MEMBERS, TERM, Follower, machine_with, snapshot_of
from tests.support.virtual_disk import Fault, Loss, PowerCut, VirtualDisk

from raftq_cluster.backends.raft.commands import encode_members
from raftq_cluster.backends.raft.peer_api import PeerError
from raftq_cluster.backends.raft.snapshot_receiving import PAUSE_S, SILENT_S
from raftq_cluster.backends.raft.storage.snapshots import ROOM_FOR_LOG_BYTES
from raftq_cluster.codec.snapshots import encode_chunk
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.snapshot import HEAD, VERSION

pytestmark = pytest.mark.asyncio

IDS = [f"t{number:02d}" for number in range(40)]
RAW = snapshot_of(50, IDS)
SIZE = len(RAW)


@pytest.fixture
def disk():
    return VirtualDisk()


async def test_a_snapshot_takes_the_place_of_state_and_log(disk):
    follower = Follower(disk)
    follower.add("old")
    await follower.take_all(RAW)
    assert follower.replica.machine.digest() == machine_with(50, IDS).digest()
    assert (follower.replica.index, follower.replica.members) == (50, MEMBERS)
    assert follower.acked() == SIZE
    assert follower.names() == [f"{50:020d}-{3:020d}.snap"]
    assert follower.failures == []


async def test_what_was_installed_is_there_after_a_power_cut(disk):
    follower = Follower(disk)
    await follower.take_all(RAW)
    follower.sync()
    disk.cut_power(Loss.EVERYTHING)
    assert Follower(disk).ids() == IDS


async def test_each_chunk_is_acknowledged_and_the_last_byte_once_it_is_installed(disk):
    follower = Follower(disk)
    assert follower.give(RAW, 0, 100) == 100
    assert follower.give(RAW, 100, 300) == 300
    assert follower.give(RAW, 300, SIZE) is None
    assert follower.give(RAW, SIZE - 1, SIZE) is None
    await follower.rest()
    assert follower.acked() == SIZE
    assert follower.give(RAW, SIZE - 1, SIZE) == SIZE


async def test_a_gap_is_not_taken_and_the_leader_is_told_where_to_go_on(disk):
    follower = Follower(disk)
    follower.give(RAW, 0, 100)
    assert follower.give(RAW, 101, 300) == 100
    assert follower.give(RAW, 100, 300) == 300


async def test_what_came_already_is_passed_over(disk):
    follower = Follower(disk)
    follower.give(RAW, 0, 300)
    assert follower.give(RAW, 0, 300) == 300
    assert follower.give(RAW, 200, 400) == 400
    assert follower.give(RAW, 400, SIZE) is None
    await follower.rest()
    assert follower.ids() == IDS


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 3_000)), max_size=30),
    st.integers(1_500, 4_000),
)
async def test_chunks_in_any_order_any_number_of_times_make_the_same_state(noise, step):
    follower = Follower(VirtualDisk())
    opened = len(follower.disk.opened)
    held = 0
    for offset, size in noise:
        acked = follower.give(RAW, offset, offset + size)
        assert acked is None or held <= acked <= max(held, offset + size)
        held = held if acked is None else acked
        await follower.rest()
    while follower.replica.index != 50:  # and a leader that goes on where it is told
        follower.give(RAW, held, held + step)
        await follower.rest()
        held = min(held + step, SIZE - 1)
    assert follower.ids() == IDS
    assert len(follower.disk.opened) == opened


@pytest.mark.parametrize(
    "bad",
    [
        {"offset": SIZE, "data": b"x"},
        {"offset": SIZE - 1, "data": b"xy"},
        {"data": b""},
        {"size": 0},
        {"offset": 2**64 - 1, "data": b"x"},
    ],
)
async def test_a_chunk_that_no_leader_sends_is_the_peers_fault(disk, bad):
    follower = Follower(disk)
    with pytest.raises(PeerError):
        follower.give(RAW, 0, 100, **bad)
    assert follower.names() == [f"{0:020d}-{0:020d}.snap"]


# --- what is no news ---------------------------------------------------------------------------------


async def test_what_is_not_newer_is_declined_as_if_it_were_here(disk):
    follower = Follower(disk)
    for number in range(4):
        follower.add(f"{number}")
    assert follower.give(RAW, 0, 100, index=4, snapshot_term=9) == SIZE
    assert follower.give(RAW, 0, 100, index=5, snapshot_term=9) == 100


async def test_a_log_that_has_the_entry_keeps_what_is_behind_it(disk):
    follower = Follower(disk)
    for number in range(4):
        follower.add(f"{number}")
    follower.commit = 1
    assert follower.give(RAW, 0, 100, index=3, snapshot_term=3) == SIZE
    assert follower.store.journal.last_index == 4


async def test_a_snapshot_that_the_log_has_overtaken_is_not_installed(disk):
    follower = Follower(disk)
    follower.give(RAW, 0, SIZE)
    follower.commit = 60  # while another thread reads it
    before = follower.replica.machine
    await follower.rest()
    assert follower.replica.machine is before
    assert follower.give(RAW, SIZE - 1, SIZE) == SIZE
    assert follower.failures == []


# --- leaders that change their minds -----------------------------------------------------------------


@pytest.mark.parametrize("other", [{"peer": "n3"}, {"term": TERM + 1}])
async def test_bytes_of_two_leaderships_are_never_mixed(disk, other):
    follower = Follower(disk)
    follower.give(RAW, 0, 3_000)
    assert follower.give(RAW, 3_000, 4_000, **other) is None  # what is here is thrown away first
    await follower.rest()
    assert follower.give(RAW, 3_000, 4_000, **other) == 0
    await follower.take_all(RAW, **other)
    assert follower.ids() == IDS


async def test_a_newer_snapshot_takes_the_place_of_one_that_is_not_whole(disk):
    follower = Follower(disk)
    newer = snapshot_of(60, [*IDS, "new"])
    follower.give(RAW, 0, 3_000)
    follower.give(newer, 0, 1_000, index=60)
    await follower.rest()
    await follower.take_all(newer, index=60)
    assert follower.replica.index == 60
    assert "new" in follower.ids()
    assert len(follower.names()) == 1


async def test_a_newer_snapshot_waits_while_one_is_installed(disk):
    follower = Follower(disk)
    newer = snapshot_of(60, [*IDS, "new"])
    follower.give(RAW, 0, SIZE)
    assert follower.give(newer, 0, 1_000, index=60) is None
    await follower.rest()
    assert follower.replica.index == 50
    await follower.take_all(newer, index=60)
    assert follower.replica.index == 60


async def test_a_smaller_size_begins_anew(disk):
    follower = Follower(disk)
    other = snapshot_of(50, IDS, chunk_records=3)
    assert len(other) != SIZE
    follower.give(RAW, 0, 3_000)
    follower.give(other, 3_000, 4_000)
    await follower.rest()
    assert follower.give(other, 3_000, 4_000) == 0


async def test_what_nobody_goes_on_sending_is_thrown_away(disk):
    follower = Follower(disk)
    follower.give(RAW, 0, 3_000)
    follower.seconds += SILENT_S - 1
    follower.receiver.each_second()
    await follower.rest()
    assert len(follower.names()) == 2
    follower.seconds += 2
    follower.receiver.each_second()
    await follower.rest()
    assert follower.names() == [f"{0:020d}-{0:020d}.snap"]
    assert disk.opened == Follower(killed(disk)).disk.opened


def killed(disk):
    disk.kill()
    return disk


# --- what is wrong -----------------------------------------------------------------------------------


def broken():
    """Snapshots that must not be installed, and why."""
    flipped = bytearray(RAW)
    flipped[SIZE // 2] ^= 1
    yield "a chunk is damaged", bytes(flipped)
    yield "the trailer is damaged", RAW[:-1] + b"?"
    yield "the head is damaged", snapshot_of(49, IDS)
    yield "the trailer is not where it belongs", RAW[:200] + RAW[300:]


@pytest.mark.parametrize(("why", "raw"), list(broken()))
async def test_damaged_bytes_are_never_installed_and_asked_for_again(disk, caplog, why, raw):
    follower = Follower(disk)
    follower.add("old")
    opened = len(disk.opened)
    await follower.take_all(raw)
    assert why in caplog.text
    assert follower.ids() == ["old"]
    assert (follower.names(), len(disk.opened)) == ([f"{0:020d}-{0:020d}.snap"], opened)
    assert follower.give(RAW, SIZE - 1, SIZE) is None
    follower.seconds += PAUSE_S
    assert follower.give(RAW, SIZE - 1, SIZE) == 0
    await follower.take_all(RAW)
    assert follower.ids() == IDS
    assert follower.failures == []


def raw_of(chunks, config):
    writer = Follower(VirtualDisk()).store.snapshots.begin(50, 3, config)
    for chunk in chunks:
        writer.write(chunk)
    writer.finish()
    return writer._files.content(writer._directory / f"{50:020d}-{3:020d}.snap")


@pytest.mark.parametrize(
    "chunks",
    [
        [b"\xc1"],
        [encode_chunk([(99, "unknown")])],
        [encode_chunk(records) for records in Machine().snapshot()][:0],
        [encode_chunk(records) for records in machine_with(51, IDS).snapshot()],
    ],
)
async def test_a_state_that_cannot_be_read_is_never_installed(disk, caplog, chunks):
    follower = Follower(disk)
    await follower.take_all(raw_of(chunks, b"\x90"))
    assert "is refused" in caplog.text
    assert follower.names() == [f"{0:020d}-{0:020d}.snap"]
    assert (follower.replica.index, follower.failures) == (0, [])


ROW = ("x", 0, "/q", 1, b"", 0, "", 0, 0, 0, "", 1, 1, 0)
QUEUE = (2, "/q", 1, False)


@pytest.mark.parametrize(
    "records",
    [
        [(0, 3, None, 1, 7, 0), (6, 1)],
        [(0, 3, 50, 1, 7, 0), QUEUE, (3, {}, ROW), (6, 3)],
        [(0, 3, 50, 1, 7, 0), QUEUE, (3, 1, (*ROW[:3], "soon", *ROW[4:])), (6, 3)],
        [(0, 3, 50, 1, 7, 0), (5, "key", b"m", 1, 1, "Claimed", ((7,),)), (6, 2)],
    ],
)
async def test_a_state_of_other_types_is_never_installed_and_does_not_stop_the_node(
    disk, caplog, records
):
    follower = Follower(disk)
    await follower.take_all(raw_of([encode_chunk(records)], encode_members(MEMBERS)))
    assert "malformed records" in caplog.text
    assert (follower.replica.index, follower.failures) == (0, [])


async def test_a_snapshot_of_another_version_stops_the_node_and_is_not_asked_for_again(disk):
    follower = Follower(disk)
    chunks = [encode_chunk([(HEAD, VERSION + 1)])]
    await follower.take_all(raw_of(chunks, encode_members(MEMBERS)))
    (failure,) = follower.failures
    assert f"a snapshot of version {VERSION + 1}, and this one reads" in failure
    assert follower.replica.index == 0


async def test_a_snapshot_without_room_is_put_off(disk, caplog):
    follower = Follower(disk)
    disk.room_bytes = ROOM_FOR_LOG_BYTES + SIZE - 1
    assert follower.give(RAW, 0, 1_000) is None
    assert "no space for the leader's snapshot" in caplog.text
    disk.room_bytes += 1
    assert follower.give(RAW, 0, 1_000) is None
    follower.seconds += PAUSE_S
    await follower.take_all(RAW)
    assert follower.ids() == IDS


async def test_a_node_with_room_again_lags_for_five_seconds_at_most(disk):
    follower = Follower(disk)
    disk.room_bytes = 0
    assert follower.give(RAW, 0, 1_000) is None
    disk.room_bytes = ROOM_FOR_LOG_BYTES + SIZE
    follower.seconds += 5.0
    await follower.take_all(RAW)
    assert follower.ids() == IDS


async def test_a_disk_that_fills_up_on_the_way_costs_what_came(disk, caplog):
    follower = Follower(disk)
    opened = len(disk.opened)
    follower.give(RAW, 0, 1_000)
    disk.faults.append(Fault("write", errno.ENOSPC, name=".new"))
    assert follower.give(RAW, 1_000, 2_000) is None
    await follower.rest()
    assert (follower.names(), len(disk.opened)) == ([f"{0:020d}-{0:020d}.snap"], opened)
    assert follower.give(RAW, 2_000, 3_000) is None
    follower.seconds += PAUSE_S
    assert follower.give(RAW, 2_000, 3_000) == 0
    await follower.take_all(RAW)
    assert (follower.ids(), follower.failures) == (IDS, [])


@pytest.mark.parametrize("call", ["sync", "rename", "sync_directory"])
async def test_a_failing_disk_stops_the_node(disk, call):
    follower = Follower(disk)
    disk.faults.append(Fault(call, errno.EIO, name="snapshots"))
    await follower.take_all(RAW)
    assert len(follower.failures) == 1
    assert "Input/output error" in follower.failures[0]
    assert follower.replica.index == 0


async def test_an_install_that_fails_half_way_stops_the_node(disk, caplog):
    follower = Follower(disk)
    follower.install = lambda *_: 1 / 0
    await follower.take_all(RAW)
    assert "ZeroDivisionError" in follower.failures[0]
    assert "installing a snapshot has failed" in caplog.text


# --- beside the node's own snapshots -----------------------------------------------------------------


async def test_an_own_snapshot_gives_way_to_an_install(disk):
    follower = Follower(disk, bytes_between_min=5_000)
    for number in range(30):
        follower.add(f"{number}")
    follower.upkeep.consider()
    follower.give(RAW, 0, SIZE)
    await follower.rest()
    assert follower.replica.index == 50
    assert follower.names() == [f"{50:020d}-{3:020d}.snap"]
    assert follower.replica.machine.keeper is None


async def test_after_an_install_the_next_snapshot_is_due_as_if_it_were_an_own_one(disk):
    follower = Follower(disk, bytes_between_min=5_000)
    await follower.take_all(RAW)
    due = max(5_000, SIZE) // 1_050
    for number in range(due - 1):
        follower.add(f"new {number}")
        follower.upkeep.consider()
        await follower.rest()
    assert follower.names() == [f"{50:020d}-{3:020d}.snap"]
    for number in range(3):
        follower.add(f"newer {number}")
        follower.upkeep.consider()
        await follower.rest()
    assert follower.names() != [f"{50:020d}-{3:020d}.snap"]


async def test_a_node_that_stops_finishes_what_it_installs_and_keeps_no_parts(disk):
    follower = Follower(disk)
    follower.give(RAW, 0, SIZE)
    await follower.receiver.close()
    assert follower.replica.index == 50
    other = Follower(VirtualDisk())
    other.give(RAW, 0, 1_000)
    await other.receiver.close()
    assert other.names() == [f"{0:020d}-{0:020d}.snap"]
    assert other.give(RAW, 0, 1_000) is None


# --- power cuts --------------------------------------------------------------------------------------


async def life_with_a_cut(disk, cut):
    """Take a snapshot in; tells how many calls the disk had."""
    follower = Follower(disk)
    follower.add("old")
    before = disk.calls
    disk.cut_at = before + cut if cut else None
    try:
        await follower.take_all(RAW, step=2_000)
        follower.sync()
        follower.add("behind")
    except PowerCut:
        pass
    return disk.calls - before


@pytest.mark.parametrize("loss", list(Loss))
async def test_a_power_cut_at_any_call_leaves_the_old_state_or_the_new_one(loss):
    calls = await life_with_a_cut(VirtualDisk(), 0)
    assert calls > 10
    met = set()
    for cut in range(1, calls + 1):
        disk = VirtualDisk(seed=cut)
        await life_with_a_cut(disk, cut)
        disk.cut_power(loss)
        after = Follower(disk)
        met.add(tuple(after.ids()))
        assert after.ids() in (["old"], IDS, sorted([*IDS, "behind"]))
        await after.take_all(RAW)
        assert set(after.ids()) >= set(IDS)
        assert not [name for name in after.names() if name.endswith(".new")]
    assert len(met) >= 2
