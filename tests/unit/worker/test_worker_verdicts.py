"""What becomes of a task, decided without any IO."""

import pytest

from raftq import Insert, Modification, MoveError, RetryError, Target, Task
from raftq.worker.verdicts import (
    ERR_BYTES_MAX,
    Policy,
    Verdict,
    error_queue_of,
    release,
    text_of,
)


def task(**fields: object) -> Task:
    return Task(**{"id": "t", "version": 4, "queue": "q", "at": 9, "claims": 1, **fields})


def policy(**fields: object) -> Policy:
    return Policy(
        **{
            "max_attempts": 3,
            "max_claims": 5,
            "retry_ms_first": 1_000,
            "retry_ms_max": 60_000,
            "error_queue": error_queue_of(None),
            **fields,
        }
    )


def raised_by(function, *args: object) -> Exception:
    with pytest.raises(Exception) as raised:
        function(*args)
    return raised.value


def change_in(verdict: Verdict):
    (change,) = verdict.modification.changes
    return change


# --- results -------------------------------------------------------------------------------------


def test_a_handler_that_returns_nothing_is_done_with_the_task():
    verdict = policy().after_result(task(), None)
    assert verdict.kind == "done"
    assert verdict.for_version(7, "t") == Modification(
        inserts=(), changes=[], deletes=[Target("t", 7)], depends=[]
    )


def test_a_modification_is_joined_by_the_tasks_deletion():
    given = Modification(inserts=[Insert("r")], deletes=[Target("u", 2)], depends=[Target("v", 3)])
    parts = policy().after_result(task(), given).for_version(7, "t")
    assert parts.inserts == [Insert("r")]
    assert parts.deletes == [Target("u", 2), Target("t", 7)]
    assert parts.depends == [Target("v", 3)]


def test_a_modification_of_the_task_itself_is_brought_up_to_its_version():
    given = Modification(changes=[task().change(queue="r")], deletes=[Target("u", 2)])
    parts = policy().after_result(task(), given).for_version(7, "t")
    assert [(change.id, change.version, change.queue) for change in parts.changes] == [
        ("t", 7, "r")
    ]
    assert parts.deletes == [Target("u", 2)]
    given = Modification(deletes=[task()])
    assert policy().after_result(task(), given).for_version(7, "t").deletes == [Target("t", 7)]


def test_a_depend_on_the_task_itself_is_said_by_its_deletion():
    given = Modification(depends=[task(), Target("v", 3)])
    parts = policy().after_result(task(), given).for_version(7, "t")
    assert (parts.depends, parts.deletes) == ([Target("v", 3)], [Target("t", 7)])


@pytest.mark.parametrize("result", [True, "done", {"a": 1}, [Insert("q")]])
def test_any_other_result_is_an_error_that_says_so(result):
    verdict = policy().after_result(task(), result)
    assert verdict.kind == "retried"
    assert "may return None or a Modification" in change_in(verdict).err


# --- errors --------------------------------------------------------------------------------------


def test_an_exception_is_a_retry_with_the_stack_kept():
    verdict = policy().after_error(task(attempt=1), raised_by(int, "odd"))
    change = change_in(verdict)
    assert (verdict.kind, change.attempt, change.queue) == ("retried", 2, None)
    assert change.err.startswith("ValueError: invalid literal")
    assert "test_worker_verdicts.py" in change.err


def test_pauses_double_and_have_a_bound():
    for attempt, longest_ms in ((0, 1_000), (1, 2_000), (4, 16_000), (6, 60_000), (60, 60_000)):
        verdict = policy(max_attempts=0).after_error(task(attempt=attempt), ValueError())
        delay_ms = change_in(verdict).delay_ms
        assert longest_ms / 2 <= delay_ms <= longest_ms


def test_a_retry_may_say_its_own_pause():
    verdict = policy().after_error(task(), RetryError("later", delay_ms=7, then_stop=True))
    change = change_in(verdict)
    assert (change.delay_ms, change.err, change.attempt) == (7, "later", 1)
    assert verdict.then_stop


@pytest.mark.parametrize("error", [ValueError("odd"), RetryError("odd", delay_ms=9)])
def test_the_last_attempt_moves_the_task_ready_at_once(error):
    verdict = policy().after_error(task(attempt=2), error)
    change = change_in(verdict)
    assert (verdict.kind, change.queue, change.delay_ms, change.attempt) == ("moved", "q/err", 0, 3)


def test_a_move_goes_where_it_says():
    change = change_in(policy().after_error(task(), MoveError("odd", queue="attic")))
    assert (change.queue, change.err, change.attempt, change.delay_ms) == ("attic", "odd", None, 0)
    assert policy().after_error(task(), MoveError(then_stop=True)).then_stop


def test_error_queues_can_be_mapped():
    assert error_queue_of({"q": "trouble"})("q") == "trouble"
    assert error_queue_of({"q": "trouble"})("other") == "other/err"
    assert error_queue_of(lambda queue: f"/errors{queue}")("/q") == "/errors/q"


def test_a_release_counts_no_attempt():
    change = change_in(release(task()))
    assert (change.delay_ms, change.attempt, change.err) == (0, None, None)


# --- tasks that end their workers ----------------------------------------------------------------


@pytest.mark.parametrize(("claims", "attempt"), [(1, 0), (5, 0), (9, 4)])
def test_a_task_with_few_unfinished_claims_is_worked_on(claims, attempt):
    assert policy().before_work(task(claims=claims, attempt=attempt)) is None


@pytest.mark.parametrize(("claims", "attempt"), [(6, 0), (10, 4)])
def test_a_task_whose_claims_end_without_a_word_is_moved(claims, attempt):
    verdict = policy().before_work(task(claims=claims, attempt=attempt, err="last words"))
    change = change_in(verdict)
    assert (verdict.kind, change.queue) == ("moved", "q/err")
    assert f"claimed {claims} times with {attempt} errors" in change.err
    assert change.err.endswith("last error: last words")


def test_claims_can_be_without_limit():
    assert policy(max_claims=0).before_work(task(claims=1_000)) is None


# --- texts ---------------------------------------------------------------------------------------


def test_a_long_text_keeps_its_beginning_and_its_end():
    text = text_of(RetryError("ä" * ERR_BYTES_MAX + "the end"))
    assert len(text.encode()) <= ERR_BYTES_MAX
    assert text.startswith("ää")
    assert text.endswith("ää" + "the end")


def test_what_is_no_unicode_can_be_kept():
    assert text_of(RetryError("a\ud800b")) == "a?b"


def test_an_order_without_words_is_explained_by_its_cause():
    error = RetryError()
    error.__cause__ = raised_by({}.__getitem__, "inner")
    assert "KeyError: 'inner'" in text_of(error)
