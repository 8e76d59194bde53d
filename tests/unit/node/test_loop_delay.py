"""The event loop tells how late it is."""

import asyncio
import re
import time

import pytest

from raftq_cluster.observability.loop_delay import LONG_S, LoopDelay

pytestmark = pytest.mark.asyncio


async def measured(held_s: float) -> list[float]:
    """Delays up to the first one after the loop was held for so many seconds."""
    enough = asyncio.Event()
    delays: list[float] = []

    def observe(delay_s: float) -> None:
        delays.append(delay_s)
        enough.set()

    delay = LoopDelay(observe)
    delay.start()
    end_s = time.monotonic() + held_s
    while time.monotonic() < end_s:
        pass
    await enough.wait()
    delay.stop()
    return delays


async def test_a_loop_that_is_held_is_late_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    delays = await measured(LONG_S * 2)
    assert max(delays) >= LONG_S
    assert re.search(r"the event loop was \d+ ms late: it worked for \d+ ms", caplog.text)


async def test_no_delay_is_negative_and_a_free_loop_says_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftq_cluster.observability.loop_delay.LONG_S", 3600.0)
    delays = await measured(0.0)
    assert min(delays) >= 0.0
    assert caplog.text == ""
