"""The log in memory."""

import pytest

from raftq_cluster.backends.raft.storage.entry_log import EntryLog


def log_of(*data: bytes, base: tuple[int, int] = (0, 0)) -> EntryLog:
    log = EntryLog()
    log.reset(*base)
    for term, entry in enumerate(data, base[1] + 1):
        log.append(term, entry)
    return log


def test_an_empty_log_ends_with_its_base() -> None:
    log = log_of(base=(7, 3))
    assert (log.first_index, log.last_index, log.last_term, len(log)) == (8, 7, 3, 0)
    assert log.term_at(7) == 3


def test_entries_are_found_by_index() -> None:
    log = log_of(b"a", b"b", b"c", base=(7, 3))
    assert (log.entry(8), log.entry(10)) == ((4, b"a"), (6, b"c"))
    assert (log.term_at(9), log.last_term, log.last_index) == (5, 6, 10)


@pytest.mark.parametrize("index", [6, 7, 11, -1])
def test_an_index_without_an_entry_is_refused(index: int) -> None:
    log = log_of(b"a", b"b", b"c", base=(7, 3))
    with pytest.raises(IndexError):
        log.entry(index)


def test_a_range_of_entries_is_half_open_and_ends_with_the_log() -> None:
    log = log_of(b"a", b"b", b"c", base=(7, 3))
    assert log.entries(9, 10) == [(5, b"b")]
    assert log.entries(9, 99) == [(5, b"b"), (6, b"c")]
    assert (
        log.entries(9, 9) == log.entries(9, 3) == log.entries(11, 12) == log.entries(12, 14) == []
    )
    with pytest.raises(IndexError):
        log.entries(7, 9)


def test_a_tail_is_cut_off() -> None:
    log = log_of(b"a", b"bb", b"ccc", base=(7, 3))
    log.cut_from(9)
    assert (log.last_index, log.last_term, log.data_bytes) == (8, 4, 1)
    log.cut_from(8)
    assert (log.last_index, log.last_term, log.data_bytes) == (7, 3, 0)


def test_a_head_is_cut_off_and_its_last_entry_is_the_base() -> None:
    log = log_of(b"a", b"bb", b"ccc", base=(7, 3))
    log.cut_before(10)
    assert (log.base_index, log.base_term, log.first_index, log.data_bytes) == (9, 5, 10, 3)
    log.cut_before(11)
    assert (log.base_index, log.base_term, len(log), log.last_term) == (10, 6, 0, 6)


def test_a_reset_leaves_the_base_only() -> None:
    log = log_of(b"a", b"bb")
    log.reset(100, 9)
    assert (log.base_index, log.last_term, log.data_bytes, len(log)) == (100, 9, 0, 0)
    assert log.append(9, b"d") == 101
