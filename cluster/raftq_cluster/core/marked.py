"""Names that ask for collection, found by the time from when on they do.

Buckets of some 17 minutes, so that a name comes and goes at the same price among a million others, as names of
sessions do. Which order the names of a bucket have is not state, and nothing may depend on it but what a collector is told.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, MutableMapping
from itertools import chain, islice
from typing import Any, Final, TypeVar

from raftq_cluster.core.gc_names import MALFORMED

LOOKED_AT_MAX: Final = 10_000  # names, and sets, of one question: 2 to 5 ms
_SHIFT: Final = 20  # a bucket covers 2**20 ms
_Item = TypeVar("_Item")


class Marked:
    """The names of all queues, or of all namespaces, that have a ``gc`` parameter.

    ``malformed`` counts those that say no time.
    """

    __slots__ = ("_buckets", "_numbers", "malformed")

    def __init__(self) -> None:
        self._buckets: dict[int, dict[str, int]] = {}  # number -> name -> from when on, in ms
        self._numbers: list[int] = []  # of the buckets, sorted
        self.malformed = 0

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values())) + self.malformed

    def add(self, name: str, from_ms: int) -> None:
        """Take in a name that is not there."""
        if from_ms == MALFORMED:
            self.malformed += 1
            return
        number = from_ms >> _SHIFT
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = {}
            insort(self._numbers, number)
        bucket[name] = from_ms

    def remove(self, name: str, from_ms: int) -> None:
        """Drop a name that was added so."""
        if from_ms == MALFORMED:
            self.malformed -= 1
            return
        number = from_ms >> _SHIFT
        bucket = self._buckets[number]
        del bucket[name]
        if not bucket:
            del self._buckets[number]
            del self._numbers[bisect_left(self._numbers, number)]

    def due(self, now_ms: int, turn: int) -> tuple[list[str], int]:
        """Give the names whose time has come, of more than ``LOOKED_AT_MAX`` those whose turn it is.

        And how often each of them had its turn before.
        """
        numbers = self._numbers[: bisect_right(self._numbers, now_ms >> _SHIFT)]
        buckets = [self._buckets[number] for number in numbers]
        count = sum(map(len, buckets))
        items = chain.from_iterable(bucket.items() for bucket in buckets)
        names = [name for name, from_ms in window(items, count, turn) if from_ms <= now_ms]
        return names, turn // max(1, -(-count // LOOKED_AT_MAX))

    def tables(self) -> list[MutableMapping[str, Any]]:
        """What takes the memory. The end of these names."""
        return [*self._buckets.values()]


def window(items: Iterable[_Item], count: int, turn: int) -> Iterator[_Item]:
    """Give all of so many items, or of more than ``LOOKED_AT_MAX`` those whose turn it is."""
    windows = max(1, -(-count // LOOKED_AT_MAX))
    start = turn % windows * LOOKED_AT_MAX
    return islice(items, start, start + LOOKED_AT_MAX)
