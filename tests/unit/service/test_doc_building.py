"""From documents to operations on docs: what is built, and what is refused."""

from itertools import count
from typing import Any

import msgspec
import pytest

from raftq.wire import docs
from raftq.wire import documents as wire
from raftq.wire.formats import decode
from raftq_cluster.core import operations as op
from raftq_cluster.service import building
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.names import check_doc_key
from raftq_cluster.service.refusals import Refusal

D = {"namespace": "/ns", "id": "d", "version": 3}


class Builder:
    def __init__(self, prefix: str = "id") -> None:
        self.limits = Limits(value_bytes_max=100, operations_max=4)
        numbers = count(1)
        self.new_id = lambda: f"{prefix}{next(numbers)}"


def modify(builder: Builder | None = None, **document: Any) -> op.Transact:
    request = decode(msgspec.json.encode(document), wire.ModifyRequest, "json")
    built = building.modify_of(builder or Builder(), request, "json")
    assert isinstance(built, op.Transact)
    return built


def claim(**document: Any) -> op.ClaimDocs:
    request = decode(msgspec.json.encode(document), docs.ClaimDocsRequest, "json")
    return building.claim_docs_of(Builder(), request, "json")


def test_every_part_about_docs_is_built() -> None:
    built = modify(
        claimant="w",
        doc_inserts=[{"namespace": "/ns", "key": "k k", "value": [1], "lease_ms": 5}],
        doc_changes=[{**D, "value_b64": "AA=="}],
        doc_depends=[{"namespace": "/ns", "key": "", "version": 1}],
        doc_leases=[{"namespace": "/ns", "key": "k", "version": 1, "lease_ms": 0}],
    )
    assert built.docs == op.DocParts(
        [op.DocInsert("/ns", "k k", "", "id1", op.LEASE, 5, b"[1]")],
        [op.DocChange("/ns", "d", 3, value=b"\0", kind=op.BYTES)],
        [],
        [op.DocTarget("/ns", "", 1, "")],
        [op.SetLease("/ns", "k", 1)],
    )
    assert (built.kind, built.claimant, built.inserts) == (op.TRANSACT, "w", [])


def test_deletes_and_depends_name_docs() -> None:
    built = modify(doc_deletes=[D], doc_depends=[D])
    assert built.docs.deletes == built.docs.depends == [op.DocTarget("/ns", "d", 3)]


def test_a_change_that_resets_claims_is_a_transaction() -> None:
    built = modify(
        changes=[{"id": "t", "version": 1, "reset_claims": True}, {"id": "u", "version": 1}]
    )
    assert built.resets == ["t"]
    assert [change.id for change in built.changes] == ["t", "u"]


def test_the_mark_of_a_key_does_not_depend_on_the_ids_that_a_node_makes() -> None:
    document = {
        "idempotency_key": "k",
        "inserts": [{"queue": "/q"}, {"queue": "/q", "id": "t"}],
        "doc_inserts": [{"namespace": "/ns", "key": "k"}, {"namespace": "/ns", "key": "k", "id": "d"}],
    }  # fmt: skip
    one, other = modify(Builder("a"), **document), modify(Builder("b"), **document)
    assert one.mark == other.mark != b""
    assert [row.id for row in one.inserts] == ["a1", "t"]
    assert [row.id for row in one.docs.inserts] == ["a2", "d"]


def test_a_claim_of_docs_is_built() -> None:
    sets = [{"namespace": "/ns", "key": "a"}, {"namespace": "/ns", "key": "b", "omit_docs": True}]
    built = claim(sets=sets, idempotency_key="k")
    assert built.sets == [op.SetClaim("/ns", "a"), op.SetClaim("/ns", "b", True)]
    assert (built.lease_ms, built.task, len(built.mark)) == (30_000, ("", 0, ""), 8)
    task = claim(sets=sets, task={"id": "t", "version": 2}).task
    assert task == ("t", 2, "")


@pytest.mark.parametrize(
    ("document", "code", "field"),
    [
        ({"doc_inserts": [{"namespace": "a b", "key": ""}]}, "invalid", "doc_inserts[0].namespace"),
        ({"doc_inserts": [{"namespace": "/é" * 500, "key": ""}]}, "too_large", ""),
        ({"doc_inserts": [{"namespace": "/n", "key": "é" * 129}]}, "too_large", ""),
        ({"doc_inserts": [{"namespace": "/n", "key": "", "id": " "}]}, "invalid", "doc_inserts[0].id"),
        ({"doc_inserts": [{"namespace": "/n", "key": "", "value": "x" * 99}]}, "too_large", ""),
        ({"doc_changes": [{**D, "id": " "}]}, "invalid", "doc_changes[0].id"),
        ({"doc_depends": [{**D, "key": "k"}]}, "invalid", "doc_depends[0]"),
        ({"doc_depends": [{"namespace": "/n", "version": 0}]}, "invalid", "doc_depends[0]"),
        ({"doc_depends": [{**D, "id": " "}]}, "invalid", "doc_depends[0].id"),
        ({"doc_deletes": [D] * 5}, "too_large", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_name(
    document: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(Refusal) as refused:
        modify(**document)
    assert (refused.value.code, refused.value.field) == (code, field)


def test_a_claim_for_a_task_with_no_possible_id_is_refused() -> None:
    with pytest.raises(Refusal):
        claim(sets=[{"namespace": "/ns", "key": "a"}], task={"id": " ", "version": 2})


def test_a_key_of_docs_has_no_nul() -> None:
    with pytest.raises(Refusal):
        check_doc_key("a\0")
    check_doc_key("")
