"""From what callers hold to the documents that are sent."""

from msgspec import UNSET

from raftq.errors import InvalidRequest
from raftq.tasks import Change, Insert
from raftq.values import encode_value
from raftq.wire import documents


def insert_document(insert: Insert, value_bytes_max: int) -> documents.Insert:
    """Write a new task.

    Raises:
        InvalidRequest: the value is no JSON, or both ``at`` and ``delay_ms`` are given.
        TooLarge: the value is too large.
    """
    if insert.at is not None and insert.delay_ms is not None:
        raise InvalidRequest("at most one of at and delay_ms can be given")
    value, value_b64 = encode_value(insert.value, value_bytes_max)
    return documents.Insert(
        queue=insert.queue,
        id=UNSET if insert.id is None else insert.id,
        at=UNSET if insert.at is None else insert.at,
        delay_ms=UNSET if insert.delay_ms is None else insert.delay_ms,
        value=value,
        value_b64=value_b64,
        attempt=insert.attempt,
        priority=insert.priority,
        err=insert.err,
    )


def change_document(change: Change, value_bytes_max: int) -> documents.Change:
    """Write new fields of a task. Raises as :func:`insert_document`, and for ``lease_ms`` too."""
    arrivals = (change.at, change.delay_ms, change.lease_ms)
    if sum(ms is not None for ms in arrivals) > 1:
        raise InvalidRequest("at most one of at, delay_ms and lease_ms can be given")
    value, value_b64 = (
        (UNSET, UNSET) if change.value is UNSET else encode_value(change.value, value_bytes_max)
    )
    return documents.Change(
        id=change.id,
        version=change.version,
        queue=UNSET if change.queue is None else change.queue,
        at=UNSET if change.at is None else change.at,
        delay_ms=UNSET if change.delay_ms is None else change.delay_ms,
        lease_ms=UNSET if change.lease_ms is None else change.lease_ms,
        value=value,
        value_b64=value_b64,
        attempt=UNSET if change.attempt is None else change.attempt,
        priority=UNSET if change.priority is None else change.priority,
        err=UNSET if change.err is None else change.err,
        reset_claims=change.reset_claims,
    )
