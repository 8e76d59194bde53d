"""Ready tasks of one queue, in the three orders in which they can be taken.

Every operation is O(1) (random) or O(log n) (fifo, priority). The random order keeps a dense list and
removes by swapping with the last, so that its positions are state: a snapshot preserves them.
"""

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Protocol

from raftq_cluster.core.seeds import Seeds
from raftq_cluster.core.task import Task

RANDOM = "random"
FIFO = "fifo"
PRIORITY = "priority"


class Ready(Protocol):
    """A collection of arrived tasks. Membership is told by ``task.pos >= 0``."""

    def __len__(self) -> int:
        """Count the members."""
        ...

    def __iter__(self) -> Iterator[Task]:
        """Go over the members; the order is state for random, of no meaning otherwise."""
        ...

    def add(self, task: Task) -> None:
        """Make an absent task a member."""
        ...

    def remove(self, task: Task) -> None:
        """Take a member out; the caller sets its ``pos``."""
        ...

    def take(self, seeds: Seeds) -> Task:
        """Take out the next member of a collection that is not empty; the caller sets ``pos``."""
        ...


class RandomReady:
    """Any member is as likely to be taken as any other."""

    __slots__ = ("_items",)

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self._items = list(tasks)
        for pos, task in enumerate(self._items):
            task.pos = pos

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._items)

    def add(self, task: Task) -> None:  # noqa: D102 - the protocol's
        task.pos = len(self._items)
        self._items.append(task)

    def remove(self, task: Task) -> None:  # noqa: D102 - the protocol's
        last = self._items.pop()
        if last is not task:
            self._items[task.pos] = last
            last.pos = task.pos

    def take(self, seeds: Seeds) -> Task:  # noqa: D102 - the protocol's
        items = self._items
        task = items[seeds.below(len(items))]
        last = items.pop()
        if last is not task:
            items[task.pos] = last
            last.pos = task.pos
        return task


_GARBAGE_MIN = 64  # entries of removed tasks that are not worth a rebuild


class OrderedReady:
    """By insertion (fifo), or by priority, highest first, and then by insertion.

    A removed member's heap entry stays until it is met or until such entries are the majority. An
    entry is current if its task is ready in this very queue and still has the entry's rank.
    """

    __slots__ = ("_by_priority", "_count", "_heap", "_owner")

    def __init__(self, by_priority: bool, owner: object, tasks: Iterable[Task] = ()) -> None:
        self._by_priority = by_priority
        self._owner = owner
        self._heap = [self._entry(task) for task in tasks]
        self._count = len(self._heap)
        for _, _, task in self._heap:
            task.pos = 0
        heapify(self._heap)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Task]:
        met: set[int] = set()  # of insertion numbers; only ever asked for membership
        for rank, seq, task in self._heap:
            if self._is_current(task, rank) and seq not in met:
                met.add(seq)
                yield task

    def add(self, task: Task) -> None:  # noqa: D102 - the protocol's
        task.pos = 0
        self._count += 1
        heappush(self._heap, self._entry(task))

    def remove(self, task: Task) -> None:  # noqa: D102 - the protocol's
        self._count -= 1
        garbage = len(self._heap) - self._count
        if garbage > _GARBAGE_MIN and garbage > self._count:
            self._heap = [self._entry(member) for member in self if member is not task]
            heapify(self._heap)

    def take(self, seeds: Seeds) -> Task:  # noqa: D102 - the protocol's
        del seeds
        while True:
            rank, _, task = heappop(self._heap)
            if self._is_current(task, rank):
                self._count -= 1
                return task

    def _is_current(self, task: Task, rank: int) -> bool:
        return task.pos >= 0 and task.queue is self._owner and rank == self._rank(task)

    def _rank(self, task: Task) -> int:
        return -task.priority if self._by_priority else 0

    def _entry(self, task: Task) -> tuple[int, int, Task]:
        return (self._rank(task), task.seq, task)


def ready_of(order: str, owner: object, tasks: Iterable[Task] = ()) -> Ready:
    """Make the collection of a queue; for the random order ``tasks`` come in their order of state."""
    if order == RANDOM:
        return RandomReady(tasks)
    return OrderedReady(order == PRIORITY, owner, tasks)
