"""How late the event loop comes to what is due: what every request and every heartbeat waits for.

A timer looks how late it is itself. That costs a wake-up each ``EVERY_S``, and shows a loop that something held
for at least that much longer. Processor time tells whose fault it was: the loop's own work, another thread of
this process that had the interpreter, or a machine that had no processor for either. Knows no metrics: whoever
counts is given the delays.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

_log: Final = logging.getLogger(__name__)

EVERY_S: Final = 0.05
# A fifth of the silence after which others elect another leader: worth a line in the log ...
LONG_S: Final = 0.1
# ... but not more than one in so long.
QUIET_S: Final = 1.0


class LoopDelay:
    """Measures the running loop between ``start`` and ``stop``. ``observe`` takes seconds, 0 or more."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._worked_s = (0.0, 0.0)
        self._quiet_until_s = -float("inf")

    def start(self) -> None:
        """Begin."""
        self._due_s = self._loop.time() + EVERY_S
        self._worked_s = (time.thread_time(), time.process_time())
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
            self._tell(delay_s)
        self.start()

    def _tell(self, delay_s: float) -> None:
        loop_s, process_s = self._worked_s
        own_s, all_s = time.thread_time() - loop_s, time.process_time() - process_s
        _log.warning(
            "the event loop was %.0f ms late: it worked for %.0f ms, other threads for %.0f ms",
            1e3 * delay_s,
            1e3 * own_s,
            1e3 * (all_s - own_s),
        )
