"""From the handler's word to the commit: exactly one, whatever happens on the way."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.working import Held, serving, until

import raftq
from raftq import (
    AsyncClient,
    Context,
    Insert,
    Modification,
    RetryError,
    StopWorker,
    Task,
    Worker,
)
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


class KeysOf:
    """Remembers the key of every modification that a client makes."""

    def __init__(self, client: AsyncClient) -> None:
        self.keys: list[str] = []
        modify = client.modify

        async def noted(**parts):
            self.keys.append(parts.get("idempotency_key", ""))
            return await modify(**parts)

        client.modify = noted


async def copy_out(task: Task) -> Modification:
    return Modification(inserts=[Insert("out", task.value)])


@pytest.mark.asyncio
async def test_a_commit_that_was_done_unheard_is_not_done_again(client, other, clock, queue):
    keys = KeysOf(client)
    worker = Worker(client, "q", handler=copy_out)
    async with serving(worker):
        await other.put("q", 1)
        await until(lambda: worker.counts.done)
        keys.keys.clear()
        handled = client.modify

        async def unheard(**parts):
            client.modify = handled
            key = client.new_key()
            await handled(**parts | {"idempotency_key": key})
            raise raftq.OutcomeUnknown(idempotency_key=key)

        client.modify = unheard
        await other.put("q", 2)
        await clock.advance(1_000)
        assert worker.counts.done == 2
    assert worker.counts.repeated_commits == 1
    assert len(set(keys.keys)) == 1
    assert sorted(task.value for task in await other.tasks("out")) == [1, 2]


@pytest.mark.asyncio
async def test_a_commit_that_no_node_can_do_now_waits(client, other, clock, queue):
    handler = Held()
    await other.put("q")
    worker = Worker(client, "q", handler=handler)
    async with serving(worker):
        await until(lambda: handler.started)
        for _ in range(5):
            queue.fail_next("modify", raftq.TooBusy("full"))
        handler.go_on.set()
        await clock.advance(60_000)
        assert (worker.counts.repeated_commits, worker.counts.done) == (5, 1)


@pytest.mark.asyncio
async def test_a_modification_that_is_refused_becomes_the_tasks_error(client, other):
    async def work(_: Task) -> Modification:
        return Modification(inserts=[Insert("a bad name")])

    await other.put("q", id="t")
    worker = Worker(client, "q", handler=work, max_attempts=1)
    async with serving(worker):
        await until(lambda: worker.counts.moved)
    (task,) = await other.tasks("q/err")
    assert "InvalidRequest" in task.err
    assert "space or a control character" in task.err


@pytest.mark.asyncio
async def test_a_value_that_cannot_be_sent_becomes_the_tasks_error(client, other):
    async def work(_: Task) -> Modification:
        return Modification(inserts=[Insert("out", object())])

    await other.put("q", id="t")
    worker = Worker(client, "q", handler=work)
    async with serving(worker):
        await until(lambda: worker.counts.retried)
    assert "cannot be written as JSON" in (await other.task("t")).err


@pytest.mark.asyncio
async def test_a_task_whose_end_cannot_be_committed_is_left_to_its_lease(client, other):
    async def refused(**_parts):
        raise raftq.Denied("no")

    client.modify = refused
    await other.put("q", id="t")
    worker = Worker(client, "q", handler=copy_out)
    async with serving(worker):
        await until(lambda: worker.counts.abandoned)
    assert (await other.task("t")).claimant == "me"


@pytest.mark.asyncio
async def test_a_crash_looping_task_is_moved_before_it_runs(client, other, clock):
    worked: list[Task] = []
    await other.put("q", id="poison")
    for _ in range(3):  # three workers that never came back
        await other.claim("q", lease_ms=1_000)
        await clock.advance(1_000)
    worker = Worker(client, "q", handler=worked.append, max_claims=3)
    async with serving(worker):
        await until(lambda: worker.counts.moved)
    assert worked == []
    (task,) = await other.claim("q/err")
    assert "claimed 4 times with 0 errors" in task.err


# --- dependency handlers -------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_dependency_handler_may_be_synchronous_and_may_raise(client, other):
    def on_dependency(_task, _error):
        raise RetryError("the shelf is empty", delay_ms=5)

    async def work(_: Task) -> Modification:
        return Modification(depends=[raftq.Target("nowhere", 1)])

    await other.put("q", id="t")
    worker = Worker(client, "q", handler=work, on_dependency=on_dependency)
    async with serving(worker):
        await until(lambda: worker.counts.retried)
    assert (await other.task("t")).err == "the shelf is empty"


@pytest.mark.asyncio
async def test_a_second_loss_is_not_asked_about_again(client, other):
    asked: list[Task] = []

    async def work(_: Task) -> Modification:
        return Modification(depends=[raftq.Target("nowhere", 1)])

    async def on_dependency(task, _error):
        asked.append(task)
        return Modification(depends=[raftq.Target("nowhere", 2)])

    await other.put("q", id="t")
    worker = Worker(client, "q", handler=work, on_dependency=on_dependency)
    async with serving(worker):
        await until(lambda: worker.counts.retried)
    assert len(asked) == 1
    assert "depend nowhere: missing" in (await other.task("t")).err


@pytest.mark.asyncio
async def test_the_lease_is_renewed_while_the_dependency_handler_works(client, other, clock):
    thinking = Held()

    async def work(_: Task) -> Modification:
        return Modification(depends=[raftq.Target("nowhere", 1)])

    async def on_dependency(task, _error):
        return await thinking(task)

    await other.put("q", id="t")
    worker = Worker(client, "q", handler=work, on_dependency=on_dependency, lease_ms=6_000)
    async with serving(worker):
        await until(lambda: thinking.started)
        await clock.advance(10_000)
        assert worker.counts.renewed == 3
        thinking.go_on.set()
        await until(lambda: worker.counts.done)


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_handler_that_takes_too_long_is_cancelled_and_its_task_tried_again(
    client, other, clock
):
    handler = Held()
    await other.put("q", id="t")
    worker = Worker(client, "q", handler=handler, work_timeout_s=100.0)
    async with serving(worker):
        await clock.advance(99_999)
        assert handler.cancelled == []
        await clock.advance(1)
        assert len(handler.cancelled) == 1
        await until(lambda: worker.counts.retried)
    task = await other.task("t")
    assert (task.attempt, task.err.splitlines()[0].rpartition(".")[2]) == (
        1,
        "WorkTimeoutError: no end within 100 s",
    )


@pytest.mark.asyncio
async def test_a_thread_that_takes_too_long_keeps_its_room_but_not_its_task(client, other, clock):
    go_on, contexts = threading.Event(), []

    def work(_: Task, context: Context) -> None:
        contexts.append(context)
        go_on.wait(20)

    await other.put("q", id="t")
    worker = Worker(client, "q", handler=work, work_timeout_s=10.0, retry_ms=1)
    async with serving(worker):
        await until(lambda: contexts)
        await clock.advance(10_000)
        await until(lambda: worker.counts.retried)
        assert contexts[0].lost.is_set()
        await clock.advance(1_000)
        assert worker.counts.claimed == 1  # the task waits for it, but there is no room
        go_on.set()
        await until(lambda: worker.counts.done == 1)
    assert worker.counts.claimed == 2


@pytest.mark.asyncio
async def test_a_handler_that_cancels_itself_has_failed(client, other):
    async def work(_: Task) -> None:
        raise asyncio.CancelledError

    await other.put("q", id="t")
    worker = Worker(client, "q", handler=work)
    async with serving(worker):
        await until(lambda: worker.counts.retried)
    assert "HandlerCancelledError" in (await other.task("t")).err


# --- orders --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_stop_worker_hands_the_task_back_and_ends_cleanly(client, other):
    async def work(_: Task) -> None:
        raise StopWorker

    await other.put_many(Insert("q") for _ in range(3))
    worker = Worker(client, "q", handler=work)
    await worker.serve()
    assert (worker.state, worker.counts.released, worker.counts.claimed) == ("stopped", 1, 1)
    tasks = await other.tasks("q")
    assert [task.attempt for task in tasks] == [0, 0, 0]
    assert len(await other.claim("q", limit=3)) == 3


@pytest.mark.asyncio
async def test_a_retry_may_stop_the_worker_after_it(client, other):
    async def work(_: Task) -> None:
        raise RetryError("tired", then_stop=True)

    await other.put("q")
    worker = Worker(client, "q", handler=work)
    await worker.serve()
    assert worker.counts.retried == 1
    assert [task.err for task in await other.tasks("q")] == ["tired"]
