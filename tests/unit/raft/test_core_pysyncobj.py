"""The library's core under our hooks, one node, a clock by hand, syncs by hand."""

import pytest
from tests.support.held_disk import HeldDisk

from raftq_cluster.backends.raft import commands
from raftq_cluster.backends.raft.core_api import CANDIDATE, FOLLOWER, LEADER, Timing
from raftq_cluster.backends.raft.core_pysyncobj import RaftCore

NOOP = bytes((commands.NOOP,))  # what the library appends when a leadership begins


class Owner:
    """A shell that applies by counting and proposes what it is given."""

    def __init__(self, disk, seconds=100.0):
        self.disk = disk
        self.seconds = seconds
        self.allows = True
        self.proposals = []
        self.applied = []
        self.sent = []
        self.asked = []
        self.granted = []
        self.core = RaftCore(
            "n1",
            disk,
            self,
            timing=Timing(),
            monotonic=lambda: self.seconds,
            random=lambda: 0.5,
        )
        self.core.resume_at(disk.base_index)

    def may_elect(self):
        return self.allows

    def heartbeat(self):
        self.sent.append(self.seconds)

    def ask_vote(self, voter, term):
        self.asked.append((voter, term))

    def grant_vote(self, candidate, term):
        self.granted.append((candidate, term))

    def tick(self):
        """Tick, and apply and propose as an engine does."""
        core = self.core
        core.tick()
        first = core.last_applied + 1
        rows = self.disk.entries(first, core.commit_index + 1)
        self.applied += [command for _, command in rows]
        core.note_applied(max(core.last_applied, core.commit_index))
        while self.proposals and core.role == LEADER:
            core.append(self.proposals.pop(0))

    def sync(self):
        if self.disk.is_dirty:
            self.disk.begin_sync(lambda _error: None)
            self.disk.complete_sync()
            self.core.finish_election()

    def lead(self):
        self.core.elect_now()
        self.tick()
        self.sync()
        self.sync()
        self.tick()
        return self


@pytest.fixture
def disk():
    return HeldDisk()


def test_a_node_waits_for_its_election_timeout(disk):
    owner = Owner(disk)
    owner.seconds += 0.74
    owner.tick()
    assert owner.core.role == FOLLOWER
    owner.seconds += 0.02
    owner.tick()
    assert owner.core.role == CANDIDATE


def test_the_owner_can_veto_an_election(disk):
    owner = Owner(disk)
    owner.allows = False
    owner.core.elect_now()
    owner.tick()
    assert (owner.core.role, owner.core.term) == (FOLLOWER, 0)


def test_leadership_begins_only_when_the_vote_is_on_disk(disk):
    owner = Owner(disk)
    owner.core.elect_now()
    owner.tick()
    assert (owner.core.role, disk.voted_for, disk.last_index) == (CANDIDATE, "n1", 0)
    owner.sync()
    assert (owner.core.role, owner.core.leader) == (LEADER, "n1")
    assert disk.commands() == [NOOP]


def test_a_slow_disk_does_not_make_a_won_election_start_again(disk):
    owner = Owner(disk)
    owner.core.elect_now()
    owner.tick()
    owner.seconds += 60
    owner.tick()
    assert owner.core.term == 1
    owner.sync()
    assert owner.core.role == LEADER


def test_nothing_is_committed_before_it_is_on_this_disk(disk):
    owner = Owner(disk).lead()
    owner.proposals = [b"\0one"]
    owner.tick()
    owner.tick()
    assert (owner.core.commit_index, owner.applied) == (1, [NOOP])
    owner.sync()
    owner.tick()
    assert (owner.core.commit_index, owner.applied) == (2, [NOOP, b"\0one"])


def test_what_was_written_during_a_sync_waits_for_the_next_one(disk):
    owner = Owner(disk).lead()
    owner.core.append(b"\0one")
    disk.begin_sync(lambda _error: None)
    owner.core.append(b"\0two")
    disk.complete_sync()
    owner.tick()
    assert owner.applied == [NOOP, b"\0one"]


def test_after_a_power_cut_a_leader_commits_only_what_the_disk_has(disk):
    owner = Owner(disk).lead()
    owner.core.append(b"\0kept")
    owner.sync()
    owner.core.append(b"\0lost")
    after = Owner(disk.power_cut()).lead()
    assert after.applied == [NOOP, b"\0kept", NOOP]


def test_a_restarted_node_keeps_its_term_and_vote(disk):
    Owner(disk).lead()
    after = Owner(disk.power_cut())
    assert after.core.term == 1
    assert after.lead().core.term == 2


def test_a_leader_sends_on_its_heartbeat_period(disk):
    owner = Owner(disk).lead()
    owner.sent.clear()
    for _ in range(100):
        owner.seconds += 0.01
        owner.tick()
    assert 9 <= len(owner.sent) <= 10


def test_two_cores_in_one_process_keep_their_own_clocks(disk):
    early, late = Owner(disk, seconds=10.0), Owner(HeldDisk(), seconds=5_000.0)
    late.tick()
    early.tick()
    assert (early.core.role, late.core.role) == (FOLLOWER, FOLLOWER)
    late.seconds += 1.0
    late.tick()
    early.tick()
    assert (early.core.role, late.core.role) == (FOLLOWER, CANDIDATE)


def test_a_core_resumes_behind_a_snapshot(disk):
    owner = Owner(disk).lead()
    owner.core.append(b"\0one")
    owner.sync()
    after = Owner(disk.power_cut())
    after.core.resume_at(2)
    after.lead()
    assert after.applied == [NOOP]


def test_an_error_of_the_log_reaches_the_proposer_and_leaves_the_core_as_it_was(disk):
    owner = Owner(disk).lead()
    disk.append_error = OSError("no")
    with pytest.raises(OSError, match="no"):
        owner.core.append(b"\0one")
    disk.append_error = None
    owner.core.append(b"\0two")
    owner.sync()
    owner.tick()
    assert owner.applied == [NOOP, b"\0two"]
