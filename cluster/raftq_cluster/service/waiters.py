"""Long polls: claims that wait at this node until a task arrives in one of their queues.

An arrival of n tasks wakes at most n waiters, the longest waiting first: there is no thundering
herd. A woken waiter submits its claim anew; if another claimant was quicker it waits on, in its old
place. An arrival that comes while a waiter's claim is under way may have come too late for
that claim, so the waiter tries once more before it sleeps.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice

from raftq_cluster.backends.api import Backend, Ready, Sink
from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Claimed, Outcome

_NOTHING = Claimed(())


class _Waiter:
    __slots__ = ("claim", "ended", "order", "sink", "submitted_at", "timer", "trying")

    def __init__(self, claim: op.Claim, sink: Sink, order: int) -> None:
        self.claim = claim
        self.sink = sink
        self.order = order  # of coming: the smallest is served first
        self.trying = False  # its claim is under way
        self.ended = False  # timed out or given up: it does not wait on
        self.submitted_at = 0
        self.timer: asyncio.TimerHandle | None = None


class Waiters:
    """All waiting claims of a node. One event loop owns it."""

    def __init__(self, backend: Backend, submit: Callable[[list[op.Claim], Sink], None]) -> None:
        self._backend = backend
        self._submit = submit
        self._by_queue: dict[str, dict[int, _Waiter]] = {}
        self._arrivals: dict[str, int] = {}  # queue -> number of its last arrival event
        self._events = 0
        self._count = 0  # of all that ever came: numbers them
        self._waiting = 0
        self._due_timer: asyncio.TimerHandle | None = None
        self._due_ms: int | None = None

    def __len__(self) -> int:
        return self._waiting

    def add(self, claim: op.Claim, wait_ms: int, sink: Sink) -> Callable[[], None]:
        """Claim now, or as soon as a task arrives within ``wait_ms``.

        ``sink`` gets the one outcome. The returned function gives the wait up: ``sink`` is then
        never called, and what was claimed meanwhile is given back.
        """
        self._count += 1
        self._waiting += 1
        waiter = _Waiter(claim, sink, self._count)
        for name in claim.queues:
            self._by_queue.setdefault(name, {})[waiter.order] = waiter
        loop = asyncio.get_running_loop()
        waiter.timer = loop.call_later(wait_ms / 1000, self._time_out, waiter)
        self._try([waiter])
        self.arm()
        return lambda: self._give_up(waiter)

    def on_ready(self, ready: Ready) -> None:
        """Wake as many waiters as tasks became claimable."""
        if not self._by_queue:
            return
        self._events += 1
        woken: dict[int, _Waiter] = {}
        for name, count in ready.items():
            waiting = self._by_queue.get(name)
            if waiting is None:
                continue
            self._arrivals[name] = self._events
            idle = (w for w in waiting.values() if not w.trying and w.order not in woken)
            for waiter in list(islice(idle, count)):  # in the order of their coming
                woken[waiter.order] = waiter
        if woken:
            self._try(list(woken.values()))
        self.arm()

    def arm(self) -> None:
        """See to it that time passes in the log when the next task arrives and somebody waits."""
        due_ms = self._backend.next_due_ms() if self._by_queue else None
        if due_ms == self._due_ms:
            return
        if self._due_timer is not None:
            self._due_timer.cancel()
            self._due_timer = None
        self._due_ms = due_ms
        if due_ms is not None:
            delay_ms = max(0, due_ms - self._backend.now_ms())
            loop = asyncio.get_running_loop()
            self._due_timer = loop.call_later(delay_ms / 1000, self.check_due)

    def check_due(self) -> None:
        """Log a tick if the next waiting task is due, so that it arrives."""
        self._due_timer = None
        due_ms, self._due_ms = self._due_ms, None
        if due_ms is not None and self._by_queue and due_ms <= self._backend.now_ms():
            self._backend.submit([op.Tick()], self._after_tick)
        else:
            self.arm()

    def answer_all(self) -> None:
        """End every wait: nothing was found."""
        for waiter in {w.order: w for ws in self._by_queue.values() for w in ws.values()}.values():
            self._time_out(waiter)
        self.arm()

    def _after_tick(self, index: int, outcomes: object) -> None:
        del index, outcomes
        self.arm()

    def _try(self, waiters: list[_Waiter]) -> None:
        for waiter in waiters:
            waiter.trying = True
            waiter.submitted_at = self._events

        def told(index: int, outcomes: Sequence[Outcome]) -> None:
            for waiter, outcome in zip(waiters, outcomes, strict=True):
                self._tried(waiter, index, outcome)

        self._submit([waiter.claim for waiter in waiters], told)

    def _tried(self, waiter: _Waiter, index: int, outcome: Outcome) -> None:
        waiter.trying = False
        if waiter.ended or outcome != _NOTHING:
            self._finish(waiter, index, outcome)
        elif self._arrived_since(waiter):
            self._try([waiter])

    def _arrived_since(self, waiter: _Waiter) -> bool:
        last = max(self._arrivals.get(name, 0) for name in waiter.claim.queues)
        return last > waiter.submitted_at

    def _time_out(self, waiter: _Waiter) -> None:
        waiter.ended = True
        if not waiter.trying:
            self._finish(waiter, self._backend.status().index, _NOTHING)

    def _finish(self, waiter: _Waiter, index: int, outcome: Outcome) -> None:
        self._remove(waiter)
        waiter.sink(index, [outcome])

    def _give_up(self, waiter: _Waiter) -> None:
        waiter.ended = True
        waiter.sink = self._give_back
        if not waiter.trying:
            self._remove(waiter)

    def _give_back(self, index: int, outcomes: Sequence[Outcome]) -> None:
        """Release what was claimed for a caller that is gone."""
        del index
        (outcome,) = outcomes
        if not isinstance(outcome, Claimed) or not outcome.tasks:
            return
        changes = [op.Change(row.id, row.version, None, op.DELAY, 0) for row in outcome.tasks]
        claimant = outcome.tasks[0].claimant
        modify = op.Modify(op.MODIFY, "", b"", claimant, (), changes, (), ())
        self._backend.submit([modify], lambda _index, _outcomes: None)

    def _remove(self, waiter: _Waiter) -> None:
        if waiter.timer is not None:
            waiter.timer.cancel()
        self._waiting -= 1
        for name in waiter.claim.queues:
            waiting = self._by_queue.get(name)
            if waiting is None:
                continue
            waiting.pop(waiter.order, None)
            if not waiting:
                del self._by_queue[name]
                self._arrivals.pop(name, None)
