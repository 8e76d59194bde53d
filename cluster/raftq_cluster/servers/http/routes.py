"""The one table of routes: what is bound to aiohttp and what the OpenAPI document says.

A verb route's document comes from the body, or from the query and the path; its types are the verb's.
A page is for operators and tools. Knows neither aiohttp nor the service. Dialects have tables of their
own.
"""

from dataclasses import dataclass
from typing import Final, Literal

from raftq.wire.export_file import MEDIA_TYPE, AbandonReply, ImportReply

# Where nobody is asked for a token, the first two never come.
_READING: Final = (
    "unauthenticated",
    "forbidden",
    "bad_request",
    "invalid",
    "not_acceptable",
    "too_large",
)
_BODY: Final = (*_READING, "unsupported_media_type", "request_timeout", "too_busy")
_WRITING: Final = (*_BODY, "idempotency_key_reused", "unavailable", "outcome_unknown")

_CHANGING: Final = ("member_not_found", "change_refused", "unavailable", "outcome_unknown")

_MOVING: Final = ("unauthenticated", "forbidden", "bad_request", "invalid", "unavailable")
_IMPORTING: Final = ("not_acceptable", "import_refused", "outcome_unknown")


@dataclass(frozen=True, kw_only=True, slots=True)
class VerbRoute:
    """A verb of ``raftq_cluster.service.verbs`` at an address."""

    method: str
    path: str
    verb: str
    source: Literal["body", "query"]
    path_fields: tuple[str, ...] = ()  # fields of the document that segments in braces give
    refuses: tuple[str, ...]  # codes, besides ``internal``
    summary: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PageRoute:
    """A page of ``raftq_cluster.servers.http.pages`` at an address."""

    method: str = "GET"
    path: str
    page: str
    parameters: tuple[tuple[str, str], ...] = ()  # name and description
    needs_token: bool = False  # where tokens are asked for at all
    takes: str = ""  # media type of the body, if there is one
    reply: type | None = None  # a document, in any format; else bytes of the media types
    media_types: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ("bad_request", "invalid")
    summary: str


VERB_ROUTES: Final = (
    VerbRoute(
        method="POST",
        path="/v1/claim",
        verb="claim",
        source="body",
        refuses=_WRITING,
        summary="Claim arrived tasks from any of the named queues",
    ),
    VerbRoute(
        method="POST",
        path="/v1/modify",
        verb="modify",
        source="body",
        refuses=(*_WRITING, "dependency", "store_full"),
        summary="Insert, change, delete and depend on tasks and docs: all of it or none of it",
    ),
    VerbRoute(
        method="POST",
        path="/v1/renew",
        verb="renew",
        source="body",
        refuses=_WRITING,
        summary="Hold claimed tasks for longer",
    ),
    VerbRoute(
        method="POST",
        path="/v1/forget",
        verb="forget",
        source="body",
        refuses=(*_BODY, "unavailable", "outcome_unknown"),
        summary="Drop idempotency records whose answers have arrived",
    ),
    VerbRoute(
        method="GET",
        path="/v1/queues",
        verb="queues",
        source="query",
        refuses=(*_READING, "unavailable"),
        summary="Statistics of queues",
    ),
    VerbRoute(
        method="GET",
        path="/v1/tasks",
        verb="tasks",
        source="query",
        refuses=(*_READING, "unavailable"),
        summary="Tasks of a queue, or by their ids",
    ),
    VerbRoute(
        method="GET",
        path="/v1/tasks/{id}",
        verb="task",
        source="query",
        path_fields=("id",),
        refuses=(*_READING, "task_not_found", "unavailable"),
        summary="One task",
    ),
    VerbRoute(
        method="GET",
        path="/v1/docs",
        verb="docs",
        source="query",
        refuses=(*_READING, "unavailable"),
        summary="Docs of a namespace",
    ),
    VerbRoute(
        method="POST",
        path="/v1/docs/claim",
        verb="claim_docs",
        source="body",
        refuses=(*_WRITING, "dependency", "store_full"),
        summary="Hold sets of docs, all or none",
    ),
    VerbRoute(
        method="GET",
        path="/v1/namespaces",
        verb="namespaces",
        source="query",
        refuses=(*_READING, "unavailable"),
        summary="Statistics of namespaces of docs",
    ),
    VerbRoute(
        method="GET",
        path="/v1/time",
        verb="time",
        source="query",
        refuses=(*_READING, "unavailable"),
        summary="The time of the log",
    ),
    VerbRoute(
        method="GET",
        path="/v1/cluster",
        verb="cluster",
        source="query",
        refuses=_READING,
        summary="The members of the cluster as this node sees them",
    ),
    VerbRoute(
        method="POST",
        path="/v1/cluster/members",
        verb="add_member",
        source="body",
        refuses=(*_BODY, *_CHANGING),
        summary="Make a node that waits a member of the cluster",
    ),
    VerbRoute(
        method="DELETE",
        path="/v1/cluster/members/{id}",
        verb="remove_member",
        source="query",
        path_fields=("id",),
        refuses=(*_READING, *_CHANGING),
        summary="Let a member go",
    ),
    VerbRoute(
        method="POST",
        path="/v1/cluster/members/{id}/promote",
        verb="promote_member",
        source="query",
        path_fields=("id",),
        refuses=(*_READING, *_CHANGING),
        summary="Let a learner vote",
    ),
    VerbRoute(
        method="POST",
        path="/v1/cluster/replace",
        verb="replace_member",
        source="body",
        refuses=(*_BODY, *_CHANGING),
        summary="Let another node take a member's place",
    ),
    VerbRoute(
        method="POST",
        path="/v1/cluster/transfer",
        verb="transfer",
        source="body",
        refuses=(*_BODY, *_CHANGING),
        summary="Move the leadership",
    ),
    VerbRoute(
        method="POST",
        path="/v1/cluster/verify",
        verb="verify",
        source="body",
        refuses=(*_BODY, "unavailable", "outcome_unknown"),
        summary="Compare digests of the whole state of all nodes as of one log entry",
    ),
    VerbRoute(
        method="GET",
        path="/v1/settings",
        verb="settings",
        source="query",
        refuses=(*_READING, "unavailable"),
        summary="Settings of queues",
    ),
    VerbRoute(
        method="PUT",
        path="/v1/settings",
        verb="configure",
        source="body",
        refuses=_WRITING,
        summary="Replace the settings of the queues that match a pattern",
    ),
)

PAGE_ROUTES: Final = (
    PageRoute(
        path="/v1/backup",
        page="backup",
        needs_token=True,
        media_types=(MEDIA_TYPE,),
        refuses=(*_MOVING, "too_busy"),
        summary="The whole state as of now, as one checked file",
    ),
    PageRoute(
        method="POST",
        path="/v1/import",
        page="take_in",
        needs_token=True,
        takes=MEDIA_TYPE,
        reply=ImportReply,
        refuses=(
            *_MOVING,
            *_IMPORTING,
            "unsupported_media_type",
            "request_timeout",
            "store_full",
        ),
        summary="Take such a file into a store that is empty, or go on where that stopped",
    ),
    PageRoute(
        method="DELETE",
        path="/v1/import",
        page="abandon_import",
        needs_token=True,
        reply=AbandonReply,
        refuses=(*_MOVING, *_IMPORTING),
        summary="Drop what an unfinished import has left",
    ),
    PageRoute(
        path="/livez",
        page="livez",
        media_types=("text/plain",),
        summary="Whether the process answers; depends on no leader and no disk",
    ),
    PageRoute(
        path="/readyz",
        page="readyz",
        parameters=(("noleader", "Do not ask for a leader: for forming a cluster."),),
        media_types=("text/plain",),
        refuses=("bad_request", "invalid", "unavailable"),
        summary="Whether this node can serve: it knows a leader and has caught up with it",
    ),
    PageRoute(
        path="/metrics",
        page="metrics",
        needs_token=True,
        media_types=("text/plain", "application/openmetrics-text"),
        refuses=("bad_request", "invalid", "unauthenticated", "forbidden"),
        summary="Metrics for Prometheus",
    ),
    PageRoute(
        path="/openapi.json",
        page="openapi",
        media_types=("application/json",),
        summary="This document",
    ),
)

ROUTES: Final[tuple[VerbRoute | PageRoute, ...]] = (*VERB_ROUTES, *PAGE_ROUTES)
