"""One suite over every way a client reaches a cluster: keys, renewals, questions and shorthands."""

import asyncio

import pytest

from raftq import (
    Insert,
    InvalidRequest,
    NotFound,
)

LEASE_MS = 30_000


# --- idempotency ---------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_repeated_key_gives_the_first_answer_again(client):
    first = await client.put("q", 1, idempotency_key="k1")
    again = await client.put("q", 1, idempotency_key="k1")
    assert again == first
    claimed = await client.claim("q", idempotency_key="k2")
    assert await client.claim("q", idempotency_key="k2") == claimed
    renewed = await client.renew(claimed, idempotency_key="k3")
    again_renewed = await client.renew(claimed, idempotency_key="k3")
    assert again_renewed.renewed == renewed.renewed
    assert (await client.queues())[0].tasks == 1


@pytest.mark.asyncio
async def test_a_key_of_another_request_is_refused(client):
    await client.put("q", 1, idempotency_key="k1")
    with pytest.raises(InvalidRequest) as refused:
        await client.put("q", 2, idempotency_key="k1")
    assert refused.value.code == "idempotency_key_reused"


@pytest.mark.asyncio
async def test_an_empty_claim_leaves_its_key_free(client):
    assert await client.claim("q", idempotency_key="k1") == []
    await client.put("q", 1)
    assert len(await client.claim("q", idempotency_key="k1")) == 1


@pytest.mark.asyncio
async def test_a_wait_under_a_key_whose_tasks_are_gone_ends_at_once(client):
    await client.put("q", 1)
    await client.done(*await client.claim("q", idempotency_key="k1"))
    await client.put("q", 2)
    async with asyncio.timeout(10):
        assert await client.claim("q", wait_ms=60_000, idempotency_key="k1") == []
    assert len(await client.claim("q", wait_ms=60_000)) == 1


# --- renew ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_renew_tells_of_each_task(client, cluster):
    await client.put_many(Insert("q", n, id=f"t{n}") for n in range(4))
    by_id = {task.id: task for task in await client.claim("q", limit=4)}
    await client.delete(by_id["t1"])
    await client.modify(changes=[by_id["t2"].change(err="touched")])
    await cluster.pass_time(10_000)
    (other,) = [await client.put("q", id="t9")]
    asked = [by_id["t0"], by_id["t1"], by_id["t2"], by_id["t3"], other]
    renewed = await client.renew(asked, 60_000)
    assert [(task.id, task.version, task.value) for task in renewed.renewed] == [
        ("t0", 2, 0),
        ("t3", 2, 3),
    ]
    assert all(task.at - task.modified == 60_000 for task in renewed.renewed)
    assert [(lost.id, lost.reason) for lost in renewed.lost] == [
        ("t1", "missing"),
        ("t2", "version"),
        ("t9", "claimed"),
    ]


@pytest.mark.asyncio
async def test_a_lease_that_ran_out_can_be_renewed_while_nobody_took_the_task(client, cluster):
    await client.put("q")
    tasks = await client.claim("q", lease_ms=1_000)
    await cluster.pass_time(2_000)
    renewed = await client.renew(tasks, 1_000)
    assert len(renewed.renewed) == 1
    assert await cluster.client("you").claim("q") == []


# --- questions -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_queues_are_counted(client, cluster):
    await client.put_many(Insert("a", n) for n in range(3))
    await client.put("a", delay_ms=60_000)
    await client.put("b/x")
    await client.put("b/y")
    await client.claim("a")
    (queue,) = await client.queues(exact="a")
    assert (queue.tasks, queue.ready, queue.claimed, queue.delayed) == (4, 2, 1, 1)
    assert (queue.max_claims, queue.order, queue.paused) == (1, "random", False)
    assert queue.oldest_ready_at is not None
    assert abs(queue.oldest_ready_at - cluster.clock.time_ms()) < 2_000

    async def names(**filters):
        return [queue.name for queue in await client.queues(**filters)]

    assert await names() == ["a", "b/x", "b/y"]
    assert await names(prefix="b/", exact=["a", "c"]) == ["a", "b/x", "b/y"]
    assert await names(prefix=["b/"]) == ["b/x", "b/y"]
    assert await names(limit=2) == ["a", "b/x"]
    assert await names(stale=True) == ["a", "b/x", "b/y"]


@pytest.mark.asyncio
async def test_tasks_are_listed_by_queue_claimant_and_id(client, cluster):
    await client.put_many(Insert("q", n, id=f"t{n}") for n in range(5))
    await client.put("other", id="else")
    held = await client.claim("q", limit=2)

    async def ids(*args, **filters):
        return [task.id for task in await client.tasks(*args, **filters)]

    assert sorted(await ids("q")) == [f"t{n}" for n in range(5)]
    assert len(await ids("q", limit=3)) == 3
    assert sorted(await ids("q", claimant="me")) == sorted(task.id for task in held)
    assert await ids("q", claimant="you") == []
    assert await ids(id=["t3", "else", "no", "t1"]) == ["t3", "else", "t1"]
    assert await ids("q", id=["t3", "else"]) == ["t3"]
    bare = await client.tasks("q", omit_values=True, stale=True)
    assert [task.value for task in bare] == [None] * 5
    await cluster.pass_time(LEASE_MS)
    assert await ids("q", claimant="me") == []


@pytest.mark.asyncio
async def test_many_ids_are_listed_in_their_order(client):
    tasks = await client.put_many(Insert("q", n) for n in range(200))
    wanted = [task.id for task in reversed(tasks)]
    assert [task.id for task in await client.tasks(id=wanted, limit=1_000)] == wanted
    assert [task.id for task in await client.tasks(id=wanted, limit=100)] == wanted[:100]


@pytest.mark.parametrize("id_", ["a/b", "ü?&#%25", "..", "+"])
@pytest.mark.asyncio
async def test_any_id_can_be_asked_for(client, id_):
    await client.put("q", id=id_)
    assert (await client.task(id_)).id == id_
    assert [task.id for task in await client.tasks(id=id_)] == [id_]


@pytest.mark.asyncio
async def test_a_listing_of_everything_is_refused(client):
    with pytest.raises(InvalidRequest):
        await client.tasks()


@pytest.mark.asyncio
async def test_there_is_no_task_of_an_unknown_id(client):
    with pytest.raises(NotFound) as refused:
        await client.task("nowhere")
    assert refused.value.code == "task_not_found"


@pytest.mark.asyncio
async def test_settings_are_replaced_and_removed(client):
    await client.configure("a", order="fifo", lease_ms=5_000)
    await client.configure("a*", paused=True)
    await client.configure("b", paused=False)
    await client.configure("b")
    rows = [(row.pattern, row.order or None, row.paused or None, row.lease_ms or None)
            for row in await client.settings()]  # fmt: skip
    assert rows == [("a", "fifo", None, 5_000), ("a*", None, True, None)]
    await client.put("a")
    assert [(queue.order, queue.paused) for queue in await client.queues()] == [("fifo", True)]


@pytest.mark.asyncio
async def test_answers_tell_the_log_index_that_they_reflect(client):
    first = await client.modify(inserts=[Insert("q")])
    second = await client.modify(inserts=[Insert("q")])
    assert 0 < first.index < second.index == client.last_index
    await client.tasks("q")
    assert client.last_index == second.index
    (task,) = await client.claim("q")
    renewed = await client.renew([task])
    assert renewed.index == client.last_index > second.index


@pytest.mark.asyncio
async def test_time_and_cluster_are_told(client, cluster):
    assert await client.time() == cluster.clock.time_ms()
    told = await client.cluster()
    # memory says memory, PostgreSQL how it commits
    assert told.durability.split(" ")[0] == told.backend
    assert told.backend in {"memory", "postgres"}
    assert told.leader == told.node


# --- built out of modify -------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_done_deletes_claimed_tasks(client):
    await client.put_many(Insert("q") for _ in range(2))
    await client.done(*await client.claim("q", limit=2))
    assert await client.queues() == []


@pytest.mark.asyncio
async def test_release_gives_back_now_without_an_attempt(client):
    await client.put("q")
    (released,) = await client.release(*await client.claim("q"))
    assert (released.claimant, released.attempt, released.claims) == ("", 0, 1)
    (again,) = await client.claim("q")
    assert again.id == released.id


@pytest.mark.asyncio
async def test_retry_gives_back_later_with_the_error_kept(client, cluster):
    await client.put("q")
    (task,) = await client.claim("q")
    retried = await client.retry(task, 5_000, "no route")
    assert (retried.attempt, retried.err, retried.claimant) == (1, "no route", "")
    assert await client.claim("q") == []
    await cluster.pass_time(5_000)
    (again,) = await client.claim("q")
    assert (again.attempt, again.err, again.claims) == (1, "no route", 2)


@pytest.mark.asyncio
async def test_quarantine_moves_to_the_error_queue(client):
    await client.put("q")
    (task,) = await client.claim("q")
    moved = await client.quarantine(task, "poison")
    assert (moved.queue, moved.err, moved.claimant) == ("q/err", "poison", "")
    assert [task.err for task in await client.peek("q/err")] == ["poison"]
    (task,) = await client.claim("q/err")  # ready at once
    assert (await client.quarantine(task, queue="attic")).queue == "attic"


@pytest.mark.asyncio
async def test_move_takes_the_task_to_another_queue_ready(client):
    await client.put("q", 1, delay_ms=60_000)
    (task,) = await client.peek("q")
    assert (await client.move(task, "r")).queue == "r"
    assert [task.value for task in await client.claim("r")] == [1]


@pytest.mark.asyncio
async def test_wait_empty_waits_for_the_last_task(client, cluster):
    await client.put("q")
    assert await client.wait_empty("other")
    assert not await client.wait_empty("q", timeout_ms=0)
    waiting = asyncio.create_task(client.wait_empty("q", "r"))
    await client.time()
    assert not waiting.done()
    await client.done(*await client.claim("q"))
    async with asyncio.timeout(5):
        while not waiting.done():
            await cluster.pass_time(1_000)
    assert await waiting
