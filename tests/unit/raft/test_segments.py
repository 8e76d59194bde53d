"""How submissions become segments, and segments entries."""

import pytest

from raftq_cluster.backends.raft.proposals import (
    ENTRY_BYTES_MAX,
    ENTRY_OPERATIONS_MAX,
    OPERATION_BYTES_MAX,
    Segment,
    WaitingSegments,
)
from raftq_cluster.backends.raft.segments import segments_of
from raftq_cluster.codec.entries import decode_segment
from raftq_cluster.core.operations import FORGET, MODIFY, Forget, Insert, Modify
from raftq_cluster.core.outcomes import Done


def forget(key):
    return Forget(FORGET, (key,))


def insert(size):
    return Modify(MODIFY, "", b"", "", (Insert("/q", "id", value=bytes(size)),), (), (), ())


class Told:
    def __init__(self):
        self.calls = []

    def __call__(self, index, outcomes):
        self.calls.append((index, list(outcomes)))


@pytest.fixture
def told():
    return Told()


def test_a_usual_submission_is_one_segment_packed_once(told):
    operations = [forget("a"), forget("b")]
    (segment,) = segments_of(operations, 7, told)
    assert decode_segment(segment.data) == operations
    assert segment.operations is operations
    assert segment.sink is told


def test_too_many_operations_for_an_entry_are_cut_in_order_and_told_together(told):
    operations = [forget(str(i)) for i in range(3 * ENTRY_OPERATIONS_MAX)]
    segments = segments_of(operations, 7, told)
    assert [op for segment in segments for op in segment.operations] == operations
    assert all(len(segment.operations) <= ENTRY_OPERATIONS_MAX for segment in segments)
    for index, segment in enumerate(reversed(segments)):
        assert told.calls == []
        segment.sink(index, list(segment.operations))
    assert told.calls == [(len(segments) - 1, operations)]


def test_too_many_bytes_for_an_entry_are_cut_down_to_single_operations(told):
    operations = [insert(ENTRY_BYTES_MAX), insert(10), insert(ENTRY_BYTES_MAX)]
    segments = segments_of(operations, 7, told)
    assert [list(segment.operations) for segment in segments] == [[op] for op in operations]


def test_an_operation_that_no_entry_can_take_is_refused_and_the_others_are_not(told):
    large, small = insert(OPERATION_BYTES_MAX), insert(10)
    (segment,) = segments_of([small, large], 7, told)
    segment.sink(9, [Done()])
    ((index, outcomes),) = told.calls
    assert (index, outcomes[0], outcomes[1].code) == (9, Done(), "too_large")


@pytest.mark.parametrize("value", [object(), 2**64, "\ud800"])
def test_an_operation_that_cannot_be_packed_is_refused_at_once(told, value):
    assert segments_of([Forget(FORGET, (value,))], 7, told) == []
    ((index, (outcome,)),) = told.calls
    assert (index, outcome.code) == (7, "invalid")


def test_an_entry_takes_all_that_waits_up_to_its_bounds():
    waiting = WaitingSegments()
    for name in "abc":
        waiting.add(Segment([forget(name)] * (ENTRY_OPERATIONS_MAX // 2), b"x", Told()))
    assert waiting.fills_an_entry()
    assert [len(segment.operations) for segment in waiting.take_entry()] == [
        ENTRY_OPERATIONS_MAX // 2
    ] * 2
    assert not waiting.fills_an_entry()
    assert len(waiting.take_entry()) == 1
    assert (len(waiting), waiting.operations, waiting.bytes) == (0, 0, 0)


def test_an_entry_is_bounded_in_bytes_and_takes_a_large_segment_alone():
    waiting = WaitingSegments()
    for size in (10, ENTRY_BYTES_MAX, ENTRY_BYTES_MAX + 1, 10):
        waiting.add(Segment([forget("a")], bytes(size), Told()))
    sizes = []
    while waiting:
        sizes.append([len(segment.data) for segment in waiting.take_entry()])
    assert sizes == [[10], [ENTRY_BYTES_MAX], [ENTRY_BYTES_MAX + 1], [10]]
