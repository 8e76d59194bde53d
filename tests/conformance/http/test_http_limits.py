"""Every limit refuses with its name and number, and what lies within it is taken."""

import pytest
from tests.support.http_node import request, serving

from raftq_cluster.service.limits import Limits


@pytest.mark.asyncio
async def test_a_full_node_refuses_inserts_and_still_lets_itself_be_drained() -> None:
    insert = {"inserts": [{"queue": "/a", "id": "t", "value": "x" * 100}]}
    async with serving(limits=Limits(bytes_held_max=100)) as node, node.peer() as peer:
        await peer.ask("POST", "/v1/modify", document=insert)
        refused = await peer.ask("POST", "/v1/modify", document={"inserts": [{"queue": "/a"}]})
        claimed = await peer.ask("POST", "/v1/claim", document={"queues": ["/a"]})
        target = {"id": "t", "version": 1}
        deleted = await peer.ask("POST", "/v1/modify", document={"deletes": [target]})
        after = await peer.ask("POST", "/v1/modify", document=insert)
    assert (refused.status, refused.code) == (429, "store_full")
    assert refused.headers["retry-after"] == "1"
    assert (refused.document()["limit_name"], refused.document()["limit"]) == (
        "bytes_held_max",
        100,
    )
    assert (claimed.status, deleted.status, after.status) == (200, 200, 200)


@pytest.mark.asyncio
async def test_one_waiter_too_many_is_refused() -> None:
    claim = {"queues": ["/a"], "wait_ms": 60_000}
    limits = Limits(waiters_max=1)
    async with serving(limits=limits) as node, node.peer() as waiting, node.peer() as peer:
        await waiting.send(request("POST", "/v1/claim", document=claim))
        await node.until_waiting()
        refused = await peer.ask("POST", "/v1/claim", document=claim)
        at_once = await peer.ask("POST", "/v1/claim", document={"queues": ["/a"]})
    assert (refused.status, refused.code) == (429, "too_busy")
    assert (refused.document()["limit_name"], refused.document()["limit"]) == ("waiters_max", 1)
    assert at_once.status == 200


@pytest.mark.asyncio
async def test_a_body_may_be_as_long_as_the_limit_says() -> None:
    body = b'{"queues":["/a"]}'
    json = ("Content-Type", "application/json")
    async with serving(limits=Limits(body_bytes_max=len(body))) as node, node.peer() as peer:
        allowed = await peer.ask("POST", "/v1/claim", json, body=body)
        refused = await peer.ask("POST", "/v1/claim", json, body=body + b" ")
    assert allowed.status == 200
    assert (refused.status, refused.document()["limit"]) == (413, len(body))


@pytest.mark.asyncio
async def test_a_modification_may_have_as_many_parts_as_the_limit_says() -> None:
    async with serving(limits=Limits(operations_max=3)) as node, node.peer() as peer:
        inserts = [{"queue": "/a"}] * 4
        allowed = await peer.ask("POST", "/v1/modify", document={"inserts": inserts[:3]})
        refused = await peer.ask("POST", "/v1/modify", document={"inserts": inserts})
    assert allowed.status == 200
    assert (refused.status, refused.document()["limit"]) == (413, 3)


@pytest.mark.asyncio
async def test_a_value_may_be_as_large_as_the_limit_says() -> None:
    async with serving(limits=Limits(value_bytes_max=10)) as node, node.peer() as peer:
        answers = [
            await peer.ask("POST", "/v1/modify", document={"inserts": [{"queue": "/a", **value}]})
            for value in (
                {"value": "x" * 8},
                {"value": "x" * 9},
                {"value_b64": "QUFBQUFBQUFBQQ=="},
                {"value_b64": "QUFBQUFBQUFBQUE="},
            )
        ]
    assert [answer.status for answer in answers] == [200, 413, 200, 413]


@pytest.mark.asyncio
async def test_a_listing_by_a_thousand_ids_fits_into_a_request() -> None:
    ids = [f"{number:064}" for number in range(1_000)]
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("GET", "/v1/tasks?" + "&".join(f"id={id_}" for id_ in ids))
    assert answer.document() == {"tasks": []}
