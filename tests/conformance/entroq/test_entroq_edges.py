"""The edges of EntroQ's cases: what each says besides its main line. Numbers as in ``README.md``."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from tests.conformance.entroq.test_entroq_tasks import PROTOCOLS, put
from tests.support.entroq_peer import Entroq, doc_id, entroq, task_id
from tests.support.http_node import START_MS, serving

pytestmark = [pytest.mark.asyncio, PROTOCOLS]
YEAR_MS = 365 * 86_400_000


async def stats_of(eq: Entroq, queue: str) -> dict[str, Any]:
    (stats,) = (await eq.get("/queues/stats", matchExact=queue))["queues"]
    return dict(stats)


async def test_05_nothing_is_claimed_while_all_is_claimed_or_to_come(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        await put(eq)
        await put(eq, in_ms=5_000)
        assert await eq.try_claim("/q") is not None
        assert await eq.try_claim("/q") is None
        node.pass_time(4_999)
        assert await eq.try_claim("/q") is None
        node.pass_time(1)
        assert await eq.try_claim("/q") is not None


async def test_09_a_blocked_claim_is_woken_when_a_lease_ends(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq, entroq(node, 2, "you") as you:
        made = await put(eq)
        await you.try_claim("/q", lease_ms=20_000)
        waiting = asyncio.create_task(eq.try_claim("/q", path="/claim/wait"))
        await node.until_waiting()
        node.pass_time(20_000)
        task = await waiting
        assert (task["id"], task["claims"], task["claimantId"]) == (made["id"], 2, "me")


async def test_07_and_11_a_moved_task_is_the_same_and_a_queue_lists_all(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        made = [await put(eq, value=n) for n in range(3)]
        assert {task["id"] for task in await eq.tasks(queue="/q")} == {task["id"] for task in made}
        claimed = await eq.try_claim("/q")
        (moved,) = (await eq.modify(changes=[eq.change(claimed, queue="/r")]))["changed"]
        same = ("id", "value", "createdMs", "claims")
        assert [moved[name] for name in same] == [claimed[name] for name in same]
        assert moved["id"] not in {task["id"] for task in await eq.tasks(queue="/q")}


async def test_20_no_part_is_done_if_any_fails(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        one, two = await put(eq, id="one", value="kept"), await put(eq, id="two")
        before = await eq.tasks(queue="/q")
        stale = task_id(one) | {"version": 5}
        await eq.refused(
            inserts=[eq.insert("/q", id="new")], changes=[eq.change(two, value="no")],
            deletes=[stale], docInserts=[eq.doc(id="d")],
        )  # fmt: skip
        assert await eq.tasks(queue="/q") == before
        assert await eq.docs() == []


async def test_21_after_its_lease_a_task_may_be_changed_by_others(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq, entroq(node, 2, "you") as you:
        await put(eq)
        held = await you.try_claim("/q")
        assert await eq.refused(changes=[eq.change(held)]) == [
            {"type": "CLAIM", "id": task_id(held)}
        ]
        node.pass_time(30_000)
        (changed,) = (await eq.modify(changes=[eq.change(held, 5_000)]))["changed"]
        assert (changed["claimantId"], changed["version"]) == ("me", 2)


async def test_24_and_25_without_an_arrival_or_with_a_past_one_it_is_now(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        task = await put(eq)
        past = [{}] + [
            {"atMs": str(START_MS - ms)} if protocol == 1 else {"byMs": -ms}
            for ms in (1_000, 2 * YEAR_MS)
        ]
        for arrival in past:
            (held,) = (await eq.modify(changes=[eq.change(task, 9_000)]))["changed"]
            before = int((await eq.get("/time"))["timeMs"])
            change = {"oldId": task_id(held), "newData": {"queue": "/q", **arrival}}
            (task,) = (await eq.modify(changes=[change]))["changed"]
            after = int((await eq.get("/time"))["timeMs"])
            assert before <= int(task["atMs"]) <= after
            assert task["claimantId"] == ""
            (made,) = (await eq.modify(inserts=[{"queue": "/late", **arrival}]))["inserted"]
            assert before <= int(made["atMs"]) <= after
            assert (await eq.try_claim("/late"))["id"] == made["id"]


@pytest.mark.parametrize(
    ("length", "is_taken"), [(64, True), (65, False)], ids=["longest", "too long"]
)
async def test_28_claimants_and_ids_have_64_bytes(
    protocol: int, length: int, is_taken: bool
) -> None:
    text = "é" * (length // 2) + "x" * (length % 2)
    async with serving() as node, entroq(node, protocol) as eq:
        task = await put(eq)
        change = eq.change(task)
        for part in ({"changes": [change]}, {"docInserts": [eq.doc(id=text)]}):
            named = part if "docInserts" in part else {"claimantId": text, **part}
            status = (await eq.ask("POST", "/modify", named)).status
            assert status == (200 if is_taken else 400), part
        claim = {"claimQuery": {"namespace": "/ns", "claimant": text, "key": "k", "durationMs": 5}}
        if protocol == 1:
            answer = await eq.ask("POST", "/docs/claim", claim)
            assert answer.status == (200 if is_taken else 400)


@pytest.mark.parametrize(
    ("field", "length"), [("namespace", 1_024), ("key", 256), ("secondaryKey", 256)]
)
async def test_28_names_of_docs_are_limited_in_bytes(
    protocol: int, field: str, length: int
) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        longest = "é" * (length // 2)
        await eq.modify(docInserts=[eq.doc(**{"id": "d", field: longest})])
        assert str(length) in await eq.invalid(docInserts=[eq.doc(**{field: longest + "x"})])


async def test_30_with_five_workers_on_three_queues_the_small_ones_are_empty_first(
    protocol: int,
) -> None:
    sizes = {"/large": 300, "/medium": 60, "/small": 20}
    total = sum(sizes.values())
    async with serving() as node, entroq(node, protocol) as eq:
        for queue, size in sizes.items():
            await eq.modify(inserts=[eq.insert(queue) for _ in range(size)])
        left, emptied, claims = Counter(sizes), {}, 0

        async def work(name: str) -> None:
            nonlocal claims
            async with entroq(node, protocol, name) as worker:
                while (task := await worker.try_claim(*sizes)) is not None:
                    claims += 1
                    left[task["queue"]] -= 1
                    if not left[task["queue"]]:
                        emptied[task["queue"]] = claims

        await asyncio.gather(*(work(f"w{n}") for n in range(5)))
        assert claims == total
        assert emptied["/small"] < total / 3
        assert emptied["/medium"] < total * 3 / 4


async def test_33_34_and_36_counts_of_queues_at_every_stage(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        for queue, size in (("/p/a", 2), ("/p/b", 3), ("/other", 1)):
            await eq.modify(inserts=[eq.insert(queue) for _ in range(size)])
        found = (await eq.get("/queues", matchPrefix="/p/"))["queues"]
        assert {queue["name"]: queue["numTasks"] for queue in found} == {"/p/a": 2, "/p/b": 3}
        counts = ("numTasks", "numClaimed", "numAvailable", "numFuture", "maxClaims")

        async def counted() -> list[int]:
            stats = await stats_of(eq, "/p/a")
            return [stats[name] for name in counts]

        assert await counted() == [2, 0, 2, 0, 0]
        await eq.try_claim("/p/a")
        assert await counted() == [2, 1, 1, 0, 1]
        await eq.modify(inserts=[eq.insert("/p/a", 60_000)])
        assert await counted() == [3, 1, 1, 1, 1]
        node.pass_time(30_000)  # the lease ends
        assert await counted() == [3, 0, 2, 1, 1]
        node.pass_time(30_000)
        assert await counted() == [3, 0, 3, 0, 1]


async def test_37_namespaces_by_prefix_and_limit_and_what_is_released(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        docs = [eq.doc(key, namespace=name) for name in ("/n/a", "/n/b", "/x") for key in "kl"]
        await eq.modify(docInserts=docs)
        (held,) = (await eq.modify(docInserts=[eq.doc("held", 9_000, namespace="/n/a")]))[
            "insertedDocs"
        ]
        listed = (await eq.get("/namespaces/stats", matchPrefix="/n/"))["namespaces"]
        assert listed == [
            {"name": "/n/a", "numDocs": 3, "numClaimed": 1},
            {"name": "/n/b", "numDocs": 2, "numClaimed": 0},
        ]
        assert len((await eq.get("/namespaces/stats", limit=2))["namespaces"]) == 2
        await eq.modify(docChanges=[eq.change_doc(held, namespace="/n/a")])
        (stats,) = (await eq.get("/namespaces/stats", matchExact="/n/a"))["namespaces"]
        assert stats["numClaimed"] == 0


async def test_42_and_46_a_doc_that_collides_keeps_everything_else_from_being_done(
    protocol: int,
) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        other = await put(eq)
        (doc,) = (await eq.modify(docInserts=[eq.doc(id="d", content="kept")]))["insertedDocs"]
        details = await eq.refused(
            inserts=[eq.insert("/new")], deletes=[task_id(other)],
            docInserts=[eq.doc(id="d", content="no")],
        )  # fmt: skip
        assert [(item["type"], item["docId"]) for item in details] == [("INSERT", doc_id(doc))]
        assert await eq.tasks(queue="/new") == []
        await eq.modify(deletes=[task_id(other)])  # as a client does that skips what collides
        assert [item["content"] for item in await eq.docs()] == ["kept"]
