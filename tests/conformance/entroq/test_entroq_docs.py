"""EntroQ's semantics of docs, over its REST dialect; see ``test_entroq_tasks.py``."""

import asyncio

import pytest
from tests.conformance.entroq.test_entroq_tasks import PROTOCOLS, put
from tests.support.entroq_peer import Entroq, dependency, doc_id, entroq, task_id
from tests.support.http_node import START_MS, Answer, serving

pytestmark = pytest.mark.asyncio


async def put_doc(eq: Entroq, key: str = "k", **fields: object) -> dict[str, object]:
    (doc,) = (await eq.modify(docInserts=[eq.doc(key, **fields)]))["insertedDocs"]  # type: ignore[arg-type]
    return dict(doc)


async def claim_key(eq: Entroq, key: str = "k", lease_ms: object = 30_000) -> Answer:
    query = {"namespace": "/ns", "claimant": eq.claimant, "key": key, "durationMs": lease_ms}
    return await eq.ask("POST", "/docs/claim", {"claimQuery": query})


async def claim_sets(eq: Entroq, *keys: str, **fields: object) -> Answer:
    sets = [{"set": {"namespace": "/ns", "key": key}, "omitMembers": False} for key in keys]
    query = {"claimant": eq.claimant, "sets": sets, **fields}
    return await eq.ask("POST", "/docs/claim", {"claimQuery": query})


def lease(set_: dict[str, object], by_ms: int) -> dict[str, object]:
    old = {name: set_[name] for name in ("namespace", "key", "version")}
    return {"oldId": old, "newData": {"byMs": by_ms}, "mode": "CHANGE_LEASE"}


@PROTOCOLS
async def test_38_the_life_of_a_doc(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        made = await put_doc(eq, id="d", content={"a": 1}, secondaryKey="s")
        assert made == {
            "namespace": "/ns", "id": "d", "version": 0, "claimant": "", "atMs": str(START_MS),
            "key": "k", "secondaryKey": "s", "content": {"a": 1}, "createdMs": str(START_MS),
            "modifiedMs": str(START_MS),
        }  # fmt: skip
        (changed,) = (await eq.modify(docChanges=[eq.change_doc(made, content=2)]))["changedDocs"]
        assert (changed["version"], changed["content"], changed["claimant"]) == (1, 2, "")
        stale = eq.change_doc(made, content=3)
        assert await eq.refused(docChanges=[stale]) == [{"type": "CHANGE", "docId": doc_id(made)}]
        await eq.modify(docDeletes=[doc_id(changed)])
        assert await eq.docs() == []


@PROTOCOLS
async def test_39_to_41_a_future_arrival_holds_and_another_releases(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        held = await put_doc(eq, in_ms=5_000)
        assert (held["claimant"], held["atMs"]) == ("me", str(START_MS + 5_000))
        (free,) = (await eq.modify(docChanges=[eq.change_doc(held)]))["changedDocs"]
        assert free["claimant"] == ""
        (again,) = (await eq.modify(docChanges=[eq.change_doc(free, 9_000)]))["changedDocs"]
        assert (again["claimant"], again["atMs"]) == ("me", str(START_MS + 9_000))


@PROTOCOLS
async def test_42_tasks_and_docs_are_changed_together_or_not_at_all(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        made = await eq.modify(inserts=[eq.insert("/q")], docInserts=[eq.doc(content="a")])
        (task,), (doc,) = made["inserted"], made["insertedDocs"]
        stale = doc | {"version": 4}
        parts = {"changes": [eq.change(task, queue="/done")], "docChanges": [eq.change_doc(stale)]}
        assert [detail["type"] for detail in await eq.refused(**parts)] == ["CHANGE"]
        assert len(await eq.tasks(queue="/q")) == 1
        parts["docChanges"] = [eq.change_doc(doc, content="b")]
        await eq.modify(**parts)
        assert len(await eq.tasks(queue="/done")) == 1
        assert (await eq.docs())[0]["content"] == "b"


@PROTOCOLS
async def test_43_and_44_docs_are_listed_by_range_key_and_id(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        keys = [("a", "1"), ("b", "2"), ("b", "1"), ("c", "1")]
        made = [await put_doc(eq, key, secondaryKey=sub, content=sub) for key, sub in keys]
        names = [(doc["key"], doc["secondaryKey"]) for doc in await eq.docs()]
        assert names == sorted(keys)
        ranged = await eq.docs(keyStart="b", keyEnd="c")
        assert [doc["secondaryKey"] for doc in ranged] == ["1", "2"]
        assert [doc["claimant"] for doc in await eq.docs(keyExact="b")] == ["", ""]
        assert await eq.docs(keyExact="none") == []
        assert len(await eq.docs(limit=2)) == 2
        ids = [made[3]["id"], "none", made[0]["id"]]
        assert [doc["id"] for doc in await eq.docs(ids=ids, limit=1)] == [ids[0], ids[2]]
        assert {doc["content"] for doc in await eq.docs(omitValues="true")} == {None}


async def test_45_a_key_is_claimed_by_one_at_a_time_in_protocol_1() -> None:
    async with serving() as node, entroq(node, 1) as eq, entroq(node, 1, "you") as you:
        docs = [await put_doc(eq), await put_doc(eq)]
        claimed = (await claim_key(eq)).document()
        assert sorted(claimed) == ["docs"]
        assert {doc["id"] for doc in claimed["docs"]} == {doc["id"] for doc in docs}
        details = dependency(await claim_key(you))
        assert details[0] == {
            "type": "CLAIM", "docId": {"namespace": "/ns", "id": "", "key": "k", "version": 2}
        }  # fmt: skip
        assert {detail["docId"]["id"] for detail in details} == {""} | {doc["id"] for doc in docs}
        node.pass_time(30_000)
        assert (await claim_key(you)).status == 200
        assert (await claim_key(you, "none")).document() == {"docs": []}


@PROTOCOLS
async def test_46_an_explicit_id_collides_and_changes_nothing(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        await put_doc(eq, id="d", content="kept")
        details = await eq.refused(docInserts=[eq.doc("other", id="d", content="no")])
        assert [(d["type"], d["docId"]["id"]) for d in details] == [("INSERT", "d")]
        assert (await eq.docs())[0]["content"] == "kept"


async def test_48_combined_increments_lose_nothing() -> None:
    """10 workers, 30 increments each, of a task's value and the content of one of a few docs at once."""
    async with serving() as node, entroq(node) as eq:
        await eq.modify(inserts=[eq.insert("/q", value=0) for _ in range(10)],
                        docInserts=[eq.doc(f"k{n}", id=f"d{n}", content=0) for n in range(3)])  # fmt: skip
        refused = 0

        async def work(name: str) -> None:
            nonlocal refused
            async with entroq(node, 2, name) as worker:
                done = 0
                while done < 30:
                    task = await worker.try_claim("/q")
                    (doc,) = await worker.docs(ids=[f"d{done % 3}"])
                    answer = await worker.ask("POST", "/modify", {
                        "claimantId": name,
                        "changes": [worker.change(task, value=task["value"] + 1)],
                        "docChanges": [worker.change_doc(doc, content=doc["content"] + 1)],
                    })  # fmt: skip
                    if answer.status == 200:
                        done += 1
                        continue
                    assert [item["type"] for item in dependency(answer)] == ["CHANGE"]
                    refused += 1
                    await worker.modify(changes=[worker.change(task)])

        await asyncio.gather(*(work(f"w{n}") for n in range(10)))
        assert refused > 0  # or nothing was tried
        assert sum(task["value"] for task in await eq.tasks(queue="/q")) == 300
        assert [doc["content"] for doc in await eq.docs()] == [100, 100, 100]


async def test_49_sets_are_claimed_together_with_a_task_or_not_at_all() -> None:
    async with serving() as node, entroq(node) as eq, entroq(node, 2, "you") as you:
        await eq.modify(docInserts=[eq.doc("a"), eq.doc("b", secondaryKey="2"),
                                    eq.doc("b", secondaryKey="1")])  # fmt: skip
        await put(eq)
        task = await eq.try_claim("/q")
        claimed = (await claim_sets(eq, "b", "empty", "a", taskToMatch=task_id(task))).document()
        assert [set_["key"] for set_ in claimed["sets"]] == ["b", "empty", "a"]
        assert {(set_["version"], set_["atMs"], set_["id"]) for set_ in claimed["sets"]} == {
            (1, task["atMs"], "")
        }
        assert [set_["len"] for set_ in claimed["sets"]] == [2, 0, 1]
        names = [(doc["key"], doc["secondaryKey"]) for doc in claimed["docs"]]
        assert names == [("b", "1"), ("b", "2"), ("a", "")]
        details = dependency(await claim_sets(you, "free", "a", durationMs=5_000))
        assert {detail["type"] for detail in details} == {"CLAIM"}
        assert (await claim_sets(eq, "free", durationMs=5_000)).document()["sets"][0][
            "version"
        ] == 1
        wrong = task_id(task) | {"version": 9}
        assert dependency(await claim_sets(eq, "x", taskToMatch=wrong)) == [
            {"type": "DEPEND", "id": wrong}
        ]
        for bad in ({"durationMs": 0}, {"durationMs": -5}, {}):
            assert (await claim_sets(eq, "y", **bad)).status == 400


async def test_50_an_empty_set_is_renewed_and_released() -> None:
    async with serving() as node, entroq(node) as eq:
        (held,) = (await claim_sets(eq, "empty", durationMs=60_000)).document()["sets"]
        (renewed,) = (await eq.modify(docChanges=[lease(held, 120_000)]))["changedDocs"]
        assert (renewed["id"], renewed["key"], renewed["version"]) == ("", "empty", 2)
        assert int(renewed["atMs"]) == START_MS + 120_000
        (free,) = (await eq.modify(docChanges=[lease(renewed, 0)]))["changedDocs"]
        assert (free["claimant"], free["version"]) == ("", 3)
        stale = lease(held, 5)
        assert await eq.refused(docChanges=[stale]) == [
            {"type": "CHANGE", "docId": {"namespace": "/ns", "key": "empty", "version": 1}}
        ]


@PROTOCOLS
async def test_51_and_37_docs_need_a_namespace_and_namespaces_are_counted(protocol: int) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        for path in ("/docs", "/docs?query.namespace="):
            answer = await eq.ask("GET", path)
            assert answer.status == 400
            assert answer.document()["message"] == "docs: docs query must name a namespace"
        await put_doc(eq)
        held = await put_doc(eq, "held", in_ms=5_000)
        get = eq.get
        assert (await get("/namespaces/stats"))["namespaces"] == [
            {"name": "/ns", "numDocs": 2, "numClaimed": 1}
        ]
        assert (await get("/namespaces/stats", matchPrefix="/x"))["namespaces"] == []
        await eq.modify(docChanges=[eq.change_doc(held)])
        (stats,) = (await get("/namespaces/stats", matchExact="/ns", limit=1))["namespaces"]
        assert stats["numClaimed"] == 0


async def test_27_a_lease_carries_its_arrival_alone_and_claims_can_begin_again() -> None:
    async with serving() as node, entroq(node) as eq:
        await put(eq, value="v", err="e")
        task = await eq.try_claim("/q")
        renew = {"oldId": task_id(task), "newData": {"byMs": 60_000}, "mode": "CHANGE_LEASE"}
        (renewed,) = (await eq.modify(changes=[renew]))["changed"]
        assert (renewed["value"], renewed["err"], renewed["version"]) == ("v", "e", 2)
        assert int(renewed["atMs"]) == START_MS + 60_000
        for more in ({"value": 1}, {"attempt": 1}, {"err": "x"}, {"id": "x"}, {"queue": "/r"}):
            data = {"byMs": 5, **more}
            await eq.invalid(
                changes=[{"oldId": task_id(renewed), "newData": data, "mode": "CHANGE_LEASE"}]
            )
        reset = eq.change(renewed, mode="CHANGE_RESET_CLAIMS")
        (changed,) = (await eq.modify(changes=[reset]))["changed"]
        assert changed["claims"] == 0


D = {"namespace": "/ns", "id": "d", "version": 0}
S = {"namespace": "/ns", "key": "k", "version": 0}


@pytest.mark.parametrize(
    ("protocol", "parts", "status"),
    [
        (2, {"docChanges": [{"oldId": S, "newData": {}}]}, 501),
        (2, {"docDeletes": [S]}, 501),
        (1, {"docDepends": [S]}, 400),
        (2, {"docDepends": [S]}, 409),
        (2, {"docChanges": [{"oldId": D, "newData": {"byMs": 5}, "mode": "CHANGE_LEASE"}]}, 400),
        (2, {"docChanges": [{"oldId": S, "newData": {"content": 1}, "mode": "CHANGE_LEASE"}]}, 400),
        (2, {"docChanges": [{"oldId": S, "newData": {"key": "x"}, "mode": "CHANGE_LEASE"}]}, 400),
        (2, {"docChanges": [{"oldId": D, "newData": {}, "mode": "CHANGE_RESET_CLAIMS"}]}, 400),
        (2, {"docChanges": [{"oldId": D, "newData": {"namespace": "/x"}}]}, 400),
        (2, {"docChanges": [{"oldId": D}]}, 400),
        (2, {"changes": [{"newData": {}}]}, 400),
        (2, {"changes": [{"oldId": {"id": "t"}, "newData": {}, "mode": "CHANGE_ALL"}]}, 400),
        (1, {"changes": [{"oldId": {"id": "t"}, "newData": {}, "mode": "CHANGE_LEASE"}]}, 400),
        (1, {"changes": [{"oldId": {"id": "t"}, "newData": {}, "mode": "CHANGE_RESET_CLAIMS"}]}, 400),
        (2, {"inserts": [{"queue": "/q", "atMs": 5}]}, 400),
        (1, {"inserts": [{"queue": "/q", "byMs": 5}]}, 400),
        (2, {"inserts": [{"queue": "/q", "attempt": -1}]}, 400),
        (2, {"inserts": [{"queue": "/q"}] * 1_001}, 400),
        (2, {"deletes": [{"id": "x"}], "depends": [{"id": "x"}]}, 400),
    ],
)  # fmt: skip
async def test_what_a_protocol_does_not_allow_is_refused(
    protocol: int, parts: dict[str, object], status: int
) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        assert (await eq.ask("POST", "/modify", parts)).status == status


@pytest.mark.parametrize(
    ("protocol", "query"),
    [
        (1, {"sets": [{"set": S}], "durationMs": 5}),
        (2, {"sets": [{"omitMembers": True}], "durationMs": 5}),
        (2, {"sets": [{"set": S}], "namespace": "/ns", "durationMs": 5}),
        (2, {"key": "k"}),
        (2, None),
    ],
)
async def test_a_claim_of_docs_that_makes_no_sense_is_refused(protocol: int, query: object) -> None:
    async with serving() as node, entroq(node, protocol) as eq:
        answer = await eq.ask("POST", "/docs/claim", {"claimQuery": query})
        assert answer.status == 400


async def test_docs_of_a_claim_can_be_left_out_and_a_set_depended_on() -> None:
    async with serving() as node, entroq(node) as eq:
        await put_doc(eq)
        sets = [{"set": {"namespace": "/ns", "key": "k"}, "omitMembers": True}]
        query = {"claimant": "me", "sets": sets, "durationMs": 9_000}
        claimed = await eq.done("POST", "/docs/claim", {"claimQuery": query})
        assert claimed["docs"] == []
        await eq.modify(docDepends=[S | {"version": 1}], inserts=[eq.insert("/q")])
