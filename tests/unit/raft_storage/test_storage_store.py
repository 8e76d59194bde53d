"""Votes, log and snapshots together: one sync, and no part without the others."""

import errno
from pathlib import Path

import pytest
from tests.support.storage_witness import DIRECTORY, SEGMENT_BYTES, open_store, sync
from tests.support.virtual_disk import Fault, Loss, VirtualDisk

from raftq_cluster.backends.raft.storage.errors import (
    CorruptError,
    StorageFailedError,
    StorageFullError,
)

JOURNAL = DIRECTORY / "journal"
SNAPSHOTS = DIRECTORY / "snapshots"
VOTES = DIRECTORY / "votes"


def disk_with(*entries: bytes, snapshot: int = 0, term: int = 1, drop: int = 0) -> VirtualDisk:
    """A node's disk after a power cut; all of this was durable."""
    disk = VirtualDisk()
    store = open_store(disk)
    store.votes.set(term, "n1")
    for data in entries:
        store.journal.append(term, data)
    sync(store)
    if snapshot:
        store.snapshots.begin(snapshot, term, b"").finish()
    store.journal.drop_before(drop)
    sync(store)
    disk.cut_power(Loss.EVERYTHING)
    return disk


def test_a_new_store_has_no_past() -> None:
    store = open_store(VirtualDisk())
    assert (store.votes.term, store.journal.last_index, store.snapshots.latest()) == (0, 0, None)
    assert (store.last_number, store.durable_number, store.dirty) == (0, 0, False)


def test_one_sync_covers_votes_and_log() -> None:
    disk = VirtualDisk()
    store = open_store(disk)
    vote = store.votes.set(1, "n1")
    store.journal.append(1, b"a")
    assert (vote, store.last_number, store.dirty) == (1, 2, True)
    sync(store)
    assert (store.durable_number, store.dirty) == (2, False)
    disk.cut_power(Loss.EVERYTHING)
    store = open_store(disk)
    assert (store.votes.term, store.votes.voted_for, store.journal.last_index) == (1, "n1", 1)


def test_a_vote_alone_makes_the_store_dirty() -> None:
    store = open_store(VirtualDisk())
    store.votes.set(1, None)
    assert store.dirty
    sync(store)
    assert not store.dirty


def test_the_vote_file_is_synced_before_the_log() -> None:
    store = open_store(VirtualDisk())
    store.votes.set(1, "n1")
    store.journal.append(1, b"a")
    assert next(file.path.name for file in store.begin_sync().files) == VOTES.name


def test_writes_made_while_a_sync_runs_are_not_covered_by_it() -> None:
    disk = VirtualDisk()
    store = open_store(disk)
    store.journal.append(1, b"a")
    plan = store.begin_sync()
    vote = store.votes.set(2, "n2")
    plan.run()
    store.end_sync(plan)
    assert store.durable_number < vote
    disk.cut_power(Loss.EVERYTHING)
    assert open_store(disk).votes.term == 0


def test_a_vote_is_not_lost_when_the_log_finds_the_disk_full() -> None:
    disk = VirtualDisk()
    store = open_store(disk)
    store.votes.set(1, "n1")
    store.journal.append(1, b"a")
    disk.faults.append(Fault("write", errno.ENOSPC, name="journal"))
    with pytest.raises(StorageFullError):
        store.begin_sync()
    store.votes.set(2, "n2")
    sync(store)
    disk.cut_power(Loss.EVERYTHING)
    store = open_store(disk)
    assert (store.votes.term, store.votes.voted_for, store.journal.last_index) == (2, "n2", 1)


# --- a lost past -------------------------------------------------------------------------------------


@pytest.mark.parametrize("snapshot", [0, 2])
def test_a_log_without_a_vote_file_is_corruption(snapshot: int) -> None:
    disk = disk_with(b"a", b"b", snapshot=snapshot)
    disk.remove(VOTES)
    with pytest.raises(CorruptError, match="the term and vote are gone") as corrupt:
        open_store(disk)
    assert corrupt.value.path == VOTES


def test_a_snapshot_without_a_vote_file_is_corruption() -> None:
    disk = disk_with(b"a", snapshot=1)
    for path in (VOTES, *(path for path in disk.paths() if path.parent == JOURNAL)):
        disk.remove(path)
    with pytest.raises(CorruptError, match="the term and vote are gone"):
        open_store(disk)


def test_a_vote_file_without_a_log_is_corruption_again_and_again() -> None:
    disk = disk_with(b"a")
    for path in disk.paths():
        if path.parent == JOURNAL:
            disk.remove(path)
    for _ in range(2):
        with pytest.raises(CorruptError, match="the log is gone"):
            open_store(disk)


def test_a_log_whose_snapshot_is_gone_is_corruption() -> None:
    entries = [bytes([65 + n]) * 1500 for n in range(8)]
    disk = disk_with(*entries, snapshot=6, drop=7)
    (path,) = [path for path in disk.paths() if path.parent == SNAPSHOTS]
    disk.remove(path)
    with pytest.raises(CorruptError, match="the newest snapshot ends at 0"):
        open_store(disk)


def test_a_damaged_snapshot_stops_the_start() -> None:
    disk = disk_with(b"a", b"b", snapshot=1)
    (path,) = [path for path in disk.paths() if path.parent == SNAPSHOTS]
    disk.flip(path, 50)
    with pytest.raises(CorruptError):
        open_store(disk)


# --- a log and its snapshot --------------------------------------------------------------------------


def test_a_log_that_holds_the_snapshots_entry_keeps_what_is_behind_it() -> None:
    store = open_store(disk_with(b"a", b"b", b"c", snapshot=2))
    assert (store.journal.last_index, store.journal.entry(3)) == (3, (1, b"c"))


@pytest.mark.parametrize("held", [0, 1, 3])
def test_a_log_that_does_not_reach_an_installed_snapshot_is_reset_to_it(held: int) -> None:
    disk = disk_with(*[b"x"] * held)
    store = open_store(disk)
    store.snapshots.begin(5, 9, b"").finish()
    disk.cut_power(Loss.EVERYTHING)
    for _ in range(2):
        store = open_store(disk)
        assert (store.journal.base_index, store.journal.base_term, len(store.journal)) == (5, 9, 0)
        assert (store.journal.durable_index, store.dirty) == (5, False)
        disk.cut_power(Loss.EVERYTHING)


def test_a_log_that_holds_another_entry_at_the_snapshots_index_is_reset_to_it() -> None:
    disk = disk_with(b"a", b"b", b"c")
    store = open_store(disk)
    store.snapshots.begin(2, 9, b"").finish()
    disk.cut_power(Loss.EVERYTHING)
    store = open_store(disk)
    assert (store.journal.base_index, store.journal.base_term, len(store.journal)) == (2, 9, 0)


def test_older_snapshots_are_removed_at_the_start() -> None:
    disk = disk_with(b"a", b"b", b"c", snapshot=1)
    store = open_store(disk)
    store.snapshots.begin(2, 1, b"").finish()
    disk.kill()
    open_store(disk)
    assert len(disk.names(SNAPSHOTS)) == 1


# --- closing -----------------------------------------------------------------------------------------


def test_closing_makes_everything_durable_and_notes_it() -> None:
    disk = VirtualDisk()
    store = open_store(disk)
    store.journal.append(1, b"a")
    store.votes.set(1, "n1")
    store.close()
    assert disk.opened == []
    disk.cut_power(Loss.EVERYTHING)
    store = open_store(disk)
    assert (store.journal.last_index, store.votes.term) == (1, 1)
    store.journal.mark()
    assert not store.dirty


def test_closing_on_a_bad_disk_gives_the_files_back() -> None:
    disk = VirtualDisk()
    store = open_store(disk)
    store.journal.append(1, b"a")
    disk.faults.append(Fault("sync_data", errno.EIO))
    store.close()
    assert disk.opened == []


def test_closing_a_failed_store_writes_nothing() -> None:
    disk = VirtualDisk()
    store = open_store(disk)
    store.journal.append(1, b"a")
    store.fail(StorageFailedError(Path("x"), "failed"))
    before = disk.calls
    store.close()
    assert disk.calls == before


# --- flipped bits ------------------------------------------------------------------------------------


def content(disk: VirtualDisk) -> object:
    store = open_store(disk)
    reader = store.snapshots.latest()
    chunks = list(reader.chunks()) if reader else []
    journal = store.journal
    entries = journal.entries(journal.first_index, journal.last_index + 1)
    disk.kill()
    return store.votes.term, store.votes.voted_for, journal.base_index, entries, chunks


def closed_disk() -> VirtualDisk:
    disk = VirtualDisk()
    store = open_store(disk)
    store.votes.set(3, "n1")
    for n in range(12):
        store.journal.append(3, bytes([97 + n]) * (100 * n))
        sync(store)
    store.journal.truncate_from(11)
    store.journal.append(4, b"end")
    writer = store.snapshots.begin(5, 3, b"members")
    writer.write(b"state" * 50)
    writer.finish()
    store.close()
    disk.cut_power(Loss.NOTHING)
    return disk


def refused_or_the_same(stride: int) -> None:
    disk = closed_disk()
    before = content(disk)
    for path in disk.paths():
        for offset in range(0, min(len(disk.content(path)), SEGMENT_BYTES), stride):
            bit = 8 * offset + offset // stride % 8
            disk.flip(path, bit)
            original = {other: disk.content(other) for other in disk.paths()}
            try:
                after = content(disk)
            except CorruptError:
                after = before
            assert after == before, (path, offset)
            disk.kill()
            for other in disk.paths():
                disk.replace(other, original[other])
            disk.flip(path, bit)
    assert content(disk) == before


def test_a_flipped_bit_is_refused_or_changes_nothing() -> None:
    refused_or_the_same(stride=37)


@pytest.mark.slow
def test_a_flipped_bit_in_any_byte_is_refused_or_changes_nothing() -> None:
    refused_or_the_same(stride=1)
