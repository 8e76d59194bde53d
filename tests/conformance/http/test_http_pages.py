"""Probes and metrics tell an operator the truth."""

import pytest
from tests.support.http_node import Answer, Node, Peer, request, serving

from raftq_cluster.backends.api import Status


def not_ready(node: Node, leader: str) -> Status:
    status = node.service.status()
    return Status(
        cluster_id=status.cluster_id,
        node=status.node,
        backend=status.backend,
        durability=status.durability,
        term=status.term,
        leader=leader,
        index=status.index,
        ready=False,
        members=status.members,
    )


@pytest.mark.asyncio
async def test_a_node_that_serves_is_live_and_ready() -> None:
    async with serving() as node, node.peer() as peer:
        answers = [
            await peer.ask("GET", path) for path in ("/livez", "/readyz", "/readyz?noleader")
        ]
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"ok\n")] * 3


@pytest.mark.parametrize(("leader", "why"), [("", "no leader is known"), ("n2", "caught up")])
@pytest.mark.asyncio
async def test_a_node_that_cannot_serve_is_live_and_not_ready(
    leader: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as node, node.peer() as peer:
        status = not_ready(node, leader)
        monkeypatch.setattr(node.service, "status", lambda: status)
        live = await peer.ask("GET", "/livez")
        ready = await peer.ask("GET", "/readyz")
        formed = await peer.ask("GET", "/readyz?noleader")
    assert (live.status, formed.status) == (200, 200)
    assert (ready.status, ready.code) == (503, "unavailable")
    assert why in ready.document()["detail"]


@pytest.mark.asyncio
async def test_a_scrape_counts_requests_by_route_and_status() -> None:
    async with serving() as node, node.peer() as peer:
        for path in ("/livez", "/v1/tasks/x", "/v1/tasks/y", "/secret/address", "/v1/time?x=1"):
            await peer.ask("GET", path)
        await peer.ask("PATCH", "/v1/time")
        lines = await scrape(peer)
    assert 'raftq_http_requests_total{route="GET /livez",status="200"} 1.0' in lines
    assert 'raftq_http_requests_total{route="GET /v1/tasks/{id}",status="404"} 2.0' in lines
    assert 'raftq_http_requests_total{route="elsewhere",status="404"} 1.0' in lines
    assert 'raftq_http_requests_total{route="GET /v1/time",status="400"} 1.0' in lines
    assert 'raftq_http_requests_total{route="* /v1/time",status="405"} 1.0' in lines
    assert 'raftq_http_request_seconds_count{route="GET /v1/tasks/{id}"} 2.0' in lines
    assert not [line for line in lines if "secret" in line]


@pytest.mark.asyncio
async def test_a_scrape_shows_how_full_the_node_is() -> None:
    async with serving() as node, node.peer() as waiting, node.peer() as peer:
        inserts = [{"queue": "/a", "value": 10}, {"queue": "/a"}, {"queue": "/b", "delay_ms": 9}]
        await peer.ask(
            "POST", "/v1/modify", ("Idempotency-Key", "k"), document={"inserts": inserts}
        )
        await peer.ask("POST", "/v1/claim", document={"queues": ["/a"]})
        claim = {"queues": ["/none"], "wait_ms": 60_000}
        await waiting.send(request("POST", "/v1/claim", document=claim))
        await node.until_waiting()
        node.clock.now_ms += 2_000
        await peer.ask("GET", "/v1/time")
        lines = await scrape(peer)
    assert "raftq_tasks 3.0" in lines
    assert "raftq_idempotency_keys 1.0" in lines
    assert "raftq_waiting_claims 1.0" in lines
    assert "raftq_http_connections 2.0" in lines
    assert "raftq_ready 1.0" in lines
    assert "raftq_clock_off 0.0" in lines
    assert "raftq_clock_offset_seconds 0.0" in lines
    assert 'raftq_queue_tasks{queue="/a",state="ready"} 1.0' in lines
    assert 'raftq_queue_tasks{queue="/a",state="claimed"} 1.0' in lines
    assert 'raftq_queue_tasks{queue="/b",state="ready"} 1.0' in lines
    assert [line for line in lines if line.startswith("raftq_queue_oldest_ready_age_seconds{")]
    assert [line for line in lines if line.startswith("raftq_build_info{")]


@pytest.mark.asyncio
async def test_a_scraper_that_knows_openmetrics_gets_it() -> None:
    async with serving() as node, node.peer() as peer:
        plain = await peer.ask("GET", "/metrics")
        accept = ("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        openmetrics = await peer.ask("GET", "/metrics", accept)
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.body.endswith(b"# EOF\n")


async def scrape(peer: Peer) -> list[str]:
    answer: Answer = await peer.ask("GET", "/metrics")
    assert answer.status == 200
    return answer.body.decode().splitlines()
