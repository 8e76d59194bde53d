"""Operations that carry grants: what a caller may not read is not there, what it may not do is refused."""

from typing import Any

import pytest
from tests.support.task_table import TaskTable, modify, target

from raftq_cluster.codec.entries import decode_segment, encode_segment
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.shapes import check_segment
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries, rights
from raftq_cluster.core.outcomes import FailedPart, LostTask, Modified, Refused, Renewed

ALL_OF_MINE = (("/mine*", rights.ALL),)
LOOKING_AT_OTHERS = (*ALL_OF_MINE, ("/others*", rights.READ))
PARTS = {
    "changes": (rights.CHANGE, lambda id_: op.Change(id_, 0, err="x")),
    "deletes": (rights.DELETE, lambda id_: op.Target(id_, 0)),
    "depends": (rights.READ, lambda id_: op.Target(id_, 0)),
}


def guarded(grants: rights.Grants, operation: Any, key: str = "", mark: bytes = b"") -> op.Guarded:
    return op.Guarded(op.GUARD, key, mark, grants, operation)


def renew(*targets: op.Target) -> op.Renew:
    return op.Renew(op.RENEW, "", b"", "w", targets, 1_000)


@pytest.mark.parametrize("part", PARTS)
def test_the_right_on_the_tasks_queue_lets_a_part_pass(part: str) -> None:
    right, make = PARTS[part]
    table = TaskTable()
    table.insert("/mine/a", "t")
    outcome = table.do(guarded((("/mine/*", right),), modify(**{part: [make("t")]})))
    assert isinstance(outcome, Modified)


@pytest.mark.parametrize("part", PARTS)
def test_a_task_in_a_queue_that_may_not_be_read_is_missing_whatever_its_version(part: str) -> None:
    _, make = PARTS[part]
    table = TaskTable()
    row = table.insert("/others", "t")
    outcomes = [
        table.do(guarded(ALL_OF_MINE, modify(**{part: [make(id_)]}))) for id_ in ("t", "nothing")
    ]
    kind = part.removesuffix("s")
    assert outcomes == [
        Refused("dependency", "1 of 1 parts do not hold", (FailedPart(kind, 0, id_, "missing"),))
        for id_ in ("t", "nothing")
    ]
    assert table.tasks(ids=["t"]) == [row]


@pytest.mark.parametrize(("part", "right"), [("changes", "change"), ("deletes", "delete")])
def test_who_may_read_a_task_is_told_which_right_is_lacking(part: str, right: str) -> None:
    _, make = PARTS[part]
    table = TaskTable()
    table.insert("/others", "t")
    outcome = table.do(guarded(LOOKING_AT_OTHERS, modify(**{part: [make("t")]})))
    assert outcome == Refused("forbidden", f"this needs the right {right} on queue /others")


def test_hidden_and_failing_parts_are_reported_together_in_the_order_of_the_request() -> None:
    table = TaskTable()
    table.insert("/others", "hidden")
    table.insert("/mine", "old")
    parts = modify(
        inserts=[op.Insert("/mine", "old")],
        changes=[op.Change("hidden", 0, err="x")],
        deletes=[op.Target("none", 0)],
    )
    outcome = table.do(guarded(ALL_OF_MINE, parts))
    assert isinstance(outcome, Refused)
    assert [(part.part, part.id, part.reason) for part in outcome.failed] == [
        ("insert", "old", "exists"),
        ("change", "hidden", "missing"),
        ("delete", "none", "missing"),
    ]


def test_a_move_needs_delete_at_its_source_and_insert_at_its_target_and_no_more() -> None:
    table = TaskTable()
    table.insert("/a", "t")
    grants = (("/a", rights.DELETE), ("/b", rights.INSERT))
    outcome = table.do(guarded(grants, modify(changes=[op.Change("t", 0, "/b")])))
    assert isinstance(outcome, Modified)
    assert outcome.changed[0].queue == "/b"


@pytest.mark.parametrize(
    ("grants", "lacking"),
    [
        ((("/a", rights.READ | rights.CHANGE), ("/b", rights.INSERT)), "delete on queue /a"),
        ((("/a", rights.ALL), ("/b", rights.ALL - rights.INSERT)), "insert on queue /b"),
    ],
)
def test_a_move_is_refused_for_either_of_its_rights(grants: rights.Grants, lacking: str) -> None:
    table = TaskTable()
    table.insert("/a", "t")
    outcome = table.do(guarded(grants, modify(changes=[op.Change("t", 0, "/b")])))
    assert outcome == Refused("forbidden", f"this needs the right {lacking}")


def test_naming_the_queue_where_a_task_is_makes_no_move() -> None:
    table = TaskTable()
    table.insert("/a", "t")
    grants = (("/a", rights.CHANGE),)
    assert isinstance(
        table.do(guarded(grants, modify(changes=[op.Change("t", 0, "/a")]))), Modified
    )


def test_an_id_that_came_back_in_another_queue_is_judged_by_where_it_is_now() -> None:
    table = TaskTable()
    table.delete(table.insert("/mine", "t"))
    row = table.insert("/others", "t")  # the same id, and the same version
    outcome = table.do(guarded(ALL_OF_MINE, modify(deletes=[target(row)])))
    assert isinstance(outcome, Refused)
    assert table.tasks(ids=["t"]) == [row]


def test_a_task_that_may_not_be_claimed_cannot_be_renewed_and_does_not_exist_for_the_caller() -> (
    None
):
    table = TaskTable()
    mine, other = table.insert("/mine", "m"), table.insert("/others", "o")
    rows = table.do(op.Claim(op.CLAIM, "", b"", "w", ("/mine", "/others"), 1_000, 2, False)).tasks
    assert {row.id for row in rows} == {mine.id, other.id}
    targets = [op.Target(id_, 1) for id_ in ("m", "o")]
    outcome = table.do(guarded(ALL_OF_MINE, renew(*targets)))
    assert isinstance(outcome, Renewed)
    assert [row.id for row in outcome.renewed] == ["m"]
    assert outcome.lost == (LostTask("o", "missing"),)


def test_a_renewal_of_a_task_that_may_only_be_read_is_refused() -> None:
    table = TaskTable()
    table.insert("/others", "o")
    outcome = table.do(guarded(LOOKING_AT_OTHERS, renew(op.Target("o", 0))))
    assert outcome == Refused("forbidden", "this needs the right claim on queue /others")


def test_a_guarded_operation_with_a_key_is_done_once() -> None:
    table = TaskTable()
    table.insert("/mine", "t")
    again = guarded(ALL_OF_MINE, modify(deletes=[op.Target("t", 0)]), "k", b"1")
    assert table.do(again) == table.do(again) == Modified((), ())


def test_another_mark_is_no_way_to_the_answer_of_a_key() -> None:
    table = TaskTable()
    table.insert("/mine", "t")
    table.do(guarded(ALL_OF_MINE, modify(deletes=[op.Target("t", 0)]), "k", b"1"))
    outcome = table.do(guarded(ALL_OF_MINE, modify(deletes=[op.Target("t", 0)]), "k", b"2"))
    assert isinstance(outcome, Refused)
    assert outcome.code == "idempotency_key_reused"


def test_a_dry_run_with_grants_answers_what_the_operation_would() -> None:
    table = TaskTable()
    row = table.insert("/others", "t")
    question = queries.DryRun(modify(deletes=[target(row)]), ALL_OF_MINE)
    outcome = table.machine.query(question, table.machine.now_ms)
    assert isinstance(outcome, Refused)
    assert outcome.failed == (FailedPart("delete", 0, "t", "missing"),)


def test_what_grants_say_survives_the_log() -> None:
    table = TaskTable()
    row = table.insert("/others", "t")
    operation = guarded(ALL_OF_MINE, modify(deletes=[target(row)]))
    (decoded,) = decode_segment(encode_segment([operation]))
    check_segment([decoded])
    assert isinstance(table.do(decoded), Refused)


@pytest.mark.parametrize(
    "bad",
    [
        (op.GUARD, "", b"", (("/a", "all"),), modify()),
        (op.GUARD, "", b"", (("/a",),), modify()),
        (op.GUARD, "", b"", (), (op.TICK,)),
        (op.GUARD, "", b"", (), (op.GUARD, "", b"", (), modify())),
        (op.GUARD, "", b"", ()),
    ],
)
def test_a_forwarded_guard_of_a_bad_shape_is_refused(bad: Any) -> None:
    with pytest.raises(CodecError):
        check_segment(decode_segment(encode_segment([bad])))


def test_who_may_do_everything_is_answered_as_without_a_guard() -> None:
    guard, plain = TaskTable(), TaskTable()
    for table in (guard, plain):
        table.insert("/a", "t")
    operation = modify(changes=[op.Change("t", 0, "/b", err="x")])
    assert guard.do(guarded((("*", rights.ALL),), operation)) == plain.do(operation)
