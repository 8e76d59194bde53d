"""Slow, silent, greedy and vanishing peers are met with bounds; the others notice nothing."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from tests.support.http_node import ANSWER_S, Peer, request, serving

from raftq_cluster.observability.metrics import Metrics
from raftq_cluster.servers.http.limits import CONNECTIONS_REFUSED_MAX, Patience
from raftq_cluster.servers.http.server import HttpServer
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.limits import Limits

IMPATIENT = Patience(head_s=0.05, body_s=0.05, idle_s=0.05, linger_s=0.05, sweep_s=0.01)
SLOW_HEAD_ONLY = Patience(head_s=0.05, sweep_s=0.01)
HEAD = b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\n"


@pytest.mark.asyncio
async def test_a_head_that_does_not_end_is_refused_and_hung_up_on() -> None:
    async with serving(patience=SLOW_HEAD_ONLY) as node, node.peer() as peer:
        await peer.send(b"GET /livez HTTP/1.1\r\nHost: n\r\nX-Slow: ")
        answer = await peer.answer()
        rest = await peer.end()
    assert (answer.status, answer.code) == (408, "request_timeout")
    assert answer.headers["connection"] == "close"
    assert rest == b""


@pytest.mark.asyncio
async def test_a_head_that_comes_byte_by_byte_gains_no_time() -> None:
    async with serving(patience=SLOW_HEAD_ONLY) as node, node.peer() as peer, node.peer() as other:
        await peer.send(b"GET /livez HTTP/1.1\r\nHost: n\r\nX-Slow: ")
        answering = asyncio.create_task(peer.answer())
        while not answering.done():
            await peer.send(b"x")
            await other.ask("GET", "/livez")
        answer = answering.result()
    assert answer.code == "request_timeout"


@pytest.mark.asyncio
async def test_a_body_that_does_not_come_is_refused_and_hung_up_on() -> None:
    patience = Patience(body_s=0.05, linger_s=0.05)
    async with serving(patience=patience) as node, node.peer() as peer:
        await peer.send(HEAD + b"Content-Length: 100\r\n\r\n{")
        answer = await peer.answer()
        rest = await peer.end()
    assert (answer.status, answer.code) == (408, "request_timeout")
    assert rest == b""


@pytest.mark.asyncio
async def test_a_silent_connection_is_closed() -> None:
    async with serving(patience=IMPATIENT) as node, node.peer() as peer:
        said = await peer.end()
    assert said == b""


@pytest.mark.asyncio
async def test_a_connection_is_kept_between_requests_and_closed_when_nothing_follows() -> None:
    async with serving(patience=IMPATIENT) as node, node.peer() as peer:
        answers = [await peer.ask("GET", "/livez") for _ in range(3)]
        rest = await peer.end()
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert rest == b""


@pytest.mark.asyncio
async def test_a_waiting_claim_is_not_hurried() -> None:
    async with serving(patience=IMPATIENT) as node, node.peer() as peer:
        answer = await peer.ask("POST", "/v1/claim", document={"queues": ["/a"], "wait_ms": 200})
    assert answer.document() == {"tasks": []}


@pytest.mark.asyncio
async def test_a_peer_that_takes_no_answer_is_hung_up_on() -> None:
    async with serving(patience=Patience(idle_s=0.05, sweep_s=0.01)) as node:
        async with node.peer() as filler:
            for _ in range(20):
                task = {"queue": "/big", "value": "x" * (2**20 - 2)}
                await filler.ask("POST", "/v1/modify", document={"inserts": [task]})
        async with node.peer() as peer:
            peer.stop_reading()
            await peer.send(request("GET", "/v1/tasks?queue=/big"))
            await node.until_served(1)
            await node.until_served(0)


@pytest.mark.asyncio
async def test_connections_beyond_the_limit_are_told_so() -> None:
    limits = Limits(connections_max=1)
    async with serving(limits=limits) as node, node.peer() as first, node.peer() as second:
        served = await first.ask("GET", "/livez")
        refused = await second.answer()
        rest = await second.end()
        first.close()
        await node.until_served(0)
        async with node.peer() as third:
            after = await third.ask("GET", "/livez")
    assert served.status == 200
    assert (refused.status, refused.code) == (429, "too_busy")
    assert refused.document()["limit_name"] == "connections_max"
    assert refused.headers["retry-after"] == "1"
    assert rest == b""
    assert after.status == 200


@pytest.mark.asyncio
async def test_a_refused_peer_that_goes_on_talking_is_cut_off() -> None:
    limits = Limits(connections_max=0)
    async with serving(limits=limits, patience=IMPATIENT) as node, node.peer() as peer:
        assert (await peer.answer()).code == "too_busy"
        async with asyncio.timeout(ANSWER_S):
            while await can_talk(peer):
                await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_so_many_refused_peers_are_told_and_the_others_just_closed() -> None:
    async with serving(limits=Limits(connections_max=0)) as node:
        peers = [node.peer() for _ in range(CONNECTIONS_REFUSED_MAX + 3)]
        for peer in peers:
            await peer.__aenter__()
        said = [await peer.first_byte() for peer in peers]
        for peer in peers:
            peer.close()
    assert sum(bool(words) for words in said) == CONNECTIONS_REFUSED_MAX


@pytest.mark.asyncio
async def test_a_body_that_is_announced_as_too_large_is_refused_before_it_is_sent() -> None:
    async with serving(limits=Limits(body_bytes_max=10)) as node, node.peer() as peer:
        await peer.send(HEAD + b"Content-Length: 11\r\nExpect: 100-continue\r\n\r\n")
        answer = await peer.answer()
    assert (answer.status, answer.code) == (413, "too_large")


@pytest.mark.asyncio
async def test_a_body_that_is_announced_and_small_enough_is_asked_for() -> None:
    body = b'{"queues":["/a"]}'
    async with serving() as node, node.peer() as peer:
        await peer.send(HEAD + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body))
        ask = await peer.answer()
        await peer.send(body)
        answer = await peer.answer()
    assert ask.status == 100
    assert answer.document() == {"tasks": []}


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.asyncio
async def test_a_body_may_come_in_chunks(size: int) -> None:
    body = b'{"queues":["/a"]' + b" " * size + b"}"
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    async with serving() as node, node.peer() as peer:
        await peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        answer = await peer.answer()
    assert answer.document() == {"tasks": []}


@pytest.mark.asyncio
async def test_chunks_that_are_too_long_together_are_refused_though_they_came_at_once() -> None:
    chunks = b"6\r\n      \r\n" * 2 + b"0\r\n\r\n"
    async with serving(limits=Limits(body_bytes_max=10)) as node, node.peer() as peer:
        await peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        answer = await peer.answer()
    assert (answer.status, answer.code) == (413, "too_large")


@pytest.mark.asyncio
async def test_chunks_that_turn_into_nonsense_are_refused_and_hung_up_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as node, node.peer() as peer:
        await peer.send(HEAD + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert (await peer.answer()).status == 100
        await peer.send(b"1\r\n{\r\nnonsense\r\n")
        answer = await peer.answer()
        assert await peer.end() == b""
    assert (answer.status, answer.code) == (400, "bad_request")
    assert caplog.records == []


@pytest.mark.asyncio
async def test_requests_may_be_sent_without_waiting_and_are_answered_in_order() -> None:
    paths = ["/livez", "/v1/time", "/nowhere", "/v1/tasks/x", "/livez"] * 20
    async with serving() as node, node.peer() as peer:
        await peer.send(b"".join(request("GET", path) for path in paths))
        answers = [await peer.answer() for _ in paths]
    assert [answer.status for answer in answers] == [200, 200, 404, 404, 200] * 20


@pytest.mark.asyncio
async def test_a_peer_that_vanishes_in_its_body_leaves_no_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as node, node.peer() as bystander:
        for sent in (b"", b"{", b"x" * 300_000):
            async with node.peer() as peer:
                await peer.send(HEAD + b"Content-Length: 1000000\r\n\r\n" + sent)
                await node.until_served(2)
            await node.until_served(1)
        answer = await bystander.ask("GET", "/livez")
    assert answer.status == 200
    assert caplog.records == []


@pytest.mark.asyncio
async def test_a_drain_answers_waiting_claims_and_closes_idle_connections() -> None:
    async with serving() as node, node.peer() as waiting, node.peer() as idle:
        await idle.ask("GET", "/livez")
        claim = {"queues": ["/a"], "wait_ms": 60_000}
        await waiting.send(request("POST", "/v1/claim", document=claim))
        await node.until_waiting()
        async with asyncio.timeout(ANSWER_S / 2):
            await node.server.stop(drain_s=ANSWER_S)
        answer = await waiting.answer()
        assert await waiting.end() == b""
        assert await idle.end() == b""
    assert answer.document() == {"tasks": []}
    assert answer.headers["connection"] == "close"


@pytest.mark.asyncio
async def test_a_drain_lets_a_request_end_that_has_begun_to_arrive() -> None:
    body = b'{"queues":["/a"]}'
    async with serving() as node, node.peer() as peer:
        await peer.send(HEAD + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body))
        assert (await peer.answer()).status == 100
        stopping = asyncio.create_task(node.server.stop(drain_s=20))
        await asyncio.sleep(0)
        await peer.send(body)
        answer = await peer.answer()
        await stopping
    assert (answer.status, answer.code) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.asyncio
async def test_a_node_that_drains_is_not_ready() -> None:
    async with serving() as node, node.peer() as peer, node.peer() as other:
        await peer.send(b"GET /readyz HTTP/1.1\r\n")
        await other.ask("GET", "/livez")  # what was sent before it has been received
        stopping = asyncio.create_task(node.server.stop(drain_s=ANSWER_S))
        await asyncio.sleep(0)
        await peer.send(b"Host: n\r\n\r\n")
        answer = await peer.answer()
        await stopping
    assert (answer.status, answer.code) == (503, "unavailable")
    assert "stopping" in answer.document()["detail"]


@pytest.mark.asyncio
async def test_a_drain_has_an_end() -> None:
    async with serving() as node, node.peer() as peer:
        await peer.send(HEAD + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n")
        assert (await peer.answer()).status == 100
        async with asyncio.timeout(5):
            await node.server.stop(drain_s=0.05)
        assert await peer.end() == b""


@pytest.mark.asyncio
async def test_a_stopped_server_takes_no_connection() -> None:
    async with serving() as node:
        peer = node.peer()
        await node.server.stop(drain_s=1)
        with pytest.raises(ConnectionRefusedError):
            await peer.__aenter__()


@pytest.mark.asyncio
async def test_a_port_that_is_taken_is_an_error_of_the_start() -> None:
    async with serving() as node:
        host, port = node.server.address
        second = HttpServer(Doors(node.service), host, port, node_id="n2", metrics=Metrics("0"))
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
        await second.stop(drain_s=0)


@pytest.mark.asyncio
async def test_a_fault_outside_of_every_handler_is_answered_and_logged_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Metrics, "request", fail)
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("GET", "/livez")
    assert (answer.status, answer.code) == (500, "internal")
    assert [record.message for record in caplog.records] == ["answering failed"]


@pytest.mark.asyncio
async def test_stopping_twice_is_stopping_once() -> None:
    async with serving() as node:
        await node.server.stop(drain_s=1)
        await node.server.stop(drain_s=1)


async def can_talk(peer: Peer) -> bool:
    """Say something; False once the server has closed the connection."""
    try:
        await peer.send(b"x")
    except ConnectionError:
        return False
    return True


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_head_that_does_not_end_is_refused_and_hung_up_on,
        test_a_body_that_does_not_come_is_refused_and_hung_up_on,
        test_a_silent_connection_is_closed,
        test_a_peer_that_takes_no_answer_is_hung_up_on,
        test_connections_beyond_the_limit_are_told_so,
        test_a_refused_peer_that_goes_on_talking_is_cut_off,
        test_so_many_refused_peers_are_told_and_the_others_just_closed,
        test_requests_may_be_sent_without_waiting_and_are_answered_in_order,
        test_a_drain_answers_waiting_claims_and_closes_idle_connections,
        test_a_drain_has_an_end,
    ],
    ids=lambda scenario: scenario.__name__.removeprefix("test_"),
)
def test_uvloop_makes_no_difference(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(scenario())
