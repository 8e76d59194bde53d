"""One suite over every way a client reaches a cluster: tasks are put, claimed and modified alike."""

import asyncio

import pytest

from raftq import (
    AsyncClient,
    DependencyError,
    Insert,
    InvalidRequest,
    NotFound,
    Target,
    Task,
    TooLarge,
)

LEASE_MS = 30_000


async def reasons(call: object) -> list[tuple[str, int, str, str]]:
    with pytest.raises(DependencyError) as refused:
        await call
    return [(part.part, part.index, part.id, part.reason) for part in refused.value.failed]


# --- insert --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_put_gives_the_task_with_its_value(client, cluster):
    task = await client.put("/mail/out", {"to": "ada"})
    now = cluster.clock.time_ms()
    assert (task.queue, task.version, task.at, task.created) == ("/mail/out", 0, now, now)
    assert task.value == {"to": "ada"}
    assert (await client.task(task.id)).value == {"to": "ada"}


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 2**53 + 1, -(2**70), 1.5, "", "ü\x00\n", [], {"a": [1, {"b": None}]}, b"", b"\x00\n\xff"],
)  # fmt: skip
@pytest.mark.asyncio
async def test_a_value_comes_back_as_it_was_put(client, value):
    task = await client.put("q", value)
    (claimed,) = await client.claim("q")
    (listed,) = await client.tasks("q")
    for copy in (task, claimed, listed):
        assert copy.value == value
        assert type(copy.value) is type(value)


@pytest.mark.asyncio
async def test_a_delayed_task_arrives_later(client, cluster):
    await client.put("q", 1, delay_ms=2_000)
    at = await client.put("q", 2, at=cluster.clock.time_ms() + 3_000)
    assert at.at - cluster.clock.time_ms() == 3_000
    await cluster.pass_time(1_999)
    assert await client.claim("q") == []
    await cluster.pass_time(1)
    assert [task.value for task in await client.claim("q", limit=2)] == [1]
    await cluster.pass_time(1_000)
    assert [task.value for task in await client.claim("q", limit=2)] == [2]


@pytest.mark.asyncio
async def test_no_node_differs_from_the_others(client):
    await client.put("q", 1)
    found = await client.verify()
    assert {member.state for member in found.members} <= {"same"}
    assert found.entry > 0


@pytest.mark.asyncio
async def test_an_arrival_in_the_past_is_now(client, cluster):
    assert (await client.put("q", at=5)).at == cluster.clock.time_ms()


@pytest.mark.asyncio
async def test_an_id_of_the_callers_own_is_taken_once(client):
    await client.put("q", 1, id="mine")
    assert await reasons(client.put("other", 2, id="mine")) == [("insert", 0, "mine", "exists")]
    assert (await client.task("mine")).value == 1


@pytest.mark.asyncio
async def test_insert_keeps_priority_attempt_and_error(client):
    (task,) = (
        await client.modify(inserts=[Insert("q", 1, priority=-3, attempt=2, err="odd")])
    ).inserted
    (claimed,) = await client.claim("q")
    for copy in (task, claimed):
        assert (copy.priority, copy.attempt, copy.err) == (-3, 2, "odd")


@pytest.mark.asyncio
async def test_put_many_keeps_the_order(client):
    tasks = await client.put_many(Insert("q", number) for number in range(2_500))
    assert [task.value for task in tasks] == list(range(2_500))
    assert len({task.id for task in tasks}) == 2_500
    assert (await client.queues())[0].tasks == 2_500


@pytest.mark.asyncio
async def test_put_many_splits_what_is_too_large_for_one_request(client):
    big = b"x" * 1_000_000
    assert len(await client.put_many(Insert("q", big) for _ in range(7))) == 7


# --- claim ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_claim_finds_nothing_in_an_empty_queue(client):
    assert await client.claim("q") == []


@pytest.mark.asyncio
async def test_claim_holds_the_task_for_its_lease(client, cluster):
    await client.put("q", 1)
    (task,) = await client.claim("q", lease_ms=LEASE_MS)
    assert (task.version, task.claims, task.claimant) == (1, 1, "me")
    assert task.at - task.modified == LEASE_MS
    await cluster.pass_time(LEASE_MS - 1)
    assert await client.claim("q") == []
    await cluster.pass_time(1)
    (again,) = await cluster.client("you").claim("q")
    assert (again.version, again.claims, again.claimant) == (2, 2, "you")


@pytest.mark.asyncio
async def test_claim_takes_up_to_its_limit_from_all_queues(client):
    await client.put_many([Insert("a", 1), Insert("b", 2), Insert("c", 3)])
    assert sorted(task.value for task in await client.claim("a", "b", limit=5)) == [1, 2]


@pytest.mark.asyncio
async def test_a_waiting_claim_gets_a_task_as_soon_as_it_is_put(client):
    waiting = asyncio.create_task(client.claim("q", wait_ms=60_000))
    await client.time()  # the claim is on its way by now
    await client.put("q", 1)
    async with asyncio.timeout(5):
        assert [task.value for task in await waiting] == [1]


@pytest.mark.asyncio
async def test_a_waiting_claim_gets_a_task_when_it_arrives(client, cluster):
    await client.put("q", 1, delay_ms=5_000)
    waiting = asyncio.create_task(client.claim("q", wait_ms=15_000))
    await client.time()
    await cluster.pass_time(4_999)
    assert not waiting.done()
    await cluster.pass_time(1)
    async with asyncio.timeout(5):
        assert [task.value for task in await waiting] == [1]


@pytest.mark.asyncio
async def test_a_waiting_claim_ends_with_nothing(client, cluster):
    waiting = asyncio.create_task(client.claim("q", wait_ms=30))
    await cluster.pass_time(30)
    async with asyncio.timeout(5):
        assert await waiting == []


@pytest.mark.asyncio
async def test_what_a_cancelled_claim_gets_is_given_back(client, cluster):
    waiting = asyncio.create_task(client.claim("q", wait_ms=15_000))
    await client.time()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    await client.put("q", 1)
    async with asyncio.timeout(5):
        while not (claimed := await cluster.client().claim("q")):
            await asyncio.sleep(0)
    assert claimed[0].value == 1


@pytest.mark.asyncio
async def test_priority_and_fifo_decide_the_order(client):
    await client.configure("p*", order="priority")
    await client.configure("f*", order="fifo")
    await client.put_many(
        Insert(queue, n, priority=n % 3) for n in range(6) for queue in ("p", "f")
    )
    assert [(await client.claim("p"))[0].value for _ in range(6)] == [2, 5, 1, 4, 0, 3]
    assert [(await client.claim("f"))[0].value for _ in range(6)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.asyncio
async def test_a_paused_queue_gives_nothing_until_it_goes_on(client):
    await client.put("q", 1)
    await client.configure("q", paused=True)
    assert await client.claim("q") == []
    waiting = asyncio.create_task(client.claim("q", wait_ms=15_000))
    await client.time()
    await client.configure("q")
    async with asyncio.timeout(5):
        assert len(await waiting) == 1


# --- modify --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_modify_does_all_of_it(client):
    kept, gone, changed = await client.put_many(Insert("q", n) for n in range(3))
    modified = await client.modify(
        inserts=[Insert("new", "fresh")],
        changes=[changed.change(queue="moved", value={"n": 1}, err="why", attempt=4, priority=2)],
        deletes=[gone],
        depends=[kept],
    )
    (fresh,), (moved,) = modified.inserted, modified.changed
    assert (fresh.queue, fresh.value) == ("new", "fresh")
    assert (moved.version, moved.queue, moved.value) == (1, "moved", {"n": 1})
    assert (moved.err, moved.attempt, moved.priority) == ("why", 4, 2)
    assert {queue.name: queue.tasks for queue in await client.queues()} == {
        "moved": 1,
        "new": 1,
        "q": 1,
    }
    assert await client.task(moved.id) == moved
    with pytest.raises(NotFound):
        await client.task(gone.id)


@pytest.mark.asyncio
async def test_a_change_keeps_what_it_does_not_name(client):
    await client.put("q", {"keep": "me"}, priority=7)
    (task,) = await client.claim("q")
    (changed,) = (await client.modify(changes=[task.change(err="only this")])).changed
    assert changed.value == {"keep": "me"}
    assert (changed.queue, changed.priority, changed.claims) == ("q", 7, 1)
    assert (changed.at, changed.claimant) == (task.at, "me")


@pytest.mark.asyncio
async def test_every_failing_part_is_reported_and_nothing_is_done(client, cluster):
    await client.put("q", id="held")
    (held,) = await client.claim("q")
    await client.put("free", id="free")
    you = cluster.client("you")
    failed = await reasons(
        you.modify(
            inserts=[Insert("q", id="new"), Insert("q", id="free")],
            changes=[held.change(err="mine now")],
            deletes=[Target("nowhere", 3)],
            depends=[Target("held2", 1)],
        )
    )
    assert failed == [
        ("insert", 1, "free", "exists"),
        ("change", 0, "held", "claimed"),
        ("delete", 0, "nowhere", "missing"),
        ("depend", 0, "held2", "missing"),
    ]
    with pytest.raises(NotFound):
        await client.task("new")
    assert await reasons(you.modify(depends=[Target("held", 9)], deletes=[Target("free", 4)])) == [
        ("delete", 0, "free", "version"),
        ("depend", 0, "held", "version"),
    ]


@pytest.mark.asyncio
async def test_a_claimed_part_names_who_holds_it_and_until_when(client, cluster):
    await client.put("q")
    (held,) = await client.claim("q")
    with pytest.raises(DependencyError) as refused:
        await cluster.client("you").delete(held)
    (part,) = refused.value.failed
    assert (part.claimant, part.until, part.version) == ("me", held.at, held.version)


@pytest.mark.asyncio
async def test_after_the_lease_others_may_change_the_task(client, cluster):
    await client.put("q")
    (held,) = await client.claim("q", lease_ms=1_000)
    await cluster.pass_time(1_000)
    await cluster.client("you").delete(held)
    assert await client.queues() == []


@pytest.mark.asyncio
async def test_arrival_times_decide_who_holds_a_changed_task(client, cluster):
    await client.put("q")
    (task,) = await client.claim("q")
    (held,) = (await client.modify(changes=[task.change(lease_ms=9_000)])).changed
    assert (held.claimant, held.at - held.modified) == ("me", 9_000)
    (later,) = (await client.modify(changes=[held.change(delay_ms=5_000)])).changed
    assert (later.claimant, later.at - later.modified) == ("", 5_000)
    (now,) = (await client.modify(changes=[later.change(at=1)])).changed
    assert (now.claimant, now.at) == ("", now.modified)


@pytest.mark.asyncio
async def test_a_dry_run_tells_and_does_nothing(client):
    task = await client.put("q", 1)
    told = await client.modify(
        inserts=[Insert("new", 2)], changes=[task.change(queue="other")], dry_run=True
    )
    assert [task.queue for task in (*told.inserted, *told.changed)] == ["new", "other"]
    assert [queue.name for queue in await client.queues()] == ["q"]
    assert await client.task(task.id) == task
    assert await reasons(client.modify(deletes=[Target("no", 1)], dry_run=True)) == [
        ("delete", 0, "no", "missing")
    ]


@pytest.mark.asyncio
async def test_an_id_in_two_parts_is_refused(client):
    task = await client.put("q")
    with pytest.raises(InvalidRequest):
        await client.modify(deletes=[task], depends=[task])


@pytest.mark.asyncio
async def test_an_empty_modification_is_refused(client):
    with pytest.raises(InvalidRequest):
        await client.modify()


@pytest.mark.asyncio
async def test_too_many_parts_are_refused(client):
    with pytest.raises(TooLarge):
        await client.modify(inserts=[Insert("q") for _ in range(1_001)])


@pytest.mark.parametrize(
    ("queue", "field"), [("", "queue"), ("a b", "queue"), ("a\x00", "queue"), ("x" * 300, "queue")]
)
@pytest.mark.asyncio
async def test_a_bad_queue_name_is_refused(client, queue, field):
    with pytest.raises(InvalidRequest):
        await client.put(queue)


@pytest.mark.asyncio
async def test_a_number_out_of_range_is_refused_with_its_field(client):
    with pytest.raises(InvalidRequest) as refused:
        await client.claim("q", lease_ms=0)
    assert "lease_ms" in refused.value.field
    with pytest.raises(InvalidRequest):
        await client.put("q", delay_ms=-1)


# --- many at once --------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_claimants_share_a_queue_without_a_task_worked_twice(cluster):
    clients = [cluster.client() for _ in range(4)]
    await clients[0].put_many(Insert("q", n) for n in range(200))
    worked: list[object] = []

    async def work(client: AsyncClient) -> None:
        while tasks := await client.claim("q", limit=3):
            await client.done(*tasks)
            worked.extend(task.value for task in tasks)

    await asyncio.gather(*(work(client) for client in clients for _ in range(4)))
    assert sorted(worked) == list(range(200))


@pytest.mark.asyncio
async def test_the_synchronous_face_does_the_same(cluster):
    client = cluster.blocking_client("me")

    def work() -> tuple[Task, list[Task]]:
        with client:
            put = client.put("q", {"n": 1})
            claimed = client.claim("q")
            with pytest.raises(DependencyError):
                client.done(put)
            client.done(*claimed)
            assert client.wait_empty("q")
            return put, claimed

    put, (claimed,) = await asyncio.to_thread(work)
    assert (claimed.id, claimed.value, claimed.claimant) == (put.id, {"n": 1}, "me")


@pytest.mark.asyncio
async def test_claims_can_be_counted_from_the_beginning_again(client):
    await client.put("q", 1)
    (claimed,) = await client.claim("q")
    assert claimed.claims == 1
    modified = await client.modify(changes=[claimed.change(delay_ms=0, reset_claims=True)])
    assert modified.changed[0].claims == 0
    (again,) = await client.claim("q")
    assert again.claims == 1
