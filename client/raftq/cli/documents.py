"""Rows as JSON documents: the fields of the API, times in RFC 3339 UTC.

Works on whatever has the attributes of a task or a queue: the library's objects and tests' own.
"""

from typing import Any, Final, TypeAlias

from raftq.cli.times import rfc3339

Document: TypeAlias = dict[str, Any]

_TASK_FIELDS: Final = (
    "id", "version", "queue", "at", "claimant", "claims", "attempt", "priority", "err", "created",
    "modified",
)  # fmt: skip
_QUEUE_FIELDS: Final = (
    "name", "tasks", "ready", "claimed", "delayed", "max_claims", "oldest_ready_at", "order", "paused",
)  # fmt: skip
_MEMBER_FIELDS: Final = (
    "id", "role", "peer", "http", "text", "applied", "lag", "last_contact_ms", "version",
    "clock", "clock_offset_ms", "verified",
)  # fmt: skip
_DOC_FIELDS: Final = (
    "namespace", "id", "version", "key", "secondary_key", "claimant", "at", "created", "modified",
)  # fmt: skip
_NAMESPACE_FIELDS: Final = ("name", "docs", "claimed", "sets")
_SETTINGS_FIELDS: Final = (
    "pattern", "order", "paused", "lease_ms", "lease_ms_min", "lease_ms_max",
)  # fmt: skip
_CLUSTER_FIELDS: Final = (
    "cluster_id", "node", "backend", "durability", "term", "leader", "index", "log_format",
)  # fmt: skip
_MOMENTS: Final = frozenset({"at", "created", "modified", "oldest_ready_at"})


def task_document(task: Any, *, with_value: bool = True) -> Document:
    """Describe a task. Bytes are base64 under ``value_b64``, as in the API."""
    return _fields(task, _TASK_FIELDS) | (_value(task) if with_value else {})


def doc_document(doc: Any, *, with_value: bool = True) -> Document:
    """Describe a doc, its value as a task's."""
    return _fields(doc, _DOC_FIELDS) | (_value(doc) if with_value else {})


def namespace_document(counts: Any) -> Document:
    """Describe what is in a namespace."""
    return _fields(counts, _NAMESPACE_FIELDS)


def _value(row: Any) -> Document:
    if not isinstance(row.value, bytes):
        return {"value": row.value}
    from base64 import b64encode

    return {"value_b64": b64encode(row.value).decode()}


def queue_document(queue: Any) -> Document:
    """Describe what is in a queue."""
    return _fields(queue, _QUEUE_FIELDS)


def member_document(member: Any) -> Document:
    """Describe a node of the cluster."""
    return _fields(member, _MEMBER_FIELDS)


def member_digest_document(member: Any) -> Document:
    """Describe what a node has in a verification."""
    return _fields(member, ("id", "state", "digest"))


def verification_document(found: Any) -> Document:
    """Describe a verification."""
    members = [member_digest_document(member) for member in found.members]
    return {"entry": found.entry, "members": members}


def settings_document(row: Any) -> Document:
    """Describe the settings of a pattern; what it does not decide is left out."""
    document = _fields(row, _SETTINGS_FIELDS)
    return {name: value for name, value in document.items() if value is not None}


def cluster_document(cluster: Any) -> Document:
    """Describe the cluster and its nodes."""
    members = [member_document(member) for member in cluster.members]
    return _fields(cluster, _CLUSTER_FIELDS) | {"members": members}


def _fields(row: Any, names: tuple[str, ...]) -> Document:
    return {name: _plain(name, getattr(row, name)) for name in names}


def _plain(name: str, value: Any) -> Any:
    return rfc3339(value) if name in _MOMENTS and value is not None else value
