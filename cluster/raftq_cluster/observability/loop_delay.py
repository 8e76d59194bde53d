"""How late the event loop comes to what is due: what every request and every heartbeat waits for.

A timer looks how late it is itself. That costs a wake-up each ``EVERY_S``, and shows a loop that something held
for at least that much longer. Knows no metrics: whoever counts is given the delays.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

_log: Final = logging.getLogger(__name__)

EVERY_S: Final = 0.05
# Others elect a new leader when this one is silent for 500 ms, and clients notice far less: worth a line in the log ...
LONG_S: Final = 0.2
# ... but not more than one in so long.
QUIET_S: Final = 10.0


class LoopDelay:
    """Measures the running loop between ``start`` and ``stop``. ``observe`` takes seconds, 0 or more."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._quiet_until_s = -float("inf")

    def start(self) -> None:
        """Begin."""
        self._due_s = self._loop.time() + EVERY_S
        self._timer = self._loop.call_at(self._due_s, self._look)

    def stop(self) -> None:
        """End. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now_s = self._loop.time()
        delay_s = max(0.0, now_s - self._due_s)
        self._observe(delay_s)
        if delay_s >= LONG_S and now_s >= self._quiet_until_s:
            self._quiet_until_s = now_s + QUIET_S
            _log.warning("the event loop was held for %.0f ms: everybody waited", 1_000 * delay_s)
        self.start()
