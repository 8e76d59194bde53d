"""A worker's life: room, reconnection, drain, signals, and what it says about itself."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.working import PATIENCE_S, Held, serving, until

import raftq
from raftq import AsyncClient, Context, FatalWorker, Insert, Task, Worker
from raftq.testing import ManualClock, MemoryQueue


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


@pytest_asyncio.fixture
async def other(queue: MemoryQueue) -> AsyncIterator[AsyncClient]:
    async with queue.async_client("other") as other:
        yield other


async def nothing(_: Task) -> None:
    pass


# --- room ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_no_task_is_claimed_before_there_is_room_for_it(client, other):
    handler = Held()
    await other.put_many(Insert("q") for _ in range(5))
    worker = Worker(client, "q", handler=handler, concurrency=2)
    async with serving(worker):
        await until(lambda: len(handler.started) == 2)
        (stats,) = await other.queues()
        assert (stats.claimed, stats.ready) == (2, 3)
        handler.go_on.set()
        await until(lambda: worker.counts.done == 5)


@pytest.mark.asyncio
async def test_handlers_run_at_once_up_to_the_concurrency(client, other):
    meeting = asyncio.Barrier(3)

    async def work(_: Task) -> None:
        await meeting.wait()

    await other.put_many(Insert("q") for _ in range(3))
    worker = Worker(client, "q", handler=work, concurrency=3)
    async with serving(worker):
        await until(lambda: worker.counts.done == 3)


@pytest.mark.asyncio
async def test_several_queues_are_worked_on(client, other):
    worked: list[str] = []

    async def work(task: Task) -> None:
        worked.append(task.queue)

    await other.put_many(Insert(name) for name in "abc")
    worker = Worker(client, "a", "b", handler=work)
    async with serving(worker):
        await until(lambda: worker.counts.done == 2)
    assert sorted(worked) == ["a", "b"]


# --- connections that fail -----------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_worker_that_cannot_claim_says_so_and_goes_on_for_ever(client, other, clock, queue):
    for _ in range(100):
        queue.fail_next("claim", raftq.ConnectionLost("n1: refused"))
    worker = Worker(client, "q", handler=nothing)
    async with serving(worker):
        await clock.advance(1_000)
        assert worker.state == "retrying"
        assert isinstance(worker.last_error, raftq.ConnectionLost)
        await other.put("q")
        await clock.advance(600_000)
        assert (worker.state, worker.last_error) == ("running", None)
        assert (worker.counts.failed_claims, worker.counts.done) == (100, 1)


@pytest.mark.parametrize(
    "error", [raftq.InvalidRequest("bad name"), raftq.Denied("no"), raftq.MisuseError("closed")]
)
@pytest.mark.asyncio
async def test_a_worker_that_can_never_claim_ends_with_the_reason(client, queue, error):
    queue.fail_next("claim", error)
    worker = Worker(client, "q", handler=nothing)
    with pytest.raises(type(error)):
        await worker.serve()
    assert worker.state == "stopped"


# --- stopping ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_stopped_worker_claims_no_more_and_lets_handlers_end(client, other, clock):
    handler = Held()
    await other.put("q")
    worker = Worker(client, "q", handler=handler, drain_s=20.0)
    async with serving(worker) as running:
        await until(lambda: handler.started)
        worker.stop()
        await clock.advance(15_000)
        assert worker.state == "draining"
        await other.put("q")
        handler.go_on.set()
        await running
    assert (worker.state, worker.counts.done, worker.counts.claimed) == ("stopped", 1, 1)
    assert handler.cancelled == []


@pytest.mark.asyncio
async def test_leases_are_renewed_during_the_drain(client, other, clock):
    handler = Held()
    await other.put("q")
    worker = Worker(client, "q", handler=handler, drain_s=60.0, lease_ms=6_000)
    async with serving(worker) as running:
        await until(lambda: handler.started)
        worker.stop()
        await clock.advance(30_000)
        handler.go_on.set()
        await running
    assert (worker.counts.done, worker.counts.lost) == (1, 0)


@pytest.mark.asyncio
async def test_what_does_not_end_within_the_drain_is_handed_back_uncounted(client, other, clock):
    handler = Held()
    await other.put_many(Insert("q") for _ in range(2))
    worker = Worker(client, "q", handler=handler, concurrency=2, drain_s=20.0)
    async with serving(worker) as running:
        await until(lambda: len(handler.started) == 2)
        worker.stop()
        await clock.advance(20_000)
        await running
    assert len(handler.cancelled) == worker.counts.released == 2
    again = await other.claim("q", limit=2)
    assert [(task.attempt, task.err, task.claims) for task in again] == [(0, "", 2)] * 2


@pytest.mark.asyncio
async def test_a_thread_that_does_not_end_is_told_and_its_task_handed_back(client, other, clock):
    contexts: list[Context] = []
    go_on = threading.Event()

    def work(_: Task, context: Context) -> None:
        contexts.append(context)
        go_on.wait(PATIENCE_S)

    await other.put("q")
    worker = Worker(client, "q", handler=work, drain_s=20.0)
    async with serving(worker) as running:
        await until(lambda: contexts)
        worker.stop()
        await clock.advance(20_000)
        await running
    assert contexts[0].lost.is_set()
    assert worker.counts.released == 1
    go_on.set()


@pytest.mark.asyncio
async def test_a_thread_whose_task_was_lost_does_not_hold_up_the_end(client, other, clock):
    contexts: list[Context] = []
    go_on = threading.Event()

    def work(_: Task, context: Context) -> None:
        contexts.append(context)
        go_on.wait(PATIENCE_S)

    await other.put("q")
    worker = Worker(client, "q", handler=work, lease_ms=6_000)
    async with serving(worker) as running:
        await until(lambda: contexts)
        await client.delete(contexts[0].task)
        await clock.advance(3_000)
        await until(lambda: worker.counts.lost)
        worker.stop_now()
        await running
    go_on.set()


@pytest.mark.asyncio
async def test_a_handler_that_ignores_its_cancellation_is_left_behind(client, other, clock):
    started, stubborn = asyncio.Event(), True

    async def work(_: Task) -> None:
        started.set()
        while stubborn:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not stubborn:
                    raise

    await other.put("q", id="t")
    worker = Worker(client, "q", handler=work, drain_s=1.0)
    running = asyncio.create_task(worker.serve())
    await until(started.is_set)
    worker.stop()
    await clock.advance(10_000)
    stubborn = False
    for task in asyncio.all_tasks() - {asyncio.current_task(), running}:
        task.cancel()
    await running
    assert (await other.task("t")).claimant == "me"


@pytest.mark.asyncio
async def test_stop_now_ends_the_drain_at_once(client, other):
    handler = Held()
    await other.put("q")
    worker = Worker(client, "q", handler=handler, drain_s=1_000_000.0)
    async with serving(worker) as running:
        await until(lambda: handler.started)
        worker.stop()
        worker.stop_now()
        await running
    assert worker.counts.released == 1


@pytest.mark.asyncio
async def test_a_worker_that_is_stopped_before_it_serves_claims_nothing(client, other):
    await other.put("q")
    worker = Worker(client, "q", handler=nothing)
    worker.stop()
    await worker.serve()
    assert worker.counts.claimed == 0


@pytest.mark.asyncio
async def test_cancelling_a_worker_cancels_its_handlers(client, other):
    handler = Held()
    await other.put("q")
    worker = Worker(client, "q", handler=handler)
    running = asyncio.create_task(worker.serve())
    await until(lambda: handler.started)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert len(handler.cancelled) == 1
    assert worker.state == "stopped"


# --- the synchronous way -------------------------------------------------------------------------


def test_run_works_with_a_synchronous_client_and_stops_from_any_thread():
    queue = MemoryQueue()
    with queue.client() as client:
        client.put_many(Insert("q", n) for n in range(20))
        worker = Worker(client, "q", concurrency=4)
        worked: list[object] = []

        @worker.handler
        def work(task: Task) -> None:
            worked.append(task.value)

        thread = threading.Thread(target=worker.run)
        thread.start()
        assert client.wait_empty("q", timeout_ms=20_000)
        worker.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        worker.stop()  # once more harms nobody
        assert sorted(worked) == list(range(20))
        client.put("q")  # the caller's client is the caller's


def test_a_signal_drains_and_a_second_one_ends_the_drain():
    queue = MemoryQueue()
    with queue.client() as client:
        client.put("q")
        cancelled: list[Task] = []
        worker = Worker(client, "q", drain_s=1_000.0)

        @worker.handler
        async def work(task: Task) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            try:
                await until(lambda: worker.state == "draining")
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(task)
                raise

        worker.run()
        assert len(cancelled) == worker.counts.released == 1
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_fatal_error_comes_out_of_run():
    queue = MemoryQueue()
    with queue.client() as client:
        client.put("q")

        def work(_: Task) -> None:
            raise FatalWorker("no configuration")

        with pytest.raises(FatalWorker, match="no configuration"):
            Worker(client, "q", handler=work).run()


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queues", "options", "why"),
    [
        ((), {}, "at least one queue"),
        (("q",), {"concurrency": 0}, "concurrency"),
        (("q",), {"concurrency": 1_001}, "concurrency"),
    ],
)
def test_a_worker_that_makes_no_sense_is_refused(client_url, queues, options, why):
    with pytest.raises(raftq.InvalidRequest, match=why):
        Worker(client_url, *queues, handler=nothing, **options)


@pytest.fixture
def client_url() -> str:
    return "raftq://127.0.0.1:1"


@pytest.mark.asyncio
async def test_a_worker_needs_a_handler_and_works_once(client):
    with pytest.raises(raftq.InvalidRequest, match="needs a handler"):
        await Worker(client, "q").serve()
    worker = Worker(client, "q", handler=nothing)
    worker.stop()
    await worker.serve()
    with pytest.raises(raftq.InvalidRequest, match="works once"):
        await worker.serve()


@pytest.mark.asyncio
async def test_a_url_gives_the_worker_a_client_of_its_own(client_url, clock):
    worker = Worker(client_url, "q", handler=nothing, clock=clock)
    running = asyncio.create_task(worker.serve())
    await until(lambda: worker.state != "new")
    worker.stop()
    await running
    assert worker.state == "stopped"
