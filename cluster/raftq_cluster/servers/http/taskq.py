"""The TaskQ dialect over HTTP, with the statuses, bodies and content types of its server.

Thin: it parses, calls the service, renders. Everything is ``text/plain``, JSON included; an address or
a method that it does not know is 404; an empty queue and an unknown id are 500. Where this server
refuses what TaskQ's would not (limits, no leader), the status is the refusal's own. Unlike there, a
queue's name may hold ``%2F``. Source: kandoo/beehive at 5a170ab, ``examples/taskq`` and net/http.
"""

import posixpath
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec
from aiohttp import web

from raftq_cluster.core.operations import ACK, Operation
from raftq_cluster.core.outcomes import Claimed, Modified, Outcome, Settled
from raftq_cluster.servers.http.admission import entrance_of
from raftq_cluster.servers.http.answers import CHALLENGE
from raftq_cluster.servers.http.context import Context
from raftq_cluster.servers.http.reading import path_segments
from raftq_cluster.service import taskq
from raftq_cluster.service.entrance import Entrance
from raftq_cluster.service.refusals import Refusal
from raftq_cluster.service.rendering import checked

PREFIX: Final = "/apps/taskq"
SERIAL_MAX: Final = 2**64 - 1
_TEXT: Final = "text/plain; charset=utf-8"
_FAILED: Final = {"X-Content-Type-Options": "nosniff"}

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
TaskqHandler: TypeAlias = Callable[[Context, web.Request], Awaitable[web.Response]]


async def enqueue(context: Context, request: web.Request) -> web.Response:
    """``POST /apps/taskq/{queue}/tasks``: the body is the task, whatever it is."""
    entrance = entrance_of(context, request)
    queue = path_segments(request)[2]
    body = await context.bodies.read(request)
    index, outcome = await _run(entrance, taskq.enq(entrance, queue, body))
    (row,) = checked(outcome, index, Modified).inserted
    return _text(context, f"task {row.serial} enqueued\n", index)


async def dequeue(context: Context, request: web.Request) -> web.Response:
    """``POST /apps/taskq/{queue}/tasks/deque`` (sic)."""
    entrance = entrance_of(context, request)
    queue = path_segments(request)[2]
    index, outcome = await _run(entrance, taskq.deq(queue))
    rows = checked(outcome, index, Claimed).tasks
    if not rows:
        return _failure(context, 500, taskq.NO_TASK, index)
    body = b64encode(rows[0].value).decode()
    document = {"id": rows[0].serial, "queue": queue, "body": body}
    return _text(context, msgspec.json.encode(document).decode() + "\n", index)


async def acknowledge(context: Context, request: web.Request) -> web.Response:
    """``DELETE /apps/taskq/{queue}/tasks/{id}``."""
    entrance = entrance_of(context, request)
    _, _, queue, _, digits = path_segments(request)
    serial = int(digits)
    if serial > SERIAL_MAX:
        return _failure(context, 400, f"invalid task id: {digits}: value out of range")
    index, outcome = await _run(entrance, taskq.settle(ACK, queue, serial))
    try:
        checked(outcome, index, Settled)
    except Refusal as refusal:
        if refusal.code != "task_not_found":
            raise
        return _failure(context, 500, taskq.NO_SUCH_TASK, index)
    return _text(context, f"task {digits} acknowledged\n", index)


ROUTES: Final[tuple[tuple[str, str, TaskqHandler], ...]] = (
    ("POST", PREFIX + "/{queue:[^/]+}/tasks", enqueue),
    ("POST", PREFIX + "/{queue:[^/]+}/tasks/deque", dequeue),
    # Twenty digits hold 2**64 - 1; zeros before it are allowed, within reason.
    ("DELETE", PREFIX + "/{queue:[^/]+}/tasks/{id:[0-9]{1,100}}", acknowledge),
)


def handlers(context: Context) -> list[tuple[str, str, Handler]]:
    """Give the dialect's routes, with a last one for everything else under its prefix."""
    bound = [(method, path, _handler(context, handler)) for method, path, handler in ROUTES]
    return [*bound, ("*", PREFIX + "{rest:(?s:.*)}", _elsewhere(context))]


def _handler(context: Context, handler: TaskqHandler) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            return await handler(context, request)
        except Refusal as refusal:
            return _failure(context, refusal.status, f"taskq: {refusal.detail}", refusal.index)
        except web.RequestPayloadError:
            response = _failure(context, 400, "cannot read request body")
            response.force_close()
            return response

    return handle


def _elsewhere(context: Context) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        """Send a path that is not clean to its clean form, as net/http does; else 404."""
        clean = _clean(request.rel_url.raw_path)
        if clean != request.rel_url.raw_path:
            return context.answers.empty(301, {"Location": clean})
        return _failure(context, 404, "404 page not found")

    return handle


def _clean(path: str) -> str:
    """Give the path without empty, ``.`` and ``..`` segments, keeping a slash at the end."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return clean + "/" if path.endswith("/") and clean != "/" else clean


async def _run(entrance: Entrance, operation: Operation) -> tuple[int, Outcome]:
    index, (outcome,) = await entrance.run([operation])
    return index, outcome


def _text(context: Context, text: str, index: int) -> web.Response:
    return context.answers.raw(text.encode(), _TEXT, index=index)


def _failure(context: Context, status: int, message: str, index: int | None = None) -> web.Response:
    headers = {**_FAILED, "WWW-Authenticate": CHALLENGE} if status == 401 else _FAILED
    return context.answers.raw(
        f"{message}\n".encode(), _TEXT, status=status, index=index, headers=headers
    )
