"""Orders of queues: fifo, priority and random, with tasks that leave and come back."""

from collections.abc import Iterator

import pytest
from tests.support.task_table import TaskTable

from raftq_cluster.core import operations as op


def drained(table: TaskTable, queue: str = "/a") -> Iterator[str]:
    """Claim to the end, and give the ids in the order of the claims."""
    while rows := table.claim(queue, claimant="drain"):
        yield rows[0].id


def filled(order: str, *priorities: int) -> TaskTable:
    table = TaskTable()
    table.configure("/a", order=order)
    for number, priority in enumerate(priorities):
        table.insert("/a", f"t{number}", priority=priority)
    return table


def test_fifo_gives_tasks_in_the_order_of_their_insertion() -> None:
    assert list(drained(filled("fifo", 0, 5, 1, 9))) == ["t0", "t1", "t2", "t3"]


def test_fifo_within_one_claim_and_one_modification() -> None:
    table = filled("fifo")
    inserts = [op.Insert("/a", f"t{number}") for number in range(5)]
    table.do(op.Modify(op.MODIFY, "", b"", "w1", inserts, (), (), ()))
    assert [row.id for row in table.claim("/a", limit=9)] == ["t0", "t1", "t2", "t3", "t4"]


def test_priority_gives_the_highest_first_and_equals_in_the_order_of_their_insertion() -> None:
    assert list(drained(filled("priority", 0, 5, -3, 5, 0))) == ["t1", "t3", "t0", "t4", "t2"]


@pytest.mark.parametrize("order", ["fifo", "priority"])
def test_a_task_given_back_is_next_again(order: str) -> None:
    table = filled(order, 0, 0, 0)
    first = table.claim_one("/a")
    assert first.id == "t0"
    table.change(first, arrival=op.DELAY)
    assert list(drained(table)) == ["t0", "t1", "t2"]


def test_expired_tasks_come_back_before_younger_ones() -> None:
    table = filled("fifo", 0, 0, 0, 0)
    table.claim("/a", limit=2, lease_ms=1_000)
    table.insert("/a", "young")
    table.pass_ms(1_000)
    assert list(drained(table)) == ["t0", "t1", "t2", "t3", "young"]


def test_a_delayed_task_is_in_turn_by_its_insertion_once_it_has_arrived() -> None:
    table = filled("fifo")
    table.insert("/a", "late", arrival=op.DELAY, ms=1_000)
    table.insert("/a", "next")
    assert table.claim_one("/a").id == "next"
    table.insert("/a", "last")
    table.pass_ms(1_000)
    assert list(drained(table)) == ["late", "last"]


def test_a_task_moved_to_another_queue_and_back_is_given_once() -> None:
    table = filled("fifo", 0, 0)
    row = table.task("t0")
    for queue in ("/b", "/a", "/b", "/a"):
        row = table.change(row, queue=queue)
    assert list(drained(table)) == ["t0", "t1"]
    assert table.stats("/a").claimed == 2


def test_a_changed_priority_counts_at_once_and_a_changed_back_one_gives_the_task_once() -> None:
    table = filled("priority", 1, 2, 3)
    row = table.task("t0")
    for priority in (9, 1, 9):
        row = table.change(row, priority=priority)
    assert list(drained(table)) == ["t0", "t2", "t1"]
    assert table.claim("/a") == ()


def test_a_deleted_task_is_passed_over() -> None:
    table = filled("fifo", 0, 0, 0)
    table.delete(table.task("t0"))
    assert list(drained(table)) == ["t1", "t2"]


@pytest.mark.parametrize("order", ["fifo", "priority", "random"])
def test_an_id_born_again_is_given_once(order: str) -> None:
    table = filled(order, 0, 0)
    table.delete(table.task("t0"))
    table.insert("/a", "t0")
    assert sorted(drained(table)) == ["t0", "t1"]


@pytest.mark.parametrize("order", ["fifo", "priority"])
def test_thousands_of_changes_of_ready_tasks_leave_each_in_its_turn(order: str) -> None:
    """Entries of tasks that left are swept away now and then; none of the others may go with them."""
    table = filled(order, *range(50, 0, -1))
    for turn in range(2_000):
        row = table.task(f"t{turn * 7 % 50}")
        table.change(row, priority=row.priority, err=str(turn))
    assert list(drained(table)) == [f"t{number}" for number in range(50)]


@pytest.mark.parametrize("order", ["fifo", "priority"])
def test_deleting_nearly_all_of_a_long_queue_leaves_the_rest_in_order(order: str) -> None:
    table = filled(order, *([1] * 500))
    for number in range(500):
        if number % 100:
            table.delete(table.task(f"t{number}"))
    assert list(drained(table)) == ["t0", "t100", "t200", "t300", "t400"]


def test_a_queue_follows_its_order_when_that_is_changed_under_it() -> None:
    table = filled("random", 1, 3, 2, 3)
    table.configure("/a", order="priority")
    assert table.claim_one("/a").id == "t1"
    table.configure("/a", order="fifo")
    assert [table.claim_one("/a").id, table.claim_one("/a").id] == ["t0", "t2"]
    table.configure("/a")
    assert table.stats("/a").order == "random"
    assert list(drained(table)) == ["t3"]


def test_changing_the_order_loses_and_doubles_no_task() -> None:
    table = filled("fifo", *([0] * 100))
    held = table.claim("/a", limit=10, lease_ms=1_000)
    for order in ("random", "priority", "fifo", "random"):
        table.configure("/a", order=order)
        assert (table.stats("/a").ready, table.stats("/a").order) == (90, order)
        table.change(table.task("t50"), err=order)
    table.pass_ms(1_000)
    assert len(held) == 10
    assert sorted(drained(table)) == sorted(f"t{number}" for number in range(100))
