"""Who asks: from a request's ``Authorization`` to an entrance. Source: RFC 6750.

A body is asked for, and read, only once its sender is let in.
"""

from typing import Final

from aiohttp import web

from raftq_cluster.servers.http.context import Context
from raftq_cluster.service.doors import UNAUTHENTICATED
from raftq_cluster.service.entrance import Entrance
from raftq_cluster.service.refusals import Refusal

HEADER: Final = "Authorization"
SCHEME: Final = "Bearer"


def entrance_of(context: Context, request: web.Request) -> Entrance:
    """Give the entrance of whoever sends a request.

    Raises:
        Refusal: ``unauthenticated``.
    """
    doors = context.doors
    if doors.are_open:
        return doors.unnamed
    scheme, _, secret = request.headers.get(HEADER, "").strip().partition(" ")
    if scheme and scheme.lower() != SCHEME.lower():
        raise Refusal(UNAUTHENTICATED, f"{HEADER} is not {SCHEME} TOKEN")
    entrance = doors.admit(secret.strip()).entrance
    context.guard.know(request.protocol)
    return entrance


def is_admitted(context: Context, request: web.Request) -> bool:
    """Tell whether :func:`entrance_of` lets the sender in."""
    try:
        entrance_of(context, request)
    except Refusal:
        return False
    return True
