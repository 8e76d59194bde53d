"""One timer of the event loop, set anew at every round and moved only when that matters.

A round sets it thousands of times a second; each ``call_at`` and ``cancel`` costs more than asking whether the
one that stands is early enough. Whoever is woken too early looks again and sets it anew.
"""

import asyncio
from collections.abc import Callable
from typing import Final

# It need not be more exact than this, and nothing is to be woken more often.
STEP_S: Final = 0.005


class Alarm:
    """Calls ``ring`` at or after the time that was set last, at most ``STEP_S`` early or late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    def set(self, delay_s: float) -> None:
        """Ring in so many seconds."""
        due_s = self._loop.time() + delay_s
        if self._timer is not None:
            if self._due_s <= due_s + STEP_S:
                return  # it rings early enough, and then is set again
            self._timer.cancel()
        self._due_s = due_s
        self._timer = self._loop.call_at(due_s, self._on_time)

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        self._timer = None
        self._ring()
