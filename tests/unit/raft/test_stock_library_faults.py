"""The faults of the stock Raft library that our shell closes, shown on the library as it is released.

Each test passes while the fault is there: a library in which one is mended fails here, and says that
its cure (``DESIGN.md`` of the Raft backend lists them, with the tests of ours) may be dropped.
"""

import os

import pytest
from pysyncobj import syncobj
from pysyncobj.journal import FileJournal, MemoryJournal, MetaStorer
from tests.support.stock_library import Counter, hand_clock, lead


@pytest.fixture
def clock(monkeypatch):
    return hand_clock(monkeypatch)


def test_p5_a_kept_commit_index_lets_an_isolated_leader_apply_alone(clock, monkeypatch):
    journal = MemoryJournal()
    monkeypatch.setattr(journal, "getRaftCommitIndex", lambda: 1_000)
    monkeypatch.setattr(syncobj, "createJournal", lambda _file: journal)
    node = lead(Counter(others=("n2", "n3")), clock)
    node.append("acknowledged by nobody else")
    node.doTick()
    node.doTick()
    assert node.values == ["acknowledged by nobody else"]


def test_p12_an_empty_snapshot_makes_a_leader_without_a_state(clock, tmp_path):
    dump = tmp_path / "dump"
    dump.touch()
    node = lead(Counter(fullDumpFile=str(dump)), clock)
    assert node.values == []


def test_d1_nothing_is_synced_before_an_answer(clock, monkeypatch, tmp_path):
    syncs = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, syncs.append)
    node = lead(Counter(journalFile=str(tmp_path / "journal")), clock)
    node.append("a")
    node.doTick()
    node.doTick()
    assert (node.values, syncs) == (["a"], [])
    node.destroy()


def test_d2_a_crash_while_the_log_is_cut_loses_entries(monkeypatch, tmp_path):
    path = str(tmp_path / "journal")
    journal = FileJournal(path)
    for index in range(1, 101):
        journal.add(b"entry", index, 1)
    with monkeypatch.context() as crash:
        crash.setattr(journal, "add", lambda *_entry: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            journal.deleteEntriesTo(10)
    journal._destroy()
    after = FileJournal(path)
    assert len(after) == 0  # of 90 that were to be kept
    after._destroy()


def test_d3_a_flipped_bit_in_the_log_is_not_noticed(tmp_path):
    path = tmp_path / "journal"
    journal = FileJournal(str(path))
    journal.add(b"entry", 1, 1)
    journal._destroy()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"entry", b"entrz"))
    after = FileJournal(str(path))
    assert after[0] == (b"entrz", 1, 1)
    after._destroy()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaks a file
def test_d4_a_damaged_vote_is_taken_for_no_vote(tmp_path):
    path = str(tmp_path / "journal")
    journal = FileJournal(path)
    journal.setCurrentTerm(7, "n2")
    journal._destroy()
    (tmp_path / "journal.meta").write_bytes(b"")
    after = FileJournal(path)
    assert (after.getCurrentTerm(), after.getVotedForNodeId()) == (0, None)
    after._destroy()
    assert MetaStorer(str(tmp_path / "none")).getMeta() == {}


def test_d5_a_snapshot_is_not_synced_before_the_log_is_cut(clock, monkeypatch, tmp_path):
    syncs = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, syncs.append)
    node = lead(Counter(fullDumpFile=str(tmp_path / "dump"), useFork=False), clock)
    for value in range(5):
        node.append(value)
        node.doTick()
    node.doTick()
    before = node._getRaftLogSize()
    node.forceLogCompaction()
    node.doTick()
    node.doTick()
    assert node._getRaftLogSize() < before
    assert syncs == []


def test_a1_a_command_that_raises_stops_the_node_from_applying_for_ever(clock):
    node = lead(Counter(), clock)
    node.append("poison")
    node.append("never applied")
    node.doTick()
    for _ in range(3):
        with pytest.raises(RuntimeError):
            node.doTick()
    assert node.values == []


def test_a2_a_callback_that_raises_makes_a_command_apply_twice(clock):
    node = lead(Counter(), clock)
    node.append("one", callback=lambda _result, _error: 1 / 0)
    node.doTick()
    with pytest.raises(ZeroDivisionError):
        node.doTick()
    node.doTick()
    assert node.values == ["one", "one"]


def test_a3_an_unknown_code_version_makes_later_commands_apply_twice(clock):
    node = lead(Counter(), clock)
    version = syncobj.pickle.dumps(99)
    node._applyCommand(version, None, syncobj._COMMAND_TYPE.VERSION)
    node.append("one")
    for _ in range(4):
        node.doTick()
    assert node.values[:2] == ["one", "one"]
