"""TaskQ's queues: integer ids, deq, ack, touch and nack. Cases T7-T9, T12, T15, T16 of TaskQ's."""

import pytest
from tests.support.task_table import TaskTable, settle

from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Refused
from raftq_cluster.core.restoring import restore


def is_unknown(table: TaskTable, action: str, queue: str, serial: int) -> bool:
    outcome = table.do(settle(action, queue, serial))
    return isinstance(outcome, Refused) and outcome.code == "task_not_found"


def test_ids_count_from_one_in_each_queue() -> None:
    table = TaskTable()
    assert [table.enq(queue).serial for queue in ("q1", "q1", "q2", "q1", "q2")] == [1, 2, 1, 3, 2]


def test_deq_is_first_in_first_out_when_nothing_expired() -> None:
    table = TaskTable()
    for _ in range(4):
        table.enq("q")
    assert [table.deq("q").serial for _ in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize("body", [b"", b"a\n\x00 b\n", b" ", bytes(range(256))])
def test_bodies_survive_byte_for_byte(body: bytes) -> None:
    table = TaskTable()
    table.enq("q", body)
    row = table.deq("q")
    assert (row.value, row.kind) == (body, op.BYTES)


def test_deq_of_an_empty_or_unknown_queue_finds_nothing() -> None:
    table = TaskTable()
    table.enq("q")
    table.deq("q")
    assert table.claim("q", lease_ms=0, serial=True) == ()
    assert table.claim("none", lease_ms=0, serial=True) == ()


@pytest.mark.parametrize("action", [op.ACK, op.TOUCH, op.NACK])
def test_an_unknown_a_never_dequeued_and_an_acked_id_cannot_be_settled(action: str) -> None:
    table = TaskTable()
    table.enq("q")
    table.enq("q")
    table.deq("q")
    table.settle(op.ACK, "q", 1)
    assert is_unknown(table, action, "q", 7)
    assert is_unknown(table, action, "none", 1)
    assert is_unknown(table, action, "q", 2)
    assert is_unknown(table, action, "q", 1)


def test_ack_ends_the_task_whoever_took_it() -> None:
    table = TaskTable()
    table.enq("q")
    row = table.claim_one("q", claimant="w9")
    assert table.settle(op.ACK, "q", 1) == row
    assert table.tasks("q") == []


def test_an_unacked_task_comes_back_after_the_lease_ahead_of_newer_ones() -> None:
    table = TaskTable()
    for _ in range(3):
        table.enq("q")
    assert [table.deq("q").serial, table.deq("q").serial] == [1, 2]
    table.pass_ms(60_000)
    table.enq("q")
    assert [table.deq("q").serial for _ in range(4)] == [1, 2, 3, 4]


def test_tasks_that_expired_together_come_back_in_the_order_of_their_ids() -> None:
    """However they were taken, and however many buckets of time lie between their leases."""
    table = TaskTable()
    for _ in range(6):
        table.enq("q")
    for lease_ms in (9_000, 100, 5_000, 1_023, 1_024, 1):
        table.claim_one("q", lease_ms=lease_ms)
    table.pass_ms(10_000)
    assert [table.deq("q").serial for _ in range(6)] == [1, 2, 3, 4, 5, 6]


def test_ack_of_an_expired_task_that_nobody_took_ends_it_for_good() -> None:
    table = TaskTable()
    table.enq("q")
    table.deq("q")
    table.pass_ms(60_000)
    assert table.stats("q").ready == 1
    table.settle(op.ACK, "q", 1)
    assert table.claim("q") == ()


def test_ack_after_redelivery_ends_the_task() -> None:
    """An ack carries no lease token: TaskQ's server lets the slow first worker end the task."""
    table = TaskTable()
    table.enq("q")
    table.deq("q")
    table.pass_ms(60_000)
    table.deq("q")
    table.settle(op.ACK, "q", 1)
    assert table.tasks("q") == []


def test_touch_holds_the_task_for_the_queues_lease_from_now() -> None:
    table = TaskTable()
    table.enq("q")
    taken = table.deq("q")
    table.now_ms += 50_000
    touched = table.settle(op.TOUCH, "q", 1)
    assert touched == taken._replace(version=2, at=table.now_ms + 60_000, modified=table.now_ms)
    table.pass_ms(59_999)
    assert table.claim("q") == ()


def test_touch_of_an_expired_task_says_so() -> None:
    table = TaskTable()
    table.enq("q")
    table.deq("q")
    table.pass_ms(60_000)
    assert is_unknown(table, op.TOUCH, "q", 1)


def test_nack_gives_the_task_back_at_once_or_after_its_delay() -> None:
    table = TaskTable()
    table.enq("q")
    table.deq("q")
    back = table.settle(op.NACK, "q", 1)
    assert (back.at, back.claimant, back.version) == (table.now_ms, "", 2)
    table.deq("q")
    assert table.settle(op.NACK, "q", 1, 5_000).at == table.now_ms + 5_000
    assert table.stats("q").delayed == 1
    table.pass_ms(5_000)
    assert table.deq("q").claims == 3


def test_an_unknown_way_to_settle_is_refused_and_changes_nothing() -> None:
    table = TaskTable()
    table.enq("q")
    taken = table.deq("q")
    refused = table.do(settle("eat", "q", 1))
    assert isinstance(refused, Refused)
    assert refused.code == "invalid"
    assert table.tasks("q") == [taken]


def test_a_task_without_an_integer_id_gets_one_when_it_is_dequeued_and_keeps_it() -> None:
    table = TaskTable()
    table.insert("q", "named")
    assert table.deq("q").serial == 1
    table.settle(op.NACK, "q", 1)
    assert table.deq("q").serial == 1
    assert table.settle(op.ACK, "q", 1).id == "named"


def test_a_queue_first_used_with_integer_ids_is_fifo_unless_settings_say_otherwise() -> None:
    table = TaskTable()
    table.configure("p", order="priority")
    for queue in ("q", "p"):
        table.enq(queue)
    table.insert("r")
    table.enq("r")
    assert [table.stats(queue).order for queue in ("q", "p", "r")] == ["fifo", "priority", "random"]
    table.configure("p")
    assert table.stats("p").order == "fifo"


def test_ids_never_repeat_after_the_queue_was_empty() -> None:
    table = TaskTable()
    table.enq("q")
    table.deq("q")
    table.settle(op.ACK, "q", 1)
    assert table.queues() == []
    assert table.enq("q").serial == 2
    assert table.stats("q").order == "fifo"


def test_ids_never_repeat_after_a_restored_snapshot_of_the_empty_queue() -> None:
    table = TaskTable()
    table.enq("q")
    table.deq("q")
    table.settle(op.ACK, "q", 1)
    table.machine = restore(table.machine.snapshot())
    assert table.enq("q").serial == 2
    assert table.stats("q").order == "fifo"


def test_a_task_that_leaves_its_queue_loses_its_integer_id() -> None:
    table = TaskTable()
    table.enq("q")
    taken = table.deq("q")
    moved = table.change(taken, claimant="", queue="q/err", arrival=op.DELAY)
    assert moved.serial == 0
    assert is_unknown(table, op.ACK, "q", 1)
    back = table.change(moved, queue="q")
    assert (back.serial, table.deq("q").serial) == (0, 2)


def test_a_refused_enq_uses_no_id() -> None:
    table = TaskTable()
    table.insert("other", "mine")
    serial = op.Insert("q", "mine", serial=True)
    assert isinstance(table.do(op.Modify(op.MODIFY, "", b"", "", [serial], (), (), ())), Refused)
    assert table.enq("q").serial == 1
