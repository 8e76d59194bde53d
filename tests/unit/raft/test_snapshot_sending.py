"""The leader's side of a snapshot on its way, against a peer by hand."""

from pathlib import Path

import pytest
from tests.support.virtual_disk import VirtualDisk

from raftq_cluster.backends.raft.messages import SnapshotAck
from raftq_cluster.backends.raft.snapshot_sending import (
    CHUNK_BYTES,
    RESEND_S,
    STALLED_S,
    WINDOW_BYTES,
    SnapshotSender,
)
from raftq_cluster.backends.raft.storage.snapshots import SnapshotStore

SNAPSHOTS = Path("/snapshots")
TERM = 7
SIZE = 10 * CHUNK_BYTES


class Leader:
    """A sender over a disk in memory, with a clock and a network by hand."""

    def __init__(self):
        self.disk = VirtualDisk()
        self.disk.make_directory(SNAPSHOTS)
        self.store = SnapshotStore(self.disk, SNAPSHOTS)
        self.base_index = 0
        self.seconds = 100.0
        self.takes = True
        self.chunks = []
        self.arrived = []
        self.sender = SnapshotSender(
            self.store,
            self._send,
            lambda: self.seconds,
            base_index=lambda: self.base_index,
            arrived=lambda peer, index: self.arrived.append((peer, index)),
        )

    def _send(self, peer, chunk):
        if self.takes:
            self.chunks.append((peer, chunk))
        return self.takes

    def snapshot(self, index, size=SIZE):
        writer = self.store.begin(index, 3, b"members")
        writer.write(bytes(range(256)) * (size // 256))
        writer.finish()
        self.store.prune()
        return self.disk.content(self.disk.paths()[-1])

    def push(self, peer="n2"):
        """What the leader does in every round; gives what was sent."""
        self.sender.begin_or_continue(peer, TERM)
        return self.taken()

    def taken(self):
        chunks, self.chunks = [chunk for _, chunk in self.chunks], []
        return chunks

    def ack(self, offset, *, peer="n2", index=50, term=TERM):
        self.sender.on_ack(peer, SnapshotAck(term, index, 3, offset), TERM)
        return self.taken()

    def pass_s(self, seconds):
        self.seconds += seconds


@pytest.fixture
def leader():
    leader = Leader()
    leader.snapshot(50)
    return leader


def offsets(chunks):
    return [chunk.offset for chunk in chunks]


def test_all_bytes_of_the_newest_snapshot_come_in_order():
    leader = Leader()
    leader.snapshot(20)
    raw = leader.snapshot(50)
    waiting, got = leader.push(), b""
    while waiting:
        chunk = waiting.pop(0)
        assert (chunk.term, chunk.snapshot_index, chunk.snapshot_term) == (TERM, 50, 3)
        assert (chunk.offset, chunk.size) == (len(got), len(raw))
        got += chunk.data
        waiting += leader.ack(len(got))
    assert got == raw
    assert leader.arrived == [("n2", 50)]


def test_no_more_than_a_window_is_on_its_way(leader):
    assert sum(len(chunk.data) for chunk in leader.push()) == WINDOW_BYTES
    assert leader.push() == []
    assert offsets(leader.ack(CHUNK_BYTES)) == [WINDOW_BYTES]


def test_a_peer_that_does_not_answer_is_asked_again_with_one_chunk_after_a_while(leader):
    leader.push()
    leader.ack(CHUNK_BYTES)
    leader.pass_s(RESEND_S - 0.01)
    assert leader.push() == []
    leader.pass_s(0.02)
    assert offsets(leader.push()) == [CHUNK_BYTES]
    assert offsets(leader.ack(2 * CHUNK_BYTES)) == [n * CHUNK_BYTES for n in range(2, 6)]


def test_a_peer_that_lost_what_it_had_is_sent_all_of_it_again(leader):
    leader.push()
    leader.ack(3 * CHUNK_BYTES)
    assert offsets(leader.ack(0)) == [n * CHUNK_BYTES for n in range(4)]
    assert leader.ack(0) == []  # the answers to what was on its way say no more


def test_a_peer_that_has_more_than_was_thought_is_sent_the_rest(leader):
    leader.push()
    assert offsets(leader.ack(6 * CHUNK_BYTES + 5))[0] == 6 * CHUNK_BYTES + 5


def test_the_last_byte_is_asked_for_until_the_peer_needs_it_no_more(leader):
    size = leader.push()[0].size
    assert offsets(leader.ack(size - 1)) == [size - 1]
    for _ in range(50):
        leader.pass_s(RESEND_S + 0.01)
        assert offsets(leader.push()) == [size - 1]
    assert leader.arrived == []
    assert leader.ack(size) == []
    assert leader.arrived == [("n2", 50)]
    assert not leader.sender.is_sending("n2")
    assert leader.disk.opened == []


def test_a_peer_that_needs_nothing_of_it_ends_the_stream_at_once(leader):
    leader.ack(leader.push()[0].size)
    assert (leader.arrived, leader.disk.opened) == ([("n2", 50)], [])


@pytest.mark.parametrize("wrong", [{"term": TERM - 1}, {"index": 49}, {"peer": "n3"}])
def test_answers_to_something_else_do_not_count(leader, wrong):
    leader.push()
    assert leader.ack(SIZE * 2, **wrong) == []
    assert leader.arrived == []
    assert leader.sender.is_sending("n2")


def test_a_full_connection_is_tried_again_later(leader):
    leader.takes = False
    leader.push()
    leader.takes = True
    assert leader.push() == []
    leader.pass_s(RESEND_S + 0.01)
    assert offsets(leader.push()) == [0]


def test_a_snapshot_that_is_removed_meanwhile_is_sent_to_its_end(leader):
    chunk = leader.push()[0]
    leader.snapshot(60)
    assert leader.ack(CHUNK_BYTES)[0].snapshot_index == 50
    assert leader.sender.oldest_index() == 50
    leader.ack(chunk.size)
    assert leader.push()[0].snapshot_index == 60


def test_a_stream_that_the_log_has_left_behind_begins_again_with_a_newer_snapshot(leader):
    leader.push()
    leader.ack(3 * CHUNK_BYTES)
    leader.snapshot(60)
    leader.base_index = 50
    assert leader.push() == []  # what follows it is still in the log
    leader.base_index = 51
    chunks = leader.push()
    assert {chunk.snapshot_index for chunk in chunks} == {60}
    assert chunks[0].offset == 0
    assert len(leader.disk.opened) == 1


def test_a_peer_that_takes_nothing_for_long_is_sent_the_newest_snapshot(leader):
    leader.push()
    leader.snapshot(90, size=CHUNK_BYTES)
    leader.pass_s(STALLED_S - 0.01)
    assert {chunk.snapshot_index for chunk in leader.push()} == {50}
    leader.pass_s(RESEND_S + 0.01)
    assert {chunk.snapshot_index for chunk in leader.push()} == {90}


def test_a_peer_that_takes_what_it_is_sent_is_sent_the_same_to_its_end(leader):
    leader.push()
    leader.snapshot(90)
    for number in range(1, 5):
        leader.pass_s(STALLED_S - 1)
        leader.ack(number * CHUNK_BYTES)
        assert {chunk.snapshot_index for chunk in leader.push()} <= {50}
    assert leader.sender.oldest_index() == 50


def test_a_peer_that_takes_nothing_holds_no_log_back(leader):
    leader.push()
    assert leader.sender.oldest_index() == 50
    leader.pass_s(STALLED_S + 1)
    assert leader.sender.oldest_index() is None
    leader.ack(CHUNK_BYTES)
    assert leader.sender.oldest_index() == 50


def test_each_peer_has_a_stream_of_its_own(leader):
    leader.push("n2")
    leader.snapshot(60)
    assert leader.push("n3")[0].snapshot_index == 60
    assert leader.sender.oldest_index() == 50
    leader.sender.forget("n2")
    assert leader.sender.oldest_index() == 60
    assert (leader.sender.is_sending("n2"), leader.sender.is_sending("n3")) == (False, True)
    leader.sender.close()
    assert (leader.sender.oldest_index(), leader.disk.opened) == (None, [])


def test_a_stream_that_was_forgotten_begins_anew(leader):
    leader.push()
    leader.ack(3 * CHUNK_BYTES)
    leader.sender.forget("n2")
    assert leader.ack(4 * CHUNK_BYTES) == []
    assert leader.push()[0].offset == 0
