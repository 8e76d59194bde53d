"""Pages for operators and tools: probes, metrics, the OpenAPI document.

``/livez`` depends on nothing; ``/readyz`` on a leader and on having caught up; during a drain it
says no, so that a balancer sends nobody. Source: the probes of Kubernetes and rqlite.
"""

from typing import Final

from aiohttp import web
from msgspec import json

from raftq_cluster.backends.api import Answer
from raftq_cluster.core.queries import Queues, Time
from raftq_cluster.observability.metrics import Reading, Sweeps
from raftq_cluster.servers.http.admission import entrance_of
from raftq_cluster.servers.http.context import Context
from raftq_cluster.servers.http.moving import Page, abandon_import, backup, take_in
from raftq_cluster.servers.http.openapi import openapi_document
from raftq_cluster.service.doors import require_overview
from raftq_cluster.service.refusals import Refusal

QUEUES_READ_MAX: Final = 2_000  # by a scrape: their statistics take about 10 ms to gather
_TEXT: Final = "text/plain; charset=utf-8"


async def livez(context: Context, request: web.Request, given: frozenset[str]) -> web.Response:
    """Say that the process answers."""
    del request, given
    return context.answers.raw(b"ok\n", _TEXT)


async def readyz(context: Context, request: web.Request, given: frozenset[str]) -> web.Response:
    """Say whether this node can serve."""
    del request
    status = context.service.status()
    if context.guard.draining:
        raise Refusal("unavailable", "the node is stopping", index=status.index)
    if not status.ready and "noleader" not in given:
        why = "it has not caught up with the leader" if status.leader else "no leader is known"
        raise Refusal("unavailable", f"the node is not ready: {why}", index=status.index)
    return context.answers.raw(b"ok\n", _TEXT, index=status.index)


async def metrics(context: Context, request: web.Request, given: frozenset[str]) -> web.Response:
    """Write the metrics, for who may see the whole node; queues as this node knows them, so that a scrape needs no leader."""
    del given
    require_overview(entrance_of(context, request))
    service = context.service
    queues = await _queues(context)
    now_ms = await service.read(Time(), stale=True)
    reading = Reading(
        load=service.load(),
        status=service.status(),
        queues=queues.value,
        waiting=service.waiting(),
        connections=context.guard.served,
        now_ms=now_ms.value,
        refused=context.doors.refused,
        sweeps=Sweeps(*service.collecting.counts()),
    )
    body, content_type = context.metrics.render(reading, request.headers.get("Accept", ""))
    return context.answers.raw(body, content_type, index=queues.index)


async def _queues(context: Context) -> Answer:
    try:
        return await context.service.read(Queues((), (), QUEUES_READ_MAX), stale=True)
    except Refusal:  # of an unfinished import, nothing is told but that it is there
        return Answer(context.service.status().index, [])


async def openapi(context: Context, request: web.Request, given: frozenset[str]) -> web.Response:
    """Write the OpenAPI document."""
    del request, given
    return context.answers.raw(json.encode(openapi_document()), "application/json")


_ALL: Final[tuple[Page, ...]] = (livez, readyz, metrics, openapi, backup, take_in, abandon_import)
PAGES: Final[dict[str, Page]] = {page.__name__: page for page in _ALL}
