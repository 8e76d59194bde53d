"""The journal's bounds: what is dropped, what a full disk refuses, what a failing one ends."""

import errno
from collections import Counter

import pytest
from tests.support.journal_node import (
    DIRECTORY,
    SEGMENT_BYTES,
    JournalNode,
    filled,
    record_bytes,
)
from tests.support.virtual_disk import Fault, Loss, VirtualDisk

from raftq_cluster.backends.raft.storage.errors import StorageFailedError, StorageFullError
from raftq_cluster.backends.raft.storage.records import (
    MARK_BYTES,
    SEGMENT_HEADER_BYTES,
    Record,
    parse_record,
    segment_seed,
)

# --- dropping ----------------------------------------------------------------------------------------


def test_dropping_frees_memory_exactly_and_whole_segments_once_that_is_durable() -> None:
    node = filled(4)
    node.journal.drop_before(3)
    assert (node.journal.base_index, node.journal.first_index, len(node.journal)) == (2, 3, 2)
    assert node.journal.collect() is None
    node.sync()
    remove = node.journal.collect()
    assert remove is not None
    remove()
    assert node.segments() == [3, 4]
    assert node.journal.collect() is None


def test_what_was_dropped_before_it_was_synced_is_not_counted_by_the_next_sync() -> None:
    node = JournalNode()
    node.append(b"a", b"b", b"c")
    number = node.numbers.last
    node.journal.begin_sync()
    node.append(b"d")
    node.journal.drop_before(3)  # a snapshot holds a and b
    assert node.journal.durable_index == 2
    node.journal.end_sync(number)
    assert node.journal.durable_index == 3
    node.sync()
    assert node.journal.durable_index == 4


def test_a_dropped_journal_is_read_back_from_what_is_left() -> None:
    node = filled(4)
    node.journal.drop_before(3)
    node.sync()
    node.restart(Loss.EVERYTHING)
    assert (node.journal.base_index, node.journal.base_term, node.segments()) == (2, 1, [3, 4])


def test_segments_dropped_by_a_write_that_was_lost_are_still_there() -> None:
    node = filled(4)
    node.journal.drop_before(3)
    node.restart(Loss.EVERYTHING)
    assert (node.journal.base_index, node.segments()) == (0, [1, 2, 3, 4])


def test_a_segment_with_a_live_entry_is_kept() -> None:
    node = JournalNode()
    node.append(b"a", b"b", b"c")
    node.fill_segment()
    node.sync()
    node.journal.drop_before(3)
    node.sync()
    assert node.journal.collect() is None
    assert node.journal.base_index == 2
    node.restart()
    assert (node.journal.base_index, node.segments()) == (0, [1, 2])


def test_a_segment_that_is_not_synced_is_not_dropped() -> None:
    node = JournalNode()
    node.fill_segment()
    node.fill_segment()
    node.journal.flush()
    node.journal.drop_before(3)
    node.sync()
    assert node.journal.collect() is None


def test_everything_can_be_dropped() -> None:
    node = filled(2)
    node.journal.drop_before(3)
    assert (node.journal.base_index, len(node.journal)) == (2, 0)
    node.append(b"x", term=2)
    node.sync()
    node.restart(Loss.EVERYTHING)
    assert node.journal.entry(3) == (2, b"x")


def test_dropping_what_is_gone_changes_nothing() -> None:
    node = filled(3)
    node.journal.drop_before(3)
    node.sync()
    node.journal.drop_before(2)
    assert (node.journal.base_index, node.journal.dirty) == (2, False)


def test_entries_cannot_be_dropped_before_they_exist() -> None:
    node = filled(2)
    with pytest.raises(IndexError):
        node.journal.drop_before(4)


def test_a_truncation_below_a_dropped_segment_is_replayed_from_what_is_left() -> None:
    node = JournalNode()
    node.append(b"a", b"b", b"c")
    node.fill_segment()  # entry 4 rolls to segment 2
    node.journal.truncate_from(3)
    node.append(b"C", term=2)
    node.sync()
    node.journal.drop_before(3)
    node.sync()
    job = node.journal.collect()
    assert job is not None
    job()
    node.restart(Loss.EVERYTHING)
    assert node.segments()[0] > 1
    assert (node.journal.base_index, node.journal.base_term) == (2, 1)
    assert node.data() == [b"C"]


def test_a_segment_that_a_reset_has_emptied_can_be_dropped() -> None:
    node = filled(2)
    node.journal.reset_to(100, 5)
    node.append(b"x", term=5)
    node.sync()
    node.journal.drop_before(101)
    assert node.journal.collect() is None
    node.append(b"y", term=5)
    node.journal.drop_before(102)
    node.sync()
    job = node.journal.collect()
    assert job is not None
    job()
    node.restart(Loss.EVERYTHING)
    assert node.data()[-1] == b"y"


# --- a full disk -------------------------------------------------------------------------------------


def full_node() -> JournalNode:
    """A node whose segment and disk are both full; everything is durable."""
    node = JournalNode()
    node.fill_segment()
    node.sync()
    node.disk.capacity_bytes = node.disk.used_bytes()
    return node


def test_a_full_disk_refuses_an_entry_and_nothing_has_changed() -> None:
    node = full_node()
    for change in (
        lambda: node.append(b"x"),
        lambda: node.journal.reserve(1, 1),
        lambda: node.journal.truncate_from(1),
        lambda: node.journal.reset_to(9, 9),
    ):
        with pytest.raises(StorageFullError):
            change()
    assert (node.journal.last_index, node.journal.durable_index, node.numbers.last) == (1, 1, 1)
    assert (node.journal.dirty, node.segments()) == (False, [1])


def test_an_entry_is_taken_when_there_is_space_again() -> None:
    node = full_node()
    with pytest.raises(StorageFullError):
        node.append(b"x")
    node.disk.capacity_bytes = None
    node.append(b"x")
    node.sync()
    node.restart(Loss.EVERYTHING)
    assert node.data()[1:] == [b"x"]


def test_what_was_reserved_can_be_appended_on_a_full_disk() -> None:
    node = JournalNode()
    node.append(b"a")
    node.journal.reserve(30 * 100, 30)
    node.disk.capacity_bytes = node.disk.used_bytes()
    node.journal.truncate_from(1)
    for n in range(30):
        node.append(b"%02d" % n * 50)
        node.journal.flush()
    node.sync()
    node.restart(Loss.EVERYTHING)
    assert len(node.journal) == 30


def test_more_can_be_reserved_than_a_segment_holds() -> None:
    node = JournalNode()
    node.journal.reserve(5 * SEGMENT_BYTES, 5)
    node.disk.capacity_bytes = node.disk.used_bytes()
    node.append(*[b"x" * SEGMENT_BYTES] * 5)
    node.sync()
    node.restart(Loss.EVERYTHING)
    assert len(node.journal) == 5


def test_segments_can_be_dropped_on_a_full_disk() -> None:
    node = filled(2)
    node.disk.capacity_bytes = node.disk.used_bytes()
    node.journal.drop_before(2)
    node.sync()
    job = node.journal.collect()
    assert job is not None
    job()
    node.append(b"x")
    assert node.segments() == [2, 3]


def test_a_drop_that_cannot_be_noted_waits_for_the_next_segment() -> None:
    node = filled(3)
    node.journal.drop_before(2)
    node.sync()
    node.journal.drop_before(3)  # the spare room of the segment is used up
    assert not node.journal.dirty
    node.append(b"x")
    node.sync()
    job = node.journal.collect()
    assert job is not None
    job()
    assert node.segments() == [3, 4]


def test_a_write_that_finds_the_disk_full_keeps_its_records_and_refuses_more() -> None:
    node = JournalNode()
    node.append(b"a" * 1000)
    node.disk.faults.append(Fault("write", errno.ENOSPC))
    with pytest.raises(StorageFullError):
        node.journal.begin_sync()
    with pytest.raises(StorageFullError):
        node.append(b"b")
    assert (node.journal.last_index, node.journal.durable_index) == (1, 0)
    node.sync()
    node.append(b"c")
    node.sync()
    node.restart(Loss.EVERYTHING)
    assert node.data() == [b"a" * 1000, b"c"]


def test_a_write_that_failed_for_want_of_space_is_repeated_byte_for_byte() -> None:
    node = JournalNode()
    node.append(b"a")
    number = node.numbers.last
    node.journal.begin_sync()
    node.append(b"b")
    node.disk.faults.append(Fault("write", errno.ENOSPC))
    with pytest.raises(StorageFullError):
        node.journal.flush()
    node.journal.end_sync(number)  # a MARK that were made now would tell of it
    node.journal.flush()
    second = SEGMENT_HEADER_BYTES + record_bytes(b"a")
    content = node.disk.content(node.disk.paths()[0])
    mark = parse_record(content, second, segment_seed(b"c1/n1", 1))
    assert isinstance(mark, Record)
    assert (mark.index, mark.term) == (1, SEGMENT_HEADER_BYTES)


@pytest.mark.parametrize("call", ["create", "allocate", "write"])
def test_a_segment_that_could_not_be_made_leaves_no_trace(call: str) -> None:
    node = JournalNode()
    node.fill_segment()
    node.sync()
    node.disk.faults.append(Fault(call, errno.ENOSPC))
    with pytest.raises(StorageFullError):
        node.append(b"x")
    assert node.segments() == [1]
    assert len(node.disk.opened) == 1
    node.append(b"x")
    node.sync()
    node.restart(Loss.EVERYTHING)
    assert node.data()[1:] == [b"x"]


def test_a_journal_without_space_for_a_segment_cannot_start() -> None:
    disk = VirtualDisk(capacity_bytes=100)
    with pytest.raises(StorageFullError):
        JournalNode(disk)
    disk.capacity_bytes = None
    assert JournalNode(disk).journal.last_index == 0


def test_a_journal_can_be_opened_on_a_full_disk_and_takes_entries_later() -> None:
    node = JournalNode()
    node.append(b"a")
    node.sync()
    node.disk.kill()
    node.disk.faults += [Fault("allocate", errno.ENOSPC, times=2)]
    node.open()
    assert node.data() == [b"a"]
    with pytest.raises(StorageFullError):
        node.append(b"b")
    node.append(b"b")
    node.sync()
    assert node.segments() == [1, 2]
    node.restart(Loss.EVERYTHING)
    assert node.data() == [b"a", b"b"]


# --- a failing disk ----------------------------------------------------------------------------------


def test_after_a_failed_sync_everything_is_refused() -> None:
    node = JournalNode()
    node.append(b"a")
    node.journal.begin_sync()
    failure = StorageFailedError(DIRECTORY, "syncing failed")
    node.journal.fail(failure)
    for change in (
        lambda: node.append(b"b"),
        lambda: node.journal.reserve(0, 0),
        lambda: node.journal.truncate_from(1),
        lambda: node.journal.reset_to(9, 9),
        node.journal.flush,
        node.journal.begin_sync,
    ):
        with pytest.raises(StorageFailedError) as refused:
            change()
        assert refused.value is failure
    assert (node.data(), node.journal.durable_index) == ([b"a"], 0)


def test_after_a_failed_write_everything_is_refused() -> None:
    node = JournalNode()
    node.append(b"a")
    node.disk.faults.append(Fault("write", errno.EIO))
    with pytest.raises(StorageFailedError):
        node.journal.flush()
    with pytest.raises(StorageFailedError):
        node.journal.flush()
    with pytest.raises(StorageFailedError):
        node.append(b"b")


# --- noting what is synced ---------------------------------------------------------------------------


def test_an_idle_journal_notes_once_that_it_is_synced() -> None:
    node = JournalNode()
    node.append(b"a")
    node.sync()
    node.disk.seen = Counter()
    for _ in range(3):
        node.journal.mark()
        if node.journal.dirty:
            node.sync()
    assert node.disk.seen["bytes written"] == MARK_BYTES


def test_nothing_is_noted_of_what_is_not_synced() -> None:
    node = JournalNode()
    node.append(b"a")
    node.journal.flush()
    node.disk.seen = Counter()
    node.journal.mark()
    node.journal.flush()
    assert node.disk.seen["bytes written"] == 0


def test_what_a_restart_has_synced_is_noted_too() -> None:
    node = JournalNode()
    node.append(b"a")
    node.sync()
    node.restart()
    node.journal.mark()
    assert node.journal.dirty
    node.sync()
    node.restart()
    node.journal.mark()
    assert not node.journal.dirty


def test_a_note_never_costs_a_segment() -> None:
    node = JournalNode()
    node.fill_segment()
    node.sync()
    node.journal.mark()
    assert not node.journal.dirty
    assert node.segments() == [1]
