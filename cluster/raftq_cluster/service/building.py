"""From documents to operations: every check that needs no state is made here."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, Protocol

from msgspec import UNSET, UnsetType

from raftq.wire import docs
from raftq.wire import documents as wire
from raftq.wire.formats import Format
from raftq_cluster.codec.entries import encode_segment
from raftq_cluster.core import operations as op
from raftq_cluster.service.doc_building import (
    check_set,
    count_doc_parts,
    doc_parts_of,
    has_docs,
)
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.names import check_claimant, check_id, check_key, check_queue
from raftq_cluster.service.refusals import Refusal, over_limit
from raftq_cluster.service.values import check_err, given, value_of

_MARK_BYTES: Final = 8  # a fingerprint against mistakes, not against attacks


class Builder(Protocol):
    """What building needs of the service."""

    limits: Limits

    def new_id(self) -> str:
        """Make an id for a task."""
        ...


def claim_of(service: Builder, document: wire.ClaimRequest, fmt: Format) -> op.Claim:
    """Build a claim.

    Raises:
        Refusal: ``invalid`` or ``too_large``.
    """
    del service, fmt
    check_claimant(document.claimant)
    for name in document.queues:
        check_queue(name, "queues")
    queues = tuple(dict.fromkeys(document.queues))
    claim = op.Claim(
        op.CLAIM,
        document.idempotency_key,
        b"",
        document.claimant,
        queues,
        document.lease_ms,
        document.limit,
        False,
    )
    return claim._replace(mark=mark_of(document.idempotency_key, claim)) if claim.key else claim


def modify_of(
    service: Builder, document: wire.ModifyRequest, fmt: Format
) -> op.Modify | op.Transact:
    """Build a modification. Raises as :func:`claim_of`."""
    limits = service.limits
    _check_parts(document, limits)
    check_claimant(document.claimant)
    inserts = [
        _insert_of(insert, f"inserts[{position}]", limits, fmt)
        for position, insert in enumerate(document.inserts)
    ]
    changes = [
        _change_of(change, f"changes[{position}]", limits, fmt)
        for position, change in enumerate(document.changes)
    ]
    key = document.idempotency_key
    modify = op.Modify(
        op.MODIFY,
        key,
        b"",
        document.claimant,
        inserts,
        changes,
        _targets(document.deletes, "deletes"),
        _targets(document.depends, "depends"),
    )
    # The mark is made before ids are: a retry through another node makes other ids.
    resets = [change.id for change in document.changes if change.reset_claims]
    if resets or has_docs(document):
        transact = op.Transact(*modify, (), resets, doc_parts_of(document, limits, fmt))
        transact = transact._replace(kind=op.TRANSACT)
        return with_ids(service, transact._replace(mark=mark_of(key, transact)))
    mark = mark_of(key, modify)
    identified = [ins if ins.id else ins._replace(id=service.new_id()) for ins in inserts]
    return modify._replace(mark=mark, inserts=identified)


def with_ids(service: Builder, transact: op.Transact) -> op.Transact:
    """Give ids to the new tasks and docs that have none."""
    inserts = [ins if ins.id else ins._replace(id=service.new_id()) for ins in transact.inserts]
    doc_inserts = [
        ins if ins.id else ins._replace(id=service.new_id()) for ins in transact.docs.inserts
    ]
    return transact._replace(inserts=inserts, docs=transact.docs._replace(inserts=doc_inserts))


def claim_docs_of(service: Builder, document: docs.ClaimDocsRequest, fmt: Format) -> op.ClaimDocs:
    """Build a claim of sets of docs. Raises as :func:`claim_of`."""
    del service, fmt
    check_claimant(document.claimant)
    for item in document.sets:
        check_set(item.namespace, item.key, "sets")
    task = ("", 0, "")
    if not isinstance(document.task, UnsetType):
        check_id(document.task.id, "task.id")
        task = (document.task.id, document.task.version, "")
    key = document.idempotency_key
    sets = [op.SetClaim(item.namespace, item.key, item.omit_docs) for item in document.sets]
    claim = op.ClaimDocs(op.CLAIM_DOCS, key, b"", document.claimant, sets, document.lease_ms, task)
    return claim._replace(mark=mark_of(key, claim))


def renew_of(service: Builder, document: wire.RenewRequest, fmt: Format) -> op.Renew:
    """Build a renewal. Raises as :func:`claim_of`."""
    del service, fmt
    check_claimant(document.claimant)
    key = document.idempotency_key
    targets = _targets(document.tasks, "tasks")
    renew = op.Renew(op.RENEW, key, b"", document.claimant, targets, document.lease_ms)
    return renew._replace(mark=mark_of(key, renew))


def configure_of(
    service: Builder, document: wire.ConfigureRequest, fmt: Format
) -> op.Configure | op.ConfigureBounded:
    """Build a change of settings. Raises as :func:`claim_of`."""
    del service, fmt
    check_queue(document.pattern, "pattern")
    key = document.idempotency_key
    order, paused = given(document.order), given(document.paused)
    lease_ms = given(document.lease_ms)
    low, high = given(document.lease_ms_min), given(document.lease_ms_max)
    configure: op.Configure | op.ConfigureBounded
    if low is None and high is None:
        configure = op.Configure(op.CONFIGURE, key, b"", document.pattern, order, paused, lease_ms)
    else:
        _check_bounds(low, lease_ms, high)
        configure = op.ConfigureBounded(
            op.CONFIGURE_BOUNDED, key, b"", document.pattern, order, paused, lease_ms, low, high
        )
    return configure._replace(mark=mark_of(key, configure))


def _check_bounds(low: int | None, lease_ms: int | None, high: int | None) -> None:
    """Refuse bounds that leave nothing between them, or not the lease that is set with them."""
    if low is not None and high is not None and low > high:
        raise Refusal(
            "invalid", f"lease_ms_min {low} is above lease_ms_max {high}", field="lease_ms_min"
        )
    if lease_ms is not None and not (low or 0) <= lease_ms <= (high or lease_ms):
        raise Refusal("invalid", f"lease_ms {lease_ms} is not within its bounds", field="lease_ms")


def forget_of(service: Builder, document: wire.ForgetRequest, fmt: Format) -> op.Forget:
    """Build the forgetting of keys. Raises as :func:`claim_of`."""
    del service, fmt
    for key in document.keys:
        check_key(key, "keys")
    return op.Forget(op.FORGET, tuple(document.keys))


def _check_parts(document: wire.ModifyRequest, limits: Limits) -> None:
    parts = len(document.inserts) + len(document.changes)
    parts += len(document.deletes) + len(document.depends)
    parts += count_doc_parts(document)
    if not parts:
        raise Refusal("invalid", "a modification needs at least one part")
    if parts > limits.operations_max:
        raise over_limit("too_large", f"{parts} parts", "operations_max", limits.operations_max)


def _insert_of(document: wire.Insert, path: str, limits: Limits, fmt: Format) -> op.Insert:
    check_queue(document.queue, f"{path}.queue")
    id_ = given(document.id)
    if id_ is not None:
        check_id(id_, f"{path}.id")
    arrival, ms = _arrival_of(document.at, document.delay_ms, UNSET, path)
    value, kind = value_of(document.value, document.value_b64, path, limits, fmt)
    check_err(document.err, limits)
    return op.Insert(
        document.queue,
        id_ or "",
        arrival,
        ms,
        value or b"",
        kind,
        document.attempt,
        document.priority,
        document.err,
        False,
    )


def _change_of(document: wire.Change, path: str, limits: Limits, fmt: Format) -> op.Change:
    queue = given(document.queue)
    if queue is not None:
        check_queue(queue, f"{path}.queue")
    check_id(document.id, f"{path}.id")
    arrival, ms = _arrival_of(document.at, document.delay_ms, document.lease_ms, path)
    value, kind = value_of(document.value, document.value_b64, path, limits, fmt)
    err = given(document.err)
    check_err(err or "", limits)
    return op.Change(
        document.id,
        document.version,
        queue,
        arrival,
        ms,
        value,
        kind,
        given(document.attempt),
        given(document.priority),
        err,
    )


def _arrival_of(
    at: int | UnsetType, delay_ms: int | UnsetType, lease_ms: int | UnsetType, path: str
) -> tuple[int, int]:
    given = [
        (arrival, ms)
        for arrival, ms in ((op.AT, at), (op.DELAY, delay_ms), (op.LEASE, lease_ms))
        if not isinstance(ms, UnsetType)
    ]
    if len(given) > 1:
        raise Refusal(
            "invalid", "at most one of at, delay_ms and lease_ms can be given", field=path
        )
    return given[0] if given else (op.KEEP, 0)


def _targets(documents: Iterable[wire.Target], path: str) -> list[op.Target]:
    targets = []
    for position, document in enumerate(documents):
        check_id(document.id, f"{path}[{position}].id")
        targets.append(op.Target(document.id, document.version))
    return targets


def mark_of(key: str, operation: op.Operation) -> bytes:
    """Give a fingerprint of what the key stands for; none is needed without a key."""
    if not key:
        return b""
    check_key(key)
    return blake2b(encode_segment([operation]), digest_size=_MARK_BYTES).digest()
