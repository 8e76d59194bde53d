"""How many requests a connection may begin: so many a second, and twice as many at once after a rest.

A token bucket, as TaskQ's ``-taskq.maxrate`` has it: what is beyond waits, and is not refused. Time is an argument.
"""

from typing import Final

_BURST_S: Final = 2  # seconds' worth of requests that may come at once


class Allowance:
    """The tokens of one connection.

    Args:
        rate: requests a second, 1 or more.
        now_s: the time, in seconds of any clock that only goes on.
    """

    __slots__ = ("_rate", "_tokens", "_when_s")

    def __init__(self, rate: int, now_s: float) -> None:
        self._rate = rate
        self._tokens = float(_BURST_S * rate)
        self._when_s = now_s

    def take(self, wanted: int, now_s: float) -> int:
        """Take up to ``wanted`` tokens; give how many there were."""
        gained = (now_s - self._when_s) * self._rate
        self._when_s = now_s
        self._tokens = min(self._tokens + gained, float(_BURST_S * self._rate))
        taken = min(wanted, int(self._tokens))
        self._tokens -= taken
        return taken

    def wait_s(self) -> float:
        """Tell how long after the last question it is until there is a token."""
        return max(0.0, 1.0 - self._tokens) / self._rate
