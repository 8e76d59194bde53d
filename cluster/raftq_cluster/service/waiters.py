"""Long polls: claims that wait at this node until a task arrives in one of their queues.

An arrival of n tasks wakes at most n waiters, the longest waiting first: there is no thundering
herd. A woken waiter submits its claim anew; if another claimant was quicker it waits on, in its old
place. One whose key was used before, by another copy of its request, is told at once what is left of that
claim, if nothing as well: as long as the key is remembered, it can take nothing else. An arrival that
comes while a waiter's claim is under way may have come too late for that claim, so the waiter tries once
more before it sleeps. A waiter that leaves without having taken from the queue that woke it wakes the
next one of that queue.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, TypeGuard

from raftq_cluster.backends.api import Backend, Ready, Sink
from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Claimed, ClaimedBefore, Outcome, Unfinished

# After a failure (there is no leader for a moment): soon enough for an election's end, and no load.
RETRY_MS: Final = 100
_NOTHING = Claimed(())


class _Waiter:
    __slots__ = ("claim", "ended", "order", "sink", "submitted_at", "timer", "trying", "woken_by")

    def __init__(self, claim: op.Claim, sink: Sink, order: int) -> None:
        self.claim = claim
        self.sink: Sink | None = sink  # None once it has been told, or has given up
        self.order = order  # of coming: the smallest is served first
        self.trying = False  # its claim is under way
        self.woken_by: list[str] = []  # the queues whose arrivals made it try
        self.ended = False  # timed out or given up: it does not wait on
        self.submitted_at = 0
        self.timer: asyncio.TimerHandle  # ends the wait


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
        self._due_ms: int | None = None  # what the timer waits for
        self._ticked_ms: int | None = None  # what the tick is for that is under way

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
            if name in self._by_queue:
                self._arrivals[name] = self._events
                self._choose(name, count, woken)
        if woken:
            self._try(list(woken.values()))
        self.arm()

    def arm(self, late_ms: int = 0) -> None:
        """See to it that time passes in the log when the next task arrives and somebody waits.

        ``late_ms`` is how long to wait if that time has come already.
        """
        waits = self._by_queue and self._ticked_ms is None
        due_ms = self._backend.next_due_ms() if waits else None
        if due_ms == self._due_ms:
            return
        if self._due_timer is not None:
            self._due_timer.cancel()
            self._due_timer = None
        self._due_ms = due_ms
        if due_ms is not None:
            delay_ms = due_ms - self._backend.now_ms()
            loop = asyncio.get_running_loop()
            delay_ms = delay_ms if delay_ms > 0 else late_ms
            self._due_timer = loop.call_later(delay_ms / 1000, self.check_due)

    def check_due(self) -> None:
        """Log a tick if the next waiting task is due, so that it arrives."""
        due_ms = self._due_ms
        if due_ms is not None and due_ms <= self._backend.now_ms():
            self._ticked_ms = due_ms
            self.arm()
            self._backend.submit([op.Tick()], self._after_tick)
        elif due_ms is not None:
            self._due_ms = None
            self.arm()

    def answer_all(self) -> None:
        """End every wait: nothing was found."""
        for waiter in {w.order: w for ws in self._by_queue.values() for w in ws.values()}.values():
            self._time_out(waiter)
        self.arm()

    def give_back(self, claim: op.Claim, outcome: Outcome) -> None:
        """Release what was claimed for a caller that is gone; its retry claims anew."""
        if not isinstance(outcome, Claimed) or not outcome.tasks:
            return
        changes = [op.Change(row.id, row.version, None, op.DELAY, 0) for row in outcome.tasks]
        release = op.Modify(op.MODIFY, "", b"", claim.claimant, (), changes, (), ())
        operations: list[op.Operation] = [release]
        if claim.key:
            operations.append(op.Forget(op.FORGET, (claim.key,)))
        self._backend.submit(operations, lambda _index, _outcomes: None)

    def _after_tick(self, index: int, outcomes: object) -> None:
        """Wait for the next arrival."""
        del index, outcomes
        ticked_ms, self._ticked_ms = self._ticked_ms, None
        # The same arrival again: there is no leader, or its clock is behind this node's.
        self.arm(RETRY_MS if self._backend.next_due_ms() == ticked_ms else 0)

    def _choose(self, name: str, count: int, woken: dict[int, _Waiter]) -> None:
        """Add up to ``count`` idle waiters of a queue, in the order of their coming."""
        waiting = self._by_queue.get(name, {})
        idle = (w for w in waiting.values() if not w.trying and w.order not in woken)
        for waiter in list(islice(idle, count)):
            waiter.woken_by.append(name)
            woken[waiter.order] = waiter

    def _wake(self, names: Sequence[str]) -> None:
        """Wake one waiter for each of these queues."""
        woken: dict[int, _Waiter] = {}
        for name in names:
            self._choose(name, 1, woken)
        if woken:
            self._try(list(woken.values()))

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
        woken_by, waiter.woken_by = waiter.woken_by, []
        if waiter.ended or not _found_nothing(outcome):
            self._finish(waiter, index, outcome)
            self._pass_on(woken_by, outcome)
        elif self._arrived_since(waiter):
            self._try([waiter])

    def _pass_on(self, woken_by: list[str], outcome: Outcome) -> None:
        """Let others come for what woke a waiter that leaves, if it did not take it."""
        if not woken_by or _found_nothing(outcome):
            return
        if isinstance(outcome, Unfinished):
            loop = asyncio.get_running_loop()
            loop.call_later(RETRY_MS / 1000, self._wake, woken_by)
        else:
            taken = {row.queue for row in outcome.tasks} if _took(outcome) else ()
            self._wake([name for name in woken_by if name not in taken])

    def _arrived_since(self, waiter: _Waiter) -> bool:
        last = max(self._arrivals.get(name, 0) for name in waiter.claim.queues)
        return last > waiter.submitted_at

    def _time_out(self, waiter: _Waiter) -> None:
        waiter.ended = True
        if not waiter.trying:
            self._finish(waiter, self._backend.status().index, _NOTHING)

    def _finish(self, waiter: _Waiter, index: int, outcome: Outcome) -> None:
        sink, waiter.sink = waiter.sink, None
        self._remove(waiter)
        if sink is None:
            self.give_back(waiter.claim, outcome)
        else:
            sink(index, [outcome])

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.sink is None:
            return  # too late, or done
        waiter.sink = None
        waiter.ended = True
        if not waiter.trying:
            self._remove(waiter)

    def _remove(self, waiter: _Waiter) -> None:
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


def _took(outcome: Outcome) -> TypeGuard[Claimed]:
    """Tell whether it is of a claim that was done now."""
    return isinstance(outcome, Claimed) and not isinstance(outcome, ClaimedBefore)


def _found_nothing(outcome: Outcome) -> bool:
    """Tell whether a claim may be made again, and then find something."""
    return _took(outcome) and not outcome.tasks
