"""Applying committed commands, and what is told to whom."""

import pytest

from raftq_cluster.backends.raft.commands import (
    CONFIG,
    SENT,
    Member,
    data_command,
    encode_members,
    sent_command,
)
from raftq_cluster.backends.raft.proposals import Segment, foreign_segment
from raftq_cluster.backends.raft.replica import Replica, ReplicaError
from raftq_cluster.codec.entries import encode_entry, encode_segment
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.operations import (
    CLAIM,
    CONFIGURE,
    MODIFY,
    Claim,
    Configure,
    Insert,
    Modify,
)
from raftq_cluster.core.outcomes import Claimed, Modified

MEMBERS = (Member("n1", "", True),)
NOW = 1_700_000_000_000


def put(id_, queue="/q"):
    return Modify(MODIFY, "", b"", "", (Insert(queue, id_),), (), (), ())


def take(queue="/q"):
    return Claim(CLAIM, "", b"", "w", (queue,), 30_000, 1, False)


def entry(*segments, now_ms=NOW, seed=1):
    return encode_entry(now_ms, seed, [encode_segment(ops) for ops in segments])


def command(*segments, **head):
    """An entry of which segment number n was sent by process 7 as its nth."""
    return sent_command([(7, place) for place in range(len(segments))], entry(*segments, **head))


class Told:
    def __init__(self):
        self.calls = []

    def __call__(self, index, outcomes):
        self.calls.append((index, list(outcomes)))


def expect(replica, *submissions):
    """Let the replica know that this process sent these, as ``command`` numbers them."""
    sinks = [Told() for _ in submissions]
    known = {}
    for place, (operations, sink) in enumerate(zip(submissions, sinks, strict=True)):
        known[7, place] = Segment(operations, encode_segment(operations), sink)
    replica.find_segments_with(lambda origin: known.pop(origin, None))
    return sinks


@pytest.fixture
def replica():
    return Replica(Machine(), 0, MEMBERS)


def test_an_entry_of_another_node_is_applied_from_its_bytes(replica):
    replica.apply(1, command([put("a")], [put("b")]))
    assert replica.machine.load()[0] == 2


def test_each_sink_is_told_its_own_outcomes_at_the_index_of_the_entry(replica):
    first, second = expect(replica, [put("a"), put("b")], [take()])
    replica.apply(1, command([put("a"), put("b")], [take()]))
    ((index, outcomes),) = first.calls
    assert (index, [type(outcome) for outcome in outcomes]) == (1, [Modified, Modified])
    ((index, (outcome,)),) = second.calls
    assert (index, type(outcome)) == (1, Claimed)


def test_operations_as_received_and_as_read_back_lead_to_the_same_state(replica):
    other = Replica(Machine(), 0, MEMBERS)
    submissions = [[put(str(i)) for i in range(20)], [take()] * 5]
    expect(replica, *submissions)  # the other one has to decode
    for one in (replica, other):
        one.apply(1, command(*submissions))
    assert replica.machine.digest() == other.machine.digest()


def test_an_entry_is_never_applied_twice(replica):
    replica.apply(1, command([put("a")]))
    with pytest.raises(ReplicaError, match="entry 1 follows entry 1"):
        replica.apply(1, command([put("a")]))


def test_a_gap_in_the_log_stops_the_replica(replica):
    with pytest.raises(ReplicaError, match="entry 2 follows entry 0"):
        replica.apply(2, command([put("a")]))


def test_a_sink_that_raises_harms_nobody_and_the_entry_counts_once(replica, caplog):
    def bad(_index, _outcomes):
        raise RuntimeError("closed loop")

    good = Told()
    known = {(7, 0): Segment([put("a")], b"", bad), (7, 1): Segment([put("b")], b"", good)}
    replica.find_segments_with(lambda origin: known.pop(origin, None))
    replica.apply(1, command([put("a")], [put("b")]))
    replica.apply(2, command([put("c")]))
    assert len(good.calls) == 1
    assert replica.machine.load()[0] == 3
    assert "a sink has raised" in caplog.text


def test_what_another_process_sent_is_applied_as_it_was_decoded_and_told_to_nobody(replica):
    segment = foreign_segment((7, 0), [put("a")], b"not read again")
    replica.find_segments_with({(7, 0): segment}.get)
    replica.apply(1, command([put("a")]))
    assert replica.machine.load()[0] == 1


def test_entries_of_a_node_that_knew_no_others_are_still_applied(replica):
    replica.apply(1, data_command(entry([put("a")], [put("b")])))
    assert replica.machine.load()[0] == 2


def test_another_state_takes_the_place_of_this_one_and_the_listener_hears_of_all_its_tasks(replica):
    other = Machine()
    other.apply(9, NOW, 1, [[put("a"), put("b", "/r")]])
    heard = []
    replica.on_ready(heard.append)
    members = (*MEMBERS, Member("n2", "h:1", True))
    replica.replace(other, 9, members)
    replica.apply(10, command([put("c")]))
    assert (replica.index, replica.members) == (10, members)
    assert heard == [{"/q": 1, "/r": 1}, {"/q": 1}]


def test_of_another_state_a_paused_queue_has_nothing_to_be_claimed(replica):
    other = Machine()
    pause = Configure(CONFIGURE, "", b"", "/r", "", True, 0)
    other.apply(9, NOW, 1, [[put("a"), put("b", "/r"), pause]])
    heard = []
    replica.on_ready(heard.append)
    replica.replace(other, 9, MEMBERS)
    assert heard == [{"/q": 1}]


def test_a_broken_invariant_stops_the_replica_and_leaves_its_outcome_unknown(replica):
    (sink,) = expect(replica, [put("a")])
    replica.machine.index = 5  # as if the state were not the log's
    with pytest.raises(ReplicaError, match="entry 1 cannot be applied"):
        replica.apply(1, command([put("a")]))
    ((_, (outcome,)),) = sink.calls
    assert outcome.code == "outcome_unknown"


@pytest.mark.parametrize(
    "poison",
    [
        b"\0",
        b"\0\xc1",
        b"\0" + b"\x94\x63\x00\x00\x90",
        b"\x07?",
        bytes((CONFIG,)) + b"?",
        bytes((SENT,)) + b"?",
        sent_command([], entry([put("a")])),
    ],
)
def test_a_command_that_cannot_be_read_stops_the_replica_in_one_sentence(replica, poison):
    with pytest.raises(ReplicaError, match="entry 1"):
        replica.apply(1, poison)


def test_a_config_entry_changes_the_members_as_of_it(replica):
    members = (*MEMBERS, Member("n2", "h:1", True))
    replica.apply(1, bytes((CONFIG,)) + encode_members(members))
    assert replica.members == members


def test_the_listener_hears_of_what_became_claimable(replica):
    heard = []
    replica.on_ready(heard.append)
    replica.apply(1, command([put("a"), put("b"), put("c", "/r")]))
    replica.apply(2, command([take()]))
    assert heard == [{"/q": 2, "/r": 1}, {}]


def test_a_listener_that_raises_harms_nobody(replica, caplog):
    replica.on_ready(lambda _ready: 1 / 0)
    replica.apply(1, command([put("a")]))
    replica.apply(2, command([put("b")]))
    assert replica.machine.load()[0] == 2
    assert "the listener" in caplog.text
