"""Idempotency keys: the same request gets the same answer, for a window of log time."""

from typing import Any

import pytest
from tests.support.moves import cut
from tests.support.task_table import (
    LEASE_MS,
    START_MS,
    TaskTable,
    claim,
    configure,
    modify,
    renew,
    target,
)
from tests.unit.core.test_importing import fresh, moved

from raftq_cluster.core import keys
from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Claimed, Done, Modified, Refused
from raftq_cluster.core.restoring import restore

INSERT = modify(inserts=[op.Insert("/a", "x")], key="k", mark=b"m")


def refusal_code(outcome: Any) -> str:
    assert isinstance(outcome, Refused)
    return outcome.code


def test_a_repeated_modification_is_done_once_and_answered_alike() -> None:
    table = TaskTable()
    first = table.do(INSERT)
    table.claim_one("/a")
    assert table.do(INSERT) == first
    assert table.task("x").version == 1


def test_a_repeat_within_one_entry_is_answered_alike() -> None:
    first, second = TaskTable().entry(INSERT, INSERT)
    assert isinstance(first, Modified)
    assert second == first


def test_a_repeat_is_told_by_key_and_mark_and_may_differ_in_generated_ids() -> None:
    table = TaskTable()
    first = table.do(INSERT)
    other_id = modify(inserts=[op.Insert("/a", "y")], key="k", mark=b"m")
    assert table.do(other_id) == first
    assert table.tasks(ids=["y"]) == []


def test_a_key_used_for_another_request_is_refused() -> None:
    table = TaskTable()
    table.do(INSERT)
    assert refusal_code(table.do(claim("/a", key="k", mark=b"n"))) == "idempotency_key_reused"
    assert table.task("x").version == 0


def test_a_repeated_claim_gets_the_tasks_it_took() -> None:
    table = TaskTable()
    table.insert("/a")
    table.insert("/a")
    first = table.do(claim("/a", key="k"))
    assert table.do(claim("/a", key="k")) == first
    assert table.stats("/a").claimed == 1


def test_a_claim_that_found_nothing_is_not_remembered() -> None:
    table = TaskTable()
    assert table.do(claim("/a", key="k")) == Claimed(())
    assert table.machine.load()[2] == 0
    table.insert("/a")
    assert len(table.do(claim("/a", key="k")).tasks) == 1


def test_a_repeated_renewal_gets_its_first_answer() -> None:
    table = TaskTable()
    table.insert("/a")
    held = table.claim_one("/a")
    first = table.do(renew(target(held), key="k"))
    assert len(first.renewed) == 1
    assert table.do(renew(target(held), key="k")) == first


def test_a_refused_modification_is_remembered_with_its_failing_parts() -> None:
    table = TaskTable()
    delete = modify(deletes=[op.Target("x", 0)], key="k")
    first = table.do(delete)
    table.insert("/a", "x")
    assert table.do(delete) == first
    assert len(first.failed) == 1


def test_a_settle_and_a_configure_are_done_once() -> None:
    table = TaskTable()
    table.enq("q")
    table.deq("q")
    nack = op.Settle(op.SETTLE, "k1", b"", op.NACK, "q", 1, 0)
    first = table.do(nack)
    table.deq("q")
    assert table.do(nack) == first
    assert table.stats("q").claimed == 1
    assert table.do(configure("q", paused=True, key="k2")) == Done()
    table.configure("q", paused=False)
    assert table.do(configure("q", paused=True, key="k2")) == Done()
    assert not table.stats("q").paused


def test_a_key_is_forgotten_after_its_window_and_not_before() -> None:
    table = TaskTable()
    table.do(INSERT)
    table.now_ms += keys.WINDOW_MS - 1
    assert isinstance(table.do(INSERT), Modified)
    table.now_ms += 1
    assert refusal_code(table.do(INSERT)) == "dependency"


def test_a_repeat_does_not_make_the_window_longer() -> None:
    table = TaskTable()
    table.do(INSERT)
    table.now_ms += keys.WINDOW_MS // 2
    table.do(INSERT)
    table.now_ms += keys.WINDOW_MS // 2
    assert refusal_code(table.do(INSERT)) == "dependency"


def test_a_caller_may_have_its_keys_forgotten() -> None:
    table = TaskTable()
    table.do(INSERT)
    assert table.do(op.Forget(op.FORGET, ("none", "k", "k"))) == Done()
    assert table.machine.load()[2:] == (0, 0)
    assert refusal_code(table.do(INSERT)) == "dependency"


def test_keys_forgotten_out_of_order_leave_the_others_to_their_time() -> None:
    table = TaskTable()
    for key in ("k1", "k2", "k3"):
        table.do(configure("/a", paused=True, key=key))
        table.now_ms += 1_000
    table.do(op.Forget(op.FORGET, ("k2",)))
    assert table.machine.load()[2] == 2
    table.now_ms += keys.WINDOW_MS - 3_000
    table.pass_ms(0)
    assert table.machine.load()[2] == 1
    table.pass_ms(2_000)
    assert table.machine.load()[2:] == (0, 0)


def test_a_full_table_refuses_new_keys_and_answers_known_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys, "KEYS_MAX", 1)
    table = TaskTable()
    first = table.do(INSERT)
    other = modify(inserts=[op.Insert("/a", "y")], key="other")
    refused = table.do(other)
    assert refused == Refused("store_full", "the limit keys_held_max is 1", (), "keys_held_max", 1)
    assert table.do(INSERT) == first
    assert isinstance(table.do(other._replace(key="")), Modified)


def test_a_refusal_for_want_of_room_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "KEYS_MAX", 1)
    table = TaskTable()
    table.do(configure("/a", paused=True, key="first"))
    assert refusal_code(table.do(INSERT)) == "store_full"
    table.do(op.Forget(op.FORGET, ("first",)))
    assert isinstance(table.do(INSERT), Modified)


def test_the_bytes_of_remembered_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    table = TaskTable()
    table.insert("/a", err="x" * 10_000)
    table.do(claim("/a", key="k1"))
    key_bytes = table.machine.load()[3]
    assert key_bytes > 10_000
    monkeypatch.setattr(keys, "KEY_BYTES_MAX", key_bytes)
    refused = table.do(INSERT)
    assert (refused.code, refused.limit_name) == ("store_full", "key_bytes_held_max")
    assert refused.limit == key_bytes


def test_a_repeated_claim_gives_the_tasks_that_nobody_has_changed_since() -> None:
    table = TaskTable()
    table.insert("/a", "x", value=b"x" * 10_000)
    table.insert("/a", "y", value=b"y" * 10_000)
    both = claim("/a", key="k1", limit=2)
    first = table.do(both)
    assert table.do(both) == first
    assert table.machine.load()[3] < 3_000  # the values are with the tasks
    table.do(modify(deletes=[op.Target("x", 1)]))
    assert [row.id for row in table.do(both).tasks] == ["y"]
    table.now_ms += LEASE_MS
    table.claim("/a", claimant="w2")
    assert table.do(both) == Claimed(())


def test_the_values_of_inserted_and_changed_tasks_are_not_kept_with_the_answer() -> None:
    """No answer to a modification carries them: they would only fill the table."""
    table = TaskTable()
    large = b"x" * 10_000
    inserts = [op.Insert("/a", "x", value=large)]
    first = table.do(modify(inserts=inserts, key="k1"))
    change = modify(changes=[op.Change("x", 0, arrival=op.LEASE, ms=9)], key="k2")
    table.do(change)
    table.do(renew(op.Target("x", 1), key="k3"))
    assert table.machine.load()[3] < 3_000
    repeated = table.do(modify(inserts=inserts, key="k1"))
    assert repeated.inserted == (first.inserted[0]._replace(value=b""),)
    assert table.do(change).changed[0].version == 1


def test_long_refusals_count_by_their_length() -> None:
    table = TaskTable()
    few = [op.Target(f"t{number}", 0) for number in range(2)]
    many = [op.Target(f"t{number}", 0) for number in range(1_000)]
    table.do(modify(deletes=few, key="few"))
    few_bytes = table.machine.load()[3]
    table.do(modify(deletes=many, key="many"))
    assert table.machine.load()[3] - few_bytes > 50_000
    lost_bytes = table.machine.load()[3]
    table.do(renew(*many, key="lost"))
    assert table.machine.load()[3] - lost_bytes > 50_000


def test_every_kind_of_answer_is_remembered_across_a_snapshot() -> None:
    table = TaskTable()
    for id_ in ("a1", "a2", "a3"):
        table.insert("/a", id_, value=b"\x00", kind=op.BYTES)
    table.enq("q")
    table.deq("q")
    (held,) = table.do(claim("/a", key="claim", serial=True)).tasks
    operations: list[Any] = [
        claim("/a", key="claim", serial=True),
        modify(inserts=[op.Insert("/b", "b")], changes=[op.Change("b", 0)], key="invalid"),
        modify(inserts=[op.Insert("/b", "b")], key="modify"),
        modify(deletes=[op.Target("x", 0), op.Target(held.id, 1)], claimant="w2", key="refused"),
        renew(target(held), op.Target("x", 0), key="renew"),
        op.Settle(op.SETTLE, "settle", b"", op.ACK, "q", 1, 0),
        configure("/a", lease_ms=5, key="configure"),
    ]
    table.entry(*operations)
    answers = table.entry(*operations)
    table.machine = restore(table.machine.snapshot())
    assert table.entry(*operations) == answers
    table.now_ms += keys.WINDOW_MS
    table.pass_ms(0)
    assert table.machine.load()[2:] == (0, 0)


def test_keys_of_a_store_whose_clock_was_ahead_hold_up_no_others() -> None:
    ahead_ms = 10**10
    source = fresh(START_MS + ahead_ms)
    for number in range(3):
        source.do(modify(deletes=[op.Target("none", 0)], key=f"old{number}", mark=b"m"))
    target = moved(cut(source.machine))
    for number in range(3):
        target.do(modify(deletes=[op.Target("none", 0)], key=f"new{number}", mark=b"m"))
        target.pass_ms(1_000)
    assert len(target.machine.keys) == 6
    target.pass_ms(keys.WINDOW_MS)
    assert len(target.machine.keys) == 0
