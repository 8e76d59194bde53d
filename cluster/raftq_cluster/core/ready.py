"""Ready tasks of one queue, in the three orders in which they can be taken.

Every operation is O(1) (random), O(1) for all but returning tasks (fifo), or O(log n) (priority). The random order keeps a dense list and
removes by swapping with the last, so that its positions are state: a snapshot preserves them.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from itertools import chain
from operator import attrgetter
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


class FifoReady:
    """By insertion.

    New tasks come in that order already: they stand in a plain run, and taking the first of a million costs what
    taking the first of ten does. Tasks that come back from a lease stand in a heap beside it.

    A removed member's entry stays until it is met or until such entries are the majority. An entry is
    current if its task is ready in this very queue; of two of the same task, the first that is met counts.
    """

    __slots__ = ("_back", "_count", "_owner", "_run")

    def __init__(self, owner: object, tasks: Iterable[Task] = ()) -> None:
        self._owner = owner
        self._back: list[tuple[int, Task]] = []
        self._settle(tasks)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Task]:
        met: set[int] = set()  # of insertion numbers; only ever asked for membership
        for task in chain(self._run, (task for _, task in self._back)):
            if task.pos >= 0 and task.queue is self._owner and task.seq not in met:
                met.add(task.seq)
                yield task

    def add(self, task: Task) -> None:  # noqa: D102 - the protocol's
        task.pos = 0
        self._count += 1
        run = self._run
        if not run or task.seq > run[-1].seq:
            run.append(task)
        else:
            heappush(self._back, (task.seq, task))

    def remove(self, task: Task) -> None:  # noqa: D102 - the protocol's
        self._count -= 1
        garbage = len(self._run) + len(self._back) - self._count
        if garbage > _GARBAGE_MIN and garbage > self._count:
            self._settle([member for member in self if member is not task])

    def take(self, seeds: Seeds) -> Task:  # noqa: D102 - the protocol's
        del seeds
        run, back, owner = self._run, self._back, self._owner
        while True:
            if back and (not run or back[0][0] < run[0].seq):
                task = heappop(back)[1]
            else:
                task = run.popleft()
            if task.pos >= 0 and task.queue is owner:
                self._count -= 1
                return task

    def _settle(self, tasks: Iterable[Task]) -> None:
        self._run = deque(sorted(tasks, key=attrgetter("seq")))
        self._back.clear()
        self._count = len(self._run)
        for task in self._run:
            task.pos = 0


class PriorityReady:
    """By priority, highest first, and then by insertion.

    A removed member's heap entry stays until it is met or until such entries are the majority. An
    entry is current if its task is ready in this very queue and still has the entry's rank.
    """

    __slots__ = ("_count", "_heap", "_owner")

    def __init__(self, owner: object, tasks: Iterable[Task] = ()) -> None:
        self._owner = owner
        self._heap = [_ranked(task) for task in tasks]
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
        heappush(self._heap, _ranked(task))

    def remove(self, task: Task) -> None:  # noqa: D102 - the protocol's
        self._count -= 1
        garbage = len(self._heap) - self._count
        if garbage > _GARBAGE_MIN and garbage > self._count:
            self._heap = [_ranked(member) for member in self if member is not task]
            heapify(self._heap)

    def take(self, seeds: Seeds) -> Task:  # noqa: D102 - the protocol's
        del seeds
        while True:
            rank, _, task = heappop(self._heap)
            if self._is_current(task, rank):
                self._count -= 1
                return task

    def _is_current(self, task: Task, rank: int) -> bool:
        return task.pos >= 0 and task.queue is self._owner and rank == -task.priority


def _ranked(task: Task) -> tuple[int, int, Task]:
    return (-task.priority, task.seq, task)


def ready_of(order: str, owner: object, tasks: Iterable[Task] = ()) -> Ready:
    """Make the collection of a queue; for the random order ``tasks`` come in their order of state."""
    if order == RANDOM:
        return RandomReady(tasks)
    if order == PRIORITY:
        return PriorityReady(owner, tasks)
    return FifoReady(owner, tasks)
