"""Refusals as EntroQ's clients read them: google.rpc.Status over REST, Connect's errors over Connect.

A dependency error has one detail per failing part, each with its ``type``; what another claimant holds is a
``CLAIM``. Source: EntroQ 1.2.1 and later; connectrpc.com/docs/protocol for codes and details.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import (
    CHANGE,
    CLAIMED,
    DELETE,
    DEPEND,
    DOC_CHANGE,
    DOC_CLAIM,
    DOC_DELETE,
    DOC_DEPEND,
    DOC_INSERT,
    DOC_LEASE,
    INSERT,
    TASK,
    Failed,
    FailedDoc,
)
from raftq_cluster.service.refusals import Refusal

Json: TypeAlias = dict[str, Any]

MODIFY_DEP: Final = "api.ModifyDep"
_UINT64_MAX: Final = 2**64 - 1


class Code(NamedTuple):
    """A code of gRPC."""

    number: int
    status: int
    name: str  # Connect's


_INVALID: Final = Code(3, 400, "invalid_argument")
UNIMPLEMENTED: Final = Code(12, 501, "unimplemented")
_INTERNAL: Final = Code(13, 500, "internal")
_CODES: Final = {
    "bad_request": _INVALID,
    "invalid": _INVALID,
    "too_large": _INVALID,
    "unsupported_media_type": _INVALID,
    "request_timeout": Code(4, 504, "deadline_exceeded"),
    "outcome_unknown": Code(4, 504, "deadline_exceeded"),
    "not_found": Code(5, 404, "not_found"),
    "forbidden": Code(7, 403, "permission_denied"),
    "store_full": Code(8, 429, "resource_exhausted"),
    "too_busy": Code(8, 429, "resource_exhausted"),
    "dependency": Code(10, 409, "aborted"),
    "unavailable": Code(14, 503, "unavailable"),
    "unauthenticated": Code(16, 401, "unauthenticated"),
}
_TYPES: Final = {
    INSERT: "INSERT", CHANGE: "CHANGE", DELETE: "DELETE", DEPEND: "DEPEND", TASK: "DEPEND",
    DOC_INSERT: "INSERT", DOC_CHANGE: "CHANGE", DOC_DELETE: "DELETE", DOC_DEPEND: "DEPEND",
    DOC_LEASE: "CHANGE", DOC_CLAIM: "CLAIM",
}  # fmt: skip
_NUMBERS: Final = {
    "CLAIM": 0, "DELETE": 1, "CHANGE": 2, "DEPEND": 3, "DETAIL": 4, "INSERT": 5, "READ": 6,
}  # fmt: skip


def code_of(refusal: Refusal) -> Code:
    """Give the code of a refusal."""
    return _CODES.get(refusal.code, _INTERNAL)


def status_json(code: Code, message: str, details: list[Json]) -> Json:
    """Write a google.rpc.Status."""
    typed = [{"@type": f"type.googleapis.com/{MODIFY_DEP}", **detail} for detail in details]
    return {"code": code.number, "message": message, "details": typed}


def connect_json(code: Code, message: str, details: list[Json]) -> Json:
    """Write an error of Connect; its details are protobuf, with the JSON beside it."""
    packed = [
        {
            "type": MODIFY_DEP,
            "value": b64encode(packed_dep(item)).decode().rstrip("="),
            "debug": item,
        }
        for item in details
    ]
    return {"code": code.name, "message": message, "details": packed}


def details_of(
    refusal: Refusal, asked: op.Transact | op.ClaimDocs | None, protocol: int
) -> list[Json]:
    """Give one ModifyDep per failing part, after one that says what happened.

    Protocol 2 names a set by its key and without an id; clients of protocol 1 look for the id.
    """
    if refusal.code != "dependency" or asked is None:
        return []
    details: list[Json] = [{"type": "DETAIL", "msg": refusal.detail}]
    told: set[tuple[str, str]] = set()
    for part in refusal.failed:
        if isinstance(part, FailedDoc):
            details += _doc_details(part, _asked_version(part, asked), told)
        else:
            details += _of(part, asked)
    if protocol == 1:
        for detail in details:
            if "docId" in detail:
                detail["docId"].setdefault("id", "")
    return details


def _of(part: Failed, asked: op.Transact | op.ClaimDocs) -> Iterator[Json]:
    kind = "CLAIM" if part.reason == CLAIMED else _TYPES[part.part]
    version, queue = _named(part, asked)
    yield {"type": kind, "id": {"id": part.id, "version": version, "queue": queue}}


def _named(part: Failed, asked: op.Transact | op.ClaimDocs) -> tuple[int, str]:
    """Tell the version and the queue that the caller named."""
    if isinstance(asked, op.ClaimDocs):
        return asked.task[1], asked.task[2]
    if part.part == INSERT:
        return 0, asked.inserts[part.position].queue
    lists: dict[str, Sequence[op.Change | op.Target]] = {
        CHANGE: asked.changes, DELETE: asked.deletes, DEPEND: asked.depends,
    }  # fmt: skip
    return lists[part.part][part.position].version, dict(asked.queues).get(part.id, "")


def _asked_version(part: FailedDoc, asked: op.Transact | op.ClaimDocs) -> int:
    """Tell the version that the caller named; of what it only wants to hold or to make, its set's."""
    if isinstance(asked, op.ClaimDocs) or part.part == DOC_INSERT:
        return max(part.version, 0)
    docs = asked.docs
    lists: dict[str, Sequence[op.DocChange | op.DocTarget | op.SetLease]] = {
        DOC_CHANGE: docs.changes, DOC_DELETE: docs.deletes, DOC_DEPEND: docs.depends,
        DOC_LEASE: docs.leases,
    }  # fmt: skip
    return lists[part.part][part.position].version


def _doc_details(part: FailedDoc, asked: int, told: set[tuple[str, str]]) -> Iterator[Json]:
    """A set that is held is named once, before its docs: for clients that know sets, and others."""
    name = (part.namespace, part.key)
    version = max(part.version, 0)
    if part.reason != CLAIMED:
        own: Json = {"id": part.id} if part.id else {"key": part.key}
        yield {
            "type": _TYPES[part.part],
            "docId": {"namespace": part.namespace, **own, "version": asked},
        }
        return
    if name not in told:
        told.add(name)
        yield {
            "type": "CLAIM",
            "docId": {"namespace": part.namespace, "key": part.key, "version": version},
        }
    if part.id:
        yield {
            "type": "CLAIM",
            "docId": {"namespace": part.namespace, "id": part.id, "version": version},
        }


# --- protobuf, for the details of Connect ----------------------------------------------------------


def packed_dep(detail: Json) -> bytes:
    """Write an api.ModifyDep: type 1, id 2, msg 3, doc_id 4. A set's key has no number that is known."""
    packed = _number(1, _NUMBERS[detail["type"]])
    if "id" in detail:
        task = detail["id"]
        inner = _text(1, task["id"]) + _number(2, task["version"]) + _text(3, task["queue"])
        packed += _bytes(2, inner)
    packed += _text(3, detail.get("msg", ""))
    if "docId" in detail:
        doc = detail["docId"]
        inner = (
            _text(1, doc["namespace"]) + _text(2, doc.get("id", "")) + _number(3, doc["version"])
        )
        packed += _bytes(4, inner)
    return packed


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode()) if value else b""


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= _UINT64_MAX  # below 0: two's complement, as protobuf has it
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
