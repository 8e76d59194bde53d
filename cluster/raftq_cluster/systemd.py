"""Words to the service manager that started this process, if one did. Source: sd_notify(3).

Knows the environment it is given and one datagram socket; a manager that does not listen is no
reason to stop.
"""

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_ALIVE: Final = "WATCHDOG=1"
_PINGS_A_PERIOD: Final = 2  # sd_watchdog_enabled(3) asks for one every half period


class ServiceManager:
    """Tells systemd how the node is. Without ``NOTIFY_SOCKET`` every method does nothing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        period_us = environ.get("WATCHDOG_USEC", "")
        self._ping_s = int(period_us) / 1e6 / _PINGS_A_PERIOD if period_us.isdigit() else 0.0

    def tell(self, state: str) -> None:
        """Send one state."""
        if not self._address:
            return
        # A leading @ stands for the NUL of Linux's abstract namespace.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with out, contextlib.suppress(OSError):
            out.sendto(state.encode(), address)

    async def keep_alive(self) -> None:
        """Ping the watchdog from the event loop until cancelled: a loop that hangs is restarted."""
        while self._address and self._ping_s:
            self.tell(_ALIVE)
            await asyncio.sleep(self._ping_s)
