"""Backup and import: files as long as the whole state, streamed through with a piece at a time in memory.

A peer may be slow, but not stand still: it is waited for as between requests. What goes wrong once an
answer has begun can only be shown by its end being missing, which whoever reads the file notices.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeAlias

from aiohttp import web

from raftq.wire.export_file import MEDIA_TYPE
from raftq_cluster.servers.http.admission import entrance_of
from raftq_cluster.servers.http.context import Context
from raftq_cluster.servers.http.reading import require_answer_format
from raftq_cluster.service.refusals import Refusal

_LOG: Final = logging.getLogger(__name__)
PIECE_BYTES: Final = 256 * 1024  # of a body that is taken in at once

Page: TypeAlias = Callable[[Context, web.Request, frozenset[str]], Awaitable[web.StreamResponse]]


async def backup(
    context: Context, request: web.Request, given: frozenset[str]
) -> web.StreamResponse:
    """Stream the whole state as a file."""
    del given
    pieces = entrance_of(context, request).export()
    try:
        first = await anext(pieces)  # refusals come before it
        answer = context.answers.begun(MEDIA_TYPE)
        await answer.prepare(request)
        if request.method == "HEAD":
            return answer
        await _write(context, request, answer, first)
        try:
            async for piece in pieces:
                await _write(context, request, answer, piece)
        except Refusal as refusal:
            _LOG.warning("a backup broke off: %s", refusal.detail)
            raise _gone(request) from refusal
        await answer.write_eof()
    finally:
        await pieces.aclose()  # type: ignore[attr-defined] # it is a generator
    return answer


async def _write(
    context: Context, request: web.Request, answer: web.StreamResponse, piece: bytes
) -> None:
    patience_s = context.guard.patience.idle_s
    try:
        async with asyncio.timeout(patience_s):
            await answer.write(piece)
    except TimeoutError:
        _LOG.warning("a backup broke off: its reader took nothing for %g s", patience_s)
        raise _gone(request) from None
    if context.guard.draining:
        _LOG.warning("a backup broke off: the node is stopping")
        raise _gone(request)


def _gone(request: web.Request) -> ConnectionResetError:
    """End the connection without the end of the answer."""
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError("the answer has no end")


async def take_in(
    context: Context, request: web.Request, given: frozenset[str]
) -> web.StreamResponse:
    """Take in a file."""
    del given
    entrance = entrance_of(context, request)
    fmt = require_answer_format(request, "json")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refusal("unsupported_media_type", "bodies must not have a Content-Encoding")
    reply = await entrance.take_in(_body(context, request))
    return context.answers.document(context.service.status().index, reply, fmt)


async def _body(context: Context, request: web.Request) -> AsyncIterator[bytes]:
    patience_s = context.guard.patience.body_s
    while True:
        try:
            async with asyncio.timeout(patience_s):
                piece = await request.content.read(PIECE_BYTES)
        except TimeoutError:
            detail = f"nothing more of the file came within {patience_s:g} s"
            raise Refusal("request_timeout", detail) from None
        if not piece:
            return
        yield piece


async def abandon_import(
    context: Context, request: web.Request, given: frozenset[str]
) -> web.StreamResponse:
    """Drop what an unfinished import has left."""
    del given
    entrance = entrance_of(context, request)
    fmt = require_answer_format(request, "json")
    reply = await entrance.abandon_import()
    return context.answers.document(context.service.status().index, reply, fmt)
