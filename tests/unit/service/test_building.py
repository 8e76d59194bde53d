"""From documents to operations: what is built, what is refused, and the marks of idempotency keys."""

from itertools import count
from typing import Any

import msgspec
import pytest

from raftq.wire import documents as wire
from raftq.wire.formats import Format, decode
from raftq_cluster.core import operations as op
from raftq_cluster.service import building
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.refusals import Refusal

LIMITS = Limits(value_bytes_max=100, err_bytes_max=10, operations_max=4)
FORMATS: tuple[Format, ...] = ("json", "msgpack")


class Builder:
    """What building needs of a service."""

    def __init__(self, prefix: str = "id") -> None:
        self.limits = LIMITS
        numbers = count(1)
        self.new_id = lambda: f"{prefix}{next(numbers)}"


def read(document: Any, type_: type[Any], fmt: Format) -> Any:
    encode = msgspec.json.encode if fmt == "json" else msgspec.msgpack.encode
    return decode(encode(document), type_, fmt)


def modify(document: Any, fmt: Format = "json", builder: Builder | None = None) -> op.Modify:
    return building.modify_of(builder or Builder(), read(document, wire.ModifyRequest, fmt), fmt)


def insert(fmt: Format = "json", **fields: Any) -> op.Insert:
    (built,) = modify({"inserts": [{"queue": "/a", **fields}]}, fmt).inserts
    return built


def change(fmt: Format = "json", **fields: Any) -> op.Change:
    (built,) = modify({"changes": [{"id": "x", "version": 3, **fields}]}, fmt).changes
    return built


def claim(**fields: Any) -> op.Claim:
    return building.claim_of(Builder(), wire.ClaimRequest(**{"queues": ["/a"], **fields}), "json")


def refused(document: Any, fmt: Format = "json") -> Refusal:
    with pytest.raises(Refusal) as caught:
        modify(document, fmt)
    return caught.value


# --- what is built ----------------------------------------------------------------------------------


def test_a_claim_is_built_with_each_queue_once() -> None:
    built = claim(queues=["/b", "/a", "/b"], claimant="w1", lease_ms=5, limit=7)
    assert built == op.Claim(op.CLAIM, "", b"", "w1", ("/b", "/a"), 5, 7, False)


def test_a_modification_is_built_part_by_part() -> None:
    built = modify(
        {
            "claimant": "w1",
            "inserts": [{"queue": "/a", "id": "mine"}],
            "changes": [{"id": "c", "version": 1}],
            "deletes": [{"id": "d", "version": 2}],
            "depends": [{"id": "e", "version": 3}],
        }
    )
    assert built == op.Modify(
        op.MODIFY, "", b"", "w1", [op.Insert("/a", "mine")], [op.Change("c", 1)],
        [op.Target("d", 2)], [op.Target("e", 3)],
    )  # fmt: skip


def test_inserts_without_an_id_get_one_each() -> None:
    built = modify({"inserts": [{"queue": "/a"}, {"queue": "/a", "id": "mine"}, {"queue": "/a"}]})
    assert [part.id for part in built.inserts] == ["id1", "mine", "id2"]


def test_an_insert_is_built_with_all_of_its_fields() -> None:
    assert insert(id="x", at=5, value=[1], attempt=2, priority=-3, err="boom") == op.Insert(
        "/a", "x", op.AT, 5, b"[1]", op.JSON, 2, -3, "boom", False
    )


def test_a_change_is_built_with_what_is_given_and_leaves_the_rest() -> None:
    assert change() == op.Change("x", 3)
    assert change(queue="/b", delay_ms=7, value=None, attempt=0, priority=0, err="") == op.Change(
        "x", 3, "/b", op.DELAY, 7, b"null", op.JSON, 0, 0, ""
    )


@pytest.mark.parametrize(
    ("field", "arrival"), [("at", op.AT), ("delay_ms", op.DELAY), ("lease_ms", op.LEASE)]
)
def test_the_arrival_of_a_change_is_one_of_three(field: str, arrival: int) -> None:
    built = change(**{field: 9})
    assert (built.arrival, built.ms) == (arrival, 9)


@pytest.mark.parametrize("fmt", FORMATS)
def test_values_are_stored_as_json_or_as_bytes(fmt: Format) -> None:
    assert insert(fmt, value={"a": [1, None]}).value == b'{"a":[1,null]}'
    assert insert(fmt, value={"a": 1}).kind == op.JSON
    built = insert(fmt, value_b64=b"\x00\xff")
    assert (built.value, built.kind) == (b"\x00\xff", op.BYTES)
    empty = insert(fmt, value_b64=b"")
    assert (empty.value, empty.kind) == (b"", op.BYTES)


def test_a_json_value_is_stored_as_it_was_written() -> None:
    body = b'{"inserts":[{"queue":"/a","value": {"n": 1.50, "big": 123456789012345678901} }]}'
    document = decode(body, wire.ModifyRequest, "json")
    (built,) = building.modify_of(Builder(), document, "json").inserts
    assert built.value == b'{"n": 1.50, "big": 123456789012345678901}'


def test_no_value_is_no_bytes_in_an_insert_and_no_change_in_a_change() -> None:
    assert (insert().value, insert().kind) == (b"", op.JSON)
    assert change().value is None


def test_a_renewal_is_built() -> None:
    document = wire.RenewRequest(tasks=[wire.Target(id="x", version=1)], claimant="w1", lease_ms=9)
    built = building.renew_of(Builder(), document, "json")
    assert built == op.Renew(op.RENEW, "", b"", "w1", [op.Target("x", 1)], 9)


def test_settings_are_built_with_what_is_given() -> None:
    document = read({"pattern": "/a*", "paused": False}, wire.ConfigureRequest, "json")
    built = building.configure_of(Builder(), document, "json")
    assert built == op.Configure(op.CONFIGURE, "", b"", "/a*", None, False, None)


def test_settings_that_bound_leases_are_built() -> None:
    document = wire.ConfigureRequest(pattern="*", lease_ms=7, lease_ms_min=5, lease_ms_max=9)
    built = building.configure_of(Builder(), document, "json")
    assert built == op.ConfigureBounded(op.CONFIGURE_BOUNDED, "", b"", "*", None, None, 7, 5, 9)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"lease_ms_min": 6, "lease_ms_max": 5}, "lease_ms_min"),
        ({"lease_ms": 4, "lease_ms_min": 5}, "lease_ms"),
        ({"lease_ms": 6, "lease_ms_max": 5}, "lease_ms"),
    ],
)
def test_bounds_that_contradict_each_other_are_refused(fields: dict[str, int], field: str) -> None:
    with pytest.raises(Refusal) as caught:
        building.configure_of(Builder(), wire.ConfigureRequest(pattern="*", **fields), "json")
    assert (caught.value.code, caught.value.field) == ("invalid", field)


def test_forgetting_is_built() -> None:
    built = building.forget_of(Builder(), wire.ForgetRequest(keys=["k1", "k2"]), "json")
    assert built == op.Forget(op.FORGET, ("k1", "k2"))


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"claimant": "a b", "deletes": [{"id": "x", "version": 0}]}, "claimant"),
        ({"inserts": [{"queue": "/a"}, {"queue": "a b"}]}, "inserts[1].queue"),
        ({"inserts": [{"queue": "/a\n"}]}, "inserts[0].queue"),
        ({"inserts": [{"queue": "/a", "id": "\x00"}]}, "inserts[0].id"),
        ({"changes": [{"id": "x y", "version": 0}]}, "changes[0].id"),
        ({"changes": [{"id": "x", "version": 0, "queue": "\x7f"}]}, "changes[0].queue"),
        ({"deletes": [{"id": "x", "version": 0}, {"id": "\t", "version": 0}]}, "deletes[1].id"),
        ({"depends": [{"id": " ", "version": 0}]}, "depends[0].id"),
        ({"inserts": [{"queue": "/a", "at": 1, "delay_ms": 1}]}, "inserts[0]"),
        ({"changes": [{"id": "x", "version": 0, "delay_ms": 1, "lease_ms": 1}]}, "changes[0]"),
        ({"inserts": [{"queue": "/a", "value": 1, "value_b64": "AA=="}]}, "inserts[0]"),
        ({"idempotency_key": "a b", "deletes": [{"id": "x", "version": 0}]}, "idempotency_key"),
    ],
)
def test_a_field_that_cannot_be_is_named(document: Any, field: str) -> None:
    refusal = refused(document)
    assert (refusal.code, refusal.field) == ("invalid", field)
    assert refusal.detail


def test_a_modification_of_nothing_is_refused() -> None:
    assert refused({}).code == "invalid"


def test_a_messagepack_value_that_json_cannot_say_is_refused_and_named() -> None:
    refusal = refused({"inserts": [{"queue": "/a", "value": {"a": b"bytes"}}]}, "msgpack")
    assert (refusal.code, refusal.field) == ("invalid", "inserts[0].value")


@pytest.mark.parametrize(
    ("document", "limit_name", "limit"),
    [
        ({"deletes": [{"id": f"x{n}", "version": 0} for n in range(5)]}, "operations_max", 4),
        ({"inserts": [{"queue": "/a", "value": "v" * 99}]}, "value_bytes_max", 100),
        ({"inserts": [{"queue": "/a", "value_b64": b"v" * 101}]}, "value_bytes_max", 100),
        ({"changes": [{"id": "x", "version": 0, "value": "v" * 99}]}, "value_bytes_max", 100),
        ({"inserts": [{"queue": "/a", "err": "ééééé!"}]}, "err_bytes_max", 10),
        ({"changes": [{"id": "x", "version": 0, "err": "e" * 11}]}, "err_bytes_max", 10),
        ({"inserts": [{"queue": "é" * 129}]}, "queue_name_bytes_max", 256),
        ({"inserts": [{"queue": "/a", "id": "é" * 33}]}, "id_bytes_max", 64),
        ({"claimant": "é" * 33, "deletes": [{"id": "x", "version": 0}]}, "claimant_bytes_max", 64),
        (
            {"idempotency_key": "é" * 65, "deletes": [{"id": "x", "version": 0}]},
            "key_bytes_max",
            128,
        ),
    ],
)
def test_what_is_too_large_is_refused_with_its_limit(
    document: Any, limit_name: str, limit: int
) -> None:
    refusal = refused(document, "msgpack")
    assert (refusal.code, refusal.limit_name, refusal.limit) == ("too_large", limit_name, limit)
    assert f"{limit_name} is {limit}" in refusal.detail


@pytest.mark.parametrize(
    "document",
    [
        {"deletes": [{"id": f"x{n}", "version": 0} for n in range(4)]},
        {"inserts": [{"queue": "/a", "value": "v" * 98}]},
        {"inserts": [{"queue": "/a", "err": "ééééé"}]},
        {"inserts": [{"queue": "é" * 128, "id": "é" * 32}]},
    ],
)
def test_what_is_as_large_as_allowed_is_built(document: Any) -> None:
    assert modify(document).kind == op.MODIFY


@pytest.mark.parametrize(
    ("build", "document", "field"),
    [
        (building.claim_of, wire.ClaimRequest(queues=["/a", "a b"]), "queues"),
        (building.claim_of, wire.ClaimRequest(queues=["/a"], claimant="\n"), "claimant"),
        (
            building.claim_of,
            wire.ClaimRequest(queues=["/a"], idempotency_key="\n"),
            "idempotency_key",
        ),
        (
            building.renew_of,
            wire.RenewRequest(tasks=[wire.Target(id="\n", version=0)]),
            "tasks[0].id",
        ),
        (building.renew_of, wire.RenewRequest(tasks=[], claimant="\n"), "claimant"),
        (building.configure_of, wire.ConfigureRequest(pattern="a *"), "pattern"),
        (building.configure_of, wire.ConfigureRequest(pattern=""), "pattern"),
        (building.forget_of, wire.ForgetRequest(keys=["ok", "a b"]), "keys"),
    ],
)
def test_names_of_the_other_verbs_are_checked_too(build: Any, document: Any, field: str) -> None:
    with pytest.raises(Refusal) as caught:
        build(Builder(), document, "json")
    assert (caught.value.code, caught.value.field) == ("invalid", field)


@pytest.mark.parametrize("pattern", ["*", "/a", "/a*", "/a/*"])
def test_patterns_are_names_or_prefixes_with_a_star(pattern: str) -> None:
    built = building.configure_of(Builder(), wire.ConfigureRequest(pattern=pattern), "json")
    assert built.pattern == pattern


# --- marks ------------------------------------------------------------------------------------------

KEYED = {"idempotency_key": "k", "claimant": "w1", "inserts": [{"queue": "/a", "value": 1}]}


def test_the_same_request_has_the_same_mark_although_its_generated_ids_differ() -> None:
    one, other = modify(KEYED, builder=Builder("one")), modify(KEYED, builder=Builder("other"))
    assert one.mark == other.mark
    assert one.inserts != other.inserts
    assert (one.key, len(one.mark)) == ("k", 8)


@pytest.mark.parametrize(
    "other",
    [
        {"claimant": "w2"},
        {"inserts": [{"queue": "/b", "value": 1}]},
        {"inserts": [{"queue": "/a", "value": 2}]},
        {"inserts": [{"queue": "/a", "value": 1, "id": "x"}]},
        {"inserts": [{"queue": "/a", "value": 1, "delay_ms": 0}]},
        {"inserts": [{"queue": "/a", "value_b64": "MQ=="}]},
        {"inserts": [{"queue": "/a", "value": 1}, {"queue": "/a", "value": 1}]},
        {"deletes": [{"id": "x", "version": 0}]},
    ],
)
def test_another_request_has_another_mark(other: dict[str, Any]) -> None:
    assert modify({**KEYED, **other}).mark != modify(KEYED).mark


def test_parts_of_different_kinds_are_not_taken_for_each_other() -> None:
    targets = [{"id": "x", "version": 0}]
    deletes = modify({"idempotency_key": "k", "deletes": targets})
    depends = modify({"idempotency_key": "k", "depends": targets})
    assert deletes.mark != depends.mark


def test_requests_without_a_key_have_no_mark() -> None:
    assert modify({"deletes": [{"id": "x", "version": 0}]}).mark == b""
    assert claim().mark == b""


def test_every_keyed_verb_has_a_mark_of_its_own() -> None:
    document = wire.RenewRequest(tasks=[wire.Target(id="x", version=0)], idempotency_key="k")
    settings = wire.ConfigureRequest(pattern="*", idempotency_key="k")
    marks = {
        claim(idempotency_key="k").mark,
        claim(idempotency_key="k", lease_ms=5).mark,
        building.renew_of(Builder(), document, "json").mark,
        building.configure_of(Builder(), settings, "json").mark,
        modify(KEYED).mark,
    }
    assert len(marks) == 5
    assert claim(idempotency_key="k").mark == claim(idempotency_key="k").mark


def test_how_long_a_claim_waits_does_not_make_it_another_request() -> None:
    """A retry waits for what is left of the time."""
    assert claim(idempotency_key="k", wait_ms=5).mark == claim(idempotency_key="k").mark
