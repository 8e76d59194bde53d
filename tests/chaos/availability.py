"""When nothing was acknowledged, and what was done to the cluster meanwhile."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from tests.simulation.history import DONE, History

GAP_S: Final = 1.0  # without an acknowledgement: unavailable
WRITES: Final = frozenset({"modify", "claim", "renew", "enq", "deq", "ack"})
_NS: Final = 1_000_000_000


class Span(NamedTuple):
    """A fault that was on, in nanoseconds of the monotonic clock."""

    from_ns: int
    until_ns: int
    fault: str


class Gap(NamedTuple):
    """A time without any acknowledgement of a write, and the faults that were on in it."""

    seconds: float
    faults: frozenset[str]


def gaps(history: History, spans: Sequence[Span]) -> Iterator[Gap]:
    """All that are longer than ``GAP_S``, in order. Only what lies between two acknowledgements counts."""
    ends = sorted(
        call.ended_ns for call in history.calls if call.status == DONE and call.kind in WRITES
    )
    for before, after in pairwise(ends):
        if after - before > GAP_S * _NS:
            on = {span.fault for span in spans if span.from_ns < after and span.until_ns > before}
            yield Gap((after - before) / _NS, frozenset(on))
