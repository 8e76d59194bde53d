"""From documents to the parts of operations that are about docs; see :mod:`raftq_cluster.service.building`."""

from raftq.wire import documents as wire
from raftq.wire.formats import Format
from raftq_cluster.core import operations as op
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.names import check_doc_key, check_id, check_namespace
from raftq_cluster.service.refusals import Refusal
from raftq_cluster.service.values import given, value_of


def has_docs(document: wire.ModifyRequest) -> bool:
    """Tell whether any part of a modification is about docs."""
    return bool(
        document.doc_inserts
        or document.doc_changes
        or document.doc_deletes
        or document.doc_depends
        or document.doc_leases
    )


def count_doc_parts(document: wire.ModifyRequest) -> int:
    """Count the parts about docs."""
    parts = len(document.doc_inserts) + len(document.doc_changes) + len(document.doc_deletes)
    return parts + len(document.doc_depends) + len(document.doc_leases)


def doc_parts_of(document: wire.ModifyRequest, limits: Limits, fmt: Format) -> op.DocParts:
    """Build the parts about docs.

    Raises:
        Refusal: ``invalid`` or ``too_large``.
    """
    return op.DocParts(
        [
            _insert_of(insert, f"doc_inserts[{position}]", limits, fmt)
            for position, insert in enumerate(document.doc_inserts)
        ],
        [
            _change_of(change, f"doc_changes[{position}]", limits, fmt)
            for position, change in enumerate(document.doc_changes)
        ],
        [
            _target_of(target, f"doc_deletes[{position}]")
            for position, target in enumerate(document.doc_deletes)
        ],
        [
            _depend_of(depend, f"doc_depends[{position}]")
            for position, depend in enumerate(document.doc_depends)
        ],
        [
            _lease_of(lease, f"doc_leases[{position}]")
            for position, lease in enumerate(document.doc_leases)
        ],
    )


def check_set(namespace: str, key: str, path: str) -> None:
    """Refuse what cannot name a set. Raises as :func:`doc_parts_of`."""
    check_namespace(namespace, f"{path}.namespace")
    check_doc_key(key, f"{path}.key")


def _insert_of(document: wire.DocInsert, path: str, limits: Limits, fmt: Format) -> op.DocInsert:
    check_set(document.namespace, document.key, path)
    check_doc_key(document.secondary_key, f"{path}.secondary_key")
    id_ = given(document.id)
    if id_ is not None:
        check_id(id_, f"{path}.id")
    value, kind = value_of(document.value, document.value_b64, path, limits, fmt)
    arrival = op.LEASE if document.lease_ms else op.KEEP
    return op.DocInsert(
        document.namespace,
        document.key,
        document.secondary_key,
        id_ or "",
        arrival,
        document.lease_ms,
        value or b"",
        kind,
    )


def _change_of(document: wire.DocChange, path: str, limits: Limits, fmt: Format) -> op.DocChange:
    target = _target_of(document, path)
    value, kind = value_of(document.value, document.value_b64, path, limits, fmt)
    arrival = op.LEASE if document.lease_ms else op.KEEP
    return op.DocChange(*target[:3], arrival, document.lease_ms, value, kind)


def _target_of(document: wire.DocTarget | wire.DocChange, path: str) -> op.DocTarget:
    check_namespace(document.namespace, f"{path}.namespace")
    check_id(document.id, f"{path}.id")
    return op.DocTarget(document.namespace, document.id, document.version, "")


def _depend_of(document: wire.DocDepend, path: str) -> op.DocTarget:
    id_, key = given(document.id), given(document.key)
    if (id_ is None) == (key is None):
        raise Refusal("invalid", "either id or key must be given", field=path)
    check_set(document.namespace, key or "", path)
    if id_ is not None:
        check_id(id_, f"{path}.id")
    return op.DocTarget(document.namespace, id_ or "", document.version, key or "")


def _lease_of(document: wire.DocLease, path: str) -> op.SetLease:
    check_set(document.namespace, document.key, path)
    arrival = op.LEASE if document.lease_ms else op.KEEP
    return op.SetLease(
        document.namespace, document.key, document.version, arrival, document.lease_ms
    )
