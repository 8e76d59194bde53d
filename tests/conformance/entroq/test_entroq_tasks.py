"""EntroQ's semantics of tasks, over its REST dialect, in both protocols and over each store.

The numbers are those of the list of its cases in ``README.md`` beside this file.
"""

import asyncio

import pytest
from tests.support.entroq_peer import Entroq, dependency, entroq, task_id
from tests.support.http_node import START_MS, serving

PROTOCOLS = pytest.mark.parametrize("protocol", [1, 2])
pytestmark = [pytest.mark.asyncio, PROTOCOLS]


async def put(eq: Entroq, queue: str = "/q", **fields: object) -> dict[str, object]:
    (task,) = (await eq.modify(inserts=[eq.insert(queue, **fields)]))["inserted"]  # type: ignore[arg-type]
    return dict(task)


async def test_01_an_empty_queue_gives_no_task_and_no_error(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        assert await eq.try_claim("/q") is None


async def test_02_to_06_two_tasks_now_and_later(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        parts = [eq.insert("/p/q", value={"n": 1}), eq.insert("/p/q", 2_000, value=[2])]
        made = await eq.modify(inserts=parts)
        now, later = made["inserted"]
        assert made["changed"] == made["insertedDocs"] == made["changedDocs"] == []
        assert (now["version"], now["value"], now["claimantId"]) == (0, {"n": 1}, "me")
        assert int(later["atMs"]) - int(now["atMs"]) == 2_000
        (stats,) = (await eq.get("/queues", matchPrefix="/p/"))["queues"]
        assert (stats["name"], stats["numTasks"]) == ("/p/q", 2)
        assert {task["id"] for task in await eq.tasks(queue="/p/q")} == {now["id"], later["id"]}
        claimed = await eq.try_claim("/p/q")
        assert (claimed["id"], claimed["version"], claimed["claims"]) == (now["id"], 1, 1)
        assert (claimed["value"], claimed["claimantId"]) == ({"n": 1}, "me")
        assert int(claimed["atMs"]) == START_MS + 30_000
        assert await eq.try_claim("/p/q") is None
        node.pass_time(2_000)
        late = await eq.try_claim("/p/q", path="/claim/wait")
        assert (late["id"], late["claims"]) == (later["id"], 1)
        assert int(late["atMs"]) >= int(later["atMs"])


async def test_an_inserted_task_shows_its_inserter_until_it_is_claimed_or_changed(
    protocol: int,
) -> None:
    async with serving() as node, entroq(node, protocol) as eq, entroq(node, 2, "you") as you:
        now, later = await put(eq), await put(eq, in_ms=5_000)
        assert await eq.tasks(taskId=[now["id"], later["id"]]) == [now, later]
        assert [task["claimantId"] for task in (now, later)] == ["me", "me"]
        (stats,) = (await eq.get("/queues/stats", matchExact="/q"))["queues"]
        assert (stats["numClaimed"], stats["numFuture"], stats["numAvailable"]) == (0, 1, 1)
        assert {task["id"] for task in await you.tasks(queue="/q", claimantId="you")} == {now["id"]}
        (changed,) = (await eq.modify(changes=[eq.change(now)]))["changed"]
        assert changed["claimantId"] == ""
        assert (await you.try_claim("/q"))["claimantId"] == "you"
        await you.modify(deletes=[task_id(later)])  # nobody holds what has not arrived


async def test_07_a_change_of_queue_moves_and_releases(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        await put(eq, value=1)
        claimed = await eq.try_claim("/q")
        (moved,) = (await eq.modify(changes=[eq.change(claimed, queue="/r")]))["changed"]
        assert (moved["version"], moved["claimantId"], moved["value"]) == (2, "", 1)
        assert await eq.tasks(queue="/q") == []
        assert await eq.tasks(queue="/r") == [moved]


async def test_08_and_09_a_blocked_claim_is_woken_by_an_insert_and_by_time(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq, entroq(node) as other:
        for queue, in_ms in (("/now", 0), ("/later", 60_000)):
            waiting = asyncio.create_task(eq.try_claim(queue, path="/claim/wait"))
            await node.until_waiting()
            made = await other.modify(inserts=[other.insert(queue, in_ms)])
            node.pass_time(in_ms)
            assert (await waiting)["id"] == made["inserted"][0]["id"]


async def test_a_blocked_claim_ends_with_its_caller_and_takes_nothing(protocol: int) -> None:
    async with serving() as node, entroq(node) as eq:
        async with entroq(node, protocol) as gone:
            waiting = asyncio.create_task(gone.try_claim("/q", path="/claim/wait"))
            await node.until_waiting()
            gone.peer.close()
            with pytest.raises(asyncio.IncompleteReadError):
                await waiting
        await node.until_waiting(0)
        await put(eq)
        assert (await eq.try_claim("/q"))["claims"] == 1


async def test_10_to_12_listings_by_queue_and_id_with_and_without_values(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        tasks = [await put(eq, queue, value=n) for n, queue in enumerate(("/a", "/b", "/a"))]
        assert await eq.tasks(queue="/b", omitValues="true") == [tasks[1] | {"value": None}]
        backwards = [str(task["id"]) for task in reversed(tasks)]
        assert await eq.tasks(taskId=backwards) == tasks[::-1]
        assert await eq.tasks(queue="/a", taskId=backwards) == [tasks[2], tasks[0]]
        assert len(await eq.tasks(queue="/a", limit=1)) == 1
        assert await eq.tasks() == []


async def test_13_to_15_an_explicit_id_is_honoured_and_collides_in_any_queue(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        await put(eq, id="mine")
        assert (await eq.try_claim("/q"))["id"] == "mine"
        for queue in ("/q", "/other"):
            assert await eq.refused(inserts=[eq.insert(queue, id="mine")]) == [
                {"type": "INSERT", "id": {"id": "mine", "version": 0, "queue": queue}}
            ]


async def test_16_and_17_nothing_but_collisions_can_be_told_from_the_error(protocol: int) -> None:
    """Skipping collisions is the client's: it drops what the details name, and asks again."""
    async with serving() as node, entroq(node, protocol) as eq:
        await put(eq, id="mine", value="kept")
        other = await put(eq)
        parts = {"inserts": [eq.insert("/q", id="mine", value="no")], "deletes": [task_id(other)]}
        details = await eq.refused(**parts)
        assert [detail["type"] for detail in details] == ["INSERT"]
        await eq.modify(deletes=parts["deletes"])
        assert [task["value"] for task in await eq.tasks(queue="/q")] == ["kept"]


async def test_18_to_20_a_failing_part_fails_alone_in_the_details_and_nothing_is_done(
    protocol: int,
) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        task = await put(eq)
        for wrong in ({"id": "none", "version": 0, "queue": "/q"}, task_id(task) | {"version": 7}):
            details = await eq.refused(deletes=[wrong], inserts=[eq.insert("/q", id="new")])
            assert details == [{"type": "DELETE", "id": wrong}]
        assert len(await eq.tasks(queue="/q")) == 1


async def test_21_a_held_task_is_another_claimants_until_its_lease_ends(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq, entroq(node, 2, "you") as you:
        await put(eq)
        held = await you.try_claim("/q")
        assert await eq.refused(deletes=[task_id(held)]) == [{"type": "CLAIM", "id": task_id(held)}]
        node.pass_time(30_000)
        await eq.modify(deletes=[task_id(held)])


async def test_22_all_classes_of_failures_are_told_together(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq, entroq(node, 2, "you") as you:
        await put(eq, id="there")
        await put(eq, "/held", id="held")
        held = await you.try_claim("/held")
        gone = {"id": "gone", "version": 1, "queue": "/q"}
        details = await eq.refused(
            inserts=[eq.insert("/q", id="there")],
            changes=[{"oldId": gone, "newData": {"queue": "/q"}}, eq.change(held)],
            deletes=[gone | {"id": "lost"}],
            depends=[gone | {"id": "away"}],
        )
        told = [(detail["type"], detail["id"]["id"]) for detail in details]
        assert told == [
            ("INSERT", "there"), ("CHANGE", "gone"), ("CLAIM", "held"), ("DELETE", "lost"),
            ("DEPEND", "away"),
        ]  # fmt: skip


async def test_23_the_named_queue_is_part_of_what_must_hold(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        task = await put(eq)
        wrong = task_id(task) | {"queue": "/elsewhere"}
        for part, kind in (("deletes", "DELETE"), ("depends", "DEPEND")):
            assert await eq.refused(**{part: [wrong]}) == [{"type": kind, "id": wrong}]
        change = {"oldId": wrong, "newData": {"queue": "/q"}}
        assert await eq.refused(changes=[change]) == [{"type": "CHANGE", "id": wrong}]
        await eq.invalid(inserts=[{"queue": ""}])
        await eq.invalid(docInserts=[{"namespace": "", "key": "k"}])


async def test_24_and_25_a_future_arrival_claims_and_any_past_one_releases(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        task = await put(eq)
        (held,) = (await eq.modify(changes=[eq.change(task, 5_000)]))["changed"]
        assert (held["claimantId"], int(held["atMs"])) == ("me", START_MS + 5_000)
        past = {"atMs": 5} if protocol == 1 else {"byMs": -5_000}
        (free,) = (
            await eq.modify(changes=[eq.change(held) | {"newData": {"queue": "/q", **past}}])
        )["changed"]
        assert (free["claimantId"], int(free["atMs"])) == ("", START_MS)
        assert (free["value"], free["err"], free["version"]) == (None, "", 2)


async def test_26_a_change_keeps_claims_and_creation_and_an_insert_keeps_attempt_and_err(
    protocol: int,
) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        made = await put(eq, attempt=3, err="boom")
        assert (made["attempt"], made["err"]) == (3, "boom")
        claimed = await eq.try_claim("/q")
        node.pass_time(10)
        (changed,) = (await eq.modify(changes=[eq.change(claimed, attempt=4, err="again")]))[
            "changed"
        ]
        assert (changed["claims"], changed["createdMs"]) == (1, made["createdMs"])
        assert (changed["attempt"], changed["err"]) == (4, "again")
        assert int(changed["modifiedMs"]) == START_MS + 10


async def test_28_lengths_are_counted_in_bytes(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        await put(eq, id="é" * 32)
        assert "64" in await eq.invalid(inserts=[eq.insert("/q", id="é" * 33)])
        assert "64" in await eq.invalid(claimantId="é" * 33, inserts=[eq.insert("/q")])
        claim = {"claimantId": "é" * 33, "queues": ["/q"]}
        assert (await eq.ask("POST", "/claim", claim)).status == 400


async def test_29_claims_are_random_among_ready_tasks(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        for n in range(40):
            await put(eq, value=n)
        order = [(await eq.try_claim("/q"))["value"] for _ in range(40)]
        assert sorted(order) == list(range(40))
        assert order != sorted(order)


async def test_31_to_36_queues_and_their_statistics(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        names = ["/s/a", "/s/b=1", "/s/c", "/t"]
        for name in names:
            await eq.modify(inserts=[eq.insert(name), eq.insert(name)])
        for name in names:
            (found,) = (await eq.get("/queues", matchExact=name))["queues"]
            assert (found["name"], found["numTasks"]) == (name, 2)
        several = await eq.get("/queues", matchExact=["/t", "/none", "/s/a"])
        assert [queue["name"] for queue in several["queues"]] == ["/s/a", "/t"]
        assert len((await eq.get("/queues", matchPrefix="/s/"))["queues"]) == 3
        assert len((await eq.get("/queues/stats", limit=2))["queues"]) == 2
        await eq.modify(inserts=[eq.insert("/t")])
        await eq.try_claim("/t")
        (stats,) = (await eq.get("/queues/stats", matchExact="/t"))["queues"]
        assert stats == {
            "name": "/t", "numTasks": 3, "numClaimed": 1, "numAvailable": 2, "maxClaims": 1,
            "numFuture": 0,
        }  # fmt: skip


async def test_52_a_modification_of_nothing_is_refused(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        await eq.invalid()
        await eq.invalid(inserts=[], deletes=[], docChanges=[])


async def test_a_claimant_lists_what_it_holds_and_what_nobody_does(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq, entroq(node, 2, "you") as you:
        for _ in range(3):
            await put(eq)
        mine, yours = await eq.try_claim("/q"), await you.try_claim("/q")
        seen = {task["id"] for task in await eq.tasks(queue="/q", claimantId="me")}
        assert mine["id"] in seen
        assert yours["id"] not in seen
        assert len(seen) == 2
        assert len(await eq.tasks(queue="/q", claimantId="me", limit=1)) == 1


async def test_a_lease_has_a_floor_a_ceiling_and_a_default(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        for asked, granted in ((0, 30_000), (5, 1_000), (10**12, 7 * 86_400_000), (45_000, 45_000)):
            await put(eq)
            task = await eq.try_claim("/q", lease_ms=asked)
            assert int(task["atMs"]) - int(task["modifiedMs"]) == granted


async def test_settings_bound_leases(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        bounds = {"pattern": "/q", "lease_ms_min": 200, "lease_ms_max": 60_000}
        assert (await eq.peer.ask("PUT", "/v1/settings", document=bounds)).status == 200
        for asked, granted in ((0, 30_000), (5, 200), (10**12, 60_000)):
            await put(eq)
            task = await eq.try_claim("/q", lease_ms=asked)
            assert int(task["atMs"]) - int(task["modifiedMs"]) == granted


@pytest.mark.parametrize("queues", [[], ["a b"], ["/q"] * 2 + [str(n) for n in range(64)]])
async def test_a_claim_of_impossible_queues_is_refused(protocol: int, queues: list[str]) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        for path in ("/claim", "/claim/wait"):
            answer = await eq.ask("POST", path, {"claimantId": "me", "queues": queues})
            assert (answer.status, answer.document()["code"]) == (400, 3)


async def test_a_depend_holds_or_fails_and_changes_nothing(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        task = await put(eq)
        await eq.modify(depends=[task_id(task)], inserts=[eq.insert("/r")])
        await eq.modify(changes=[eq.change(task)])
        answer = await eq.ask("POST", "/modify", {"depends": [task_id(task)]})
        assert [detail["type"] for detail in dependency(answer)] == ["DEPEND"]
