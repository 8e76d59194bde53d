"""Applying committed commands, and what is told to whom."""

import pytest

from raftq_cluster.backends.raft.commands import CONFIG, Member, data_command, encode_members
from raftq_cluster.backends.raft.proposals import Proposal, Segment
from raftq_cluster.backends.raft.replica import Replica, ReplicaError
from raftq_cluster.codec.entries import encode_entry, encode_segment
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.operations import CLAIM, MODIFY, Claim, Insert, Modify
from raftq_cluster.core.outcomes import Claimed, Modified

MEMBERS = (Member("n1", "", True),)
NOW = 1_700_000_000_000


def put(id_, queue="/q"):
    return Modify(MODIFY, "", b"", "", (Insert(queue, id_),), (), (), ())


def take(queue="/q"):
    return Claim(CLAIM, "", b"", "w", (queue,), 30_000, 1, False)


def command(*segments, now_ms=NOW, seed=1):
    return data_command(encode_entry(now_ms, seed, [encode_segment(ops) for ops in segments]))


class Told:
    def __init__(self):
        self.calls = []

    def __call__(self, index, outcomes):
        self.calls.append((index, list(outcomes)))


def expect(replica, index, term, *submissions):
    sinks = [Told() for _ in submissions]
    segments = [
        Segment(ops, encode_segment(ops), sink)
        for ops, sink in zip(submissions, sinks, strict=True)
    ]
    replica.expect(index, Proposal(term, NOW, 1, segments))
    return sinks


@pytest.fixture
def replica():
    return Replica(Machine(), 0, MEMBERS)


def test_an_entry_of_another_node_is_applied_from_its_bytes(replica):
    replica.apply(1, 1, command([put("a")], [put("b")]))
    assert replica.machine.load()[0] == 2


def test_each_sink_is_told_its_own_outcomes_at_the_index_of_the_entry(replica):
    first, second = expect(replica, 1, 1, [put("a"), put("b")], [take()])
    replica.apply(1, 1, command([put("a"), put("b")], [take()]))
    ((index, outcomes),) = first.calls
    assert (index, [type(outcome) for outcome in outcomes]) == (1, [Modified, Modified])
    ((index, (outcome,)),) = second.calls
    assert (index, type(outcome)) == (1, Claimed)


def test_operations_as_received_and_as_read_back_lead_to_the_same_state(replica):
    other = Replica(Machine(), 0, MEMBERS)
    submissions = [[put(str(i)) for i in range(20)], [take()] * 5]
    expect(replica, 1, 1, *submissions)
    for one in (replica, other):
        one.apply(1, 1, command(*submissions))
    assert replica.machine.digest() == other.machine.digest()


def test_an_entry_is_never_applied_twice(replica):
    replica.apply(1, 1, command([put("a")]))
    with pytest.raises(ReplicaError, match="entry 1 follows entry 1"):
        replica.apply(1, 1, command([put("a")]))


def test_a_gap_in_the_log_stops_the_replica(replica):
    with pytest.raises(ReplicaError, match="entry 2 follows entry 0"):
        replica.apply(2, 1, command([put("a")]))


def test_a_sink_that_raises_harms_nobody_and_the_entry_counts_once(replica, caplog):
    _, second = expect(replica, 1, 1, [put("a")], [put("b")])

    def bad(_index, _outcomes):
        raise RuntimeError("closed loop")

    replica._proposals[1].segments[0].sink = bad
    replica.apply(1, 1, command([put("a")], [put("b")]))
    replica.apply(2, 1, command([put("c")]))
    assert len(second.calls) == 1
    assert replica.machine.load()[0] == 3
    assert "a sink has raised" in caplog.text


def test_a_proposal_that_another_leaders_entry_replaced_was_certainly_not_done(replica):
    (sink,) = expect(replica, 1, 1, [put("a")])
    replica.apply(1, 2, command([put("b")]))
    ((_, (outcome,)),) = sink.calls
    assert outcome.code == "unavailable"


def test_proposals_in_the_log_of_a_node_that_stops_have_an_unknown_outcome(replica):
    (sink,) = expect(replica, 1, 1, [put("a"), put("b")])
    replica.abandon("stopping")
    ((_, outcomes),) = sink.calls
    assert [outcome.code for outcome in outcomes] == ["outcome_unknown"] * 2


def test_a_broken_invariant_stops_the_replica_and_leaves_its_outcome_unknown(replica):
    (sink,) = expect(replica, 1, 1, [put("a")])
    replica.machine.index = 5  # as if the state were not the log's
    with pytest.raises(ReplicaError, match="entry 1 cannot be applied"):
        replica.apply(1, 1, command([put("a")]))
    ((_, (outcome,)),) = sink.calls
    assert outcome.code == "outcome_unknown"


@pytest.mark.parametrize(
    "poison",
    [b"\0", b"\0\xc1", b"\0" + b"\x94\x63\x00\x00\x90", b"\x07?", bytes((CONFIG,)) + b"?"],
)
def test_a_command_that_cannot_be_read_stops_the_replica_in_one_sentence(replica, poison):
    with pytest.raises(ReplicaError, match="entry 1"):
        replica.apply(1, 1, poison)


def test_a_config_entry_changes_the_members_as_of_it(replica):
    members = (*MEMBERS, Member("n2", "h:1", True))
    replica.apply(1, 1, bytes((CONFIG,)) + encode_members(members))
    assert replica.members == members


def test_the_listener_hears_of_what_became_claimable(replica):
    heard = []
    replica.on_ready(heard.append)
    replica.apply(1, 1, command([put("a"), put("b"), put("c", "/r")]))
    replica.apply(2, 1, command([take()]))
    assert heard == [{"/q": 2, "/r": 1}, {}]


def test_a_listener_that_raises_harms_nobody(replica, caplog):
    replica.on_ready(lambda _ready: 1 / 0)
    replica.apply(1, 1, command([put("a")]))
    replica.apply(2, 1, command([put("b")]))
    assert replica.machine.load()[0] == 2
    assert "the listener" in caplog.text
