"""Rows as protobuf-JSON: camelCase, 64-bit integers as text, every field there, lists never null."""

from base64 import b64encode
from collections.abc import Iterable
from typing import Any, TypeAlias

from msgspec import Raw

from raftq_cluster.core.operations import BYTES
from raftq_cluster.core.outcomes import DocRow, NamespaceStats, QueueStats, SetRow, TaskRow

Json: TypeAlias = dict[str, Any]


def task_json(row: TaskRow) -> Json:
    """Write a task."""
    return {
        "queue": row.queue,
        "id": row.id,
        "version": row.version,
        "atMs": str(row.at),
        "claimantId": row.claimant,
        "value": _value(row.value, row.kind),
        "createdMs": str(row.created),
        "modifiedMs": str(row.modified),
        "claims": row.claims,
        "attempt": row.attempt,
        "err": row.err,
    }


def tasks_json(rows: Iterable[TaskRow]) -> list[Json]:
    """Write tasks."""
    return [task_json(row) for row in rows]


def doc_json(row: DocRow) -> Json:
    """Write a doc."""
    return {
        "namespace": row.namespace,
        "id": row.id,
        "version": row.version,
        "claimant": row.claimant,
        "atMs": str(row.at),
        "key": row.key,
        "secondaryKey": row.secondary_key,
        "content": _value(row.value, row.kind),
        "createdMs": str(row.created),
        "modifiedMs": str(row.modified),
    }


def docs_json(rows: Iterable[DocRow]) -> list[Json]:
    """Write docs."""
    return [doc_json(row) for row in rows]


def set_json(row: SetRow) -> Json:
    """Write the lock of a set: a doc without an id, that tells how many docs there are."""
    return {
        "namespace": row.namespace,
        "id": "",
        "version": row.version,
        "claimant": row.claimant,
        "atMs": str(row.at),
        "key": row.key,
        "secondaryKey": "",
        "content": None,
        "createdMs": "0",
        "modifiedMs": "0",
        "len": row.docs,
    }


def queue_json(stats: QueueStats) -> Json:
    """Write a queue's statistics."""
    return {
        "name": stats.name,
        "numTasks": stats.tasks,
        "numClaimed": stats.claimed,
        "numAvailable": stats.ready,
        "maxClaims": stats.max_claims,
        "numFuture": stats.delayed,
    }


def namespace_json(stats: NamespaceStats) -> Json:
    """Write a namespace's statistics."""
    return {"name": stats.name, "numDocs": stats.docs, "numClaimed": stats.claimed}


def _value(value: bytes, kind: int) -> Raw | str | None:
    if kind == BYTES:  # another dialect's: as protobuf writes bytes
        return b64encode(value).decode()
    return Raw(value) if value else None
