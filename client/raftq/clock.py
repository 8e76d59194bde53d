"""Time as the client sees it: a constructor argument, so that tests need not wait."""

import asyncio
import time
from typing import Final, Protocol


class Clock(Protocol):
    """Seconds that only go forward. :class:`raftq.testing.ManualClock` is the one for tests."""

    def monotonic(self) -> float:
        """Tell the time in seconds since some moment."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The clock of the machine and of the running event loop."""

    def monotonic(self) -> float:
        """Tell the machine's monotonic time."""
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Wait."""
        await asyncio.sleep(delay_s)


SYSTEM_CLOCK: Final = SystemClock()
