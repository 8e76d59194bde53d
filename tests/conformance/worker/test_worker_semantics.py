"""What EntroQ's workers promise, re-created over every way to a cluster (cases 53 to 59 of its suite)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.deployments import DEPLOYMENTS, Cluster
from tests.support.working import Held, serving, until

from raftq import (
    AsyncClient,
    DependencyError,
    DocInsert,
    FatalWorker,
    Insert,
    Modification,
    MoveError,
    RetryError,
    Task,
    Worker,
)


@pytest_asyncio.fixture(params=DEPLOYMENTS)
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    async with DEPLOYMENTS[request.param]() as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> AsyncClient:
    return cluster.client("me")


@pytest.fixture
def other(cluster: Cluster) -> AsyncClient:
    return cluster.client("other")


def worker_of(client: AsyncClient, cluster: Cluster, handler, **options) -> Worker:
    return Worker(client, "q", handler=handler, clock=cluster.clock, **options)


@pytest.mark.asyncio
async def test_tasks_put_after_the_worker_started_are_each_worked_once(client, cluster, other):
    worked: list[Task] = []

    async def work(task: Task) -> None:
        worked.append(task)

    worker = worker_of(client, cluster, work, concurrency=3)
    async with serving(worker):
        for _ in range(20):
            worked.clear()
            await other.put_many(Insert("q", n) for n in range(10))
            await until(lambda: len(worked) == 10)
            await until_empty(other)
            assert sorted(task.value for task in worked) == list(range(10))
            assert {task.claims for task in worked} == {1}


async def until_empty(client: AsyncClient) -> None:
    async with asyncio.timeout(20):
        while await client.queues(exact="q"):
            await asyncio.sleep(0)


@pytest.mark.parametrize("max_attempts", [0, 3])
@pytest.mark.asyncio
async def test_a_retry_counts_an_attempt_and_keeps_the_error(client, cluster, other, max_attempts):
    async def work(_: Task) -> None:
        raise RetryError("no route to host", delay_ms=60_000)

    await other.put("q", {"keep": "me"})
    worker = worker_of(client, cluster, work, max_attempts=max_attempts)
    async with serving(worker):
        await until(lambda: worker.counts.retried)
    (task,) = await other.tasks("q")
    assert (task.attempt, task.err, task.claimant) == (1, "no route to host", "")
    assert (task.claims, task.value) == (1, {"keep": "me"})
    assert task.at - task.modified == 60_000


@pytest.mark.asyncio
async def test_the_last_attempt_moves_to_the_error_queue(client, cluster, other):
    async def work(_: Task) -> None:
        raise RetryError("again", delay_ms=60_000)

    await other.put("q", 1)
    worker = worker_of(client, cluster, work, max_attempts=1)
    async with serving(worker):
        await until(lambda: worker.counts.moved)
    assert await other.tasks("q") == []
    (task,) = await other.claim("q/err")  # ready at once
    assert (task.attempt, task.err, task.value) == (1, "again", 1)


@pytest.mark.parametrize("renewals", [0, 1])
@pytest.mark.asyncio
async def test_a_move_finds_the_error_queue_also_after_a_renewal(client, cluster, other, renewals):
    handler = Held()
    handler.error = MoveError("poison")
    await other.put("q", 1)
    worker = worker_of(client, cluster, handler, lease_ms=6_000)
    async with serving(worker):
        await until(lambda: handler.started)
        for done in range(renewals):
            await cluster.pass_time(3_000)
            await until(lambda: worker.counts.renewed == done + 1)  # noqa: B023 - called at once
        handler.go_on.set()
        await until(lambda: worker.counts.moved)
    (task,) = await other.claim("q/err")
    assert (task.err, task.attempt, task.version) == ("poison", 0, 3 + renewals)


@pytest.mark.asyncio
async def test_a_fatal_error_stops_the_worker_and_leaves_the_task(client, cluster, other):
    async def work(_: Task) -> None:
        raise FatalWorker("no configuration")

    await other.put("q")
    with pytest.raises(FatalWorker, match="no configuration"):
        await worker_of(client, cluster, work).serve()
    (task,) = await other.tasks("q")
    assert (task.version, task.claimant, task.attempt) == (1, "me", 0)


@pytest.mark.asyncio
async def test_ten_seconds_of_work_under_a_lease_of_six_are_three_renewals(client, cluster, other):
    handler = Held()
    await other.put("q", id="t")
    worker = worker_of(client, cluster, handler, lease_ms=6_000)
    async with serving(worker):
        await until(lambda: handler.started)
        for second in range(1, 11):
            await cluster.pass_time(1_000)
            await until(lambda: worker.counts.renewed == second // 3)  # noqa: B023 - called at once
        assert (await other.task("t")).version == 1 + 3
        handler.go_on.set()
        await until(lambda: worker.counts.done)
    assert await other.tasks("q") == []


@pytest.mark.asyncio
async def test_a_commit_that_loses_its_depend_asks_the_dependency_handler(client, cluster, other):
    await other.put("shelf", id="needed")
    needed = await other.task("needed")
    handler = Held(Modification(inserts=[Insert("out", 1)], depends=[needed]))
    asked: list[tuple[str, list[str]]] = []

    async def on_dependency(task: Task, error: DependencyError) -> Modification:
        asked.append((task.id, [part.id for part in error.failed]))
        return Modification(inserts=[Insert("out", "second choice")])

    await other.put("q", id="t")
    worker = worker_of(client, cluster, handler, on_dependency=on_dependency)
    async with serving(worker):
        await until(lambda: handler.started)
        await other.delete(needed)
        handler.go_on.set()
        await until(lambda: worker.counts.done)
    assert asked == [("t", ["needed"])]
    assert [task.value for task in await other.tasks("out")] == ["second choice"]
    assert await other.tasks("q") == []


@pytest.mark.asyncio
async def test_without_a_dependency_handler_the_task_is_tried_again_later(client, cluster, other):
    await other.put("shelf", id="needed")
    handler = Held(Modification(depends=[await other.task("needed")]))
    await other.put("q", id="t")
    worker = worker_of(client, cluster, handler)
    async with serving(worker):
        await until(lambda: handler.started)
        await other.delete(await other.task("needed"))
        handler.go_on.set()
        await until(lambda: worker.counts.retried)
    task = await other.task("t")
    assert task.attempt == 1
    assert "depend needed: missing" in task.err


@pytest.mark.asyncio
async def test_a_lost_claim_cancels_the_handler_and_asks_nobody(client, cluster, other):
    handler = Held()
    asked: list[Task] = []
    await other.put("q", id="t")
    worker = worker_of(
        client,
        cluster,
        handler,
        lease_ms=6_000,
        on_dependency=lambda task, _error: asked.append(task),
    )
    async with serving(worker):
        await until(lambda: handler.started)
        (held,) = handler.started
        await client.delete(held)  # the same claimant may
        await cluster.pass_time(3_000)
        await until(lambda: worker.counts.lost)
    assert handler.cancelled == [held]
    assert asked == []
    assert await other.queues() == []


@pytest.mark.asyncio
async def test_a_task_that_others_took_is_not_committed(client, cluster, other):
    handler = Held(Modification(inserts=[Insert("out")]))
    asked: list[Task] = []
    await other.put("q", id="t")
    worker = worker_of(
        client, cluster, handler, on_dependency=lambda task, _error: asked.append(task)
    )
    async with serving(worker):
        await until(lambda: handler.started)
        await client.delete(handler.started[0])
        handler.go_on.set()
        await until(lambda: worker.counts.lost)
    assert await other.queues() == []
    assert asked == []


@pytest.mark.asyncio
async def test_a_modification_is_committed_with_the_tasks_deletion(client, cluster, other):
    async def work(task: Task) -> Modification:
        return Modification(inserts=[Insert("out", task.value * 2)])

    await other.put_many(Insert("q", n) for n in range(5))
    worker = worker_of(client, cluster, work, concurrency=5)
    async with serving(worker):
        await until(lambda: worker.counts.done == 5)
    assert sorted(task.value for task in await other.tasks("out")) == [0, 2, 4, 6, 8]
    assert await other.tasks("q") == []


@pytest.mark.asyncio
async def test_a_synchronous_handler_works_in_threads(client, cluster, other):
    def work(task: Task) -> Modification:
        return Modification(changes=[task.change(queue="out", delay_ms=0)])

    await other.put_many(Insert("q", n) for n in range(5))
    worker = worker_of(client, cluster, work, concurrency=2)
    async with serving(worker):
        await until(lambda: worker.counts.done == 5)
    assert sorted(task.value for task in await other.tasks("out")) == list(range(5))


@pytest.mark.asyncio
async def test_docs_change_in_the_same_commit_as_the_task(client, cluster, other):
    await other.modify(doc_inserts=[DocInsert("/sums", "total", 0, id="total")])

    async def add(task: Task) -> Modification:
        held = await client.claim_docs(("/sums", "total"), task=task)
        (doc,) = held.docs
        log = DocInsert("/log", task.id, task.value)
        return Modification(
            doc_changes=[doc.change(value=doc.value + task.value)], doc_inserts=[log]
        )

    await other.put_many(Insert("q", n) for n in range(1, 5))
    worker = worker_of(client, cluster, add)
    async with serving(worker):
        await until(lambda: worker.counts.done == 4)
    (total,) = await other.docs("/sums")
    assert (total.value, total.claimant) == (10, "")
    assert sorted(doc.value for doc in await other.docs("/log")) == [1, 2, 3, 4]
    assert await other.tasks("q") == []


@pytest.mark.asyncio
async def test_a_doc_that_somebody_changed_is_for_the_dependency_handler(client, cluster, other):
    """Although it has the same id as the task, which is not lost."""
    await other.put("q", 1, id="same")
    (doc,) = (await other.modify(doc_inserts=[DocInsert("/ns", "k", 1, id="same")])).docs_inserted
    (newer,) = (await other.modify(doc_changes=[doc.change(value=2)])).docs_changed
    told: list[DependencyError] = []

    async def work(_: Task) -> Modification:
        return Modification(doc_deletes=[doc], doc_depends=[])

    async def decide(_: Task, error: DependencyError) -> Modification:
        told.append(error)
        return Modification(doc_leases=[], doc_deletes=[newer])

    worker = worker_of(client, cluster, work, on_dependency=decide)
    async with serving(worker):
        await until(lambda: worker.counts.done or worker.counts.lost)
    assert worker.counts.done == 1
    assert [(part.part, part.id, part.reason) for part in told[0].failed] == [
        ("doc_delete", "same", "version")
    ]
    assert await other.docs("/ns") == []
