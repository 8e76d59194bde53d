"""Docs behind a token: a namespace is a path that grants apply to, as they do to queues."""

from typing import Any

import pytest
from tests.unit.service.test_authorised_service import House, ask, refusal

D = {"namespace": "/b", "id": "d", "version": 0}

pytestmark = pytest.mark.asyncio

REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "insert": ("insert", "modify", {"doc_inserts": [{"namespace": "/b", "key": "k2"}]}),
    "change": ("change", "modify", {"doc_changes": [D]}),
    "delete": ("delete", "modify", {"doc_deletes": [D]}),
    "depend": ("read", "modify", {"doc_depends": [D]}),
    "lease": ("claim", "modify", {"doc_leases": [
        {"namespace": "/b", "key": "k", "version": 0, "lease_ms": 5}]}),
    "claim": ("claim", "claim_docs", {"sets": [{"namespace": "/b", "key": "k"}]}),
    "list": ("read", "docs", {"namespace": "/b"}),
}  # fmt: skip
OTHERS = ("read", "insert", "claim", "change", "delete", "admin")


async def filled(house: House) -> None:
    insert = {"namespace": "/b", "key": "k", "id": "d", "value": 1}
    await ask(house.service, "modify", doc_inserts=[insert])


@pytest.mark.parametrize("name", REQUESTS)
async def test_each_request_needs_its_right_on_the_namespace_and_no_other(name: str) -> None:
    right, verb, document = REQUESTS[name]
    async with House() as house:
        await filled(house)
        others = ",".join(other for other in OTHERS if other != right)
        refused = await refusal(house.entrance(f"{others}:/b", "all:/a*"), verb, **document)
        assert refused.code == "forbidden"
        assert f"{right} on queue /b" in refused.detail
        await ask(house.entrance(f"{right}:/b"), verb, **document)


async def test_tasks_of_a_transaction_are_checked_where_their_queue_is_certain() -> None:
    async with House() as house:
        insert = {"namespace": "/b", "key": "k"}
        mine = house.entrance("all:/b")
        task = {"id": "in-a-1", "version": 0}
        refused = await refusal(mine, "modify", doc_inserts=[insert], deletes=[task])
        assert refused.code == "dependency"
        refused = await refusal(mine, "modify", doc_inserts=[insert], inserts=[{"queue": "/a/1"}])
        assert refused.code == "forbidden"
        done = await ask(
            house.entrance("all:*"), "modify", doc_inserts=[insert], deletes=[task],
            idempotency_key="k",
        )  # fmt: skip
        assert len(done["docs_inserted"]) == 1


async def test_docs_are_claimed_for_tasks_that_can_be_read() -> None:
    async with House() as house:
        (task,) = (await ask(house.service, "claim", queues=["/a/1"]))["tasks"]
        document = {
            "sets": [{"namespace": "/b", "key": "k"}],
            "task": {"id": task["id"], "version": 1},
        }
        refused = await refusal(house.entrance("claim:/b"), "claim_docs", **document)
        assert refused.failed[0].reason == "missing"
        for rights in (("claim:/b", "read:/a/1"), ("claim:/b", "read:*")):
            claimed = await ask(house.entrance(*rights, name="w"), "claim_docs", **document)
            assert claimed["sets"][0]["at"] == task["at"]


async def test_only_namespaces_that_can_be_read_are_counted() -> None:
    async with House() as house:
        await filled(house)
        seen = await ask(house.entrance("read:/b"), "namespaces")
        assert [row["name"] for row in seen["namespaces"]] == ["/b"]
        assert (await ask(house.entrance("read:/a*"), "namespaces"))["namespaces"] == []
        nothing = await ask(house.entrance("read:/a*"), "namespaces", prefix=["/b"])
        assert nothing["namespaces"] == []
