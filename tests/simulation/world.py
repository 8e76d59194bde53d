"""Time and chance of a simulation: one heap of events, and a hash of everything that happened.

Time is a whole number of nanoseconds and moves only from one event to the next. Chance comes from one seed in
streams by name, so that leaving one fault out changes no other stream. Knows no clusters.
"""

import heapq
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from random import Random
from typing import Final

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
_TAIL: Final = 4_000  # lines of the trace that are kept for a report


class Event:
    """Something that will happen. ``cancel`` it, or let it come."""

    __slots__ = ("action", "at_ns")

    def __init__(self, at_ns: int, action: Callable[[], None]) -> None:
        self.at_ns = at_ns
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class World:
    """The one clock that is right."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.now_ns = 0
        self.events = 0
        self.is_in_turn = False  # some process is running
        self._heap: list[tuple[int, int, Event]] = []
        self._count = 0
        self._hash = blake2b(digest_size=16)
        self.tail: deque[str] = deque(maxlen=_TAIL)

    @property
    def now_s(self) -> float:
        return self.now_ns / NS_PER_S

    def random(self, stream: str) -> Random:
        """A stream of chance of its own. Seeded by a string: the same for every hash seed."""
        return Random(f"{self.seed}/{stream}")

    def at(self, at_ns: int, action: Callable[[], None]) -> Event:
        at_ns = max(at_ns, self.now_ns)
        event = Event(at_ns, action)
        self._count += 1
        heapq.heappush(self._heap, (at_ns, self._count, event))
        return event

    def after_s(self, seconds: float, action: Callable[[], None]) -> Event:
        return self.at(self.now_ns + round(seconds * NS_PER_S), action)

    def run_until(self, until_s: float, stop: Callable[[], object] = lambda: False) -> None:
        """Let everything happen up to a time, or until ``stop`` says so."""
        until_ns, heap, pop = round(until_s * NS_PER_S), self._heap, heapq.heappop
        while heap and heap[0][0] <= until_ns:
            at_ns, _, event = pop(heap)
            action, event.action = event.action, None
            if action is None:
                continue
            self.now_ns = at_ns
            self.events += 1
            action()
            if stop():
                return
        self.now_ns = max(self.now_ns, until_ns)

    def note(self, line: str) -> None:
        """Something worth reading happened."""
        line = f"{self.now_ns / NS_PER_S:10.6f} {line}"
        self.tail.append(line)
        self._hash.update(line.encode())

    def note_bytes(self, data: bytes) -> None:
        """Something happened that nobody wants to read; it counts for the hash."""
        self._hash.update(b"%d%b" % (self.now_ns, data))

    def trace_hash(self) -> str:
        """Equal for two runs in which the same things happened at the same times."""
        return self._hash.hexdigest()
