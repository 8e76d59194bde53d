"""Queries and bodies become documents, within limits that hold for all requests together."""

import asyncio
from typing import Any

import pytest
from tests.support.http_node import ANSWER_S, Peer, serving

from raftq.wire.documents import TasksRequest
from raftq_cluster.servers.http import reading
from raftq_cluster.servers.http.reading import document_fields, read_query
from raftq_cluster.service.refusals import Refusal

FIELDS = document_fields(TasksRequest)
HEAD = b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\n"


def read(query: str) -> TasksRequest:
    return read_query(query, TasksRequest, FIELDS, {})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("queue=/a", {"queue": "/a"}),
        ("queue=%2Fa%20b%C3%A9+", {"queue": "/a bé "}),
        ("queue=", {"queue": ""}),
        ("queue", {"queue": ""}),
        ("id=1&id=2&id=1", {"id": ["1", "2", "1"]}),
        ("limit=7", {"limit": 7}),
        ("omit_values=true", {"omit_values": True}),
        ("omit_values=0", {"omit_values": False}),
        ("consistency=stale", {"consistency": "stale"}),
        ("&&queue=a&", {"queue": "a"}),
        ("queue=a;limit=1", {"queue": "a;limit=1"}),
        ("queue=10", {"queue": "10"}),
    ],
)
def test_a_query_is_read_by_the_types_of_its_fields(query: str, expected: dict[str, Any]) -> None:
    assert read(query) == TasksRequest(**expected)


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("limit=1&limit=1", "invalid", "limit"),
        ("limit=1.5", "invalid", "limit"),
        ("limit=null", "invalid", "limit"),
        ("omit_values=maybe", "invalid", "omit_values"),
        ("Queue=a", "invalid", "Queue"),
        ("=a", "invalid", ""),
        ("%ff=a", "bad_request", ""),
        ("queue=%c3", "bad_request", ""),
    ],
)
def test_a_query_that_cannot_be_read_is_refused(query: str, code: str, field: str) -> None:
    with pytest.raises(Refusal) as refused:
        read(query)
    assert (refused.value.code, refused.value.field) == (code, field)


def test_a_long_parameter_name_is_not_repeated_whole() -> None:
    with pytest.raises(Refusal) as refused:
        read("x" * 50_000 + "=1")
    assert len(refused.value.detail) < 200


async def begin_body(peer: Peer, length: int) -> None:
    """Announce a body and wait until the server asks for it."""
    await peer.send(HEAD + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % length)
    assert (await peer.answer()).status == 100


@pytest.mark.asyncio
async def test_all_bodies_on_their_way_are_bounded_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "RECEIVING_BYTES_MAX", 1_000)
    async with serving() as node, node.peer() as first, node.peer() as second:
        await begin_body(first, 600)
        await second.send(HEAD + b"Content-Length: 600\r\n\r\n")
        refused = await second.answer()
        await first.send(b'{"queues":["/a"]}' + b" " * 583)
        taken = await first.answer()
        async with asyncio.timeout(ANSWER_S), node.peer() as third:
            await begin_body(third, 600)
            await third.send(b'{"queues":["/a"]}' + b" " * 583)
            after = await third.answer()
    assert (refused.status, refused.code) == (429, "too_busy")
    assert refused.document()["limit_name"] == "receiving_bytes_max"
    assert (taken.status, after.status) == (200, 200)
