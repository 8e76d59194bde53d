"""The tools for users' tests: the double's faults and waits, and the clock that stands still."""

import asyncio
import threading

import pytest

import raftq
from raftq.testing import ManualClock, MemoryQueue


@pytest.mark.asyncio
async def test_the_clock_wakes_sleepers_in_order_as_it_passes_them():
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, delay_s: float) -> None:
        await clock.sleep(delay_s)
        woken.append((name, clock.monotonic()))

    sleepers = [
        asyncio.create_task(sleep(name, s)) for name, s in (("b", 2.0), ("a", 1.0), ("c", 9.0))
    ]
    await clock.advance(2_500)
    assert woken == [("a", 1.0), ("b", 2.0)]
    assert clock.monotonic() == 2.5
    clock.jump(6_500)
    await asyncio.gather(*sleepers)
    assert woken[-1] == ("c", 9.0)


@pytest.mark.asyncio
async def test_what_a_wake_up_sets_off_is_woken_on_the_same_way():
    clock = ManualClock()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await clock.sleep(1.0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await clock.advance(10_000)
    ticking.cancel()
    assert ticks == 10


@pytest.mark.asyncio
async def test_a_cancelled_sleeper_is_forgotten():
    clock = ManualClock()
    sleeping = asyncio.create_task(clock.sleep(5.0))
    await asyncio.sleep(0)
    sleeping.cancel()
    await asyncio.wait({sleeping})
    await clock.advance(10_000)
    assert sleeping.cancelled()


@pytest.mark.asyncio
async def test_a_fault_happens_before_or_after_the_call_is_done():
    queue = MemoryQueue()
    client = queue.async_client()
    queue.fail_next("modify", raftq.Unavailable("first"))
    queue.fail_next("modify", raftq.OutcomeUnknown("second"), after_doing=True)
    with pytest.raises(raftq.Unavailable, match="first"):
        await client.put("q", 1)
    assert await client.queues() == []
    with pytest.raises(raftq.OutcomeUnknown, match="second"):
        await client.put("q", 2)
    assert [task.value for task in await client.tasks("q")] == [2]
    await client.put("q", 3)


@pytest.mark.asyncio
async def test_the_same_seed_gives_the_same_choices():
    async def choices(seed: int) -> list[int]:
        client = MemoryQueue(seed=seed).async_client()
        await client.put_many(raftq.Insert("q", n) for n in range(50))
        return [(await client.claim("q"))[0].value for _ in range(50)]

    assert await choices(1) == await choices(1) != await choices(2)


def test_threads_with_loops_of_their_own_wake_each_other():
    queue = MemoryQueue(clock=ManualClock())
    got: list[object] = []
    with queue.client() as worker, queue.client() as producer:
        worker.time()
        thread = threading.Thread(
            target=lambda: got.extend(worker.claim("q", wait_ms=60_000)), daemon=True
        )
        thread.start()
        producer.put("q", 1)
        thread.join(10)
    assert len(got) == 1


def test_a_jump_ends_a_lease_for_a_synchronous_test():
    clock = ManualClock()
    queue = MemoryQueue(clock=clock)
    with queue.client("one") as one, queue.client("two") as two:
        one.put("q", 1)
        assert one.claim("q", lease_ms=1_000)
        assert two.claim("q") == []
        clock.jump(1_000)
        assert two.claim("q")[0].claims == 2


@pytest.mark.asyncio
async def test_time_passes_by_itself_unless_a_clock_is_given():
    client = MemoryQueue().async_client()
    await client.put("q", delay_ms=20)
    assert await client.claim("q") == []
    async with asyncio.timeout(10):
        assert len(await client.claim("q", wait_ms=5_000)) == 1
