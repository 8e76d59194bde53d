"""The checker of power-cut histories catches what it is for."""

from typing import Any

import pytest
from tests.support.crash.checker import violations
from tests.support.crash.history import History


def row(id_: str, tag: str, version: int = 1, modified: int = 0, at: int = 10) -> dict[str, Any]:
    return {"id": id_, "version": version, "modified": modified, "at": at, "value": {"tag": tag}}


def acknowledged(tag: str = "t", id_: str = "a") -> History:
    history = History(attempted={tag})
    history.note_inserted(tag, id_)
    return history


def test_a_history_without_faults_has_no_violations() -> None:
    history = acknowledged()
    history.note_claimed(0, row("a", "t"))
    history.note_deleted("a")
    assert violations(history) == []


def test_a_task_that_is_left_is_not_lost() -> None:
    history = acknowledged()
    history.left = [row("a", "t")]
    assert violations(history) == []


def test_a_task_whose_delete_is_unknown_is_not_lost() -> None:
    history = acknowledged()
    history.maybe_deleted.update(["a"])
    assert violations(history) == []


def test_a_refused_delete_does_not_make_another_one_known() -> None:
    history = acknowledged()
    history.maybe_deleted.update(["a"])
    history.maybe_deleted.update(["a"])
    history.note_refused_delete(["a"])
    assert violations(history) == []
    history.note_refused_delete(["a"])
    assert len(violations(history)) == 1


def lost() -> History:
    return acknowledged()


def unexpected() -> History:
    return History(left=[row("b", "never")])


def left_after_delete() -> History:
    history = acknowledged()
    history.note_deleted("a")
    history.left = [row("a", "t")]
    return history


def claimed_after_delete() -> History:
    history = acknowledged()
    history.note_deleted("a")
    history.note_claimed(history.events, row("a", "t"))
    return history


def claimed_twice() -> History:
    history = acknowledged()
    history.left = [row("a", "t")]
    history.note_claimed(0, row("a", "t", modified=0, at=5))
    history.note_claimed(0, row("a", "t", modified=5, at=9))
    return history


def leases_overlap() -> History:
    history = acknowledged()
    history.left = [row("a", "t")]
    history.note_claimed(0, row("a", "t", version=1, modified=0, at=5))
    history.note_claimed(0, row("a", "t", version=2, modified=4, at=9))
    return history


def done_twice() -> History:
    history = acknowledged()
    history.left = [row("a", "t"), row("b", "t")]
    return history


def answers_differ() -> History:
    history = acknowledged()
    history.left = [row("a", "t")]
    history.note_inserted("t", "b")
    return history


def nodes_differ() -> History:
    history = acknowledged()
    history.left = [row("a", "t")]
    history.left_elsewhere = {"n2": [row("a", "t", version=2)]}
    return history


@pytest.mark.parametrize(
    ("history", "word"),
    [
        (lost(), "lost"),
        (unexpected(), "unexpected"),
        (left_after_delete(), "returned"),
        (claimed_after_delete(), "returned"),
        (claimed_twice(), "claimed twice"),
        (leases_overlap(), "two leases"),
        (done_twice(), "done twice"),
        (answers_differ(), "another answer"),
        (nodes_differ(), "nodes differ"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_violation_is_caught(history: History, word: str) -> None:
    assert any(sentence.startswith(word) for sentence in violations(history))
