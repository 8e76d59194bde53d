"""Histories of all dialects that break a promise are found out, each by its sentence; honest ones are not."""

from itertools import count
from typing import Any

import pytest
from tests.chaos.clients.speaking import Refusal
from tests.chaos.clients.text import Numbered
from tests.chaos.clients.values import is_whole, tag_of, value_of
from tests.chaos.judging import breaches
from tests.simulation.checkers.linearizability import FOREVER_NS
from tests.simulation.history import DONE, REFUSED, UNKNOWN, Call, History

from raftq_cluster.core.operations import Modify, Target
from raftq_cluster.core.outcomes import Claimed, Modified, TaskRow

QUEUE = "/chaos/1/1/t"


def row(id_: str, version: int, tag: str = "", **fields: Any) -> TaskRow:
    plain: dict[str, Any] = {
        "queue": QUEUE, "at": 1_000, "value": value_of(tag, "..").encode() if tag else b"", "kind": 0,
        "claimant": "", "claims": version, "attempt": 0, "priority": 0, "err": "", "created": 1_000,
        "modified": 1_000, "serial": 0,
    }  # fmt: skip
    return TaskRow(id=id_, version=version, **(plain | fields))


class Story:
    """Calls one after the other, each as long as one nanosecond, at one entry of the log each."""

    def __init__(self) -> None:
        self.history = History()
        self._times = count(1)

    def call(
        self, kind: str, outcome: Any, *tags: str, operation: Any = None, status: str = DONE
    ) -> Call:
        began_ns, ended_ns = next(self._times), next(self._times)
        index = ended_ns if kind not in {"enq", "deq", "ack"} else 0
        call = Call(
            "c1", kind, began_ns, operation, tags, ended_ns, status, index, outcome, "n1", 1
        )
        self.history.calls.append(call)
        return call

    def insert(self, id_: str, tag: str, **named: Any) -> Call:
        return self.call("modify", Modified((row(id_, 0),), ()), tag, operation=deleting(), **named)

    def claim(self, *rows: TaskRow) -> Call:
        return self.call("claim", Claimed(rows))

    def delete(self, id_: str, version: int, **named: Any) -> Call:
        return self.call("modify", Modified((), ()), operation=deleting((id_, version)), **named)

    def enq(self, number: int, tag: str) -> Call:
        return self.call("enq", Numbered(QUEUE, number), tag, operation=QUEUE)

    def deq(self, number: int, tag: str, quote: str = "") -> Call:
        body = f"{quote}{value_of(tag)}{quote}".encode()
        return self.call("deq", Numbered(QUEUE, number, body), operation=QUEUE)

    def ack(self, number: int, status: str = DONE) -> Call:
        task = Numbered(QUEUE, number)
        return self.call("ack", task if status == DONE else None, operation=task, status=status)

    def leave(self, *rows: TaskRow) -> None:
        self.history.left = {row.id: row for row in rows}

    def broken(self) -> list[str]:
        return [sentence.partition(":")[0] for sentence in breaches(self.history)]


def deleting(*targets: tuple[str, int]) -> Modify:
    return Modify(0, "", b"", "c1", (), (), [Target(*target) for target in targets], ())


@pytest.fixture
def story() -> Story:
    return Story()


def test_an_honest_history_of_all_dialects_breaks_nothing(story: Story) -> None:
    story.insert("i1", "a")
    story.claim(row("i1", 1, "a", at=5_000, claimant="c1"))
    story.delete("i1", 1)
    story.enq(1, "b")
    story.deq(1, "b")
    story.ack(1)
    story.insert("i3", "c")
    story.enq(2, "d")
    story.leave(row("i3", 0, "c"), row("i4", 0, "d"))
    assert story.broken() == []


def test_what_one_dialect_inserts_the_other_may_complete(story: Story) -> None:
    story.insert("i1", "a")
    story.deq(1, "a", '"')  # a JSON value comes as its text
    story.ack(1)
    story.enq(2, "b")
    story.claim(row("i2", 1, "b", at=5_000, claimant="c1"))
    story.delete("i2", 1)
    assert story.broken() == []


def test_a_task_that_is_gone_without_a_deletion_is_lost(story: Story) -> None:
    story.insert("i1", "a")
    story.enq(1, "b")
    assert story.broken() == ["lost", "lost"]


def test_nothing_is_lost_that_may_have_been_deleted(story: Story) -> None:
    story.insert("i1", "a")
    story.delete("i1", 0, status=UNKNOWN)
    story.enq(1, "b")
    story.deq(1, "b")
    story.ack(1, UNKNOWN)
    assert story.broken() == []


def test_nothing_can_be_lost_where_nobody_listed_what_was_left(story: Story) -> None:
    story.insert("i1", "a")
    assert list(breaches(story.history, is_listed=False)) == []


def test_a_task_that_nobody_inserted_is_unexpected(story: Story) -> None:
    story.deq(1, "nobody")
    assert story.broken() == ["unexpected"]


def test_a_task_that_comes_back_after_its_ack_has_returned(story: Story) -> None:
    story.enq(1, "a")
    story.deq(1, "a")
    story.ack(1)
    story.deq(1, "a")
    assert story.broken() == ["returned"]


def test_a_task_that_is_there_after_its_ack_has_returned(story: Story) -> None:
    story.enq(1, "a")
    story.deq(1, "a")
    story.ack(1)
    story.leave(row("i1", 2, "a"))
    assert story.broken() == ["returned"]


def test_a_number_stands_for_one_task(story: Story) -> None:
    story.enq(1, "a")
    story.enq(1, "b")
    story.leave(row("i1", 0, "a"), row("i2", 0, "b"))
    assert story.broken() == ["two tasks of one number"]


def test_a_value_that_became_two_tasks_was_done_twice(story: Story) -> None:
    story.insert("i1", "a")
    story.leave(row("i1", 0, "a"), row("i2", 0, "a"))
    assert story.broken() == ["done twice"]


def test_what_was_refused_and_is_there_was_done_after_all(story: Story) -> None:
    story.call("modify", None, "a", operation=deleting(), status=REFUSED)
    story.leave(row("i1", 0, "a"))
    assert story.broken() == ["done after all"]


def test_a_value_that_is_another_than_was_inserted_is_found(story: Story) -> None:
    story.insert("i1", "a")
    story.claim(row("i1", 1, value=b"a|00000000|..", at=5_000, claimant="c1"))
    story.leave(row("i1", 1, value=b"a|00000000|..", at=5_000, claimant="c1"))
    assert story.broken() == ["another value", "another value"]


@pytest.mark.parametrize("padding", ["", "...", "." * 3_000])
def test_a_value_tells_whether_it_is_whole(padding: str) -> None:
    value = value_of("c1.7", padding).encode()
    assert tag_of(value) == tag_of(b'"%b"' % value) == "c1.7"
    assert is_whole(value)
    assert is_whole(b'"%b"' % value)
    assert not is_whole(value + b".")
    assert not is_whole(b"x" + value)
    assert not is_whole(b"")


def test_two_claims_of_one_version_are_found(story: Story) -> None:
    story.insert("i1", "a")
    story.claim(row("i1", 1, "a", at=5_000, claimant="c1"))
    story.claim(row("i1", 1, "a", at=5_000, claimant="c1"))
    story.leave(row("i1", 1, "a"))
    assert story.broken() == ["made twice"]


def test_a_claim_before_the_end_of_a_lease_is_found(story: Story) -> None:
    story.insert("i1", "a")
    story.claim(row("i1", 1, "a", at=9_000, claimant="c1", modified=2_000))
    story.claim(row("i1", 2, "a", at=20_000, claimant="c2", modified=8_000))
    story.leave(row("i1", 2, "a"))
    assert "two holders" in story.broken()


def test_an_answer_that_is_older_than_what_was_told_before_is_stale(story: Story) -> None:
    story.insert("i1", "a")
    story.call("read", (), operation=None).index = 1
    story.leave(row("i1", 0, "a"))
    assert story.broken() == ["stale"]


def test_a_register_that_forgets_is_not_linearizable(story: Story) -> None:
    story.history.registers["r1"] = [
        (1, 2, ("create", "x", True)),
        (3, 4, ("write", 0, "y", True)),
        (5, 6, ("read", (0, "x"))),
    ]
    assert story.broken() == ["not linearizable"]


def test_a_write_of_unknown_outcome_may_show_later_or_never(story: Story) -> None:
    story.history.registers["r1"] = [
        (1, 2, ("create", "x", True)),
        (3, FOREVER_NS, ("write", 0, "y", None)),
        (5, 6, ("read", (0, "x"))),
        (7, 8, ("read", (1, "y"))),
    ]
    assert story.broken() == []


def test_a_task_of_a_small_queue_is_claimed_once(story: Story) -> None:
    story.history.small_queues["q1"] = [
        (1, 2, ("insert", "t")),
        (3, 4, ("claim", "t")),
        (5, 6, ("claim", "t")),
    ]
    assert story.broken() == ["not linearizable"]


def test_refusals_say_nothing_about_tasks(story: Story) -> None:
    task = Numbered(QUEUE, 1)
    story.enq(1, "a")
    story.deq(1, "a")
    story.call("ack", Refusal("taskq: no such task"), operation=task)
    story.leave(row("i1", 1, "a"))
    assert story.broken() == []
