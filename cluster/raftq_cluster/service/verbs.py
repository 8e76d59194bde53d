"""The verbs of the v1 dialect: one table for HTTP routes and the text protocol's ``call``.

An operation verb turns a document into one operation and its outcome into a reply, both without
waiting, so that a server can put many into one batch. A query verb is awaited.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from raftq.wire import docs, membership, verification
from raftq.wire import documents as wire
from raftq.wire.formats import Format
from raftq_cluster.backends.api import (
    AddMember,
    MemberChange,
    PromoteMember,
    RemoveMember,
    ReplaceMember,
    TransferLeadership,
)
from raftq_cluster.core import queries
from raftq_cluster.core.operations import Claim, Operation
from raftq_cluster.core.outcomes import DocRow, Done, Outcome, TaskRow
from raftq_cluster.service import building, rendering
from raftq_cluster.service.entrance import Entrance
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.names import check_id, check_namespace
from raftq_cluster.service.refusals import Refusal, over_limit
from raftq_cluster.service.values import given

Result: TypeAlias = tuple[int, wire.Reply]


def _never_waits(document: Any) -> int:
    del document
    return 0


def _is_operation(document: Any) -> bool:
    del document
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationVerb:
    """A verb that is a log entry's operation."""

    name: str
    request: type[wire.Document]
    reply: type[wire.Reply]
    build: Callable[[Entrance, Any, Format], Operation]
    """Raises Refusal ``invalid`` or ``too_large``."""
    render: Callable[[int, Outcome, Format], wire.Reply]
    """Raises Refusal if the outcome is one."""
    wait_ms: Callable[[Any], int] = _never_waits
    """How long to wait for a task if there is none; only claims wait."""
    is_operation: Callable[[Any], bool] = _is_operation
    """False for a document that asks what would happen: give it to :func:`call`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryVerb:
    """A verb that is no log entry's operation: it changes nothing, or the cluster's members."""

    name: str
    request: type[wire.Document]
    reply: type[wire.Reply]
    run: Callable[[Entrance, Any, Format], Awaitable[Result]]
    """Raises Refusal."""


Verb: TypeAlias = OperationVerb | QueryVerb


async def call(service: Entrance, verb: Verb, document: Any, fmt: Format) -> Result:
    """Do a verb, of either kind, and wait for its answer.

    Raises:
        Refusal: it was refused, failed, or its outcome is unknown.
    """
    if isinstance(verb, QueryVerb):
        return await verb.run(service, document, fmt)
    if not verb.is_operation(document):
        return await _dry_run(service, document, fmt)
    operation = verb.build(service, document, fmt)
    wait_ms = verb.wait_ms(document)
    if wait_ms and isinstance(operation, Claim):
        index, outcome = await service.wait_claim(operation, wait_ms)
    else:
        index, (outcome,) = await service.run([operation])
    return index, verb.render(index, outcome, fmt)


async def _dry_run(service: Entrance, document: wire.ModifyRequest, fmt: Format) -> Result:
    modify = building.modify_of(service, document, fmt)
    answer = await service.read(queries.DryRun(modify))
    return answer.index, rendering.render_modify(answer.index, answer.value, fmt)


async def _queues(service: Entrance, document: wire.QueuesRequest, _: Format) -> Result:
    query = queries.Queues(tuple(document.prefix), tuple(document.exact), document.limit)
    answer = await service.read(query, stale=document.consistency == "stale")
    queues = [rendering.queue_document(stats) for stats in answer.value]
    return answer.index, wire.QueuesReply(queues=queues)


async def _tasks(service: Entrance, document: wire.TasksRequest, fmt: Format) -> Result:
    if not document.queue and not document.id:
        raise Refusal("invalid", "queue or id must be given", field="queue")
    query = queries.Tasks(
        document.queue,
        document.claimant,
        tuple(document.id),
        document.limit,
        document.omit_values,
    )
    answer = await service.read(query, stale=document.consistency == "stale")
    with_value = not document.omit_values
    check_listing(answer.value, service.limits)
    tasks = [rendering.task_document(row, fmt, with_value=with_value) for row in answer.value]
    return answer.index, wire.TasksReply(tasks=tasks)


def check_listing(rows: Iterable[TaskRow | DocRow], limits: Limits) -> None:
    """Refuse a listing that is too large.

    Raises:
        Refusal: ``too_large``, naming the limit.
    """
    size_bytes = sum(len(row.value) for row in rows)
    if size_bytes > limits.listing_bytes_max:
        what = f"the values of these have {size_bytes} bytes; ask for fewer, or omit_values"
        raise over_limit("too_large", what, "listing_bytes_max", limits.listing_bytes_max)


async def _task(service: Entrance, document: wire.TaskRequest, fmt: Format) -> Result:
    check_id(document.id)
    query = queries.Tasks("", "", (document.id,), 1, omit_values=False)
    answer = await service.read(query, stale=document.consistency == "stale")
    if not answer.value:
        raise Refusal("task_not_found", f"there is no task {document.id}", index=answer.index)
    return answer.index, rendering.task_document(answer.value[0], fmt, with_value=True)


async def _docs(service: Entrance, document: docs.DocsRequest, fmt: Format) -> Result:
    check_namespace(document.namespace)
    query = queries.Docs(
        document.namespace,
        tuple(document.id),
        given(document.key),
        document.key_start,
        document.key_end,
        document.limit,
        document.omit_values,
    )
    answer = await service.read(query, stale=document.consistency == "stale")
    check_listing(answer.value, service.limits)
    with_value = not document.omit_values
    found = [rendering.doc_document(row, fmt, with_value=with_value) for row in answer.value]
    return answer.index, docs.DocsReply(docs=found)


async def _namespaces(service: Entrance, document: docs.NamespacesRequest, _: Format) -> Result:
    query = queries.Namespaces(tuple(document.prefix), tuple(document.exact), document.limit)
    answer = await service.read(query, stale=document.consistency == "stale")
    found = [docs.NamespaceCounts(**row._asdict()) for row in answer.value]
    return answer.index, docs.NamespacesReply(namespaces=found)


async def _settings(service: Entrance, document: wire.SettingsRequest, _: Format) -> Result:
    answer = await service.read(queries.AllSettings(), stale=document.consistency == "stale")
    rows = [rendering.settings_document(row) for row in answer.value]
    return answer.index, wire.SettingsReply(settings=rows)


async def _time(service: Entrance, document: wire.TimeRequest, _: Format) -> Result:
    del document
    answer = await service.read(queries.Time())
    return answer.index, wire.TimeReply(now=answer.value)


async def _cluster(service: Entrance, document: wire.ClusterRequest, _: Format) -> Result:
    del document
    status = service.cluster()
    return status.index, rendering.cluster_document(status)


async def _verify(service: Entrance, document: verification.VerifyRequest, _: Format) -> Result:
    found = await service.verify(document.entry)
    return service.cluster().index, rendering.verification_document(found)


def _administers(change_of: Callable[[Any], MemberChange]) -> Callable[..., Awaitable[Result]]:
    """Make a verb's ``run`` that changes the members, and answers with the cluster as it is then."""

    async def run(service: Entrance, document: Any, _: Format) -> Result:
        await service.change_members(change_of(document))
        status = service.cluster()
        return status.index, rendering.cluster_document(status)

    return run


def _render_configure(index: int, outcome: Outcome, _: Format) -> wire.Reply:
    rendering.checked(outcome, index, Done)
    return wire.ConfigureReply()


def _render_forget(index: int, outcome: Outcome, _: Format) -> wire.Reply:
    rendering.checked(outcome, index, Done)
    return wire.ForgetReply()


_ALL: Final[tuple[Verb, ...]] = (
    OperationVerb(
        name="claim",
        request=wire.ClaimRequest,
        reply=wire.ClaimReply,
        build=building.claim_of,
        render=rendering.render_claim,
        wait_ms=lambda document: document.wait_ms,
    ),
    OperationVerb(
        name="modify",
        request=wire.ModifyRequest,
        reply=wire.ModifyReply,
        build=building.modify_of,
        render=rendering.render_modify,
        is_operation=lambda document: not document.dry_run,
    ),
    OperationVerb(
        name="renew",
        request=wire.RenewRequest,
        reply=wire.RenewReply,
        build=building.renew_of,
        render=rendering.render_renew,
    ),
    OperationVerb(
        name="configure",
        request=wire.ConfigureRequest,
        reply=wire.ConfigureReply,
        build=building.configure_of,
        render=_render_configure,
    ),
    OperationVerb(
        name="forget",
        request=wire.ForgetRequest,
        reply=wire.ForgetReply,
        build=building.forget_of,
        render=_render_forget,
    ),
    OperationVerb(
        name="claim_docs",
        request=docs.ClaimDocsRequest,
        reply=docs.ClaimDocsReply,
        build=building.claim_docs_of,
        render=rendering.render_claim_docs,
    ),
    QueryVerb(name="docs", request=docs.DocsRequest, reply=docs.DocsReply, run=_docs),
    QueryVerb(
        name="namespaces",
        request=docs.NamespacesRequest,
        reply=docs.NamespacesReply,
        run=_namespaces,
    ),
    QueryVerb(name="queues", request=wire.QueuesRequest, reply=wire.QueuesReply, run=_queues),
    QueryVerb(name="tasks", request=wire.TasksRequest, reply=wire.TasksReply, run=_tasks),
    QueryVerb(name="task", request=wire.TaskRequest, reply=wire.Task, run=_task),
    QueryVerb(
        name="settings", request=wire.SettingsRequest, reply=wire.SettingsReply, run=_settings
    ),
    QueryVerb(name="time", request=wire.TimeRequest, reply=wire.TimeReply, run=_time),
    QueryVerb(name="cluster", request=wire.ClusterRequest, reply=wire.ClusterReply, run=_cluster),
    QueryVerb(
        name="add_member",
        request=membership.AddMemberRequest,
        reply=wire.ClusterReply,
        run=_administers(lambda document: AddMember(document.peer, document.voter)),
    ),
    QueryVerb(
        name="remove_member",
        request=membership.RemoveMemberRequest,
        reply=wire.ClusterReply,
        run=_administers(lambda document: RemoveMember(document.id)),
    ),
    QueryVerb(
        name="promote_member",
        request=membership.PromoteMemberRequest,
        reply=wire.ClusterReply,
        run=_administers(lambda document: PromoteMember(document.id)),
    ),
    QueryVerb(
        name="replace_member",
        request=membership.ReplaceMemberRequest,
        reply=wire.ClusterReply,
        run=_administers(lambda document: ReplaceMember(document.id, document.by)),
    ),
    QueryVerb(
        name="transfer",
        request=membership.TransferRequest,
        reply=wire.ClusterReply,
        run=_administers(lambda document: TransferLeadership(document.to)),
    ),
    QueryVerb(
        name="verify",
        request=verification.VerifyRequest,
        reply=verification.VerifyReply,
        run=_verify,
    ),
)

VERBS: Final[dict[str, Verb]] = {verb.name: verb for verb in _ALL}
