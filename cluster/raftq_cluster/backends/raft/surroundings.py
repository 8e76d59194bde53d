"""What the engine takes from outside, so that a test or a simulator can be it: time and chance."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from raftq_cluster.backends.raft.core_api import Timing
from raftq_cluster.backends.raft.log_clock import LogClock
from raftq_cluster.codec.formats import FORMATS, Formats


def _always() -> bool:
    return True


def _everyone(_voter: str) -> bool:
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Time and chance. ``random`` seeds entries and spreads election timeouts."""

    clock: LogClock
    random: Random
    monotonic: Callable[[], float] = time.monotonic  # seconds
    timing: Timing = field(default_factory=Timing)
    may_lead: Callable[[], bool] = _always  # a node whose clock is off does not stand for election
    formats: Formats = field(default_factory=lambda: FORMATS)
    fits: Callable[[str], bool] = (
        _everyone  # who is not passed over when the leadership is handed over
    )
