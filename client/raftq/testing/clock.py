"""A clock that moves when it is told to."""

import asyncio
import threading
from itertools import count
from typing import Final

START_MS: Final = 1_700_000_000_000  # any moment will do; this one is easy to recognize
SETTLE_TURNS: Final = 200  # of the event loop: enough for what a wake-up sets off


class ManualClock:
    """A :class:`~raftq.clock.Clock`, and the time of a :class:`MemoryQueue`. Threads may share it."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self._start_ms = now_ms
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._numbers = count()
        self._sleepers: dict[int, tuple[int, asyncio.Future[None]]] = {}

    def time_ms(self) -> int:
        """Tell the time in milliseconds since the epoch."""
        return self._now_ms

    def monotonic(self) -> float:
        """Tell the seconds since the clock was made."""
        return (self._now_ms - self._start_ms) / 1_000

    async def sleep(self, delay_s: float) -> None:
        """Wait until the clock has been moved so far."""
        delay_ms = round(delay_s * 1_000)
        if delay_ms <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        with self._lock:
            number = next(self._numbers)
            self._sleepers[number] = (self._now_ms + delay_ms, future)
        try:
            await future
        finally:
            with self._lock:
                self._sleepers.pop(number, None)

    def jump(self, ms: int) -> None:
        """Move the clock at once; whoever was to wake on the way wakes now."""
        self._move_to(self._now_ms + ms)

    async def advance(self, ms: int) -> None:
        """Move the clock from one wake-up to the next, and let each take its effect in this loop."""
        target_ms = self._now_ms + ms
        while True:
            await settle()
            next_ms = self._next_wake_ms()
            if next_ms is None or next_ms > target_ms:
                break
            self._move_to(next_ms)
        self._move_to(target_ms)
        await settle()

    def _next_wake_ms(self) -> int | None:
        with self._lock:
            return min((due_ms for due_ms, _ in self._sleepers.values()), default=None)

    def _move_to(self, now_ms: int) -> None:
        with self._lock:
            self._now_ms = now_ms
            due = [number for number, (due_ms, _) in self._sleepers.items() if due_ms <= now_ms]
            awake = [self._sleepers.pop(number)[1] for number in due]
        for future in awake:
            future.get_loop().call_soon_threadsafe(_finish, future)


async def settle() -> None:
    """Let everything that can go on in this event loop without time passing go on."""
    for _ in range(SETTLE_TURNS):
        await asyncio.sleep(0)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
