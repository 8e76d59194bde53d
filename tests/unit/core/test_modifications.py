"""Modifications: all of it happens or none of it. Cases 2, 7, 13-22, 24-26 of EntroQ's."""

from typing import Any

import pytest
from tests.support.task_table import START_MS, TaskTable, change, modify, target

from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import FailedPart, Modified, Refused, TaskRow


def test_inserts_are_answered_in_the_order_of_the_request() -> None:
    table = TaskTable()
    inserts = [op.Insert("/a", "now", value=b'"v"'), op.Insert("/a", "later", op.DELAY, 2_000)]
    modified = table.do(modify(inserts=inserts))
    now = TaskRow("now", 0, "/a", START_MS, b'"v"', op.JSON, "", 0, 0, 0, "", START_MS, START_MS, 0)
    later = now._replace(id="later", at=START_MS + 2_000, value=b"")
    assert modified == Modified((now, later), ())


def test_an_insert_keeps_the_attempt_the_error_the_priority_and_the_kind_it_came_with() -> None:
    row = TaskTable().insert("/a", attempt=3, err="boom", priority=-2, kind=op.BYTES, value=b"\x00")
    assert (row.attempt, row.err, row.priority, row.kind, row.value) == (
        3,
        "boom",
        -2,
        op.BYTES,
        b"\x00",
    )


@pytest.mark.parametrize("queue", ["/a", "/b"])
def test_an_id_that_exists_cannot_be_inserted_again_in_any_queue(queue: str) -> None:
    table = TaskTable()
    row = table.insert("/a", "mine", value=b"1")
    (failed,) = table.refused(modify(inserts=[op.Insert(queue, "mine", value=b"2")]))
    assert failed == FailedPart("insert", 0, "mine", "exists", 0)
    assert table.tasks(ids=["mine"]) == [row]


def test_an_id_is_free_again_once_its_task_is_deleted() -> None:
    table = TaskTable()
    table.delete(table.insert("/a", "mine"))
    assert table.insert("/b", "mine").version == 0


@pytest.mark.parametrize("part", ["changes", "deletes", "depends"])
def test_a_part_on_an_unknown_id_fails_as_missing(part: str) -> None:
    given: Any = [op.Change("none", 0) if part == "changes" else op.Target("none", 0)]
    failed = TaskTable().refused(modify(**{part: given}))
    assert failed == (FailedPart(part.removesuffix("s"), 0, "none", "missing"),)


@pytest.mark.parametrize("part", ["changes", "deletes", "depends"])
@pytest.mark.parametrize("off", [-1, 1])
def test_a_part_on_another_version_fails_and_names_the_tasks_own(part: str, off: int) -> None:
    table = TaskTable()
    row = table.change(table.insert("/a", "mine"), attempt=1)
    make: Any = op.Change if part == "changes" else op.Target
    failed = table.refused(modify(**{part: [make("mine", row.version + off)]}))
    assert failed == (FailedPart(part.removesuffix("s"), 0, "mine", "version", 1),)


@pytest.mark.parametrize("part", ["changes", "deletes"])
def test_a_part_on_a_task_that_another_holds_fails_and_says_who_and_until_when(part: str) -> None:
    table = TaskTable()
    table.insert("/a", "mine")
    held = table.claim_one("/a", claimant="w2")
    make: Any = op.Change if part == "changes" else op.Target
    operation = modify(**{part: [make("mine", 1)]})
    assert table.refused(operation) == (
        FailedPart(part.removesuffix("s"), 0, "mine", "claimed", 1, "w2", held.at),
    )
    table.now_ms = held.at
    assert isinstance(table.do(operation), Modified)


def test_a_task_that_another_holds_can_be_depended_on() -> None:
    table = TaskTable()
    table.insert("/a")
    held = table.claim_one("/a", claimant="w2")
    assert table.do(modify(depends=[target(held)])) == Modified((), ())
    assert table.task(held.id) == held


def test_a_wrong_version_is_told_rather_than_the_holder() -> None:
    table = TaskTable()
    table.insert("/a")
    held = table.claim_one("/a", claimant="w2")
    (failed,) = table.refused(modify(deletes=[op.Target(held.id, 0)]))
    assert failed.reason == "version"


def test_every_failing_part_is_reported_at_once_and_nothing_happens() -> None:
    table = TaskTable()
    for id_ in ("taken", "stale", "held", "fine", "moved"):
        table.insert(f"/{id_}", id_)
    held = table.claim_one("/held", claimant="w2")
    before = table.machine.digest()
    refused = table.do(
        modify(
            inserts=[op.Insert("/a", "new"), op.Insert("/a", "taken")],
            changes=[op.Change("moved", 0, "/b"), op.Change("none", 0)],
            deletes=[op.Target("fine", 0), op.Target("held", 1), op.Target("gone", 4)],
            depends=[op.Target("stale", 7)],
        )
    )
    assert refused == Refused(
        "dependency",
        "5 of 8 parts do not hold",
        (
            FailedPart("insert", 1, "taken", "exists", 0),
            FailedPart("change", 1, "none", "missing"),
            FailedPart("delete", 1, "held", "claimed", 1, "w2", held.at),
            FailedPart("delete", 2, "gone", "missing"),
            FailedPart("depend", 0, "stale", "version", 0),
        ),
    )
    table.machine.index -= 1  # the digest holds the index, the one thing that has changed
    assert table.machine.digest() == before


@pytest.mark.parametrize(
    "parts",
    [
        {"inserts": [op.Insert("/a", "x"), op.Insert("/b", "x")]},
        {"changes": [op.Change("x", 0), op.Change("x", 1)]},
        {"deletes": [op.Target("x", 0)], "depends": [op.Target("x", 0)]},
        {"inserts": [op.Insert("/a", "x")], "deletes": [op.Target("x", 0)]},
    ],
)
def test_an_id_that_stands_in_two_parts_is_refused(parts: dict[str, Any]) -> None:
    table = TaskTable()
    row = table.insert("/a", "x")
    refused = table.do(modify(**parts))
    assert isinstance(refused, Refused)
    assert refused.code == "invalid"
    assert table.task("x") == row


def test_a_change_of_queue_keeps_id_value_claims_and_birth() -> None:
    table = TaskTable()
    born = table.insert("/a", value=b"1")
    held = table.claim_one("/a")
    table.now_ms += 10
    moved = table.change(held, queue="/b", arrival=op.DELAY)
    assert moved == born._replace(
        version=2, queue="/b", at=table.now_ms, claims=1, claimant="", modified=table.now_ms
    )
    assert (table.tasks("/a"), table.tasks("/b")) == ([], [moved])


def test_a_held_task_that_is_moved_stays_held() -> None:
    table = TaskTable()
    table.insert("/a")
    moved = table.change(table.claim_one("/a"), queue="/b")
    assert (moved.claimant, table.stats("/b").claimed) == ("w1", 1)
    assert table.claim("/b", claimant="w2") == ()


def test_a_change_that_says_nothing_only_counts_the_version_up() -> None:
    table = TaskTable()
    row = table.insert("/a", value=b"1", attempt=2, err="boom", priority=4)
    table.now_ms += 10
    assert table.change(row) == row._replace(version=1, modified=table.now_ms)


def test_a_change_can_empty_value_and_error() -> None:
    table = TaskTable()
    row = table.insert("/a", value=b"1", attempt=2, err="boom", priority=4)
    changed = table.change(row, value=b"", kind=op.BYTES, attempt=0, err="", priority=0)
    assert (changed.value, changed.kind, changed.attempt, changed.err, changed.priority) == (
        b"", op.BYTES, 0, "", 0,
    )  # fmt: skip
    assert table.machine.load()[1] == 0


def test_the_kind_of_a_value_changes_only_with_the_value() -> None:
    table = TaskTable()
    row = table.insert("/a", value=b"\xff", kind=op.BYTES)
    assert table.change(row, kind=op.JSON).kind == op.BYTES


HELD = ("w1", 1)
FREE = ("", 0)


@pytest.mark.parametrize(
    ("arrival", "ms", "at", "holder"),
    [
        (op.KEEP, 0, 30_000, HELD),
        (op.AT, START_MS + 9_000, 9_000, FREE),
        (op.AT, START_MS, 0, FREE),
        (op.AT, START_MS - 400 * 86_400_000, 0, FREE),  # however long past: now
        (op.DELAY, 700, 700, FREE),
        (op.DELAY, 0, 0, FREE),
        (op.LEASE, 500, 500, HELD),
        (op.HOLD_UNTIL, START_MS + 1, 1, HELD),
        (op.HOLD_UNTIL, START_MS, 0, FREE),
        (op.HOLD_UNTIL, START_MS - 1, 0, FREE),
    ],
)
def test_a_change_by_the_holder_keeps_or_gives_back_as_its_arrival_says(
    arrival: int, ms: int, at: int, holder: tuple[str, int]
) -> None:
    table = TaskTable()
    table.insert("/a")
    changed = table.change(table.claim_one("/a"), arrival=arrival, ms=ms)
    assert (changed.at - START_MS, (changed.claimant, table.stats("/a").claimed)) == (at, holder)
    assert (changed.claims, changed.created) == (1, START_MS)
    assert (table.claim("/a", claimant="w2") != ()) == (at == 0)


@pytest.mark.parametrize(("arrival", "ms"), [(op.LEASE, 500), (op.HOLD_UNTIL, START_MS + 500)])
def test_a_change_can_hold_a_task_that_was_never_claimed(arrival: int, ms: int) -> None:
    table = TaskTable()
    held = table.change(table.insert("/a"), claimant="w2", arrival=arrival, ms=ms)
    assert (held.claimant, held.claims, held.at) == ("w2", 0, START_MS + 500)
    assert table.tasks("/a", claimant="w2") == [held]
    assert table.claim("/a") == ()


def test_a_delayed_task_can_be_changed_by_anyone() -> None:
    table = TaskTable()
    row = table.insert("/a", arrival=op.DELAY, ms=5_000)
    assert table.change(row, claimant="w2", err="x").at == row.at


def test_an_insert_in_the_past_arrives_now() -> None:
    assert TaskTable().insert("/a", arrival=op.AT, ms=5).at == START_MS


def test_an_insert_at_a_time_arrives_then() -> None:
    assert TaskTable().insert("/a", arrival=op.AT, ms=START_MS + 5).at == START_MS + 5


def test_one_modification_deletes_changes_inserts_and_depends() -> None:
    table = TaskTable()
    for id_ in ("old", "log", "seen"):
        table.insert("/a", id_, value=b"1")
    modified = table.do(
        modify(
            inserts=[op.Insert("/b", "new")],
            changes=[op.Change("log", 0, value=b"22")],
            deletes=[op.Target("old", 0)],
            depends=[op.Target("seen", 0)],
        )
    )
    assert [row.id for row in (*modified.inserted, *modified.changed)] == ["new", "log"]
    assert [row.id for row in table.tasks(ids=["old", "log", "seen", "new"])] == [
        "log",
        "seen",
        "new",
    ]
    assert table.machine.load()[:2] == (3, 3)


def test_the_anonymous_may_change_what_the_anonymous_hold() -> None:
    table = TaskTable()
    table.insert("/a")
    held = table.claim_one("/a", claimant="")
    table.delete(held, claimant=op.ANONYMOUS)
    assert table.tasks("/a") == []


def test_a_dry_run_answers_what_would_happen_and_changes_nothing() -> None:
    table = TaskTable()
    row = table.insert("/a", "mine")
    operation = modify(inserts=[op.Insert("/b", "new")], changes=[change(row, queue="/b")])
    before = table.machine.digest()
    foretold = table.ask(queries.DryRun(operation))
    assert table.machine.digest() == before
    assert table.do(operation) == foretold


def test_a_dry_run_tells_every_part_that_would_fail() -> None:
    operation = modify(deletes=[op.Target("x", 0), op.Target("y", 0)])
    refused = TaskTable().ask(queries.DryRun(operation))
    assert [part.id for part in refused.failed] == ["x", "y"]
