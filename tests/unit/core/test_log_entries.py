"""Entries: their order, their segments, their effects, and when the next task is due."""

from typing import Any

import pytest
from tests.support.task_table import START_MS, TaskTable, claim, modify

from raftq_cluster.core import operations as op
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.outcomes import Done, Refused
from raftq_cluster.core.state import MachineError


@pytest.mark.parametrize("index", [0, 4, 5])
def test_an_entry_that_is_not_the_next_stops_the_machine(index: int) -> None:
    machine = Machine()
    machine.apply(5, START_MS, 0, [])
    with pytest.raises(MachineError, match="after entry 5"):
        machine.apply(index, START_MS, 0, [])


def test_indexes_may_be_left_out() -> None:
    """Some log entries are none of the machine's."""
    machine = Machine()
    machine.apply(5, START_MS, 0, [])
    machine.apply(9, START_MS, 0, [])
    assert machine.index == 9


def test_there_is_one_outcome_per_operation_by_segment() -> None:
    tick = op.Tick()
    applied = Machine().apply(1, START_MS, 0, [[tick], [], [claim("/a"), tick]])
    assert [len(outcomes) for outcomes in applied.outcomes] == [1, 0, 2]
    assert applied.outcomes[0] == [Done()]


@pytest.mark.parametrize("kind", [-1, 15, 99, "claim", None])
def test_an_unknown_kind_of_operation_is_refused_alone(kind: Any) -> None:
    table = TaskTable()
    refused, done = table.entry((kind, "k", b"m"), op.Tick())
    assert isinstance(refused, Refused)
    assert refused.code == "invalid"
    assert done == Done()
    assert table.machine.load()[2] == 0


def test_later_operations_of_an_entry_see_the_earlier_ones() -> None:
    table = TaskTable()
    inserted, claimed, deleted = table.entry(
        modify(inserts=[op.Insert("/a", "x")]), claim("/a"), modify(deletes=[op.Target("x", 1)])
    )
    assert inserted.inserted[0].version == 0
    assert claimed.tasks[0].version == 1
    assert not isinstance(deleted, Refused)


def test_an_outcome_is_a_copy_that_later_operations_do_not_change() -> None:
    table = TaskTable()
    row = table.insert("/a")
    table.claim_one("/a")
    assert row.version == 0


def test_time_that_goes_back_counts_as_the_logs() -> None:
    table = TaskTable()
    table.pass_ms(5_000)
    table.now_ms -= 60_000
    assert table.insert("/a").created == START_MS + 5_000


def test_effects_tell_how_many_tasks_became_claimable_per_queue() -> None:
    table = TaskTable()
    table.entry(
        modify(
            inserts=[op.Insert("/a", "1"), op.Insert("/a", "2"), op.Insert("/b", "3", op.DELAY, 10)]
        ),
    )
    assert table.ready == {"/a": 2}
    held = table.claim_one("/a", lease_ms=1_000)
    assert table.ready == {}
    table.pass_ms(10)
    assert table.ready == {"/b": 1}
    table.change(held, arrival=op.DELAY)
    assert table.ready == {"/a": 1}
    table.change(table.task("3"), queue="/c")
    assert table.ready == {"/c": 1}


def test_a_lease_that_ends_is_an_effect() -> None:
    table = TaskTable()
    table.insert("/a")
    table.claim_one("/a", lease_ms=1_000)
    table.pass_ms(999)
    assert table.ready == {}
    table.pass_ms(1)
    assert table.ready == {"/a": 1}


def test_nothing_is_due_when_nothing_waits() -> None:
    table = TaskTable()
    table.insert("/a")
    assert table.machine.next_due_ms() is None
    assert not table.machine.due(table.now_ms + 10**12)


def test_the_next_arrival_is_known_within_a_second_and_exactly_once_it_is_near() -> None:
    table = TaskTable()
    row = table.insert("/a", arrival=op.DELAY, ms=50_000)
    due_ms = table.machine.next_due_ms()
    assert due_ms is not None
    assert row.at - 1_024 < due_ms <= row.at
    table.now_ms = due_ms
    table.pass_ms(0)
    assert table.machine.next_due_ms() == row.at
    assert not table.machine.due(row.at - 1)
    assert table.machine.due(row.at)
    assert not table.machine.claimable(("/a",), row.at - 1)
    assert table.machine.claimable(("/a",), row.at)


def test_a_waiting_task_that_left_is_not_waited_for() -> None:
    table = TaskTable()
    near = table.insert("/a", arrival=op.DELAY, ms=5)
    far = table.insert("/a", arrival=op.DELAY, ms=90_000)
    table.delete(near)
    due_ms = table.machine.next_due_ms()
    assert due_ms is not None
    assert due_ms > near.at + 1_024
    table.delete(far)
    assert table.machine.next_due_ms() is None


def test_ten_thousand_leases_that_are_given_up_leave_the_last_one_on_time() -> None:
    """Numbers of vanished buckets are swept away now and then."""
    table = TaskTable()
    row = table.insert("/a")
    for number in range(2_000):
        row = table.change(row, arrival=op.DELAY, ms=(number * 7_919) % 3_000_000 + 10_000)
    table.now_ms = row.at - 1
    table.pass_ms(0)
    assert table.claim("/a") == ()
    table.pass_ms(1)
    assert len(table.claim("/a")) == 1


def test_claimable_is_told_before_an_entry_has_noticed_an_arrival() -> None:
    table = TaskTable()
    table.insert("/a")
    held = table.claim_one("/a", lease_ms=10)
    assert not table.machine.claimable(("/a",), table.now_ms)
    assert table.machine.claimable(("/a",), held.at)


def test_an_entry_says_that_a_digest_is_wanted_and_the_next_one_does_not() -> None:
    machine = Machine()
    applied = machine.apply(1, 1, 1, [[op.Verify()], [op.Tick()]])
    assert applied.wants_digest
    assert applied.outcomes == [[Done()], [Done()]]
    assert not machine.apply(2, 2, 2, [[op.Tick()]]).wants_digest
