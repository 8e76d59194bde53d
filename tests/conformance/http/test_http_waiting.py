"""Long polls: a claim waits for a task, and gives the wait up when nobody would get it."""

import asyncio
from typing import Any

import pytest
from tests.support.http_node import Peer, request, serving

WAIT = {"queues": ["/a"], "wait_ms": 60_000, "claimant": "w1"}


async def insert(peer: Peer, **fields: Any) -> None:
    answer = await peer.ask("POST", "/v1/modify", document={"inserts": [{"queue": "/a", **fields}]})
    assert answer.status == 200


@pytest.mark.asyncio
async def test_a_waiting_claim_gets_the_task_that_is_inserted() -> None:
    async with serving() as node, node.peer() as waiting, node.peer() as peer:
        await waiting.send(request("POST", "/v1/claim", document=WAIT))
        await node.until_waiting()
        await insert(peer, id="t")
        answer = await waiting.answer()
    assert [task["id"] for task in answer.document()["tasks"]] == ["t"]


@pytest.mark.asyncio
async def test_a_waiting_claim_gets_the_task_that_arrives() -> None:
    async with serving() as node, node.peer() as waiting, node.peer() as peer:
        await insert(peer, id="t", delay_ms=5_000)
        await waiting.send(request("POST", "/v1/claim", document=WAIT))
        await node.until_waiting()
        node.pass_time(5_001)
        answer = await waiting.answer()
    assert [task["id"] for task in answer.document()["tasks"]] == ["t"]


@pytest.mark.asyncio
async def test_a_waiting_claim_gets_the_task_whose_lease_ran_out() -> None:
    async with serving() as node, node.peer() as waiting, node.peer() as peer:
        await insert(peer, id="t")
        await peer.ask("POST", "/v1/claim", document={"queues": ["/a"], "lease_ms": 3_000})
        await waiting.send(request("POST", "/v1/claim", document=WAIT))
        await node.until_waiting()
        node.pass_time(10_000)
        answer = await waiting.answer()
    (task,) = answer.document()["tasks"]
    assert (task["id"], task["claimant"], task["claims"]) == ("t", "w1", 2)


@pytest.mark.asyncio
async def test_a_claim_that_finds_nothing_in_time_is_answered_with_nothing() -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("POST", "/v1/claim", document={**WAIT, "wait_ms": 1})
    assert answer.document() == {"tasks": []}


@pytest.mark.asyncio
async def test_a_wait_under_a_key_whose_tasks_are_gone_is_answered_at_once_and_says_so() -> None:
    keyed = {**WAIT, "idempotency_key": "k"}
    async with serving() as node, node.peer() as peer:
        await insert(peer, id="t")
        first = await peer.ask("POST", "/v1/claim", document=keyed)
        again = await peer.ask("POST", "/v1/claim", document=keyed)
        delete = {"claimant": "w1", "deletes": [{"id": "t", "version": 1}]}
        await peer.ask("POST", "/v1/modify", document=delete)
        await insert(peer)
        gone = await peer.ask("POST", "/v1/claim", document=keyed)
    assert again.document() == first.document()
    assert gone.document() == {"tasks": [], "gone": True}


@pytest.mark.asyncio
async def test_a_peer_that_hangs_up_waits_no_more_and_takes_no_task() -> None:
    async with serving() as node, node.peer() as gone, node.peer() as peer:
        await gone.send(request("POST", "/v1/claim", document=WAIT))
        await node.until_waiting()
        gone.close()
        await node.until_waiting(0)
        await insert(peer, id="t")
        answer = await peer.ask("GET", "/v1/tasks/t")
    assert answer.document()["claims"] == 0


@pytest.mark.asyncio
async def test_other_requests_are_answered_while_a_hundred_claims_wait() -> None:
    async with serving() as node, node.peer() as peer:
        peers = [node.peer() for _ in range(100)]
        for waiting in peers:
            await waiting.__aenter__()
            await waiting.send(request("POST", "/v1/claim", document=WAIT))
        await node.until_waiting(100)
        for _ in peers:
            await insert(peer)
        answers = await asyncio.gather(*(waiting.answer() for waiting in peers))
        for waiting in peers:
            waiting.close()
    claimed = [task["id"] for answer in answers for task in answer.document()["tasks"]]
    assert len(set(claimed)) == len(claimed) == 100
