"""The timer of the rounds."""

import asyncio

import pytest

from raftq_cluster.backends.raft.alarm import STEP_S, Alarm

pytestmark = pytest.mark.asyncio


class HandLoop:
    """Timers of a loop whose time a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.timers: list[asyncio.TimerHandle] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, when_s: float, callback: object, *_arguments: object) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when_s, callback, (), asyncio.get_running_loop())  # type: ignore[arg-type]
        self.timers.append(handle)
        return handle

    @property
    def due(self) -> list[float]:
        return [timer.when() for timer in self.timers if not timer.cancelled()]


def alarm(loop: HandLoop, rung: list[float]) -> Alarm:
    return Alarm(loop, lambda: rung.append(loop.now_s))  # type: ignore[arg-type]


async def test_it_rings_at_the_time_that_was_set() -> None:
    loop, rung = HandLoop(), []
    alarm(loop, rung).set(0.5)
    assert loop.due == [100.5]
    loop.now_s = 100.5
    loop.timers[0]._run()
    assert rung == [100.5]


async def test_an_earlier_time_moves_it_and_a_later_one_does_not() -> None:
    loop = HandLoop()
    bell = alarm(loop, [])
    bell.set(0.5)
    bell.set(0.1)
    assert loop.due == [100.1]
    bell.set(0.3)
    bell.set(0.1 - STEP_S / 2)  # not worth a new timer
    assert len(loop.timers) == 2


async def test_it_can_be_set_again_after_it_has_rung() -> None:
    loop, rung = HandLoop(), []
    bell = alarm(loop, rung)
    bell.set(0.1)
    loop.timers[0]._run()
    bell.set(0.7)
    assert loop.timers[1].when() == 100.7


async def test_what_is_cancelled_does_not_ring() -> None:
    loop = HandLoop()
    bell = alarm(loop, [])
    bell.set(0.1)
    bell.cancel()
    bell.cancel()
    assert loop.due == []
