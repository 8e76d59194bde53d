"""Pauses between tries: doubled each time up to a bound, and random, so that clients do not come in step."""

import random
from dataclasses import dataclass
from typing import Final

_DOUBLINGS_MAX: Final = 60  # beyond it every bound is reached; keeps the number small


@dataclass(frozen=True, slots=True)
class Backoff:
    """Between half and all of ``first_s * 2**round``, and of ``max_s`` at most."""

    first_s: float
    max_s: float

    def pause_s(self, rounds: int) -> float:
        """Give the pause after so many failed rounds before this one; 0 is the first."""
        longest_s = min(self.max_s, self.first_s * 2.0 ** min(rounds, _DOUBLINGS_MAX))
        return longest_s * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, guards nothing
