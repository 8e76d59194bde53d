"""The OpenAPI document is valid, true to the code, and the one that is committed."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate
from tests.support.http_node import serving

from raftq.wire.codes import CODES
from raftq.wire.formats import decode
from raftq_cluster.servers.http.examples import EXAMPLES
from raftq_cluster.servers.http.openapi import openapi_document, openapi_text
from raftq_cluster.servers.http.routes import ROUTES, VERB_ROUTES
from raftq_cluster.service.verbs import VERBS

COMMITTED = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"


def document() -> Any:
    return msgspec.json.decode(openapi_text())


def test_the_committed_document_is_what_the_code_makes() -> None:
    assert COMMITTED.read_text("utf-8") == openapi_text(), "run scripts/openapi"


def test_the_document_is_valid() -> None:
    validate(document())


@pytest.mark.asyncio
async def test_the_node_serves_the_document() -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("GET", "/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.document() == document()


def test_every_verb_has_an_address() -> None:
    assert {route.verb for route in VERB_ROUTES} == VERBS.keys()


def test_every_route_is_described() -> None:
    described = {
        (method.upper(), path)
        for path, methods in document()["paths"].items()
        for method in methods
    }
    assert described == {(route.method, route.path) for route in ROUTES}


def test_every_refusal_of_a_route_is_a_known_code() -> None:
    assert {code for route in ROUTES for code in route.refuses} <= CODES.keys()


def test_every_code_that_a_node_uses_is_described_somewhere() -> None:
    described = {code for route in ROUTES for code in route.refuses} | {"internal"}
    elsewhere = {"not_found", "method_not_allowed"}  # of addresses that the document does not have
    assert CODES.keys() - described == elsewhere


@pytest.mark.parametrize("verb", VERBS)
def test_an_example_is_a_valid_request_and_a_valid_answer(verb: str) -> None:
    example = EXAMPLES[verb]
    decode(msgspec.json.encode(example.request), VERBS[verb].request, "json")
    reply = decode(msgspec.json.encode(example.reply), VERBS[verb].reply, "json")
    assert msgspec.json.decode(msgspec.json.encode(reply)) == example.reply


def test_making_the_document_twice_gives_the_same_one() -> None:
    assert msgspec.json.encode(openapi_document()) == msgspec.json.encode(
        openapi_document.__wrapped__()
    )
