"""From the table of routes to an aiohttp application: handlers parse, call the service, render.

Errors are mapped once, in the one middleware, which also counts requests. A known address answers
any other method itself, and a last route takes unknown addresses, so that aiohttp writes no answer of
its own.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias

from aiohttp import web

from raftq_cluster.servers.http import entroq_routes as entroq
from raftq_cluster.servers.http import taskq
from raftq_cluster.servers.http.admission import entrance_of, is_admitted
from raftq_cluster.servers.http.connection import Connection
from raftq_cluster.servers.http.context import Context
from raftq_cluster.servers.http.pages import PAGES
from raftq_cluster.servers.http.reading import (
    KEY_FIELD,
    document_fields,
    path_segments,
    problem_format,
    query_parameters,
    read_document,
    read_query,
    require_answer_format,
    require_format,
    take_key_header,
    unknown_parameter,
)
from raftq_cluster.servers.http.routes import ROUTES, PageRoute, VerbRoute
from raftq_cluster.service.refusals import Refusal
from raftq_cluster.service.verbs import VERBS, call

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOG: Final = logging.getLogger(__name__)
_REST: Final = "/{rest}"  # addresses that are in no table


def make_application(context: Context) -> web.Application:
    """Bind every route."""
    application = web.Application(middlewares=[_middleware(context)])
    methods: dict[str, list[str]] = {}
    for route in ROUTES:
        handler = _handler(context, route)
        path = route.path.replace("{id}", "{id:[^/]+}")  # braces too may stand in an id
        takes_any = isinstance(route, PageRoute) and bool(route.takes)
        for method in _methods(route):
            methods.setdefault(path, []).append(method)
            _bind(application, context, method, path, handler, takes_any=takes_any)
    for path, allowed in methods.items():
        _bind(application, context, "*", path, _other_methods(context, [*allowed, "OPTIONS"]))
    for method, path, handler in (*taskq.handlers(context), *entroq.handlers(context)):
        _bind(application, context, method, path, handler)
    _bind(application, context, "*", _REST.replace("}", ":(?s:.*)}"), _no_such_address)
    return application


def _methods(route: VerbRoute | PageRoute) -> tuple[str, ...]:
    return ("GET", "HEAD") if route.method == "GET" else (route.method,)


def _bind(
    application: web.Application,
    context: Context,
    method: str,
    path: str,
    handler: Handler,
    *,
    takes_any: bool = False,
) -> None:
    expect = _expect(context, takes_any=takes_any)
    application.router.add_route(method, path, handler, expect_handler=expect)


def _handler(context: Context, route: VerbRoute | PageRoute) -> Handler:
    if isinstance(route, PageRoute):
        return _page_handler(context, route)
    if route.source == "body":
        return _body_handler(context, route)
    return _query_handler(context, route)


def _body_handler(context: Context, route: VerbRoute) -> Handler:
    verb = VERBS[route.verb]
    has_key = KEY_FIELD in document_fields(verb.request)

    async def handle(request: web.Request) -> web.Response:
        entrance = entrance_of(context, request)
        fmt = require_format(request)
        answer_fmt = require_answer_format(request, fmt)
        document = read_document(await context.bodies.read(request), verb.request, fmt)
        if has_key:
            take_key_header(request, document)
        # Values stand in modify's request, or in the answers of others, never in both.
        values_fmt = fmt if verb.name == "modify" else answer_fmt
        index, reply = await call(entrance, verb, document, values_fmt)
        return context.answers.document(index, reply, answer_fmt)

    return handle


def _query_handler(context: Context, route: VerbRoute) -> Handler:
    verb = VERBS[route.verb]
    fields = document_fields(verb.request)
    template = route.path.split("/")[1:]
    places = {name: template.index(f"{{{name}}}") for name in route.path_fields}

    async def handle(request: web.Request) -> web.Response:
        entrance = entrance_of(context, request)
        fmt = require_answer_format(request, "json")
        segments = path_segments(request) if places else []
        fixed = {name: segments[place] for name, place in places.items()}
        document = read_query(request.rel_url.raw_query_string, verb.request, fields, fixed)
        index, reply = await call(entrance, verb, document, fmt)
        is_stale = getattr(document, "consistency", "") == "stale"
        return context.answers.document(index, reply, fmt, is_stale=is_stale)

    return handle


def _page_handler(context: Context, route: PageRoute) -> Handler:
    page = PAGES[route.page]
    known = {name for name, _ in route.parameters}

    async def handle(request: web.Request) -> web.StreamResponse:
        given = dict(query_parameters(request.rel_url.raw_query_string))
        for name in given.keys() - known:
            raise unknown_parameter(name)
        return await page(context, request, frozenset(given))

    return handle


def _other_methods(context: Context, allowed: Iterable[str]) -> Handler:
    allow = {"Allow": ", ".join(dict.fromkeys(allowed))}

    async def handle(request: web.Request) -> web.Response:
        if request.method == "OPTIONS":
            return context.answers.empty(204, allow)
        refusal = Refusal("method_not_allowed", f"this address takes {allow['Allow']}")
        return context.answers.problem(refusal, problem_format(request), allow)

    return handle


async def _no_such_address(request: web.Request) -> web.Response:
    raise Refusal("not_found", f"there is nothing at {request.path[:100]!r}")


def _expect(
    context: Context, *, takes_any: bool
) -> Callable[[web.Request], Awaitable[web.StreamResponse | None]]:
    async def answer(request: web.Request) -> web.StreamResponse | None:
        """Ask for the body, unless it is refused for its length or its sender anyway."""
        wanted = request.headers.get("Expect", "").lower() == "100-continue"
        takes = takes_any or context.bodies.would_take(request)
        if wanted and takes and is_admitted(context, request):
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the answer itself has not begun
        return None

    return answer


def _middleware(context: Context) -> Callable[..., Awaitable[web.StreamResponse]]:
    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.request_began(request.content)
        began_s = time.perf_counter()
        try:
            response = await handler(request)
        except (asyncio.CancelledError, ConnectionError):
            raise  # the peer is gone, or the drain is over
        except Exception as error:  # noqa: BLE001 - the one place that maps them all
            response = context.answers.problem(_refusal_of(error), problem_format(request))
            if isinstance(error, web.RequestPayloadError):
                response.force_close()  # where the next request begins cannot be told
        connection.request_ended()
        if context.guard.draining:
            response.force_close()
        context.metrics.request(_label(request), response.status, time.perf_counter() - began_s)
        return response

    return answer


def _label(request: web.Request) -> str:
    route = request.match_info.route
    if route.resource is None or route.resource.canonical.endswith("{rest}"):
        return "elsewhere"
    return f"{route.method} {route.resource.canonical}"


def _refusal_of(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, web.RequestPayloadError):
        return Refusal("bad_request", "the body is not framed as its headers say")
    if isinstance(error, web.HTTPNotFound):
        return Refusal("not_found", "there is nothing at this address")
    _LOG.error("a request could not be answered", exc_info=error)
    return Refusal("internal", "the node has met an error of its own; its log has the details")
