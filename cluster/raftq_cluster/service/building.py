"""From documents to operations: every check that needs no state is made here."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, Protocol, TypeVar

from msgspec import UNSET, Raw, UnsetType

from raftq.wire import documents as wire
from raftq.wire.formats import Format, MalformedError, value_to_json
from raftq_cluster.codec.entries import encode_segment
from raftq_cluster.core import operations as op
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.names import check_claimant, check_id, check_key, check_queue
from raftq_cluster.service.refusals import Refusal, over_limit

T = TypeVar("T")

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
    return claim._replace(mark=_mark(document.idempotency_key, claim)) if claim.key else claim


def modify_of(service: Builder, document: wire.ModifyRequest, fmt: Format) -> op.Modify:
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
    mark = _mark(key, modify)
    with_ids = [ins if ins.id else ins._replace(id=service.new_id()) for ins in inserts]
    return modify._replace(mark=mark, inserts=with_ids)


def renew_of(service: Builder, document: wire.RenewRequest, fmt: Format) -> op.Renew:
    """Build a renewal. Raises as :func:`claim_of`."""
    del service, fmt
    check_claimant(document.claimant)
    key = document.idempotency_key
    targets = _targets(document.tasks, "tasks")
    renew = op.Renew(op.RENEW, key, b"", document.claimant, targets, document.lease_ms)
    return renew._replace(mark=_mark(key, renew))


def configure_of(service: Builder, document: wire.ConfigureRequest, fmt: Format) -> op.Configure:
    """Build a change of settings. Raises as :func:`claim_of`."""
    del service, fmt
    pattern = document.pattern
    check_queue(pattern, "pattern")
    key = document.idempotency_key
    configure = op.Configure(
        op.CONFIGURE,
        key,
        b"",
        pattern,
        _given(document.order),
        _given(document.paused),
        _given(document.lease_ms),
    )
    return configure._replace(mark=_mark(key, configure))


def forget_of(service: Builder, document: wire.ForgetRequest, fmt: Format) -> op.Forget:
    """Build the forgetting of keys. Raises as :func:`claim_of`."""
    del service, fmt
    for key in document.keys:
        check_key(key, "keys")
    return op.Forget(op.FORGET, tuple(document.keys))


def check_value(value: bytes, limits: Limits) -> None:
    """Refuse a value that is too large.

    Raises:
        Refusal: ``too_large``, naming the limit.
    """
    if len(value) > limits.value_bytes_max:
        raise over_limit(
            "too_large",
            f"the value has {len(value)} bytes",
            "value_bytes_max",
            limits.value_bytes_max,
        )


def _given(value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value


def _check_parts(document: wire.ModifyRequest, limits: Limits) -> None:
    parts = len(document.inserts) + len(document.changes)
    parts += len(document.deletes) + len(document.depends)
    if not parts:
        raise Refusal("invalid", "a modification needs at least one part")
    if parts > limits.operations_max:
        raise over_limit("too_large", f"{parts} parts", "operations_max", limits.operations_max)


def _insert_of(document: wire.Insert, path: str, limits: Limits, fmt: Format) -> op.Insert:
    check_queue(document.queue, f"{path}.queue")
    id_ = _given(document.id)
    if id_ is not None:
        check_id(id_, f"{path}.id")
    arrival, ms = _arrival_of(document.at, document.delay_ms, UNSET, path)
    value, kind = _value_of(document.value, document.value_b64, path, limits, fmt)
    _check_err(document.err, limits)
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
    queue = _given(document.queue)
    if queue is not None:
        check_queue(queue, f"{path}.queue")
    check_id(document.id, f"{path}.id")
    arrival, ms = _arrival_of(document.at, document.delay_ms, document.lease_ms, path)
    value, kind = _value_of(document.value, document.value_b64, path, limits, fmt)
    err = _given(document.err)
    _check_err(err or "", limits)
    return op.Change(
        document.id,
        document.version,
        queue,
        arrival,
        ms,
        value,
        kind,
        _given(document.attempt),
        _given(document.priority),
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


def _value_of(
    value: Raw | UnsetType,
    value_b64: bytes | UnsetType,
    path: str,
    limits: Limits,
    fmt: Format,
) -> tuple[bytes | None, int]:
    """Give the bytes to store and their kind; None: no value was given."""
    if not isinstance(value_b64, UnsetType):
        if not isinstance(value, UnsetType):
            raise Refusal("invalid", "value and value_b64 exclude each other", field=path)
        check_value(value_b64, limits)
        return value_b64, op.BYTES
    if isinstance(value, UnsetType):
        return None, op.JSON
    try:
        text = value_to_json(value, fmt)
    except MalformedError as error:
        raise Refusal("invalid", str(error), field=f"{path}.value") from None
    check_value(text, limits)
    return text, op.JSON


def _check_err(err: str, limits: Limits) -> None:
    if len(err) * 4 > limits.err_bytes_max and len(err.encode()) > limits.err_bytes_max:
        raise over_limit(
            "too_large", "the error text is too long", "err_bytes_max", limits.err_bytes_max
        )


def _targets(documents: Iterable[wire.Target], path: str) -> list[op.Target]:
    targets = []
    for position, document in enumerate(documents):
        check_id(document.id, f"{path}[{position}].id")
        targets.append(op.Target(document.id, document.version))
    return targets


def _mark(key: str, operation: op.Operation) -> bytes:
    """Give a fingerprint of what the key stands for; none is needed without a key."""
    if not key:
        return b""
    check_key(key)
    return blake2b(encode_segment([operation]), digest_size=_MARK_BYTES).digest()
