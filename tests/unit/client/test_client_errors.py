"""Errors by blame: codes, what is retryable, and where they come from."""

import pytest

import raftq
from raftq.errors import RaftqError, error_of
from raftq.wire.codes import CODES
from raftq.wire.documents import FailedPart, Problem


def problem(code: str, **fields: object) -> Problem:
    known = CODES[code]
    return Problem(
        type="",
        title=known.title,
        status=known.status,
        code=code,
        retryable=known.retryable,
        **{"detail": "what happened", **fields},
    )


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_the_wire_has_an_error_that_keeps_it(code):
    error = error_of(problem(code))
    assert (error.code, error.retryable, str(error)) == (
        code,
        CODES[code].retryable,
        "what happened",
    )
    assert type(error) is not RaftqError


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid", raftq.InvalidRequest),
        ("task_not_found", raftq.NotFound),
        ("dependency", raftq.DependencyError),
        ("too_large", raftq.TooLarge),
        ("unauthenticated", raftq.Denied),
        ("forbidden", raftq.Denied),
        ("unavailable", raftq.Unavailable),
        ("store_full", raftq.TooBusy),
        ("outcome_unknown", raftq.OutcomeUnknown),
        ("internal", raftq.ServerFailure),
        ("method_not_allowed", raftq.ProtocolError),
    ],
)
def test_a_code_tells_who_is_to_blame(code, kind):
    assert type(error_of(problem(code))) is kind


def test_an_error_keeps_what_the_problem_tells():
    error = error_of(
        problem(
            "too_large",
            index=9,
            field="inserts[0].value",
            limit=4,
            limit_name="value_bytes_max",
            retry_after_ms=1_500,
        )
    )
    assert (error.index, error.field, error.limit) == (9, "inserts[0].value", 4)
    assert (error.limit_name, error.retry_after_ms) == ("value_bytes_max", 1_500)


def test_a_dependency_error_shows_every_failing_part():
    failed = [
        FailedPart(part="delete", index=0, id="t1", reason="missing"),
        FailedPart(part="depend", index=0, id="t2", reason="version", version=3),
    ]
    error = error_of(problem("dependency", failed=failed, detail="2 of 2 parts do not hold"))
    assert isinstance(error, raftq.DependencyError)
    assert error.failed == failed
    assert str(error) == "2 of 2 parts do not hold (delete t1: missing, depend t2: version)"


def test_a_code_from_the_future_is_the_nodes_failure():
    unknown = Problem(
        type="", title="Full moon", status=503, detail="", code="full_moon", retryable=True
    )
    error = error_of(unknown)
    assert isinstance(error, raftq.ServerFailure)
    assert (error.code, error.retryable, str(error)) == ("full_moon", True, "Full moon")


def test_the_message_of_an_error_is_its_docstring_unless_more_is_known():
    assert str(raftq.Unavailable()) == "The call was not done: no node could do it in time."
    assert str(raftq.Unavailable("no leader")) == "no leader"


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (raftq.InvalidRequest(), ValueError),
        (raftq.NotFound(), LookupError),
        (raftq.ConnectionLost(), ConnectionError),
        (raftq.MisuseError(), RuntimeError),
    ],
)
def test_errors_are_also_what_python_calls_them(error, builtin):
    assert isinstance(error, builtin)
    assert isinstance(error, raftq.RaftqError)
