"""Faults of the stock Raft library in what nodes say to each other, and round it; see ``test_stock_library_faults``.

Each passes while the fault is there.
"""

import pickle
import struct
import zlib

import pytest
from pysyncobj import SyncObjConf, syncobj
from pysyncobj.batteries import ReplQueue, _ReplLockManagerImpl
from pysyncobj.journal import FileJournal
from pysyncobj.node import Node
from pysyncobj.tcp_connection import TcpConnection
from tests.support.stock_library import Counter, hand_clock, lead, noop, stand

THREE = ("n2", "n3")
FIVE = ("n2", "n3", "n4", "n5")


@pytest.fixture
def clock(monkeypatch):
    return hand_clock(monkeypatch)


def acked(node, *peers, up_to=1_000):
    for peer in peers:
        node.hear(peer, type="next_node_idx", next_node_idx=up_to, reset=False, success=True)
    node.doTick()
    node.doTick()


def test_p1_a_late_heartbeat_truncates_what_was_acknowledged(clock):
    node = Counter(THREE)
    node.hear_append(1, (1, 0), noop(2, 1), noop(3, 1))
    assert node.answers()[-1]["next_node_idx"] == 4
    node.hear_append(1, (1, 0))
    assert node._getRaftLogSize() == 1


def test_p2_an_acknowledgement_winds_the_leader_back_over_what_is_in_flight(clock):
    node = lead(Counter(THREE), clock)
    for value in range(3):
        node.append(value)
        clock[0] += 1.0
        node.doTick()
    node.answers()
    node.hear("n2", type="next_node_idx", next_node_idx=3, reset=False, success=True)
    clock[0] += 1.0
    node.doTick()
    again = [m for m in node.answers() if m.get("entries") and m["prevLogIdx"] == 2]
    assert again


def test_p3_an_acknowledgement_of_whatever_leadership_commits(clock):
    node = lead(Counter(FIVE), clock)
    node.append("on no other node")
    node.doTick()
    acked(node, "n2", "n3")  # it does not say of which term it is: there is no field for it
    assert node.values == ["on no other node"]


@pytest.mark.parametrize("voters", [("n2", "n2"), ("n8", "n9")])
def test_p4_votes_are_counted_whoever_sends_them(clock, voters):
    node = Counter(FIVE)
    stand(node, clock)
    for voter in voters:
        node.hear(voter, type="response_vote", term=node.raftCurrentTerm)
    assert node._isLeader()


def test_p6_an_isolated_leader_removes_its_majority_and_commits_alone(clock):
    node = lead(Counter(THREE, dynamicMembershipChange=True), clock)
    acked(node, "n2", "n3", up_to=3)
    for peer in THREE:
        node.removeNodeFromCluster(Node(peer))
    node.append("acknowledged by nobody else")
    for _ in range(4):
        node.doTick()
    assert node.values == ["acknowledged by nobody else"]


def test_p7_a_node_that_comes_back_deposes_a_healthy_leader(clock):
    node = lead(Counter(THREE), clock)
    node.hear("n3", type="request_vote", term=1_000, last_log_term=0, last_log_index=1)
    assert not node._isLeader()


def test_p8_p9_a_leader_that_nobody_hears_says_for_half_a_minute_that_it_leads(clock):
    node = lead(Counter(THREE), clock)
    clock[0] += 29.0
    node.doTick()
    assert node._isLeader()


def test_p10_a_log_that_diverges_is_found_back_one_entry_at_a_time(clock):
    node = Counter(THREE)
    node.hear_append(1, (1, 0), *(noop(index, 1) for index in range(2, 12)))
    node.answers()
    for prev in (11, 10, 9):
        node.hear_append(2, (prev, 2))
        assert node.answers()[-1]["next_node_idx"] == prev


def test_p11_a_snapshot_that_cannot_be_read_is_acknowledged(clock):
    node = Counter(THREE)
    node.hear("n2", type="append_entries", term=1, commit_index=1, serialized=(b"?", True, True))
    assert node.answers()[-1]["success"]


def test_f1_a_part_of_a_snapshot_commits_entries_that_were_never_replicated(clock):
    node = lead(Counter(THREE), clock)
    node.append("acknowledged by nobody else")
    node.doTick()
    node.hear("n2", type="append_entries", term=node.raftCurrentTerm + 1, commit_index=1_000,
              serialized=(b"a part", True, False))  # fmt: skip
    node.doTick()
    assert node.values == ["acknowledged by nobody else"]


def test_d6_a_log_of_more_than_four_gigabytes_cannot_be_written(tmp_path):
    journal = FileJournal(str(tmp_path / "journal"))
    with pytest.raises(struct.error):
        journal._FileJournal__setLastRecordOffset(2**32)
    journal._destroy()


def test_d7_an_attribute_that_cannot_be_pickled_ends_all_compaction(clock):
    node = lead(Counter(), clock)
    node.odd = lambda: 0
    for value in range(5):
        node.append(value)
        node.doTick()
    before = node._getRaftLogSize()
    node.forceLogCompaction()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        node.doTick()
    assert node._getRaftLogSize() >= before


def test_a4_a_request_that_could_not_be_forwarded_is_never_answered(clock):
    node = Counter(THREE)
    node.hear_append(1, (1, 0))
    node.network.send = lambda *_message: False
    told = []
    node.append("lost", callback=lambda result, error: told.append((result, error)))
    for _ in range(60):
        clock[0] += 1.0
        node.hear_append(1, (1, 0))
        node.doTick()
    assert told == []


def test_a5_a6_what_waits_is_counted_and_not_weighed():
    assert SyncObjConf().commandsQueueSize == 100_000
    assert SyncObjConf().commandsWaitLeader


def test_a7_some_entries_are_sent_with_two_ends(clock):
    node = lead(Counter(("n2",), appendEntriesBatchSizeBytes=1_000), clock)
    ends = []
    for size in range(1_900, 2_000, 5):
        node.answers()
        node.append("x" * size)
        for _ in range(3):
            clock[0] += 1.0
            node.doTick()
        ends.append([m.get("transmission") for m in node.answers()].count("finish"))
        acked(node, "n2", up_to=node._SyncObj__getCurrentLogIndex() + 1)
    assert max(ends) > 1


def test_a9_a_lock_belongs_to_whose_clock_is_ahead():
    locks = _ReplLockManagerImpl(autoUnlockTime=30.0)
    assert locks.acquire("lock", "a", 1_000.0, _doApply=True)
    assert locks.acquire("lock", "b", 1_031.0, _doApply=True)  # b's clock, and nobody's time


def test_a9_what_was_taken_from_a_queue_is_gone_with_who_took_it():
    queue = ReplQueue()
    queue.put("work", _doApply=True)
    assert queue.get(_doApply=True) == "work"
    assert queue.get(_doApply=True) is None


class Executed:
    """Pickles to a call of a function."""

    def __reduce__(self):
        return print, ("from the network",)


def connection():
    return TcpConnection(None, socket=None)


def test_s1_s7_the_first_frame_of_any_connection_is_unpickled(capsys):
    link = connection()
    frame = zlib.compress(pickle.dumps(Executed()))
    link._TcpConnection__readBuffer = struct.pack("i", len(frame)) + frame
    link._TcpConnection__processParseMessage()
    assert capsys.readouterr().out == "from the network\n"


def test_s5_a_frame_of_two_gigabytes_is_waited_for():
    link = connection()
    link._TcpConnection__readBuffer = struct.pack("i", 2**31 - 1)
    assert link._TcpConnection__processParseMessage() is None
    assert link._TcpConnection__readBuffer


def test_s7_entries_of_the_library_are_pickles(clock):
    node = lead(Counter(), clock)
    node.append("a")
    node.doTick()
    kinds = [node._SyncObj__raftLog[position][0] for position in range(node._getRaftLogSize())]
    assert syncobj.pickle.loads(kinds[-1][1:])
