"""Counts of queues, as one node's share of them: what came by it, less what went by it.

Every batch writes the shares of the queues that it touched, whole; whoever wants the counts adds up those of all nodes.
So statistics cost no look at the tasks, and nodes do not wait for each other. A share may be negative.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

Claims = dict[int, int]  # number of claims -> tasks that were claimed so often
ZERO_KEPT_S: Final = 60.0  # a queue that is empty now and then keeps its row
_GONE_MAX: Final = 100  # rows of empty queues that one batch removes
NEW: Final = -1


class Counts(NamedTuple):
    """Of one queue."""

    tasks: int
    ready: int
    held: int
    claims: Claims

    def plus(self, other: "Counts", sign: int = 1) -> "Counts":
        """Add counts, or take them away."""
        claims = dict(self.claims)
        for number, tasks in other.claims.items():
            claims[number] = claims.get(number, 0) + sign * tasks
        return Counts(
            self.tasks + sign * other.tasks,
            self.ready + sign * other.ready,
            self.held + sign * other.held,
            {number: tasks for number, tasks in claims.items() if tasks},
        )


ZERO: Final = Counts(0, 0, 0, {})


class Writing(NamedTuple):
    """Shares as a batch writes them, and the columns for ``store``."""

    shares: dict[str, Counts]
    gone: list[str]
    columns: list[list[Any]]


class Tallies:
    """The shares of one session of a node."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._shares: dict[str, tuple[int, Counts]] = {}  # queue -> batch that wrote it
        self._zero_s: dict[str, float] = {}  # queue -> since when there is nothing to count
        self._monotonic = monotonic

    def writing(self, deltas: Mapping[str, Counts]) -> Writing:
        """Say what to write for a batch that changed counts by so much."""
        shares = {}
        last = []
        for queue, delta in deltas.items():
            batch, share = self._shares.get(queue, (NEW, ZERO))
            shares[queue] = share.plus(delta)
            last.append(batch)
        gone = self._no_longer_wanted(shares)
        values = shares.values()
        columns: list[list[Any]] = [
            list(shares),
            last,
            [share.tasks for share in values],
            [share.ready for share in values],
            [share.held for share in values],
            [_array(share.claims) for share in values],
            gone,
            [self._shares[queue][0] for queue in gone],
        ]
        return Writing(shares, gone, columns)

    def _no_longer_wanted(self, shares: Mapping[str, Counts]) -> list[str]:
        gone: list[str] = []
        before_s = self._monotonic() - ZERO_KEPT_S
        for queue, since_s in self._zero_s.items():  # the oldest first
            if since_s > before_s or len(gone) == _GONE_MAX:
                break
            if queue not in shares:
                gone.append(queue)
        return gone

    def written(self, writing: Writing, batch: int) -> None:
        """Remember what was committed."""
        for queue in writing.gone:
            del self._shares[queue], self._zero_s[queue]
        for queue, share in writing.shares.items():
            self._shares[queue] = (batch, share)
            self._zero_s.pop(queue, None)
            if share == ZERO:
                self._zero_s[queue] = self._monotonic()


def claims_of(numbers: Iterable[int]) -> Claims:
    """Read a column ``claims``."""
    found = list(numbers)
    return dict(zip(found[::2], found[1::2], strict=True))


def _array(claims: Claims) -> str:
    return "{" + ",".join([f"{number},{tasks}" for number, tasks in claims.items()]) + "}"
