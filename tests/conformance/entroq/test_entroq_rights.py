"""Tokens over EntroQ's dialect: every method needs its rights, over REST and over Connect; see ``README.md``."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from tests.support.http_node import Answer, Header, Peer, serving
from tests.support.tokens import Tokens, all_but, secret_of

from raftq.wire.tokens import RIGHTS
from raftq_cluster.servers.http.entroq.calls import METHODS
from raftq_cluster.servers.http.entroq_routes import ROUTES

pytestmark = pytest.mark.asyncio

P2 = ("entroq-protocol", "2")
STREAM = ("Content-Type", "application/connect+json")
LISTING = {"queue": "/a"}
TASK = {"id": "in-a", "queue": "/a"}
DOC = {"namespace": "/n", "id": "doc"}


class Case(NamedTuple):
    """A call of a method, and the rights that it needs, each on a queue or namespace."""

    method: str
    message: dict[str, Any]
    needs: tuple[tuple[str, str], ...]


def changed(new: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"changes": [{"oldId": TASK, "newData": {"queue": "/a", **new}, **fields}]}


def claim_of(*sets: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"claimQuery": {"claimant": "me", "sets": [{"set": item} for item in sets], **fields}}


K = {"namespace": "/n", "key": "k"}
SET_LEASE = {"oldId": K, "newData": {"byMs": 9_000}, "mode": "CHANGE_LEASE"}
CASES = {
    "try claim": Case("TryClaim", {"queues": ["/a"]}, (("claim", "/a"),)),
    "try claim of two": Case(
        "TryClaim", {"queues": ["/a", "/b"]}, (("claim", "/a"), ("claim", "/b"))
    ),
    "claim": Case("Claim", {"queues": ["/a"]}, (("claim", "/a"),)),
    "insert": Case("Modify", {"inserts": [{"queue": "/b"}]}, (("insert", "/b"),)),
    "change": Case("Modify", changed({"err": "x"}), (("change", "/a"),)),
    "lease": Case("Modify", changed({"byMs": 9_000}, mode="CHANGE_LEASE"), (("change", "/a"),)),
    "reset": Case("Modify", changed({}, mode="CHANGE_RESET_CLAIMS"), (("change", "/a"),)),
    "move": Case("Modify", changed({"queue": "/b"}), (("delete", "/a"), ("insert", "/b"))),
    "delete": Case("Modify", {"deletes": [TASK]}, (("delete", "/a"),)),
    "depend": Case("Modify", {"depends": [TASK]}, (("read", "/a"),)),
    "doc insert": Case("Modify", {"docInserts": [K]}, (("insert", "/n"),)),
    "doc change": Case(
        "Modify", {"docChanges": [{"oldId": DOC, "newData": {}}]}, (("change", "/n"),)
    ),
    "doc delete": Case("Modify", {"docDeletes": [DOC]}, (("delete", "/n"),)),
    "doc depend": Case("Modify", {"docDepends": [DOC]}, (("read", "/n"),)),
    "set depend": Case("Modify", {"docDepends": [K]}, (("read", "/n"),)),
    "set lease": Case("Modify", {"docChanges": [SET_LEASE]}, (("claim", "/n"),)),
    "all at once": Case(
        "Modify",
        {"inserts": [{"queue": "/b"}], "deletes": [TASK], "docDeletes": [DOC]},
        (("insert", "/b"), ("delete", "/a"), ("delete", "/n")),
    ),
    "claim docs": Case(
        "ClaimDocs",
        claim_of(K, {"namespace": "/m", "key": ""}, durationMs=9_000),
        (("claim", "/n"), ("claim", "/m")),
    ),
    "claim docs by key": Case("ClaimDocs", claim_of(**K), (("claim", "/n"),)),
    "tasks": Case("Tasks", LISTING, (("read", "/a"),)),
    "docs": Case("Docs", {"query": {"namespace": "/n"}}, (("read", "/n"),)),
}  # fmt: skip
# Whoever has a token may ask these; listings show what may be read, and nothing else.
FREE = {
    "Time": "timeMs", "Queues": "queues", "QueueStats": "queues", "NamespaceStats": "namespaces"
}  # fmt: skip


def flat(message: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in message.items():
        nested = isinstance(value, dict)
        found += flat(value, f"{prefix}{name}.") if nested else [(f"{prefix}{name}", value)]
    return found


async def over_rest(peer: Peer, method: str, message: dict[str, Any], *headers: Header) -> Answer:
    (route,) = (route for route in ROUTES if route.method == method)
    if route.http_method == "GET":
        query = urlencode(flat(message), doseq=True)
        return await peer.ask("GET", f"/api/v0{route.path}?{query}", P2, *headers)
    return await peer.ask("POST", f"/api/v0{route.path}", P2, *headers, document=message)


async def over_connect(
    peer: Peer, method: str, message: dict[str, Any], *headers: Header
) -> Answer:
    return await peer.ask("POST", f"/api.EntroQ/{method}", P2, *headers, document=message)


WAYS = {"rest": over_rest, "connect": over_connect}
FORBIDDEN = {"rest": 7, "connect": "permission_denied"}
UNKNOWN = {"rest": 16, "connect": "unauthenticated"}


def bearer(name: str) -> Header:
    return ("Authorization", f"Bearer {secret_of(name)}")


async def fill(peer: Peer) -> None:
    message = {"inserts": [{"queue": "/a", "id": "in-a"}, {"queue": "/b"}],
               "docInserts": [{"namespace": "/n", "id": "doc", "key": "k"}]}  # fmt: skip
    assert (await over_rest(peer, "Modify", message, bearer("owner"))).status == 200


async def asked(folder: Path, way: str, case: Case, rights: Sequence[str]) -> Answer:
    tokens = Tokens(folder, owner=["all:*"], caller=rights)
    async with serving(tokens=tokens.store) as node, node.peer() as peer:
        await fill(peer)
        return await WAYS[way](peer, case.method, case.message, bearer("caller"))


async def test_every_method_is_in_one_of_the_tables() -> None:
    assert {case.method for case in CASES.values()} | FREE.keys() == METHODS.keys()
    assert {route.method for route in ROUTES} == METHODS.keys()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
async def test_a_call_passes_with_the_rights_it_needs_and_no_more(
    tmp_path: Path, way: str, name: str
) -> None:
    rights = [f"{right}:{queue}" for right, queue in CASES[name].needs]
    answer = await asked(tmp_path, way, CASES[name], rights)
    assert answer.status == 200, answer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
async def test_without_any_one_of_them_it_is_forbidden_by_name(
    tmp_path: Path, way: str, name: str
) -> None:
    case = CASES[name]
    for lacking in case.needs:
        others = [f"{right}:{queue}" for right, queue in case.needs if (right, queue) != lacking]
        answer = await asked(tmp_path, way, case, [*all_but(lacking[0]), *others])
        right, queue = lacking
        if name == "depend":  # what may not be read is not there
            assert answer.status == 409
            continue
        assert (answer.status, answer.document()["code"]) == (403, FORBIDDEN[way])
        assert f"the right {right} on queue {queue}" in answer.document()["message"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
async def test_nobody_gets_anything(tmp_path: Path, way: str, method: str) -> None:
    messages = {case.method: case.message for case in CASES.values()}
    tokens = Tokens(tmp_path, owner=["all:*"])
    async with serving(tokens=tokens.store) as node, node.peer() as peer:
        for headers in ((), (bearer("caller"),), (("Authorization", "Basic YTpi"),)):
            answer = await WAYS[way](peer, method, messages.get(method, {}), *headers)
            assert (answer.status, answer.document()["code"]) == (401, UNKNOWN[way])
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", FREE)
async def test_what_every_token_may_ask_shows_nothing_that_it_may_not_read(
    tmp_path: Path, way: str, method: str
) -> None:
    case = Case(method, {}, ())
    answer = await asked(tmp_path, way, case, all_but("read"))
    assert answer.status == 200
    assert method == "Time" or answer.document() == {FREE[method]: []}
    answer = await asked(tmp_path, way, case, ["read:/a", "read:/n"])
    if method != "Time":
        readable = "/n" if method == "NamespaceStats" else "/a"
        assert [item["name"] for item in answer.document()[FREE[method]]] == [readable]


@pytest.mark.parametrize("part", ["changes", "deletes", "depends"])
async def test_a_task_that_may_not_be_read_does_not_exist_whatever_is_said_of_it(
    tmp_path: Path, part: str
) -> None:
    details = []
    for id_, version, queue in (
        ("in-a", 0, "/a"), ("in-a", 7, "/a"), ("in-a", 0, "/b"), ("nowhere", 0, "/a")
    ):  # fmt: skip
        target = {"id": id_, "version": version, "queue": queue}
        parts: Any = {"oldId": target, "newData": {"queue": queue}} if part == "changes" else target
        rights = ["insert,claim,change,delete:/b"]
        answer = await asked(tmp_path, "rest", Case("Modify", {part: [parts]}, ()), rights)
        assert answer.status == 409, answer
        document = json.dumps(answer.document()).replace(f'"{id_}"', '"ID"')
        details.append(document.replace(f": {version},", ": V,").replace(f'"{queue}"', '"Q"'))
    assert len(set(details)) == 1, details


@pytest.mark.parametrize("path", ["/tasks/stream?queue=/a", "/tasks?taskId=in-a"])
async def test_listings_by_stream_and_by_id_need_the_right_to_read(
    tmp_path: Path, path: str
) -> None:
    tokens = Tokens(tmp_path, owner=["all:*"], reader=["read:/a"], caller=all_but("read"))
    async with serving(tokens=tokens.store) as node, node.peer() as peer:
        await fill(peer)
        assert b"in-a" in (await peer.ask("GET", f"/api/v0{path}", bearer("reader"))).body
        refused = await peer.ask("GET", f"/api/v0{path}", bearer("caller"))
        assert b"in-a" not in refused.body
        assert (await peer.ask("GET", f"/api/v0{path}")).status == 401


async def test_a_stream_of_connect_ends_with_who_may_not(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, owner=["all:*"], caller=all_but("read"))
    body = json.dumps(LISTING).encode()
    framed = struct.pack(">BI", 0, len(body)) + body
    async with serving(tokens=tokens.store) as node, node.peer() as peer:
        await fill(peer)
        for headers, code in (
            ((bearer("caller"),), b"permission_denied"),
            ((), b"unauthenticated"),
        ):
            answer = await peer.ask(
                "POST", "/api.EntroQ/StreamTasks", STREAM, *headers, body=framed
            )
            assert answer.status == 200
            assert code in answer.body
            assert b"in-a" not in answer.body


async def test_a_set_that_somebody_holds_is_told_to_who_may_claim_and_not_read(
    tmp_path: Path,
) -> None:
    tokens = Tokens(tmp_path, owner=["all:*"], caller=["claim:/n"])
    async with serving(tokens=tokens.store) as node, node.peer() as peer:
        await fill(peer)
        message = claim_of(K, durationMs=9_000, claimant="other")
        assert (await over_rest(peer, "ClaimDocs", message, bearer("owner"))).status == 200
        answer = await over_rest(peer, "ClaimDocs", claim_of(K, durationMs=9_000), bearer("caller"))
        assert (answer.status, answer.document()["code"]) == (409, 10), answer
        assert answer.document()["details"][1]["docId"]["key"] == "k"


@pytest.mark.parametrize(
    ("rights", "value"),
    [
        ("change:/a", None),
        ("read,change:/a", "v"),
        ("claim,change:/a", "v"),
        ("change,claim:*", "v"),
    ],
)
async def test_the_answer_to_a_change_shows_a_value_only_to_who_may_see_it(
    tmp_path: Path, rights: str, value: str | None
) -> None:
    tokens = Tokens(tmp_path, owner=["all:*"], caller=[rights])
    async with serving(tokens=tokens.store) as node, node.peer() as peer:
        inserts = {"inserts": [{"queue": "/a", "id": "in-a", "value": "v"}]}
        await over_rest(peer, "Modify", inserts, bearer("owner"))
        message = changed({"byMs": 9_000}, mode="CHANGE_LEASE")
        answer = await over_rest(peer, "Modify", message, bearer("caller"))
        assert answer.document()["changed"][0]["value"] == value


async def test_ids_that_a_token_sees_tell_it_nothing_of_the_keys_of_others(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, owner=["all:*"], caller=["insert:/x"])
    async with serving(tokens=tokens.store) as node, node.peer() as peer:
        last = node.service.new_id()
        number = int(last[12:], 16)
        for guess in range(1, 9):
            document = {"inserts": [{"queue": "/x", "id": f"x{guess}"}],
                        "idempotency_key": f"entroq.{last[:12]}{number + guess:x}"}  # fmt: skip
            answer = await peer.ask("POST", "/v1/modify", bearer("caller"), document=document)
            assert answer.status == 200
        await fill(peer)


async def test_rights_of_the_table_are_those_of_tokens() -> None:
    used = {right for case in CASES.values() for right, _ in case.needs}
    assert used == set(RIGHTS) - {"admin"}
