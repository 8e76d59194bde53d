"""Where a search may begin, because nothing that lives stands before it.

What is done leaves dead rows, and entries of them in every index. A transaction that somebody keeps open (a backup, a
forgotten session) prevents their removal, and every search that begins at the beginning passes over all of them. A
node knows better: nothing is ready before the first task that it saw there last, and nothing waits for a time that
all have let pass already.

With several nodes this holds because everything that a node writes, and that another one does not see yet, stands
behind a bound that ``gather`` computes: the last time, or insertion number, of each node that is in the middle of a
batch, and of all of them otherwise. What may come to stand before it (a task that comes back to a queue in order) is
told to all in the table ``returned``; "seen" says up to which batch of whom this was taken note of.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from raftq_cluster.backends.postgres.working_set import WorkingSet
from raftq_cluster.core.ready import FIFO, RANDOM

Place = tuple[int, int]  # lane and pos
LOWEST: Final = (-(2**63), -(2**63))
NEVER: Final = -1
LEARN_S: Final = 0.02  # a floor costs a descent of the index, and saves what died meanwhile
KNOWN_S: Final = 30.0  # for half as long as what came back is kept
QUEUES_MAX: Final = 10_000  # whose floors are remembered
POSITION_BITS: Final = 20  # of chance, below the time of the arrival
_BLOCK_BITS: Final = 16


class Floors:
    """The certainties of one node. ``monotonic`` gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.generation = 0  # changes when something was forgotten
        self._monotonic = monotonic
        self._reset()

    def _reset(self) -> None:
        self.waiting_ms = NEVER
        self.keys_ms = NEVER
        self.taken = 0  # no transaction before this one inserted what is not counted
        self.seen: dict[int, int] = {}  # session of another node -> its last batch
        self._ready: dict[str, Place] = {}
        self._learned_s: dict[str, float] = {}
        self._seen_s = self._monotonic()

    def of(self, queue: str) -> Place:
        """Tell before which place nothing is ready in a queue."""
        return self._ready.get(queue, LOWEST)

    def is_worth_learning(self, queue: str) -> bool:
        """Tell whether to look anew for the place of a queue."""
        return self._monotonic() - self._learned_s.get(queue, 0.0) > LEARN_S

    def forget(self) -> None:
        """Be certain of nothing any more."""
        self._reset()
        self.generation += 1

    def forget_queue(self, queue: str) -> None:
        """Be certain of nothing about a queue, which may be in another order now."""
        self._ready.pop(queue, None)

    def forget_old(self) -> None:
        """Forget everything if what others may have told meanwhile is gone."""
        if self._monotonic() - self._seen_s > KNOWN_S:
            self.forget()

    def learn(
        self,
        working_set: WorkingSet,
        orders: Mapping[str, str],
        written: Sequence[tuple[str, Place]],
        generation: int,
    ) -> None:
        """Learn from a batch that is done.

        Args:
            working_set: what it saw.
            orders: of the queues from which it could claim.
            written: where it put tasks that are ready.
            generation: of these floors when it was begun.
        """
        sessions = working_set.sessions or self.seen  # empty: as they were
        is_missing = not self.seen.keys() <= sessions.keys()
        if generation != self.generation or is_missing:
            self.forget()  # a node that is missing may have known of a task what no other did
            return
        if working_set.needs.is_alone:  # orders may have changed in this very batch
            self._lower_all(written)
            return
        head = working_set.head
        self.waiting_ms, self.keys_ms, self.taken = head.waiting_ms, head.keys_ms, head.taken
        self.seen = sessions
        self._seen_s = self._monotonic()
        if len(self._ready) > QUEUES_MAX:
            self._ready.clear()
            self._learned_s.clear()
        self._lower_all(working_set.returned)
        for queue, first in working_set.first_ready.items():
            if queue in orders:
                self._learn_of(working_set, queue, orders[queue], first)
        self._lower_all(written)

    def _lower_all(self, places: Sequence[tuple[str, Place]]) -> None:
        for queue, place in places:
            if place < self._ready.get(queue, LOWEST):
                self._ready[queue] = place

    def _learn_of(
        self, working_set: WorkingSet, queue: str, order: str, first: Place | None
    ) -> None:
        head, place = working_set.head, self.of(queue)
        if order == RANDOM:
            bound = (0, head.bound_ms << POSITION_BITS)
            place = max(place, min(first or bound, bound))
        elif order == FIFO:
            bound = (0, head.bound_block << _BLOCK_BITS)
            place = max(place, min(first or bound, bound))
        elif first is not None:  # by priority: whatever becomes ready is told to all
            place = max(place, first)
        self._ready[queue] = place
        self._learned_s[queue] = self._monotonic()
