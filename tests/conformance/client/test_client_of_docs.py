"""Docs through the client, over every way to a cluster."""

import pytest
from tests.support.deployments import Cluster

from raftq import AsyncClient, DependencyError, DocInsert, DocSet, Insert

pytestmark = pytest.mark.asyncio


async def test_docs_change_together_with_tasks(client: AsyncClient) -> None:
    made = await client.modify(
        inserts=[Insert("/q", 1)],
        doc_inserts=[
            DocInsert("/ns", "k", {"n": 2**60}, id="d"),
            DocInsert("/ns", "b", b"\x00\xff"),
        ],
    )
    doc, other = made.docs_inserted
    assert (doc.value, other.value, doc.version) == ({"n": 2**60}, b"\x00\xff", 0)
    done = await client.modify(deletes=made.inserted, doc_changes=[doc.change(value=5)])
    (changed,) = done.docs_changed
    assert (changed.value, changed.version) == (5, 1)
    with pytest.raises(DependencyError) as refused:
        await client.modify(doc_deletes=[doc], doc_depends=[other])
    assert [(part.part, part.id, part.reason) for part in refused.value.failed] == [
        ("doc_delete", "d", "version")
    ]
    await client.modify(doc_deletes=[changed], doc_depends=[other])
    assert [row.id for row in await client.docs("/ns")] == [other.id]
    (counts,) = await client.namespaces("/n")
    assert (counts.name, counts.docs, counts.claimed) == ("/ns", 1, 0)


async def test_sets_are_held_renewed_and_given_back(client: AsyncClient, cluster: Cluster) -> None:
    await client.modify(doc_inserts=[DocInsert("/ns", "k", 1)])
    await client.put("/q")
    (task,) = await client.claim("/q", lease_ms=5_000)
    held = await client.claim_docs(("/ns", "k"), ("/ns", "empty"), task=task)
    assert [(row.key, row.at, row.docs) for row in held.sets] == [
        ("k", task.at, 1), ("empty", task.at, 0)
    ]  # fmt: skip
    assert held.docs[0].value == 1
    with pytest.raises(DependencyError):
        await cluster.client("you").claim_docs(held.sets[0])
    renewed = (await client.modify(doc_leases=[row.lease(60_000) for row in held.sets])).doc_sets
    assert [row.version for row in renewed] == [2, 2]
    await client.modify(doc_depends=[row.depend() for row in renewed], inserts=[Insert("/q")])
    free = (await client.modify(doc_leases=[row.lease(0) for row in renewed])).doc_sets
    assert {row.claimant for row in free} == {""}
    claimed = await cluster.client("you").claim_docs(
        DocSet(namespace="/ns", key="k", version=0), omit_docs=True
    )
    assert claimed.docs == []


@pytest.mark.parametrize(
    ("namespaces", "granted_ms"),
    [(["/ns"], 5_000), (["/low"], 60_000), (["/none"], 9_000), (["/low", "/ns", "/none"], 5_000)],
    ids=["ceiling", "floor", "none", "all"],
)
async def test_settings_bound_claims_of_docs_by_their_namespaces(
    client: AsyncClient, namespaces: list[str], granted_ms: int
) -> None:
    await client.configure("/ns*", lease_ms_max=5_000)
    await client.configure("/low", lease_ms_min=60_000)
    before = await client.time()
    held = await client.claim_docs(*[(name, "k") for name in namespaces], lease_ms=9_000)
    after = await client.time()
    for row in held.sets:
        assert before + granted_ms <= row.at <= after + granted_ms


@pytest.mark.parametrize(
    ("query", "keys"),
    [({}, "abc"), ({"key": "b"}, "b"), ({"key_start": "b"}, "bc"), ({"key_end": "b"}, "a"), ({"limit": 1}, "a")],
)  # fmt: skip
async def test_docs_are_listed(client: AsyncClient, query: dict[str, object], keys: str) -> None:
    await client.modify(doc_inserts=[DocInsert("/ns", key, key, id=f"id-{key}") for key in "cab"])
    found = await client.docs("/ns", omit_values=True, **query)  # type: ignore[arg-type]
    assert "".join(doc.key for doc in found) == keys
    assert {doc.value for doc in found} == {None}
    assert [doc.key for doc in await client.docs("/ns", id=["id-c", "none", "id-a"])] == ["c", "a"]


async def test_claims_of_a_task_can_begin_again(client: AsyncClient) -> None:
    await client.put("/q")
    (task,) = await client.claim("/q")
    (changed,) = (await client.modify(changes=[task.change(delay_ms=0, reset_claims=True)])).changed
    assert changed.claims == 0


async def test_the_blocking_client_has_the_same_calls(cluster: Cluster) -> None:
    import asyncio

    blocking = cluster.blocking_client("me")

    def use() -> list[str]:
        blocking.modify(doc_inserts=[DocInsert("/ns", "k", id="d")])
        blocking.claim_docs(("/ns", "k"))
        assert blocking.namespaces()[0].claimed == 1
        return [doc.id for doc in blocking.docs("/ns")]

    assert await asyncio.to_thread(use) == ["d"]
