"""How EntroQ's dialect is said: headers, names, numbers, errors, Connect; see ``README.md``."""

import base64
import json
import struct
from typing import Any

import pytest
from tests.support.entroq_peer import entroq
from tests.support.http_node import JSON, START_MS, Answer, Peer, serving

pytestmark = pytest.mark.asyncio
STREAM = ("Content-Type", "application/connect+json")
LARGE = 2**63 + 1


async def connect(peer: Peer, method: str, document: Any, *headers: Any) -> Answer:
    return await peer.ask("POST", f"/api.EntroQ/{method}", *headers, document=document)


def frames(body: bytes) -> list[tuple[int, Any]]:
    found = []
    while body:
        flags, length = struct.unpack_from(">BI", body)
        found.append((flags, json.loads(body[5 : 5 + length])))
        body = body[5 + length :]
    return found


async def test_the_time_is_text_in_milliseconds() -> None:
    async with serving() as node, entroq(node) as eq:
        assert await eq.done("GET", "/time") == {"timeMs": str(START_MS)}


async def test_names_may_be_camel_or_snake_case_and_integers_text() -> None:
    async with serving() as node, entroq(node, 1) as eq:
        at = START_MS + 5
        for part in (
            {"queue": "/q", "at_ms": str(at)},
            {"queue": "/q", "atMs": at},
            {"queue": "/q", "atMs": float(at)},
        ):
            made = await eq.done("POST", "/modify", {"claimant_id": "me", "inserts": [part]})
            assert made["inserted"][0]["atMs"] == str(at)


async def test_integers_above_2_to_the_53_and_the_text_of_values_survive() -> None:
    async with serving() as node, node.peer() as peer:
        raw = b'{"inserts":[{"queue":"/q","value":{"n":%d,"f":1.10}}],"docInserts":null}' % LARGE
        await peer.ask("POST", "/api/v0/modify", JSON, body=raw)
        claimed = await peer.ask("POST", "/api/v0/claim", document={"queues": ["/q"]})
        assert b'"value":{"n":%d,"f":1.10}' % LARGE in claimed.body


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"{", b'{"bad":1}', b'{"claimantId":5}', b'{"inserts":{}}', b'{"inserts":[5]}',
        b'{"inserts":[{"queue":"/q","attempt":"x"}]}', b'{"inserts":[{"queue":"/q","attempt":true}]}',
        b'{"inserts":[{"queue":"/q","attempt":1.5}]}', b'{"inserts":[{"queue":"/q","attempt":2147483648}]}',
        b'{"claimantId":"a","claimant_id":"b"}', b'{"claimantId":"\xff"}',
        b'{"inserts":[{"queue":"/q","value":' + b"[" * 300 + b"]" * 300 + b"}]}",
        b'{"changes":[{"oldId":"x"}]}',
    ],
)  # fmt: skip
async def test_a_malformed_request_is_refused_with_a_status(body: bytes) -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("POST", "/api/v0/modify", JSON, body=body)
        assert answer.status == 400, answer
        assert answer.document()["code"] == 3
        assert answer.document()["details"] == []


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/tasks?queue=/q&unknown=1", 400, 3),
        ("/tasks?queue=/q&queue=/r", 400, 3),
        ("/tasks?queue.x=1", 400, 3),
        ("/tasks?queue=a&queue.x=1", 400, 3),
        ("/tasks?queue=/q&omitValues=maybe", 400, 3),
        ("/tasks?queue=/q&limit=x", 400, 3),
        ("/tasks?taskId.x=1&taskId=2", 400, 3),
        ("/docs?query.ids=1&query.ids.x=2", 400, 3),
        ("/docs?namespace=/ns", 400, 3),
        ("/nowhere", 404, 5),
        ("/modify", 501, 12),
    ],
)
async def test_what_is_not_there_is_told_in_the_dialects_errors(
    path: str, status: int, code: int
) -> None:
    async with serving() as node, entroq(node) as eq:
        answer = await eq.ask("GET", path)
        assert (answer.status, answer.document()["code"]) == (status, code)


@pytest.mark.parametrize("said", ["3", "x", "-1", "1,2"])
async def test_a_protocol_that_is_not_served_is_unimplemented(said: str) -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("GET", "/api/v0/time", ("entroq-protocol", said))
        assert (answer.status, answer.document()["code"]) == (501, 12)
        assert answer.headers["entroq-protocol"] == "1,2"


async def test_connect_serves_every_method() -> None:
    async with serving() as node, node.peer() as peer:
        empty = {
            "Time": {"timeMs": str(START_MS)}, "Tasks": {"tasks": []}, "Queues": {"queues": []},
            "QueueStats": {"queues": []}, "NamespaceStats": {"namespaces": []},
        }  # fmt: skip
        for method, document in empty.items():
            assert (await connect(peer, method, {})).document() == document
        made = await connect(peer, "Modify", {"inserts": [{"queue": "/q", "value": 1}]})
        (task,) = made.document()["inserted"]
        for method in ("TryClaim", "Claim"):
            claimed = await connect(peer, method, {"queues": ["/q"], "claimantId": "me"})
            assert claimed.document()["task"]["id"] == task["id"]
            node.pass_time(30_000)


async def test_connect_serves_docs() -> None:
    async with serving() as node, node.peer() as peer:
        query = {"namespace": "/ns", "claimant": "me", "key": "k", "durationMs": 9}
        assert (await connect(peer, "ClaimDocs", {"claimQuery": query})).document() == {"docs": []}
        listed = await connect(peer, "Docs", {"query": {"namespace": "/ns"}})
        assert listed.document() == {"docs": []}
        answer = await connect(peer, "Modify", {"docDeletes": [{"namespace": "/n", "id": "d"}]})
        assert answer.document()["details"][1]["debug"] == {
            "type": "DELETE", "docId": {"namespace": "/n", "id": "d", "version": 0}
        }  # fmt: skip
        packed = base64.b64decode(answer.document()["details"][1]["value"] + "==")
        assert packed == b"\x08\x01\x22\x07\x0a\x02/n\x12\x01d"


async def test_connect_says_errors_in_its_own_way_with_details_in_protobuf() -> None:
    async with serving() as node, node.peer() as peer:
        wrong = {"id": "x" * 40, "version": 300, "queue": "/q"}
        answer = await connect(peer, "Modify", {"deletes": [wrong]})
        document = answer.document()
        assert (answer.status, document["code"]) == (409, "aborted")
        detail = document["details"][1]
        assert (detail["type"], detail["debug"]) == (
            "api.ModifyDep",
            {"type": "DELETE", "id": wrong},
        )
        packed = base64.b64decode(detail["value"] + "==")
        assert packed == b"\x08\x01\x12\x31\x0a\x28" + b"x" * 40 + b"\x10\xac\x02\x1a\x02/q"
        for method, status, code in (
            ("Nothing", 404, "not_found"),
            ("Claim", 400, "invalid_argument"),
        ):
            refused = await connect(peer, method, {})
            assert (refused.status, refused.document()["code"]) == (status, code)
        text = await connect(peer, "Time", {}, ("Content-Type", "text/plain"))
        assert text.status == 400


async def test_a_version_below_0_is_a_wrong_one_over_connect_too() -> None:
    async with serving() as node, node.peer() as peer:
        wrong = {"id": "x", "version": -1, "queue": "/q"}
        answer = await connect(peer, "Modify", {"deletes": [wrong]})
        assert answer.status == 409, answer
        detail = answer.document()["details"][1]
        packed = base64.b64decode(detail["value"] + "==")
        assert packed == b"\x08\x01\x12\x12\x0a\x01x\x10" + b"\xff" * 9 + b"\x01\x1a\x02/q"


async def test_tasks_are_streamed_one_a_message() -> None:
    async with serving() as node, node.peer() as peer:
        await connect(peer, "Modify", {"inserts": [{"queue": "/q", "value": n} for n in range(3)]})
        body = json.dumps({"queue": "/q"}).encode()
        framed = struct.pack(">BI", 0, len(body)) + body
        answer = await peer.ask("POST", "/api.EntroQ/StreamTasks", STREAM, body=framed)
        assert answer.headers["content-type"] == STREAM[1]
        *messages, end = frames(answer.body)
        values = sorted(message["tasks"][0]["value"] for _, message in messages)
        assert (values, end) == ([0, 1, 2], (2, {}))
        lines = await peer.ask("GET", "/api/v0/tasks/stream?queue=/q")
        assert len(lines.body.splitlines()) == 3


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\0\0\x09{}", b"\x01\0\0\0\x02{}", b'\0\0\0\0\x09{"bad":1}']
)
async def test_a_stream_that_cannot_be_ends_with_its_error(body: bytes) -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("POST", "/api.EntroQ/StreamTasks", STREAM, body=body)
        assert answer.status == 200
        ((flags, end),) = frames(answer.body)
        assert (flags, end["error"]["code"]) == (2, "invalid_argument")


async def test_bytes_of_other_dialects_are_shown_as_base64() -> None:
    async with serving() as node, node.peer() as peer:
        await peer.ask("POST", "/apps/taskq/q/tasks", body=b"\xff\x00")
        (task,) = (await peer.ask("GET", "/api/v0/tasks?queue=q")).document()["tasks"]
        assert task["value"] == "/wA="


async def test_a_body_that_is_cut_off_is_refused() -> None:
    async with serving() as node, node.peer() as peer:
        head = b"POST /api/v0/modify HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n"
        await peer.send(head + b"zz\r\n")
        answer = await peer.answer()
        assert answer.status == 400


@pytest.mark.parametrize(
    ("method", "item", "items"),
    [("Modify", '{"inserts":[%s]}', "{}"), ("TryClaim", '{"queues":[%s]}', '""'),
     ("Queues", '{"matchPrefix":[%s]}', '"a"'), ("Tasks", '{"taskId":[%s]}', '"a"'), ("Docs", '{"query":{"ids":[%s]}}', '"a"')],
)  # fmt: skip
async def test_a_list_without_end_is_refused_before_it_is_read(
    method: str, item: str, items: str
) -> None:
    async with serving() as node, node.peer() as peer:
        body = (item % ",".join([items] * 20_000)).encode()
        answer = await peer.ask("POST", f"/api.EntroQ/{method}", JSON, body=body)
        assert answer.status == 400
        assert "20000 items: the limit items_max is " in answer.document()["message"]


async def test_a_long_listing_is_whole_however_it_is_asked_for() -> None:
    async with serving() as node, node.peer() as peer:
        for _ in range(2):
            inserts = [{"queue": "/q"}] * 600
            await peer.ask("POST", "/v1/modify", document={"inserts": inserts})
        for path in ("/tasks?queue=/q", "/tasks?queue=/q&limit=2147483647"):
            listed = (await peer.ask("GET", f"/api/v0{path}")).document()["tasks"]
            assert len({task["id"] for task in listed}) == 1_200
        lines = (await peer.ask("GET", "/api/v0/tasks/stream?queue=/q")).body.splitlines()
        assert len({json.loads(line)["tasks"][0]["id"] for line in lines}) == 1_200
