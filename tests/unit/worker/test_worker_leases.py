"""Leases: renewed together and in time, given up when they are lost, known before a commit."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.working import Held, serving, until

import raftq
from raftq import AsyncClient, Insert, Modification, Worker
from raftq.testing import ManualClock, MemoryQueue

LEASE_MS = 6_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def queue(clock: ManualClock) -> MemoryQueue:
    return MemoryQueue(clock=clock)


@pytest_asyncio.fixture
async def client(queue: MemoryQueue) -> AsyncIterator[AsyncClient]:
    async with queue.async_client("me") as client:
        yield client


class RenewalCounter:
    """Counts the calls that renew, by the log index they leave."""

    def __init__(self, client: AsyncClient) -> None:
        self.batches: list[int] = []
        renew = client.renew

        async def counted(tasks, *args, **kwargs):
            self.batches.append(len(tasks))
            return await renew(tasks, *args, **kwargs)

        client.renew = counted


@pytest.mark.asyncio
async def test_all_tasks_are_renewed_in_one_call(client, clock):
    renewals = RenewalCounter(client)
    handler = Held()
    await client.put_many(Insert("q") for _ in range(5))
    worker = Worker(client, "q", handler=handler, concurrency=10, lease_ms=LEASE_MS)
    async with serving(worker):
        await until(lambda: len(handler.started) == 5)
        await clock.advance(LEASE_MS // 2)
        assert renewals.batches == [5]


@pytest.mark.asyncio
async def test_tasks_claimed_somewhat_later_join_the_renewal(client, clock):
    renewals = RenewalCounter(client)
    handler = Held()
    worker = Worker(client, "q", handler=handler, concurrency=10, lease_ms=LEASE_MS)
    async with serving(worker):
        for _ in range(3):  # at 0, 0.5 and 1 s: all past a third of the lease at 3 s
            await client.put("q")
            await clock.advance(500)
        await clock.advance(1_500)
        assert renewals.batches == [3]
        await client.put("q")
        await clock.advance(3_000)
        assert renewals.batches == [3, 4]


@pytest.mark.asyncio
async def test_a_renewal_that_fails_is_tried_again_while_the_lease_lasts(client, clock, queue):
    for _ in range(3):
        queue.fail_next("renew", raftq.Unavailable("no leader"))
    handler = Held()
    await client.put("q")
    worker = Worker(client, "q", handler=handler, lease_ms=LEASE_MS)
    async with serving(worker):
        await clock.advance(LEASE_MS)
        assert (worker.counts.failed_renewals, worker.counts.renewed) == (3, 1)
        assert handler.cancelled == []
        handler.go_on.set()
        await until(lambda: worker.counts.done)


@pytest.mark.asyncio
async def test_a_renewal_of_unknown_outcome_is_repeated_under_its_key(client, clock, queue):
    await client.put("q", id="t")
    handler = Held()
    worker = Worker(client, "q", handler=handler, lease_ms=LEASE_MS)
    async with serving(worker):
        await until(lambda: handler.started)
        key = "the.key"
        queue.fail_next("renew", raftq.OutcomeUnknown(idempotency_key=key))
        await clock.advance(4_000)
        # The second try went under the key: a third one is answered as that was.
        renewed = await client.renew([handler.started[0]], LEASE_MS, idempotency_key=key)
        assert [task.version for task in renewed.renewed] == [2]
        assert (await client.task("t")).version == 2


@pytest.mark.asyncio
async def test_a_lease_that_ends_unrenewed_cancels_its_handler_at_that_moment(client, clock, queue):
    for _ in range(1_000):
        queue.fail_next("renew", raftq.Unavailable("no leader"))
    handler = Held()
    await client.put("q")
    worker = Worker(client, "q", handler=handler, lease_ms=LEASE_MS)
    async with serving(worker):
        await clock.advance(LEASE_MS - 1)
        assert handler.cancelled == []
        queue.fail_next("claim", raftq.Unavailable("no leader"))
        await clock.advance(1)
        assert len(handler.cancelled) == 1
        assert worker.counts.lost == 1


@pytest.mark.asyncio
async def test_a_renewal_that_hangs_does_not_hide_the_end_of_a_lease(client, clock):
    async def hang(*_args, **_kwargs):
        await asyncio.Event().wait()

    client.renew = hang
    handler = Held()
    await client.put("q")
    worker = Worker(client, "q", handler=handler, lease_ms=LEASE_MS)
    async with serving(worker):
        await clock.advance(LEASE_MS)
        assert len(handler.cancelled) == 1


@pytest.mark.asyncio
async def test_a_commit_waits_for_a_renewal_under_way_to_know_the_version(client, clock):
    answer = asyncio.Event()
    renew = client.renew

    async def slow(*args, **kwargs):
        renewed = await renew(*args, **kwargs)
        await answer.wait()
        return renewed

    client.renew = slow
    handler = Held()
    await client.put("q")
    worker = Worker(client, "q", handler=handler, lease_ms=LEASE_MS)
    async with serving(worker):
        await clock.advance(LEASE_MS // 2)
        handler.go_on.set()
        await clock.advance(100)
        assert worker.counts.done == 0
        answer.set()
        await until(lambda: worker.counts.done)
    assert worker.counts.lost == 0


@pytest.mark.asyncio
async def test_a_lease_that_ends_before_its_version_is_known_is_not_committed(client, clock, queue):
    async def hang(*_args, **_kwargs):
        await asyncio.Event().wait()

    client.renew = hang
    handler = Held(Modification(inserts=[Insert("out")]))
    await client.put("q")
    worker = Worker(client, "q", handler=handler, lease_ms=LEASE_MS)
    async with serving(worker):
        await clock.advance(LEASE_MS // 2)
        handler.go_on.set()  # its commit waits for the renewal, which never ends
        await clock.advance(LEASE_MS // 2)
        assert worker.counts.lost == 1
        # It is free again and may be worked on again; only that work is committed.
        assert len(await client.tasks("out")) == worker.counts.done == worker.counts.claimed - 1


@pytest.mark.asyncio
async def test_a_task_lost_while_its_dependency_handler_works_is_left(client, clock):
    thinking = Held()

    async def work(_):
        return Modification(depends=[raftq.Target("nowhere", 1)])

    async def on_dependency(task, _error):
        return await thinking(task)

    await client.put("q", id="t")
    worker = Worker(client, "q", handler=work, on_dependency=on_dependency, lease_ms=LEASE_MS)
    async with serving(worker):
        await until(lambda: thinking.started)
        await client.delete(await client.task("t"))
        await clock.advance(LEASE_MS // 2)
        assert len(thinking.cancelled) == worker.counts.lost == 1


@pytest.mark.asyncio
async def test_a_task_that_is_being_committed_is_not_renewed(client, clock, queue):
    renewals = RenewalCounter(client)
    handler = Held()
    await client.put("q")
    worker = Worker(client, "q", handler=handler, lease_ms=400)
    async with serving(worker):
        await until(lambda: handler.started)
        for _ in range(4):
            queue.fail_next("modify", raftq.Unavailable("no leader"))
        handler.go_on.set()
        await clock.advance(350)
        assert worker.counts.repeated_commits >= 2
        assert renewals.batches == []
        await clock.advance(5_000)
        assert worker.counts.done == 1


@pytest.mark.asyncio
async def test_lost_tasks_are_told_apart_from_renewed_ones(client, clock):
    handler = Held()
    await client.put_many([Insert("q", id="kept"), Insert("q", id="gone")])
    worker = Worker(client, "q", handler=handler, concurrency=2, lease_ms=LEASE_MS)
    async with serving(worker):
        await until(lambda: len(handler.started) == 2)
        (gone,) = (task for task in handler.started if task.id == "gone")
        await client.delete(gone)
        await clock.advance(LEASE_MS // 2)
        assert [task.id for task in handler.cancelled] == ["gone"]
        handler.go_on.set()
        await until(lambda: worker.counts.done)
    assert (worker.counts.done, worker.counts.lost) == (1, 1)
