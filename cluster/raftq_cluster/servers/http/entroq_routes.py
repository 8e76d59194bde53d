"""EntroQ's addresses: REST under ``/api/v0``, Connect under ``/api.EntroQ``; every answer names both protocols.

Handlers parse, call, render. A refusal is a google.rpc.Status over REST and an error of Connect there.
"""

import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from aiohttp import web
from msgspec import Raw

from raftq.wire.formats import encode
from raftq_cluster.servers.http.admission import entrance_of
from raftq_cluster.servers.http.answers import CHALLENGE
from raftq_cluster.servers.http.context import Context
from raftq_cluster.servers.http.entroq import errors, messages
from raftq_cluster.servers.http.entroq.building import NotHereError
from raftq_cluster.servers.http.entroq.calls import (
    METHODS,
    Call,
    Caller,
    DependencyRefused,
    Method,
    listed_tasks,
    written,
)
from raftq_cluster.servers.http.entroq.messages import Message
from raftq_cluster.servers.http.entroq.rendering import Json, task_json
from raftq_cluster.servers.http.reading import query_parameters
from raftq_cluster.service.refusals import Refusal

REST: Final = "/api/v0"
CONNECT: Final = "/api.EntroQ"
PROTOCOL_HEADER: Final = "entroq-protocol"
PROTOCOLS: Final = (1, 2)
STREAM_TYPE: Final = "application/connect+json"
END_OF_STREAM: Final = 2
_JSON_TYPE: Final = "application/json"
_LINES_TYPE: Final = "application/x-ndjson"
_ANNOUNCED: Final = {PROTOCOL_HEADER: ",".join(map(str, PROTOCOLS))}
_FRAME: Final = struct.Struct(">BI")

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Failure: TypeAlias = Callable[[errors.Code, str, list[Json]], Json]


class Route(NamedTuple):
    """One REST route: a method of the service, its message from the body or from the query."""

    http_method: str
    path: str
    method: str


ROUTES: Final = (
    Route("GET", "/time", "Time"),
    Route("POST", "/claim", "TryClaim"),
    Route("POST", "/claim/wait", "Claim"),
    Route("POST", "/modify", "Modify"),
    Route("GET", "/tasks", "Tasks"),
    Route("GET", "/queues", "Queues"),
    Route("GET", "/queues/stats", "QueueStats"),
    Route("GET", "/docs", "Docs"),
    Route("POST", "/docs/claim", "ClaimDocs"),
    Route("GET", "/namespaces/stats", "NamespaceStats"),
)


def handlers(context: Context) -> list[tuple[str, str, Handler]]:
    """Give the dialect's routes, with last ones for everything else under its prefixes."""
    server = _Server(context, Caller())
    bound: list[tuple[str, str, Handler]] = [
        (route.http_method, REST + route.path, server.rest(METHODS[route.method]))
        for route in ROUTES
    ]
    bound.append(("GET", f"{REST}/tasks/stream", server.guarded(server.stream_lines, _rest)))
    bound += [
        ("POST", f"{CONNECT}/{name}", server.connect(method)) for name, method in METHODS.items()
    ]
    bound.append(("POST", f"{CONNECT}/StreamTasks", server.guarded(server.stream, _connect)))
    for prefix, failure in ((REST, _rest), (CONNECT, _connect)):
        bound.append(("*", prefix + "{rest:(?s:.*)}", server.guarded(_elsewhere, failure)))
    return bound


class _Server:
    """The handlers of one node."""

    def __init__(self, context: Context, caller: Caller) -> None:
        self._context = context
        self._caller = caller

    def rest(self, method: Method) -> Handler:
        """Make the handler of a REST route."""

        async def handle(request: web.Request) -> web.StreamResponse:
            call = self._call(request)
            if request.method == "GET":
                message = method.table.read(_nested(request.rel_url.raw_query_string))
            else:
                message = await self._body(request, method)
            return self._json(await method.do(call, message))

        return self.guarded(handle, _rest)

    def connect(self, method: Method) -> Handler:
        """Make the handler of a unary method of Connect."""

        async def handle(request: web.Request) -> web.StreamResponse:
            _require_type(request, _JSON_TYPE)
            call = self._call(request)
            return self._json(await method.do(call, await self._body(request, method)))

        return self.guarded(handle, _connect)

    async def stream_lines(self, request: web.Request) -> web.StreamResponse:
        """``GET /tasks/stream``: one document a line, one task each."""
        call = self._call(request)
        message = messages.TASKS.read(_nested(request.rel_url.raw_query_string))
        lines = [bytes(document) + b"\n" for document in await self._documents(call, message)]
        return self._answer(b"".join(lines), _LINES_TYPE)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """``StreamTasks``: an enveloped message in, one with a task each out, and an end."""
        _require_type(request, STREAM_TYPE)
        try:
            call = self._call(request)
            body = await self._context.bodies.read(request)
            message = messages.TASKS.read(_unframed(body))
            documents = await self._documents(call, message)
        except Refusal as refusal:  # a stream's error stands at its end
            failed = _connect(errors.code_of(refusal), refusal.detail, [])
            return self._answer(_framed(END_OF_STREAM, {"error": failed}), STREAM_TYPE)
        frames = [_enveloped(0, bytes(document)) for document in documents]
        return self._answer(b"".join((*frames, _framed(END_OF_STREAM, {}))), STREAM_TYPE)

    def guarded(
        self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]], failure: Failure
    ) -> Handler:
        """Wrap a handler: refusals become the dialect's errors."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except DependencyRefused as refused:
                code, message = errors.code_of(refused.refusal), str(refused)
                document = failure(code, message, refused.details)
            except Refusal as refusal:
                code = errors.code_of(refusal)
                document = failure(code, refusal.detail, [])
            except NotHereError as error:
                code = errors.UNIMPLEMENTED
                document = failure(code, str(error), [])
            except web.RequestPayloadError:
                code = errors.code_of(Refusal("bad_request", ""))
                document = failure(code, "the body is not framed as its headers say", [])
                response = self._json(document, code.status)
                response.force_close()
                return response
            return self._json(document, code.status)

        return handle

    def _call(self, request: web.Request) -> Call:
        return Call(self._caller, entrance_of(self._context, request), _protocol(request))

    async def _body(self, request: web.Request, method: Method) -> Message:
        body = await self._context.bodies.read(request)
        return method.table.read(body or b"{}")

    async def _documents(self, call: Call, message: Message) -> list[Raw]:
        rows = await listed_tasks(call, message)
        return await written(rows, lambda row: {"tasks": [task_json(row)]})

    def _json(self, document: Json, status: int = 200) -> web.Response:
        headers = {"WWW-Authenticate": CHALLENGE} if status == 401 else {}
        return self._answer(encode(document, "json"), _JSON_TYPE, status, headers)

    def _answer(
        self, body: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] = {}
    ) -> web.Response:
        return self._context.answers.raw(
            body, content_type, status=status, headers={**_ANNOUNCED, **headers}
        )


async def _elsewhere(request: web.Request) -> web.StreamResponse:
    known = {REST + route.path for route in ROUTES} | {f"{REST}/tasks/stream"}
    known |= {f"{CONNECT}/{name}" for name in (*METHODS, "StreamTasks")}
    if request.path in known:
        raise NotHereError(f"{request.path} does not take {request.method}")
    raise Refusal("not_found", f"there is nothing at {request.path[:100]!r}")


def _protocol(request: web.Request) -> int:
    said = request.headers.get(PROTOCOL_HEADER, "1").strip()
    if said not in map(str, PROTOCOLS):
        raise NotHereError(f"this server serves protocols 1 and 2, not {said[:20]!r}")
    return int(said)


def _require_type(request: web.Request, wanted: str) -> None:
    if request.content_type != wanted:
        raise Refusal("unsupported_media_type", f"Content-Type must be {wanted}")


def _nested(raw_query: str) -> dict[str, Any]:
    """Give the parameters of a query as a message: ``query.ids=a&query.ids=b``, lists by repetition."""
    message: dict[str, Any] = {}
    for name, value in query_parameters(raw_query):
        *path, field = name.split(".")
        inner = message
        for step in path:
            inner = inner.setdefault(step, {})
            if not isinstance(inner, dict):
                raise Refusal("invalid", f"{name[:80]}: there is no such field")
        items = inner.setdefault(field, []) if messages.snake_case(field) in _LISTS else None
        if isinstance(items, list):
            items.append(value)
        elif field in inner:
            raise Refusal("invalid", f"{name[:80]}: given twice")
        else:
            inner[field] = value
    return message


_LISTS: Final = frozenset(("task_id", "match_prefix", "match_exact", "ids"))


def _framed(flags: int, document: Json) -> bytes:
    return _enveloped(flags, encode(document, "json"))


def _enveloped(flags: int, body: bytes) -> bytes:
    return _FRAME.pack(flags, len(body)) + body


def _unframed(body: bytes) -> bytes:
    if len(body) >= _FRAME.size:
        flags, length = _FRAME.unpack_from(body)
        if flags == 0 and len(body) == _FRAME.size + length:
            return body[_FRAME.size :]
    raise Refusal("bad_request", "this is not one enveloped message")


_rest: Final[Failure] = errors.status_json
_connect: Final[Failure] = errors.connect_json
