"""Docs over HTTP: the routes of the v1 dialect, in JSON and in MessagePack."""

import pytest
from tests.conformance.http.test_http_verbs import FORMATS
from tests.support.http_node import START_MS, Header, serving

pytestmark = pytest.mark.asyncio


@FORMATS
async def test_docs_live_beside_tasks_in_one_modification(fmt: Header) -> None:
    async with serving() as node, node.peer() as peer:
        document = {
            "inserts": [{"queue": "/q", "id": "t"}],
            "doc_inserts": [
                {"namespace": "/ns", "key": "k", "id": "d", "value": {"n": [None, "é"]}}
            ],
        }
        made = await peer.ask("POST", "/v1/modify", fmt, document=document)
        listed = await peer.ask("GET", "/v1/docs?namespace=/ns&key=k", fmt)
        counted = await peer.ask("GET", "/v1/namespaces?prefix=/n", fmt)
    doc = {
        "namespace": "/ns",
        "id": "d",
        "version": 0,
        "key": "k",
        "secondary_key": "",
        "claimant": "",
        "at": START_MS,
        "created": START_MS,
        "modified": START_MS,
    }
    assert made.document()["docs_inserted"] == [doc]
    assert (made.document()["docs_changed"], made.document()["doc_sets"]) == ([], [])
    assert listed.document()["docs"] == [doc | {"value": {"n": [None, "é"]}}]
    assert counted.document()["namespaces"] == [{"name": "/ns", "docs": 1, "claimed": 0, "sets": 1}]


async def test_sets_are_claimed_renewed_and_given_back() -> None:
    async with serving() as node, node.peer() as peer:
        claim = {"sets": [{"namespace": "/ns", "key": "k"}], "claimant": "w1", "lease_ms": 5_000}
        claimed = (await peer.ask("POST", "/v1/docs/claim", document=claim)).document()
        assert claimed["docs"] == []
        (held,) = claimed["sets"]
        assert held == {
            "namespace": "/ns",
            "key": "k",
            "version": 1,
            "claimant": "w1",
            "at": START_MS + 5_000,
            "docs": 0,
        }
        other = await peer.ask("POST", "/v1/docs/claim", document=claim | {"claimant": "w2"})
        assert (other.status, other.code) == (409, "dependency")
        assert other.document()["failed"] == [
            {
                "part": "doc_claim",
                "index": 0,
                "id": "",
                "reason": "claimed",
                "version": 1,
                "claimant": "w1",
                "until": START_MS + 5_000,
                "namespace": "/ns",
                "key": "k",
            }
        ]
        lease = {"namespace": "/ns", "key": "k", "version": 1, "lease_ms": 0}
        document = {"claimant": "w1", "doc_leases": [lease]}
        (back,) = (await peer.ask("POST", "/v1/modify", document=document)).document()["doc_sets"]
    assert (back["version"], back["claimant"]) == (2, "")


async def test_a_repeated_claim_with_a_key_is_done_once() -> None:
    async with serving() as node, node.peer() as peer:
        document = {"sets": [{"namespace": "/ns", "key": "k"}]}
        key = ("Idempotency-Key", "k1")
        first = await peer.ask("POST", "/v1/docs/claim", key, document=document)
        again = await peer.ask("POST", "/v1/docs/claim", key, document=document)
    assert first.document() == again.document()


async def test_a_trial_of_a_modification_with_docs_changes_nothing() -> None:
    async with serving() as node, node.peer() as peer:
        document = {"dry_run": True, "doc_inserts": [{"namespace": "/ns", "key": "k"}]}
        foretold = await peer.ask("POST", "/v1/modify", document=document)
        listed = await peer.ask("GET", "/v1/docs?namespace=/ns&id=a&id=b&limit=5&omit_values=true")
    assert len(foretold.document()["docs_inserted"]) == 1
    assert listed.document()["docs"] == []


@pytest.mark.parametrize(
    "query", ["", "?namespace=", "?namespace=a%20b", "?namespace=/n&limit=0", "?namespace=/n&x=1"]
)
async def test_a_listing_that_makes_no_sense_is_refused(query: str) -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("GET", f"/v1/docs{query}")
    assert (answer.status, answer.code) == (400, "invalid")
