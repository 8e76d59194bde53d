"""The clock that stamps log entries: never backwards, never stopped, never jumping.

Leases and delays are counted in log time, so log time has to run evenly. It starts at the wall clock
or at the log's own time, whichever is later, and then follows the monotonic clock. Where the
wall clock says something else (it was set, it was wrong at boot, the log is ahead of it), log time is
slewed towards it by at most ``SLEW``: a lease of L ms lasts between L / (1 + SLEW) and L / (1 - SLEW)
ms of real time, whatever anybody does to the wall clock. A node that follows has its log time from the
leader, so that time goes on evenly when it leads itself. Knows neither the log nor the machine.
"""

import time
from collections.abc import Callable
from typing import Final

SLEW_DIVISOR: Final = 100  # SLEW = 1 %: a lease of 30 s ends at most 0.3 s early or late
_NS_PER_MS: Final = 1_000_000


def wall_ns() -> int:
    """Nanoseconds since the epoch; may jump."""
    return time.time_ns()


def monotonic_ns() -> int:
    """Nanoseconds since boot, with the time that the machine slept: a lease runs out meanwhile."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class LogClock:
    """Log time in integer milliseconds since the epoch.

    Both clock functions are in nanoseconds. ``monotonic`` must not go backwards.
    """

    def __init__(
        self,
        wall: Callable[[], int] = wall_ns,
        monotonic: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._seen_ns = monotonic()
        self._log_ns = wall()

    def now_ms(self) -> int:
        """Time for the next entry: never less than an earlier answer, ``follow`` apart."""
        return self.now_ns() // _NS_PER_MS

    def now_ns(self) -> int:
        """The same in nanoseconds."""
        self._follow_monotonic()
        return self._log_ns

    def wall_ns(self) -> int:
        """What the wall clock shows, in nanoseconds since the epoch."""
        return self._wall()

    def follow(self, log_ns: int, uncertainty_ns: int) -> None:
        """Go on from the leader's log time, which may be earlier. For nodes that do not lead.

        What is within the uncertainty stays as it is.
        """
        if abs(self.now_ns() - log_ns) > uncertainty_ns:
            self._log_ns = log_ns

    def _follow_monotonic(self) -> None:
        now_ns = self._monotonic()
        elapsed_ns = now_ns - self._seen_ns
        self._seen_ns = now_ns
        limit_ns = elapsed_ns // SLEW_DIVISOR
        error_ns = self._wall() - self._log_ns - elapsed_ns
        self._log_ns += elapsed_ns + max(-limit_ns, min(limit_ns, error_ns))

    def advance_to(self, log_ms: int) -> None:
        """Go on from the log's own time if that is later, as a new leader has to.

        What has passed since the last look is in the log's time already, and must not come on top.
        """
        self._follow_monotonic()
        self._log_ns = max(self._log_ns, log_ms * _NS_PER_MS)

    def ahead_of_wall_ms(self) -> int:
        """By how much log time is ahead of the wall clock (negative: behind it)."""
        return self.now_ms() - self._wall() // _NS_PER_MS
