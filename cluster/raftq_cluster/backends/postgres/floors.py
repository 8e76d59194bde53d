"""Where a search may begin, because nothing that lives stands before it.

What is done leaves dead rows, and entries of them in every index. A transaction that somebody keeps open (a backup, a
forgotten session) prevents their removal, and every search that begins at the beginning passes over all of them. A
node that is alone knows better: nothing is ready before the first task that it found there last, and nothing waits for
a time that it has let pass already.

With several nodes nothing of the kind is certain, and every search begins at the beginning.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from raftq_cluster.backends.postgres.working_set import ARRIVALS_MAX, WorkingSet
from raftq_cluster.core.ready import FIFO, RANDOM

Place = tuple[int, int]  # lane and pos
LOWEST: Final = (-(2**63), -(2**63))
NEVER: Final = -1
KEPT_S: Final = (
    30.0  # a row that a person had locked, and that was passed over for it, is found again then
)
POSITION_BITS: Final = 20  # of chance, below the time of the arrival


class Floors:
    """The certainties of one node. ``monotonic`` gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.waiting_ms = NEVER
        self.generation = 0  # changes when something was forgotten
        self._ready: dict[str, Place] = {}
        self._monotonic = monotonic
        self._since_s = monotonic()

    def of(self, queue: str) -> Place:
        """Tell before which place nothing is ready in a queue."""
        return self._ready.get(queue, LOWEST)

    def forget(self) -> None:
        """Be certain of nothing any more."""
        self.waiting_ms = NEVER
        self._ready.clear()
        self._since_s = self._monotonic()
        self.generation += 1

    def forget_old(self) -> None:
        """Forget what was learned too long ago."""
        if self._monotonic() - self._since_s > KEPT_S:
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
        head = working_set.head
        if head.nodes > 1 or working_set.needs.is_alone or generation != self.generation:
            self.forget()
            return
        all_arrived = len(working_set.arriving) < ARRIVALS_MAX
        self.waiting_ms = head.now_ms if all_arrived else NEVER
        for queue, order in orders.items():
            self._learn_of(working_set, queue, order)
        for queue, place in written:
            if place < self._ready.get(queue, LOWEST):
                self._ready[queue] = place

    def _learn_of(self, working_set: WorkingSet, queue: str, order: str) -> None:
        found = working_set.candidates.get(queue, ())
        named = working_set.named_ready.get(queue, ())
        places = [place_of(row, order) for row in (*found, *named)]
        if order == RANDOM and len(found) == working_set.needs.claims[queue]:
            places.append(self.of(queue))  # it was not searched from the floor on
        elif not found:
            end = {
                RANDOM: (0, working_set.head.now_ms << POSITION_BITS),
                FIFO: (0, working_set.seq_before),
            }
            places.append(end.get(order, self.of(queue)))
        self._ready[queue] = min(places)


def place_of(row: Any, order: str) -> Place:
    """Tell where a row of ``gather`` stands that is ready."""
    if order == RANDOM:
        return 0, row[3][0]
    return (0 if order == FIFO else -row[13]), row[1]
