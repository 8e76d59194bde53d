"""``claim/wait``, and ``Claim`` of Connect: held as long as the caller stays, whatever happens, and no longer."""

import asyncio
from typing import Any

import pytest
from tests.support.entroq_peer import Entroq, entroq, task_id
from tests.support.http_node import Peer, serving

from raftq_cluster.core.outcomes import Claimed, Unfinished
from raftq_cluster.servers.http.entroq import calls, messages
from raftq_cluster.service.facade import STOPPING
from raftq_cluster.service.refusals import Refusal

pytestmark = pytest.mark.asyncio

WAYS = pytest.mark.parametrize("path", ["/api/v0/claim/wait", "/api.EntroQ/Claim"])
REQUEST = {"claimantId": "me", "queues": ["/q", "/r"], "durationMs": "30000", "pollMs": "30000"}


async def insert(eq: Entroq, queue: str = "/q") -> str:
    return str((await eq.modify(inserts=[eq.insert(queue)]))["inserted"][0]["id"])


async def wait(peer: Peer, path: str) -> Any:
    return await peer.ask("POST", path, document=REQUEST)


@WAYS
async def test_no_wait_is_cut_short_and_the_connection_is_kept(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "WAIT_MS", 1)  # a thousand waits a second, one after the other
    async with serving() as node, entroq(node) as eq, node.peer() as peer:
        for queue in ("/q", "/r"):
            waiting = asyncio.create_task(wait(peer, path))
            await node.until_waiting()
            done, _ = await asyncio.wait([waiting], timeout=0.05)
            assert not done
            id_ = await insert(eq, queue)
            answer = await waiting
            assert (answer.status, answer.document()["task"]["id"]) == (200, id_)
            assert answer.document()["task"]["claims"] == 1
        await node.until_waiting(0)


@WAYS
async def test_a_caller_that_leaves_is_forgotten_at_once_and_gets_nothing(path: str) -> None:
    async with serving() as node, entroq(node) as eq:
        for _ in range(3):
            async with node.peer() as gone, node.peer() as stays:
                first = asyncio.create_task(wait(gone, path))
                await node.until_waiting(1)
                second = asyncio.create_task(wait(stays, path))
                await node.until_waiting(2)
                gone.close()
                await node.until_waiting(1)
                id_ = await insert(eq)
                task = (await second).document()["task"]
                assert (task["id"], task["claims"], task["version"]) == (id_, 1, 1)
                with pytest.raises(asyncio.IncompleteReadError):
                    await first


@WAYS
async def test_a_task_that_arrives_while_its_caller_leaves_is_given_back(path: str) -> None:
    async with serving() as node, entroq(node) as eq:
        for _ in range(20):
            async with node.peer() as gone:
                waiting = asyncio.create_task(wait(gone, path))
                await node.until_waiting()
                inserting = asyncio.create_task(insert(eq))
                gone.close()
                id_ = await inserting
                await asyncio.wait([waiting])
                await node.until_waiting(0)
            async with asyncio.timeout(10):
                while (task := await eq.try_claim("/q")) is None:
                    await asyncio.sleep(0)
            assert task["id"] == id_
            await eq.modify(deletes=[{"id": id_, "version": task["version"], "queue": "/q"}])
            waiting.cancelled() or waiting.exception()


class Entrance:
    """Gives outcomes in turn."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.keys: list[str] = []
        self.waits_ms: list[int] = []

    async def wait_claim(self, claim: Any, wait_ms: int) -> tuple[int, Any]:
        self.keys.append(claim.key)
        self.waits_ms.append(wait_ms)
        return 1, self.outcomes.pop(0)


async def claimed_by(entrance: Entrance) -> Any:
    message = messages.CLAIM.read({"queues": ["/q"], "claimantId": "me"})
    return await calls.claim(calls.Call(calls.Caller(), entrance, 2), message)  # type: ignore[arg-type]


async def test_a_change_of_leader_ends_no_wait_and_a_claim_in_doubt_keeps_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "PAUSE_S", 0.0)
    async with serving() as node, entroq(node) as eq:
        await insert(eq)
        operation = calls.claim_of(messages.CLAIM.read({"queues": ["/q"]}), "k")
        _, (outcome,) = await node.service.run([operation])
    lost = Unfinished("outcome_unknown")
    entrance = Entrance(Unfinished("unavailable"), Claimed(()), lost, lost, outcome)
    assert (await claimed_by(entrance))["task"]["queue"] == "/q"
    first, second = entrance.keys[0], entrance.keys[2]
    assert first != second
    assert entrance.keys == [first, first, second, second, second]
    long, short = calls.WAIT_MS, calls.ASKING_MS
    assert entrance.waits_ms == [long, short, long, short, short]


async def test_a_wait_goes_on_though_what_its_claim_got_unnoticed_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer was lost, the lease ended, others did the task: the key remembers a claim of nothing."""
    monkeypatch.setattr(calls, "PAUSE_S", 0.0)
    async with serving() as node, entroq(node) as eq:
        service, lost = node.service, [True]

        class Losing:
            async def wait_claim(self, claim: Any, wait_ms: int) -> tuple[int, Any]:
                if not lost:
                    return await service.wait_claim(claim, wait_ms)
                lost.clear()
                index, _ = await service.run([claim])
                (task,) = await eq.tasks(queue="/q")
                await eq.modify(deletes=[task_id(task)])
                return index, Unfinished("outcome_unknown")

        await insert(eq)
        waiting = asyncio.create_task(claimed_by(Losing()))  # type: ignore[arg-type] # as much as is needed
        await node.until_waiting()
        id_ = await insert(eq)
        assert (await asyncio.wait_for(waiting, 10))["task"]["id"] == id_


async def test_a_cluster_without_a_leader_ends_a_wait_when_patience_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "PATIENCE_S", 0.0)
    with pytest.raises(Refusal, match="nobody leads"):
        await claimed_by(Entrance(Unfinished("unavailable", "nobody leads")))


async def test_a_node_that_stops_ends_its_waits_at_once() -> None:
    with pytest.raises(Refusal, match="stopping"):
        await claimed_by(Entrance(Claimed(()), STOPPING))
