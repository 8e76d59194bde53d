"""Listening sockets that survive a lack of file descriptors.

asyncio tries to accept as many connections per event as its backlog is long, and when descriptors run
out it logs a trace and sets a timer for each of those tries: a thousand of both, every second, until
some are free again. Accepting one at a time leaves one. The kernel's own backlog is set apart from
that. Knows no protocol.
"""

import asyncio
from collections.abc import Callable
from typing import Final

BACKLOG: Final = 1_024  # connections that the kernel keeps until they are accepted
_ACCEPTED_AT_ONCE: Final = 1


async def listen(
    factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
) -> asyncio.Server:
    """Listen; port 0 lets the system choose.

    Raises:
        OSError: the address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, host, port, backlog=_ACCEPTED_AT_ONCE)
    for listening in server.sockets:
        with listening.dup() as same:  # asyncio gives no socket that can listen
            same.listen(BACKLOG)
    return server
