"""The journal while its node lives: what it holds, and what of it is durable."""

from collections import Counter

import pytest
from tests.support.journal_node import SEGMENT_BYTES, JournalNode, record_bytes
from tests.support.virtual_disk import Loss

from raftq_cluster.backends.raft.storage.records import ENTRY_BYTES_MAX

# --- what it holds ---------------------------------------------------------------------------------


def test_a_new_journal_is_empty_and_behind_nothing() -> None:
    journal = JournalNode().journal
    assert (journal.base_index, journal.base_term, journal.first_index) == (0, 0, 1)
    assert (journal.last_index, journal.last_term, journal.durable_index) == (0, 0, 0)
    assert (len(journal), journal.data_bytes, journal.dirty) == (0, 0, False)


def test_appended_entries_are_read_at_once() -> None:
    journal = JournalNode().journal
    assert journal.append(1, b"a") == 1
    assert journal.append(2, b"bb") == 2
    assert (journal.entry(2), journal.term_at(1), journal.last_term) == ((2, b"bb"), 1, 2)
    assert journal.entries(1, 3) == [(1, b"a"), (2, b"bb")]
    assert (len(journal), journal.data_bytes) == (2, 3)


def test_synced_entries_survive_a_power_cut_and_others_may_not() -> None:
    node = JournalNode()
    node.append(b"a", b"b")
    node.sync()
    node.append(b"c")
    node.journal.flush()
    node.restart(Loss.EVERYTHING)
    assert node.data() == [b"a", b"b"]
    assert node.journal.durable_index == 2


def test_written_entries_survive_the_process_and_are_synced_before_they_count() -> None:
    node = JournalNode()
    node.append(b"a")
    node.journal.flush()
    node.restart()
    assert node.journal.durable_index == 1
    node.restart(Loss.EVERYTHING)
    assert node.data() == [b"a"]


def test_buffered_entries_are_written_with_one_call() -> None:
    node = JournalNode()
    node.append(b"a", b"b", b"c")
    node.disk.seen = Counter()
    node.sync()
    assert (node.disk.seen["write"], node.disk.seen["sync_data"]) == (1, 1)
    assert node.disk.seen["bytes written"] == record_bytes(b"a", b"b", b"c")


def test_a_truncated_tail_stays_truncated() -> None:
    node = JournalNode()
    node.append(b"a", b"b", b"c")
    node.sync()
    node.journal.truncate_from(2)
    node.append(b"B", term=2)
    node.sync()
    node.restart(Loss.EVERYTHING)
    assert node.data() == [b"a", b"B"]
    assert node.journal.last_term == 2


@pytest.mark.parametrize("index", [0, 4])
def test_only_what_is_held_can_be_truncated(index: int) -> None:
    node = JournalNode()
    node.append(b"a", b"b")
    with pytest.raises(IndexError):
        node.journal.truncate_from(index)
    assert node.data() == [b"a", b"b"]


def test_truncating_behind_the_end_changes_nothing() -> None:
    node = JournalNode()
    node.append(b"a")
    node.journal.truncate_from(2)
    assert node.data() == [b"a"]


def test_a_reset_log_continues_behind_its_snapshot() -> None:
    node = JournalNode()
    node.append(b"a", b"b")
    node.sync()
    node.journal.reset_to(100, 7)
    node.append(b"x", term=8)
    assert (node.journal.base_index, node.journal.base_term, node.journal.last_index) == (
        100,
        7,
        101,
    )
    node.sync()
    node.restart(Loss.EVERYTHING)
    assert (node.journal.base_index, node.journal.base_term, node.data()) == (100, 7, [b"x"])


def test_an_entry_above_the_limit_is_refused() -> None:
    node = JournalNode()
    with pytest.raises(ValueError, match="passes"):
        node.append(bytes(ENTRY_BYTES_MAX + 1))
    assert node.journal.last_index == 0


# --- what is durable ---------------------------------------------------------------------------------


def test_a_sync_covers_what_was_appended_before_it_began() -> None:
    node = JournalNode()
    node.append(b"a")
    number = node.numbers.last
    node.journal.begin_sync()
    node.append(b"b")
    assert node.journal.durable_index == 0
    node.journal.end_sync(number)
    assert node.journal.durable_index == 1
    assert node.journal.dirty
    node.sync()
    assert (node.journal.durable_index, node.journal.dirty) == (2, False)


def test_an_entry_rewritten_while_a_sync_runs_is_not_covered_by_it() -> None:
    node = JournalNode()
    node.append(b"a", b"b", b"c")
    number = node.numbers.last
    node.journal.begin_sync()
    node.journal.truncate_from(2)
    node.append(b"B", b"C", b"D", term=2)
    node.journal.end_sync(number)
    assert node.journal.durable_index == 1
    node.sync()
    assert node.journal.durable_index == 4


def test_truncation_lowers_what_is_durable() -> None:
    node = JournalNode()
    node.append(b"a", b"b", b"c")
    node.sync()
    node.journal.truncate_from(2)
    assert node.journal.durable_index == 1
    node.append(b"B")
    assert node.journal.durable_index == 1


def test_a_truncation_of_what_is_not_durable_leaves_the_rest_waiting() -> None:
    node = JournalNode()
    node.append(b"a")
    node.sync()
    node.append(b"b", b"c")
    node.journal.truncate_from(3)
    assert node.journal.durable_index == 1
    node.sync()
    assert node.journal.durable_index == 2


def test_behind_a_reset_the_snapshot_counts_as_durable_and_nothing_else() -> None:
    node = JournalNode()
    node.append(b"a")
    number = node.numbers.last
    node.journal.begin_sync()
    node.journal.reset_to(100, 7)
    node.append(b"x", term=8)
    node.journal.end_sync(number)
    assert node.journal.durable_index == 100
    node.sync()
    assert node.journal.durable_index == 101


def test_every_change_takes_a_number() -> None:
    node = JournalNode()
    node.append(b"a", b"b")
    node.journal.truncate_from(2)
    node.journal.reset_to(9, 9)
    assert node.numbers.last == 4


# --- segments ----------------------------------------------------------------------------------------


def test_a_full_segment_is_followed_by_another() -> None:
    node = JournalNode()
    entries = [b"%d" % n * 500 for n in range(20)]
    node.append(*entries)
    node.sync()
    assert node.segments() == list(range(1, len(node.segments()) + 1))
    assert len(node.segments()) > 2
    node.restart(Loss.EVERYTHING)
    assert node.data() == entries


def test_a_segment_is_preallocated_in_full() -> None:
    node = JournalNode()
    node.fill_segment()
    node.append(b"next")
    sizes = {len(node.disk.content(path)) for path in node.disk.paths()}
    assert sizes == {SEGMENT_BYTES}


def test_an_entry_larger_than_a_segment_gets_one_of_its_own() -> None:
    node = JournalNode()
    entries = [b"small", b"x" * 3 * SEGMENT_BYTES, b"after"]
    node.append(*entries)
    node.sync()
    assert node.segments() == [1, 2, 3]
    node.restart(Loss.EVERYTHING)
    assert node.data() == entries


def test_rolled_segments_are_synced_together_with_the_newest() -> None:
    node = JournalNode()
    for _ in range(3):
        node.fill_segment()
    node.disk.seen = Counter()
    node.sync()
    assert (node.disk.seen["sync_data"], node.disk.seen["sync_directory"]) == (3, 1)
    node.append(b"x")
    node.sync()
    assert (node.disk.seen["sync_data"], node.disk.seen["sync_directory"]) == (5, 2)
    node.append(b"y")
    node.sync()
    assert (node.disk.seen["sync_data"], node.disk.seen["sync_directory"]) == (6, 2)


def test_a_segment_rolled_while_a_sync_runs_waits_for_the_next() -> None:
    node = JournalNode()
    node.append(b"a")
    number = node.numbers.last
    node.journal.begin_sync()
    node.fill_segment()
    node.append(b"b")
    node.journal.end_sync(number)
    node.sync()
    node.restart(Loss.EVERYTHING)
    assert node.journal.last_index == 3


def test_a_restarted_journal_goes_on_in_its_last_segment() -> None:
    node = JournalNode()
    node.append(b"a")
    node.sync()
    node.restart()
    node.append(b"b")
    node.sync()
    assert node.segments() == [1]
    node.restart(Loss.EVERYTHING)
    assert node.data() == [b"a", b"b"]


def test_files_are_closed_when_they_are_done_with() -> None:
    node = JournalNode()
    for _ in range(4):
        node.fill_segment()
    node.sync()
    assert len(node.disk.opened) == 1
    node.journal.close()
    assert node.disk.opened == []
