"""Listening sockets that survive a lack of file descriptors, with TLS or without.

asyncio tries to accept as many connections per event as its backlog is long, and when descriptors run
out it logs a trace and sets a timer for each of those tries: a thousand of both, every second, until
some are free again. Accepting one at a time leaves one. The kernel's own backlog is set apart from
that. Knows no protocol.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from raftq_cluster.servers.greeting import Greeting, TlsListener

BACKLOG: Final = 1_024  # connections that the kernel keeps until they are accepted
_ACCEPTED_AT_ONCE: Final = 1


class Listener(Protocol):
    """What is listened with, whichever it is."""

    @property
    def sockets(self) -> Sequence[object]:
        """The listening sockets, none once it is closed."""
        ...

    def close(self) -> None:
        """Listen no more; connections go on."""
        ...


async def try_to_listen(host: str, port: int) -> None:
    """See whether ``listen`` would succeed, and listen to nobody.

    Raises:
        OSError: the address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
    server.close()


async def listen(
    factory: Callable[[], asyncio.BaseProtocol],
    host: str,
    port: int,
    greeting: Greeting | None = None,
) -> Listener:
    """Listen; port 0 lets the system choose. With a greeting, connections begin with TLS.

    Raises:
        OSError: the address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        factory, host, port, backlog=_ACCEPTED_AT_ONCE, start_serving=greeting is None
    )
    if greeting is not None:
        # It has bound the sockets; they are taken over.
        sockets = [_taken_over(listening) for listening in server.sockets]
        server.close()
        return TlsListener(sockets, factory, greeting)
    for listening in server.sockets:
        with listening.dup() as same:  # asyncio gives no socket that can listen
            same.listen(BACKLOG)
    return server


def address_of(listener: Listener) -> tuple[str, int]:
    """Give the host and port that is listened on."""
    first = listener.sockets[0]
    host, port = first.getsockname()[:2]  # type: ignore[attr-defined] # asyncio's is no socket
    return host, port


def _taken_over(listening: Any) -> socket.socket:
    same: socket.socket = listening.dup()
    same.setblocking(False)
    same.listen(BACKLOG)
    return same
