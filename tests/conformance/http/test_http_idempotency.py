"""A retry with the same key gets the first answer, over any connection and from either place."""

from typing import Any

import pytest
from tests.support.http_node import serving

KEY = ("Idempotency-Key", "key-1")
INSERT: dict[str, Any] = {"inserts": [{"queue": "/a", "value": 1}]}


@pytest.mark.asyncio
async def test_a_retry_gets_the_first_answer_and_does_nothing_again() -> None:
    async with serving() as node:
        async with node.peer() as peer:
            first = await peer.ask("POST", "/v1/modify", KEY, document=INSERT)
        async with node.peer() as peer:
            second = await peer.ask("POST", "/v1/modify", KEY, document=INSERT)
            queues = await peer.ask("GET", "/v1/queues")
    assert second.body == first.body
    assert queues.document()["queues"][0]["tasks"] == 1


@pytest.mark.asyncio
async def test_a_repeated_claim_gives_the_same_task() -> None:
    document = {"queues": ["/a"]}
    async with serving() as node, node.peer() as peer:
        await peer.ask("POST", "/v1/modify", document={"inserts": [{"queue": "/a"}] * 2})
        first = await peer.ask("POST", "/v1/claim", KEY, document=document)
        second = await peer.ask("POST", "/v1/claim", KEY, document=document)
        other = await peer.ask("POST", "/v1/claim", document=document)
    assert second.document() == first.document()
    assert other.document()["tasks"][0]["id"] != first.document()["tasks"][0]["id"]


@pytest.mark.asyncio
async def test_the_header_and_the_document_name_the_same_key() -> None:
    in_document = {**INSERT, "idempotency_key": "key-1"}
    async with serving() as node, node.peer() as peer:
        by_header = await peer.ask("POST", "/v1/modify", KEY, document=INSERT)
        by_document = await peer.ask("POST", "/v1/modify", document=in_document)
        by_both = await peer.ask("POST", "/v1/modify", KEY, document=in_document)
    assert by_header.status == 200
    assert by_document.body == by_both.body == by_header.body


@pytest.mark.asyncio
async def test_a_key_that_was_used_for_another_request_is_refused() -> None:
    other = {"inserts": [{"queue": "/b"}]}
    async with serving() as node, node.peer() as peer:
        await peer.ask("POST", "/v1/modify", KEY, document=INSERT)
        answer = await peer.ask("POST", "/v1/modify", KEY, document=other)
        queues = await peer.ask("GET", "/v1/queues")
    assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert [queue["name"] for queue in queues.document()["queues"]] == ["/a"]


@pytest.mark.asyncio
async def test_a_refusal_is_repeated_too() -> None:
    absent = {"deletes": [{"id": "t", "version": 0}]}
    async with serving() as node, node.peer() as peer:
        first = await peer.ask("POST", "/v1/modify", KEY, document=absent)
        await peer.ask("POST", "/v1/modify", document={"inserts": [{"queue": "/a", "id": "t"}]})
        second = await peer.ask("POST", "/v1/modify", KEY, document=absent)
    assert (first.code, second.code) == ("dependency", "dependency")
    assert second.document()["failed"] == first.document()["failed"]


@pytest.mark.parametrize(
    ("headers", "own", "code"),
    [
        ((("Idempotency-Key", "a"),), "b", "invalid"),
        ((("Idempotency-Key", ""),), "", "invalid"),
        ((("Idempotency-Key", "two words"),), "", "invalid"),
        ((("Idempotency-Key", "café"),), "", "invalid"),
        ((("Idempotency-Key", "k" * 129),), "", "too_large"),
        ((), "k" * 129, "invalid"),
        ((), "two words", "invalid"),
    ],
    ids=["differ", "empty", "space", "not ASCII", "long", "long in document", "space in document"],
)
@pytest.mark.asyncio
async def test_a_key_that_cannot_be_one_is_refused(
    headers: tuple[tuple[str, str], ...], own: str, code: str
) -> None:
    async with serving() as node, node.peer() as peer:
        document = {**INSERT, "idempotency_key": own}
        answer = await peer.ask("POST", "/v1/modify", *headers, document=document)
        queues = await peer.ask("GET", "/v1/queues")
    assert answer.code == code
    assert queues.document() == {"queues": []}


@pytest.mark.asyncio
async def test_a_key_given_twice_is_refused() -> None:
    raw = (
        b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\n"
        b"Idempotency-Key: a\r\nIdempotency-Key: a\r\nContent-Length: 17\r\n\r\n"
        b'{"queues":["/a"]}'
    )
    async with serving() as node, node.peer() as peer:
        await peer.send(raw)
        answer = await peer.answer()
    assert (answer.code, answer.document()["field"]) == ("invalid", "Idempotency-Key")
