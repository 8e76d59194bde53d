"""From outcomes and rows to documents."""

from collections.abc import Iterable
from typing import Literal, TypeVar

from msgspec import UNSET, Raw

from raftq.wire import docs
from raftq.wire import documents as wire
from raftq.wire.formats import Format, value_from_json
from raftq.wire.verification import MemberDigest, VerifyReply
from raftq_cluster.backends.api import Status, Verification
from raftq_cluster.core.operations import BYTES
from raftq_cluster.core.outcomes import (
    Claimed,
    ClaimedBefore,
    DocRow,
    DocsClaimed,
    Modified,
    Outcome,
    QueueStats,
    Refused,
    Renewed,
    SetRow,
    SettingsRow,
    TaskRow,
    Transacted,
    Unfinished,
)
from raftq_cluster.service.refusals import refusal_of

T = TypeVar("T")

_NULL = b"null"


def task_document(row: TaskRow, fmt: Format, *, with_value: bool) -> wire.Task:
    """Write a task; its value is embedded in the answer's format."""
    task = wire.Task(
        id=row.id,
        version=row.version,
        queue=row.queue,
        at=row.at,
        claimant=row.claimant,
        claims=row.claims,
        attempt=row.attempt,
        priority=row.priority,
        err=row.err,
        created=row.created,
        modified=row.modified,
    )
    if with_value:
        _embed_value(task, row.value, row.kind, fmt)
    return task


def _tasks(rows: Iterable[TaskRow], fmt: Format, *, with_value: bool) -> list[wire.Task]:
    return [task_document(row, fmt, with_value=with_value) for row in rows]


def checked(outcome: Outcome, index: int, type_: type[T]) -> T:
    """Give an outcome of the expected type.

    Raises:
        Refusal: the operation was refused, or is not known to be done.
    """
    if isinstance(outcome, type_):
        return outcome
    assert isinstance(outcome, Refused | Unfinished), outcome
    raise refusal_of(outcome, index)


def render_claim(index: int, outcome: Outcome, fmt: Format) -> wire.ClaimReply:
    """Write the answer to a claim. Raises as :func:`checked`."""
    tasks = checked(outcome, index, Claimed).tasks
    is_gone = isinstance(outcome, ClaimedBefore) and not tasks
    return wire.ClaimReply(
        tasks=_tasks(tasks, fmt, with_value=True), gone=True if is_gone else UNSET
    )


def render_modify(index: int, outcome: Outcome, fmt: Format) -> wire.ModifyReply:
    """Write the answer to a modification. Raises as :func:`checked`."""
    if isinstance(outcome, Transacted):
        return wire.ModifyReply(
            inserted=_tasks(outcome.inserted, fmt, with_value=False),
            changed=_tasks(outcome.changed, fmt, with_value=False),
            docs_inserted=_docs(outcome.docs_inserted, fmt, with_value=False),
            docs_changed=_docs(outcome.docs_changed, fmt, with_value=False),
            doc_sets=[set_document(row) for row in outcome.sets],
        )
    modified = checked(outcome, index, Modified)
    return wire.ModifyReply(
        inserted=_tasks(modified.inserted, fmt, with_value=False),
        changed=_tasks(modified.changed, fmt, with_value=False),
    )


def render_renew(index: int, outcome: Outcome, fmt: Format) -> wire.RenewReply:
    """Write the answer to a renewal. Raises as :func:`checked`."""
    renewed = checked(outcome, index, Renewed)
    return wire.RenewReply(
        renewed=_tasks(renewed.renewed, fmt, with_value=False),
        lost=[
            wire.Lost(id=lost.id, reason=lost.reason)  # type: ignore[arg-type] # the core's literals
            for lost in renewed.lost
        ],
    )


def render_claim_docs(index: int, outcome: Outcome, fmt: Format) -> docs.ClaimDocsReply:
    """Write the answer to a claim of sets. Raises as :func:`checked`."""
    claimed = checked(outcome, index, DocsClaimed)
    return docs.ClaimDocsReply(
        sets=[set_document(row) for row in claimed.sets],
        docs=_docs(claimed.docs, fmt, with_value=True),
    )


def doc_document(row: DocRow, fmt: Format, *, with_value: bool) -> wire.Doc:
    """Write a doc; its value is embedded in the answer's format."""
    doc = wire.Doc(
        namespace=row.namespace,
        id=row.id,
        version=row.version,
        key=row.key,
        secondary_key=row.secondary_key,
        claimant=row.claimant,
        at=row.at,
        created=row.created,
        modified=row.modified,
    )
    if with_value:
        _embed_value(doc, row.value, row.kind, fmt)
    return doc


def set_document(row: SetRow) -> wire.DocSet:
    """Write the lock of a set."""
    return wire.DocSet(**row._asdict())


def _docs(rows: Iterable[DocRow], fmt: Format, *, with_value: bool) -> list[wire.Doc]:
    return [doc_document(row, fmt, with_value=with_value) for row in rows]


def _embed_value(document: wire.Task | wire.Doc, value: bytes, kind: int, fmt: Format) -> None:
    if kind == BYTES:
        document.value_b64 = value
    else:
        text = value or _NULL
        document.value = Raw(text) if fmt == "json" else value_from_json(text, fmt)


def queue_document(stats: QueueStats) -> wire.Queue:
    """Write a queue's statistics."""
    return wire.Queue(
        name=stats.name,
        tasks=stats.tasks,
        ready=stats.ready,
        claimed=stats.claimed,
        delayed=stats.delayed,
        max_claims=stats.max_claims,
        oldest_ready_at=stats.oldest_ready_at,
        order=stats.order,  # type: ignore[arg-type] # settings hold only these
        paused=stats.paused,
    )


def settings_document(row: SettingsRow) -> wire.Settings:
    """Write the settings of a pattern."""
    order: Literal["random", "fifo", "priority"] | None = row.order  # type: ignore[assignment]
    return wire.Settings(
        pattern=row.pattern,
        order=UNSET if order is None else order,
        paused=UNSET if row.paused is None else row.paused,
        lease_ms=UNSET if row.lease_ms is None else row.lease_ms,
        lease_ms_min=UNSET if row.lease_ms_min is None else row.lease_ms_min,
        lease_ms_max=UNSET if row.lease_ms_max is None else row.lease_ms_max,
    )


def verification_document(verification: Verification) -> VerifyReply:
    """Write what the nodes have."""
    members = [MemberDigest(**member._asdict()) for member in verification.members]
    return VerifyReply(entry=verification.entry, members=members)


def cluster_document(status: Status) -> wire.ClusterReply:
    """Write the cluster's state."""
    return wire.ClusterReply(
        cluster_id=status.cluster_id,
        node=status.node,
        backend=status.backend,
        durability=status.durability,
        term=status.term,
        leader=status.leader,
        index=status.index,
        members=[wire.Member(**member._asdict()) for member in status.members],
        log_format=status.log_format,
    )
