"""Names that every dialect can echo, ids that do not repeat, and refusals as documents."""

from itertools import islice

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.held_backend import HeldBackend

from raftq.wire.codes import CODES
from raftq_cluster.core.outcomes import FailedPart, Refused, Unfinished
from raftq_cluster.service import taskq
from raftq_cluster.service.building import Builder
from raftq_cluster.service.facade import Service
from raftq_cluster.service.ids import id_source
from raftq_cluster.service.names import check_claimant, check_id, check_key, check_queue
from raftq_cluster.service.refusals import RETRY_AFTER_MS, Refusal, over_limit, refusal_of


@pytest.mark.parametrize(
    "name", ["a", "/mail/out", "/b/key=value;x", "é", "日本", "q" * 256, "*", "a\\b"]
)
def test_printable_names_without_spaces_are_queues(name: str) -> None:
    check_queue(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "a\n",
        "a\r",
        "\x00",
        "\x1b[0m",
        "\x7f",
        "a\u00a0b",
        "\u2028",
        "\ud800",
        "\ufeff",
    ],
)
def test_what_could_not_be_echoed_is_no_name(name: str) -> None:
    for check in (check_queue, check_claimant, check_id):
        with pytest.raises(Refusal) as caught:
            check(name)
        assert caught.value.code == "invalid"
        assert caught.value.field


@given(st.text(max_size=20))
def test_a_name_that_passes_stands_in_one_line_and_one_word(name: str) -> None:
    try:
        check_queue(name)
    except Refusal:
        return
    assert name.split() == name.splitlines() == [name]
    assert name.encode().decode() == name


def test_no_key_is_no_bad_key() -> None:
    check_key("")
    with pytest.raises(Refusal):
        check_key(" ")


def test_ids_do_not_repeat_and_nodes_do_not_make_each_others() -> None:
    one, other = (set(islice(iter(id_source(), None), 1_000)) for _ in range(2))
    assert len(one) == 1_000
    assert one.isdisjoint(other)
    for id_ in one:
        check_id(id_)


def test_ids_begin_as_told() -> None:
    new_id = id_source("n1-")
    assert [new_id(), new_id()] == ["n1-1", "n1-2"]


def test_a_refusal_is_a_problem_document() -> None:
    refusal = over_limit("too_large", "the value has 9 bytes", "value_bytes_max", 5)
    assert msgspec.to_builtins(refusal.problem()) == {
        "type": "urn:raftq:problem:too_large",
        "title": "A size limit is passed",
        "status": 413,
        "detail": "the value has 9 bytes: the limit value_bytes_max is 5",
        "code": "too_large",
        "retryable": False,
        "limit": 5,
        "limit_name": "value_bytes_max",
    }
    assert refusal.status == 413


@pytest.mark.parametrize("code", CODES)
def test_what_may_be_tried_again_says_when(code: str) -> None:
    problem = msgspec.to_builtins(Refusal(code, "why").problem())
    waits = CODES[code].retryable and code != "outcome_unknown"
    assert problem.get("retry_after_ms") == (RETRY_AFTER_MS if waits else None)
    assert (problem["status"], problem["retryable"]) == (CODES[code].status, CODES[code].retryable)


def test_every_failing_part_is_told_with_what_is_known_of_it() -> None:
    outcome = Refused(
        "dependency",
        "3 of 3 parts do not hold",
        (
            FailedPart("insert", 0, "x", "exists", 4),
            FailedPart("delete", 1, "y", "missing"),
            FailedPart("change", 2, "z", "claimed", 1, "w2", 99),
        ),
    )
    problem = msgspec.to_builtins(refusal_of(outcome, 7).problem())
    assert problem["index"] == 7
    assert problem["failed"] == [
        {"part": "insert", "index": 0, "id": "x", "reason": "exists", "version": 4},
        {"part": "delete", "index": 1, "id": "y", "reason": "missing"},
        {"part": "change", "index": 2, "id": "z", "reason": "claimed", "version": 1, "claimant": "w2",
         "until": 99},
    ]  # fmt: skip


def test_a_refused_operation_names_its_limit_and_an_unfinished_one_has_none() -> None:
    full = msgspec.to_builtins(
        refusal_of(Refused("store_full", "full", (), "bytes_held_max", 5), 1).problem()
    )
    assert (full["limit_name"], full["limit"]) == ("bytes_held_max", 5)
    unknown = msgspec.to_builtins(refusal_of(Unfinished("outcome_unknown", "lost"), 3).problem())
    assert (unknown["code"], unknown["index"]) == ("outcome_unknown", 3)
    assert not {"limit", "limit_name", "failed", "field"} & unknown.keys()


def test_the_bad_field_is_in_the_document() -> None:
    assert Refusal("invalid", "why", field="inserts[0].queue").problem().field == "inserts[0].queue"


@pytest.fixture
def builder() -> Builder:
    return Service(HeldBackend(), ids=id_source("id"))


def test_taskqs_requests_are_operations(builder: Builder) -> None:
    assert taskq.enq(builder, "q", b"\x00") == (
        2, "", b"", "anonymous", (("q", "id1", 0, 0, b"\x00", 1, 0, 0, "", True),), (), (), (),
    )  # fmt: skip
    assert taskq.deq("q") == (1, "", b"", "anonymous", ("q",), 0, 1, True)
    assert taskq.settle("nack", "q", 7, 500) == (4, "", b"", "nack", "q", 7, 500)


def test_taskqs_names_and_bodies_are_checked(builder: Builder) -> None:
    too_large = b"x" * (builder.limits.value_bytes_max + 1)
    with pytest.raises(Refusal, match="value_bytes_max"):
        taskq.enq(builder, "q", too_large)
    for bad in ("", "a b"):
        with pytest.raises(Refusal):
            taskq.enq(builder, bad, b"")
        with pytest.raises(Refusal):
            taskq.deq(bad)
        with pytest.raises(Refusal):
            taskq.settle("ack", bad, 1)
