"""When waiting tasks arrive: buckets of 1,024 ms per queue, and a small heap for the current one.

Adding and removing is O(1) and exact: a lease that is given up leaves nothing behind (a lazy heap of
leases would hold every task of the last lease time, ``scripts/bench``). Arrivals come out ordered by
(arrival time, insertion), whatever the buckets' inner order, so that a state that was
restored from a snapshot goes on exactly like the one it was taken from.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from raftq_cluster.core.task import WAITING, Task

if TYPE_CHECKING:
    from raftq_cluster.core.queue_state import QueueState

BUCKET_SHIFT: Final = 10  # a bucket covers 2**10 ms
_STALE_MIN: Final = 64  # numbers of vanished buckets that are not worth a rebuild
_arrival_order = attrgetter("at", "seq")


class Calendar:
    """All waiting tasks of a machine, found by time."""

    __slots__ = ("_buckets", "_near", "_numbers", "_opened")

    def __init__(self) -> None:
        # bucket number -> queue name -> the queue that has waiting tasks in that bucket
        self._buckets: dict[int, dict[str, QueueState]] = {}
        self._numbers: list[int] = []  # heap of bucket numbers; may hold vanished ones
        self._opened = -1  # number of the bucket that ``_near`` orders
        self._near: list[tuple[int, int, Task]] = []  # may hold tasks that left

    def add(self, task: Task) -> None:
        """Put a task that arrives later into its bucket."""
        number = task.at >> BUCKET_SHIFT
        task.pos = WAITING
        try:
            task.queue.waiting[number][task.id] = task
        except KeyError:
            self._begin_bucket(number, task.queue)[task.id] = task
        if number == self._opened:
            heappush(self._near, (task.at, task.seq, task))

    def remove(self, task: Task) -> None:
        """Take a waiting task out; the caller sets its ``pos``."""
        number = task.at >> BUCKET_SHIFT
        bucket = task.queue.waiting[number]
        del bucket[task.id]
        if not bucket:
            self._end_bucket(number, task.queue)

    def arrivals(self, now_ms: int) -> Iterator[Task]:
        """Take out all tasks with an arrival time up to ``now_ms``, in arrival order.

        Consume it whole before the calendar is touched otherwise; the caller sets each ``pos``.
        """
        current = now_ms >> BUCKET_SHIFT
        while self._numbers and self._numbers[0] < current:
            number = heappop(self._numbers)
            tasks = sorted(self._tasks_of(number), key=_arrival_order)
            self._drop_bucket(number)
            yield from tasks
        if current != self._opened:
            self._open(current)
        near = self._near
        while near and near[0][0] <= now_ms:
            at, _, task = heappop(near)
            if task.pos == WAITING and task.at == at:
                self.remove(task)
                yield task

    def is_due(self, now_ms: int) -> bool:
        """Tell whether tasks may have arrived by ``now_ms``; never False when one has."""
        due_ms = self.next_due_ms()
        return due_ms is not None and due_ms <= now_ms

    def next_due_ms(self) -> int | None:
        """Give a time before which none arrives: exact within the current bucket."""
        near = self._near
        while near and not (near[0][2].pos == WAITING and near[0][2].at == near[0][0]):
            heappop(near)
        numbers = self._numbers
        while numbers and numbers[0] not in self._buckets:
            heappop(numbers)
        if near:  # of the current bucket, the first of all
            return near[0][0]
        return numbers[0] << BUCKET_SHIFT if numbers else None

    def _begin_bucket(self, number: int, queue: "QueueState") -> dict[str, Task]:
        bucket = queue.waiting[number] = {}
        owners = self._buckets.get(number)
        if owners is None:
            owners = self._buckets[number] = {}
            heappush(self._numbers, number)
        owners[queue.name] = queue
        return bucket

    def _end_bucket(self, number: int, queue: "QueueState") -> None:
        del queue.waiting[number]
        owners = self._buckets[number]
        del owners[queue.name]
        if not owners:
            self._forget(number)

    def _tasks_of(self, number: int) -> list[Task]:
        owners = self._buckets.get(number, {})
        return [task for queue in owners.values() for task in queue.waiting[number].values()]

    def _drop_bucket(self, number: int) -> None:
        for queue in self._buckets.pop(number, {}).values():
            del queue.waiting[number]

    def _open(self, number: int) -> None:
        self._opened = number
        self._near = [(task.at, task.seq, task) for task in self._tasks_of(number)]
        heapify(self._near)

    def _forget(self, number: int) -> None:
        del self._buckets[number]
        stale = len(self._numbers) - len(self._buckets)
        if stale > _STALE_MIN and stale > len(self._buckets):
            self._numbers = sorted(self._buckets)
