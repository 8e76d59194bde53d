"""What a node knows of the database without asking it: as of its last batch, and of what it was told.

Time is the database's: a node only carries it on between two answers.
"""

import time
from collections.abc import Callable
from typing import Final

from raftq_cluster.backends.api import Load
from raftq_cluster.backends.postgres.floors import Floors
from raftq_cluster.backends.postgres.working_set import Head

_NOT_LOOKED_FOR: Final = -2


class View:
    """One node's knowledge.

    Args:
        clock: gives ms since the epoch in the place of the database's clock, for tests.
        monotonic_ms: carries the database's time on.
    """

    def __init__(
        self,
        clock: Callable[[], int] | None = None,
        monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
    ) -> None:
        self.clock = clock
        self.index = 0
        self.timeline: int | None = None  # of the server: the latest that was seen
        self.log_ms = 0
        self.load = Load(0, 0, 0, 0)
        self.next_due_ms: int | None = None
        self.floors = Floors(lambda: monotonic_ms() / 1000)
        self._monotonic_ms = monotonic_ms
        self._offset_ms = time.time_ns() // 1_000_000 - monotonic_ms()

    def now_ms(self) -> int:
        """The time that the next batch would have."""
        now_ms = self._monotonic_ms() + self._offset_ms if self.clock is None else self.clock()
        return max(now_ms, self.log_ms)

    def see_time(self, now_ms: int) -> None:
        """Learn the database's time."""
        self.log_ms = max(self.log_ms, now_ms)
        self._offset_ms = now_ms - self._monotonic_ms()

    def see_index(self, index: int) -> None:
        """Learn that the log has come this far."""
        self.index = max(self.index, index)

    def see_head(self, head: Head) -> None:
        """Learn what a batch was told at its beginning."""
        self.see_time(head.now_ms)
        self.see_index(head.log_index)
        self.see_load(Load(head.tasks, head.value_bytes, head.keys, head.key_bytes))
        if head.next_due_ms != _NOT_LOOKED_FOR:
            self.next_due_ms = None if head.next_due_ms < 0 else head.next_due_ms

    def see_load(self, load: Load) -> None:
        """Learn how full the database is.

        What programs inserted themselves is counted up to a second late, and may be gone by then.
        """
        tasks, value_bytes, keys, key_bytes, _ = load
        self.load = Load(max(tasks, 0), max(value_bytes, 0), max(keys, 0), max(key_bytes, 0))

    def see_due(self, due_ms: int | None) -> None:
        """Learn that a task arrives then."""
        if due_ms is not None and (self.next_due_ms is None or due_ms < self.next_due_ms):
            self.next_due_ms = due_ms
