"""Raft's invariants as the simulation checks them: each breach is told."""

from types import SimpleNamespace

import pytest
from tests.simulation.checkers.raft_rules import Raft

from raftq_cluster.backends.raft.commands import CONFIG, Member, encode_members

NOOP = b"\x01"
THREE = tuple(Member(name, "", True, "") for name in ("n1", "n2", "n3"))


class Log:
    """A log as the rules look at it: terms of the entries from 1 on."""

    def __init__(self, *terms, commands=None):
        self.base_index, self._terms = 0, terms
        self._commands = commands or [NOOP] * len(terms)
        self.last_index = len(terms)

    def term_at(self, index):
        return self._terms[index - 1] if index else 0

    def entry(self, index):
        return self.term_at(index), self._commands[index - 1]


@pytest.fixture
def said():
    return []


@pytest.fixture
def raft(said):
    return Raft(said.append)


def probe(log, term=1, life="n1.1"):
    engine = SimpleNamespace(members=THREE)
    return SimpleNamespace(_life=life, journal=log, core=SimpleNamespace(term=term), engine=engine)


def commit(raft, *terms, term=1, life="n1.1"):
    raft.commits(probe(Log(*terms), term, life), 0, len(terms))


def test_a_term_has_one_leader_and_one_life_of_it(raft, said):
    raft.leads("n1", "n1.1", 3, Log())
    raft.leads("n1", "n1.1", 3, Log())
    raft.leads("n2", "n2.1", 4, Log())
    assert said == []
    raft.leads("n1", "n1.2", 3, Log())
    assert "two leaders of term 3" in said[0]


def test_terms_do_not_go_back(raft, said):
    raft.in_term("n1.1", 2, 3)
    assert said == []
    raft.in_term("n1.1", 3, 2)
    assert "went back" in said[0]


def test_a_leader_has_all_that_was_committed_in_earlier_terms(raft, said):
    commit(raft, 1, 1)
    raft.leads("n2", "n2.1", 2, Log(1, 1))
    assert said == []
    raft.leads("n3", "n3.1", 3, Log(1))
    raft.leads("n4", "n4.1", 4, Log(1, 2))
    assert ["without entry 2" in said[0], "another entry 2" in said[1]] == [True, True]


def test_an_old_term_may_be_won_late(raft, said):
    commit(raft, 1, 1, term=5)
    raft.leads("n2", "n2.1", 3, Log(1))
    assert said == []


def test_entries_of_one_index_and_term_are_equal(raft, said):
    raft.written("n1.1", 4, 2, 1, 77)
    raft.written("n2.1", 4, 2, 1, 77)
    assert said == []
    raft.written("n3.1", 4, 2, 1, 78)
    raft.written("n3.1", 4, 2, 2, 77)
    assert len(said) == 2


def test_what_is_committed_is_not_truncated(raft, said):
    commit(raft, 1, 1)
    raft.truncates("n2.1", 2, Log(1, 9), commit=1)
    assert said == []
    raft.truncates("n2.1", 2, Log(1, 1), commit=1)
    raft.truncates("n3.1", 1, Log(9, 9), commit=1)
    assert ["entry 2, which is committed" in said[0], "truncates its log" in said[1]] == [True] * 2


def test_nodes_commit_the_same_entries(raft, said):
    commit(raft, 1, 1)
    commit(raft, 1, 1, life="n2.1")
    assert said == []
    commit(raft, 1, 2, life="n3.1")
    assert "commits another entry 2" in said[0]


def test_commits_do_not_go_back_nor_beyond_the_log(raft, said):
    raft.commits(probe(Log(1)), 1, 0)
    raft.commits(probe(Log(1)), 0, 2)
    assert ["takes back" in said[0], "its log ends at 1" in said[1]] == [True, True]


def test_an_entry_is_committed_when_a_majority_has_it_on_disk(raft, said):
    raft.on_disk = lambda node, _index, _term: node != "n3"
    commit(raft, 1)
    assert said == []
    raft.on_disk = lambda node, _index, _term: node == "n1"
    raft.commits(probe(Log(1, 1)), 1, 2)
    assert "on the disks of ['n1'] only" in said[0]


def test_entries_are_applied_once_in_order_and_as_committed(raft, said):
    raft.applies("n1.1", 3, 4, 77)
    assert said == []
    raft.applies("n1.1", 4, 4, 77)
    raft.applies("n1.1", 4, 6, 77)
    commit(raft, 1)
    raft.applies("n2.1", 0, 1, 12345)
    assert len(said) == 3


def test_a_reset_keeps_what_was_committed_behind_the_snapshot(raft, said):
    commit(raft, 1, 1, 1)
    raft.resets("n2.1", 3, 1, Log(1, 1, 1))
    raft.resets("n2.1", 9, 1, Log(1, 1, 1))
    assert said == []
    raft.resets("n2.1", 2, 1, Log(1, 1, 1))
    assert "drops entry 3" in said[0]


def test_a_snapshot_has_the_members_as_of_its_entry(raft, said):
    commands = [NOOP, bytes((CONFIG,)) + encode_members(THREE[:2])]
    raft.commits(probe(Log(1, 1, commands=commands)), 0, 2)
    raft.restored("n2.1", 2, THREE[:2])
    raft.restored("n2.1", 1, THREE)
    raft.restored("n3.1", 0, THREE[1:])  # it has joined, and starts with the list of then
    assert said == []
    raft.restored("n2.1", 2, THREE)
    assert "other members" in said[0]


def test_equal_entries_make_equal_states(raft, said):
    machine = SimpleNamespace(seq=1, now_ms=2, tasks={}, value_bytes=0, keys={}, digest=lambda: "d")
    other = SimpleNamespace(**{**vars(machine), "now_ms": 3, "digest": lambda: "e"})
    raft.applied("n1.1", 7, machine)
    raft.applied("n2.1", 7, machine)
    assert said == []
    raft.applied("n3.1", 7, other)
    raft.digest("n1.1", 9, machine)
    raft.digest("n3.1", 9, other)
    assert ["another state at entry 7" in said[0], "another digest" in said[1]] == [True, True]
