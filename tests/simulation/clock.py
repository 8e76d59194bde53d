"""The clocks of one machine: wrong by an offset, too fast or too slow, set, or standing still.

A monotonic clock in nanoseconds, which runs at a rate, and a wall clock, which is that one and an offset. The
machine's timers follow its monotonic clock.
"""

from typing import Final

from tests.simulation.world import NS_PER_S, World

EPOCH_NS: Final = 1_700_000_000 * NS_PER_S
MILLION: Final = 1_000_000


class ProcessClock:
    """``rate_ppm``: a million is right. All survives the end of a process; machines keep their clocks."""

    def __init__(self, world: World, *, offset_ns: int = 0, rate_ppm: int = MILLION) -> None:
        self._world = world
        self._base_ns = 5 * NS_PER_S  # of the monotonic clock, at ``_since_ns``
        self._since_ns = world.now_ns
        self._rate_ppm = rate_ppm
        self.offset_ns = offset_ns
        self._stalled_ns: int | None = None  # what the wall clock shows while it stands still
        # What the monotonic clock showed when it was last looked at: it is, several times at most moments.
        self._seen_at_ns = -1
        self._seen_ns = 0
        self._seen_s = 0.0

    def monotonic_ns(self) -> int:
        if self._seen_at_ns != self._world.now_ns:
            self._look()
        return self._seen_ns

    def monotonic_s(self) -> float:
        if self._seen_at_ns != self._world.now_ns:
            self._look()
        return self._seen_s

    def _look(self) -> None:
        now_ns = self._seen_at_ns = self._world.now_ns
        self._seen_ns = self._base_ns + (now_ns - self._since_ns) * self._rate_ppm // MILLION
        self._seen_s = self._seen_ns / NS_PER_S

    def wall_ns(self) -> int:
        if self._stalled_ns is not None:
            return self._stalled_ns
        return EPOCH_NS + self.monotonic_ns() + self.offset_ns

    def world_ns(self, monotonic_s: float) -> int:
        """When this clock will show a time."""
        ahead_ns = round(monotonic_s * NS_PER_S) - self._base_ns
        return self._since_ns - -ahead_ns * MILLION // self._rate_ppm

    def run_at(self, rate_ppm: int) -> None:
        """Go on at another rate."""
        self._base_ns = self.monotonic_ns()
        self._since_ns = self._world.now_ns  # which shows the same now at any rate
        self._rate_ppm = rate_ppm

    def jump(self, ns: int) -> None:
        """Somebody sets the wall clock."""
        self.offset_ns += ns

    def stall(self) -> None:
        """The wall clock stands still."""
        self._stalled_ns = self.wall_ns()

    def error_ns(self) -> int:
        """By how much the wall clock is ahead of what is right."""
        return self.wall_ns() - EPOCH_NS - 5 * NS_PER_S - self._world.now_ns

    def mend(self) -> None:
        """Be right: the rate and, in one step, the wall clock."""
        self._stalled_ns = None
        self.run_at(MILLION)
        self.offset_ns -= self.error_ns()
