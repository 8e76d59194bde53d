"""Bad input of every kind: a stable code, no trace in the log, and nobody else is disturbed."""

import json
import logging
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.support.http_node import JSON, MSGPACK, Header, request, serving

from raftq.wire.codes import CODES


class Bad(NamedTuple):
    """Bytes that are wrong in one way, and what they are answered."""

    name: str
    raw: bytes
    code: str
    field: str = ""
    limit_name: str = ""


def post(
    path: str, *headers: Header, document: Any = None, body: bytes = b"", method: str = "POST"
) -> bytes:
    return request(method, path, headers, document=document, body=body)


def get(target: str | bytes, *headers: Header) -> bytes:
    raw = target.encode() if isinstance(target, str) else target
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers)
    return b"GET " + raw + b" HTTP/1.1\r\nHost: n\r\n" + lines + b"\r\n"


def claim(**fields: Any) -> bytes:
    return post("/v1/claim", document={"queues": ["/a"], **fields})


def modify(**fields: Any) -> bytes:
    return post("/v1/modify", document=fields)


def insert(**fields: Any) -> bytes:
    return modify(inserts=[{"queue": "/a", **fields}])


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 0


def raw_json(body: bytes, path: str = "/v1/claim") -> bytes:
    return post(path, JSON, body=body)


def raw_msgpack(body: bytes, path: str = "/v1/claim") -> bytes:
    return post(path, MSGPACK, body=body)


def chunked(*chunks: bytes) -> bytes:
    head = b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\n"
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


CLAIM = b'{"queues":["/a"]}'
DEEP = 300_000  # too deep to be read at all: Pythons differ in where that begins

NOT_HTTP = [
    Bad("words", b"hello there\r\n\r\n", "bad_request"),
    Bad("a TLS hello", bytes.fromhex("160301020001000001fc0303") + bytes(64), "bad_request"),
    Bad("NUL bytes", bytes(64), "bad_request"),
    Bad("every byte", bytes(range(256)), "bad_request"),
    Bad("a text request", b"1 enq q 5 hello\r\n\r\n", "bad_request"),
    Bad("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad_request"),
    Bad("HTTP/9.9", b"GET / HTTP/9.9\r\nHost: n\r\n\r\n", "bad_request"),
    Bad("an unknown method", b"BREW / HTTP/1.1\r\nHost: n\r\n\r\n", "bad_request"),
    Bad("no host", b"GET /livez HTTP/1.1\r\n\r\n", "bad_request"),
    Bad("two hosts", b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "bad_request"),
    Bad("a space in the target", b"GET /a b HTTP/1.1\r\nHost: n\r\n\r\n", "bad_request"),
    Bad("NUL in the target", b"GET /\x00 HTTP/1.1\r\nHost: n\r\n\r\n", "bad_request"),
    Bad("NUL in a header", b"GET / HTTP/1.1\r\nHost: n\r\nA: \x00\r\n\r\n", "bad_request"),
    Bad("no header name", b"GET / HTTP/1.1\r\nHost: n\r\n: a\r\n\r\n", "bad_request"),
    Bad("a header with a space", b"GET / HTTP/1.1\r\nHost: n\r\nA b: c\r\n\r\n", "bad_request"),
    Bad("a folded header", b"GET / HTTP/1.1\r\nHost: n\r\nA: b\r\n c\r\n\r\n", "bad_request"),
    Bad(
        "a negative length",
        b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nContent-Length: -1\r\n\r\n",
        "bad_request",
    ),
    Bad(
        "a length in words",
        b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nContent-Length: ten\r\n\r\n",
        "bad_request",
    ),
    Bad(
        "two lengths",
        b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "bad_request",
    ),
    Bad(
        "a length and chunks",
        b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "bad_request",
    ),
    Bad(
        "an unknown transfer coding",
        b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: gzip\r\n\r\n",
        "bad_request",
    ),
    Bad(
        "a chunk size in words",
        b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "bad_request",
    ),
    Bad(
        "a long header",
        get("/livez", ("X-Long", "x" * 9_000)),
        "too_large",
        limit_name="header_bytes_max",
    ),
    Bad(
        "a long target",
        get("/" + "x" * 80_000),
        "too_large",
        limit_name="header_bytes_max",
    ),
    Bad("many headers", get("/livez", *((f"X-{n}", "x") for n in range(200))), "bad_request"),
]

ADDRESSES = [
    Bad("no such address", get("/v2/claim"), "not_found"),
    Bad("the root", get("/"), "not_found"),
    Bad("no version", b"GET /\r\n\r\n", "not_found"),
    Bad("a slash at the end", get("/v1/time/"), "not_found"),
    Bad("two slashes", get("//v1/time"), "not_found"),
    Bad("dots", get("/v1/../v1/time"), "not_found"),
    Bad("a line feed", get("/v1/%0a"), "not_found"),
    Bad("an id that is empty", get("/v1/tasks/"), "not_found"),
    Bad("an id of two segments", get("/v1/tasks/a/b"), "not_found"),
    Bad("a NUL in an id", get("/v1/tasks/%00"), "invalid", "id"),
    Bad("a space in an id", get("/v1/tasks/a%20b"), "invalid", "id"),
    Bad("an id that is not UTF-8", get("/v1/tasks/%ff%fe"), "bad_request"),
    Bad("an id that is half a letter", get("/v1/tasks/%c3"), "bad_request"),
    Bad("a long id", get("/v1/tasks/" + "x" * 65), "invalid", "id"),
    Bad("an id of many bytes", get("/v1/tasks/" + "%C3%A9" * 40), "too_large", "", "id_bytes_max"),
    Bad("an absent task", get("/v1/tasks/x"), "task_not_found"),
    Bad("any address of the server", b"OPTIONS * HTTP/1.1\r\nHost: n\r\n\r\n", "not_found"),
    Bad("a proxy's request", b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "not_found"),
    Bad("members", post("/v1/cluster/members", document={}), "invalid"),
    Bad("events", get("/v1/events"), "not_found"),
]

METHODS = [
    Bad(f"{method} {path}", request(method, path), "method_not_allowed")
    for method, path in (
        ("GET", "/v1/claim"),
        ("DELETE", "/v1/modify"),
        ("PUT", "/v1/renew"),
        ("POST", "/v1/queues"),
        ("PATCH", "/v1/tasks/x"),
        ("TRACE", "/v1/time"),
        ("DELETE", "/v1/settings"),
        ("POST", "/livez"),
        ("PROPFIND", "/metrics"),
    )
]

QUERIES = [
    Bad("an unknown parameter", get("/v1/queues?prefx=/a"), "invalid", "prefx"),
    Bad("an unknown parameter of a page", get("/readyz?leader"), "invalid", "leader"),
    Bad("the path's field in the query", get("/v1/tasks/x?id=y"), "invalid", "id"),
    Bad("a parameter given twice", get("/v1/queues?limit=1&limit=2"), "invalid", "limit"),
    Bad("a limit in words", get("/v1/queues?limit=ten"), "invalid", "limit"),
    Bad("a limit of nothing", get("/v1/queues?limit="), "invalid", "limit"),
    Bad("a limit of 0", get("/v1/queues?limit=0"), "invalid", "limit"),
    Bad("a limit of too much", get("/v1/tasks?queue=/a&limit=10001"), "invalid", "limit"),
    Bad("a switch in words", get("/v1/tasks?queue=a&omit_values=no"), "invalid", "omit_values"),
    Bad("an unknown consistency", get("/v1/settings?consistency=x"), "invalid", "consistency"),
    Bad("no queue and no id", get("/v1/tasks"), "invalid", "queue"),
    Bad("an empty id", get("/v1/tasks?id="), "invalid", "id[0]"),
    Bad("too many ids", get("/v1/tasks?" + "&id=x" * 1_001), "invalid", "id"),
    Bad(
        "too many parameters",
        get("/v1/tasks?" + "&id=x" * 2_001),
        "too_large",
        "",
        "parameters_max",
    ),
    Bad("a query that is not UTF-8", get("/v1/queues?prefix=%ff"), "bad_request"),
]

HEADERS = [
    Bad("no content type", post("/v1/claim", body=CLAIM), "unsupported_media_type"),
    Bad(
        "a form",
        post("/v1/claim", ("Content-Type", "application/x-www-form-urlencoded"), body=CLAIM),
        "unsupported_media_type",
    ),
    Bad(
        "another charset",
        post("/v1/claim", ("Content-Type", "application/json; charset=utf-16"), body=CLAIM),
        "unsupported_media_type",
    ),
    Bad(
        "a type of nonsense",
        post("/v1/claim", ("Content-Type", ";;/,"), body=CLAIM),
        "unsupported_media_type",
    ),
    Bad(
        "a compressed body",
        post("/v1/claim", JSON, ("Content-Encoding", "gzip"), body=CLAIM),
        "unsupported_media_type",
    ),
    Bad("only HTML accepted", get("/v1/time", ("Accept", "text/html")), "not_acceptable"),
    Bad("JSON ruled out", get("/v1/time", ("Accept", "application/json;q=0")), "not_acceptable"),
    Bad(
        "only HTML accepted of a body",
        post("/v1/claim", JSON, ("Accept", "text/*"), body=CLAIM),
        "not_acceptable",
    ),
]

DOCUMENTS = [
    Bad("an empty body", raw_json(b""), "bad_request"),
    Bad("half a document", raw_json(b'{"queues":["/a"'), "bad_request"),
    Bad("two documents", raw_json(CLAIM + CLAIM), "bad_request"),
    Bad("a comment", raw_json(b'{"queues":["/a"]/**/}'), "bad_request"),
    Bad("not UTF-8", raw_json(b'{"queues":["\xff"]}'), "bad_request"),
    Bad("half a surrogate", raw_json(b'{"queues":["\\ud800"]}'), "bad_request"),
    Bad("UTF-16", raw_json(CLAIM.decode().encode("utf-16")), "bad_request"),
    Bad("not a number", raw_json(b'{"inserts":[{"queue":"/a","value":NaN}]}', "/v1/modify"), "bad_request"),
    Bad(
        "nested too deeply",
        raw_json(
            b'{"inserts":[{"queue":"/a","value":' + b"[" * DEEP + b"]" * DEEP + b"}]}",
            "/v1/modify",
        ),
        "bad_request",
    ),
    Bad("a list", raw_json(b"[]"), "invalid"),
    Bad("null", raw_json(b"null"), "invalid"),
    Bad("no queues", raw_json(b"{}"), "invalid"),
    Bad("MessagePack of nothing", raw_msgpack(b""), "bad_request"),
    Bad("MessagePack cut short", raw_msgpack(msgspec.msgpack.encode({"queues": ["/a"]})[:-1]), "bad_request"),
    Bad("MessagePack with a tail", raw_msgpack(msgspec.msgpack.encode({"queues": ["/a"]}) + b"\xc0"), "bad_request"),
    Bad("MessagePack's unused byte", raw_msgpack(b"\xc1"), "bad_request"),
    Bad("MessagePack of a huge list", raw_msgpack(b"\x81\xa6queues\xdd\xff\xff\xff\xff"), "invalid", "queues"),
    Bad("MessagePack nested too deeply", raw_msgpack(b"\x81\xa6queues" + b"\x91" * 5_000 + b"\xc0"), "invalid", "queues[0]"),
    Bad("MessagePack text that is not UTF-8", raw_msgpack(b"\x81\xa6queues\x91\xa1\xff"), "bad_request"),
    Bad("JSON as MessagePack", raw_msgpack(CLAIM), "invalid"),
    Bad("MessagePack as JSON", raw_json(msgspec.msgpack.encode({"queues": ["/a"]})), "bad_request"),
]  # fmt: skip

FIELDS = [
    Bad("a misspelt field", claim(leas_ms=1), "invalid"),
    Bad("queues in words", claim(queues="/a"), "invalid", "queues"),
    Bad("no queue", claim(queues=[]), "invalid", "queues"),
    Bad("too many queues", claim(queues=["/a"] * 65), "invalid", "queues"),
    Bad("an empty queue name", claim(queues=[""]), "invalid", "queues[0]"),
    Bad("a queue name with a space", claim(queues=["a b"]), "invalid", "queues"),
    Bad("a queue name with a line feed", claim(queues=["a\nb"]), "invalid", "queues"),
    Bad("a queue name with a NUL", claim(queues=["a\0b"]), "invalid", "queues"),
    Bad("a long queue name", claim(queues=["x" * 257]), "invalid", "queues[0]"),
    Bad("a queue name of many bytes", claim(queues=["é" * 200]), "too_large", "", "queue_name_bytes_max"),
    Bad("an empty claimant", claim(claimant=""), "invalid", "claimant"),
    Bad("a claimant with a tab", claim(claimant="a\tb"), "invalid", "claimant"),
    Bad("a lease of 0", claim(lease_ms=0), "invalid", "lease_ms"),
    Bad("a lease of a year", claim(lease_ms=365 * 86_400_000), "invalid", "lease_ms"),
    Bad("a lease of halves", claim(lease_ms=1.5), "invalid", "lease_ms"),
    Bad("a lease in words", claim(lease_ms="1"), "invalid", "lease_ms"),
    Bad("a wait below 0", claim(wait_ms=-1), "invalid", "wait_ms"),
    Bad("a wait of an hour", claim(wait_ms=3_600_000), "invalid", "wait_ms"),
    Bad("a limit of 0", claim(limit=0), "invalid", "limit"),
    Bad("a limit of too much", claim(limit=1_001), "invalid", "limit"),
    Bad("a limit beyond 64 bits", claim(limit=2**70), "invalid", "limit"),
    Bad("nothing to modify", modify(), "invalid"),
    Bad("an insert without a queue", modify(inserts=[{}]), "invalid", "inserts[0]"),
    Bad("two arrival times", insert(at=1, delay_ms=1), "invalid", "inserts[0]"),
    Bad("two values", insert(value=1, value_b64=""), "invalid", "inserts[0]"),
    Bad("a value nested too deeply", insert(value=nested(201)), "invalid", "inserts[0].value"),
    Bad("no base64", insert(value_b64="*"), "invalid", "inserts[0].value_b64"),
    Bad("an arrival time below 0", insert(at=-1), "invalid", "inserts[0].at"),
    Bad("a priority beyond 32 bits", insert(priority=2**31), "invalid", "inserts[0].priority"),
    Bad("an attempt below 0", insert(attempt=-1), "invalid", "inserts[0].attempt"),
    Bad("an empty id", insert(id=""), "invalid", "inserts[0].id"),
    Bad("an id with a space", insert(id="a b"), "invalid", "inserts[0].id"),
    Bad("a change without a version", modify(changes=[{"id": "t"}]), "invalid", "changes[0]"),
    Bad("a change of two times", modify(changes=[{"id": "t", "version": 0, "at": 1, "lease_ms": 1}]), "invalid", "changes[0]"),
    Bad("an id in two lists", modify(deletes=[{"id": "t", "version": 0}], depends=[{"id": "t", "version": 0}]), "invalid"),
    Bad("an id inserted twice", modify(inserts=[{"queue": "/a", "id": "t"}] * 2), "invalid"),
    Bad("too many parts", modify(inserts=[{"queue": "/a"}] * 1_001), "too_large", "", "operations_max"),
    Bad("a value too large", insert(value="x" * 2**20), "too_large", "", "value_bytes_max"),
    Bad("an error too long", insert(err="x" * (2**16 + 1)), "too_large", "", "err_bytes_max"),
    Bad("no task to renew", post("/v1/renew", document={"tasks": []}), "invalid", "tasks"),
    Bad("no key to forget", post("/v1/forget", document={"keys": []}), "invalid", "keys"),
    Bad("an unknown order", post("/v1/settings", document={"pattern": "/a", "order": "lifo"}, method="PUT"), "invalid", "order"),
    Bad("a pattern with a space", post("/v1/settings", document={"pattern": "a b"}, method="PUT"), "invalid", "pattern"),
    Bad("a body too large", raw_json(b"[" + b" " * 2**22 + b"]"), "too_large", "", "body_bytes_max"),
    Bad("chunks too large", chunked(*[b" " * 2**19] * 9), "too_large", "", "body_bytes_max"),
]  # fmt: skip

EVERYTHING = [
    *((bad, "not HTTP") for bad in NOT_HTTP),
    *((bad, "address") for bad in ADDRESSES),
    *((bad, "method") for bad in METHODS),
    *((bad, "query") for bad in QUERIES),
    *((bad, "header") for bad in HEADERS),
    *((bad, "document") for bad in DOCUMENTS),
    *((bad, "field") for bad in FIELDS),
]


@pytest.mark.parametrize(
    "bad", [bad for bad, _ in EVERYTHING], ids=[f"{kind}: {bad.name}" for bad, kind in EVERYTHING]
)
@pytest.mark.asyncio
async def test_bad_input_gets_a_stable_code_and_disturbs_nobody(
    bad: Bad, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving() as node, node.peer() as bystander, node.peer() as peer:
        before = await bystander.ask("GET", "/v1/time")
        await peer.send(bad.raw)
        answer = await peer.answer()
        after = await bystander.ask("GET", "/v1/time")
    problem = answer.document()
    assert (problem["code"], problem.get("field", "")) == (bad.code, bad.field), problem
    assert answer.status == problem["status"] == CODES[bad.code].status
    assert problem["retryable"] == CODES[bad.code].retryable
    assert problem.get("limit_name", "") == bad.limit_name
    assert ("limit" in problem) == bool(bad.limit_name)
    assert len(problem["detail"]) < 400
    assert (before.status, after.status) == (200, 200)
    assert caplog.records == []


@pytest.mark.parametrize("bad", [*METHODS, *QUERIES, *DOCUMENTS, *FIELDS], ids=lambda bad: bad.name)
@pytest.mark.asyncio
async def test_a_refused_request_leaves_its_connection_usable(bad: Bad) -> None:
    async with serving() as node, node.peer() as peer:
        await peer.send(bad.raw)
        await peer.answer()
        after = await peer.ask("GET", "/livez")
    assert after.body == b"ok\n"


@pytest.mark.asyncio
async def test_what_is_not_http_is_answered_once_and_hung_up_on() -> None:
    async with serving() as node, node.peer() as peer:
        await peer.send(b"garbage\r\n\r\n" * 100)
        answer = await peer.answer()
        rest = await peer.end()
    assert answer.code == "bad_request"
    assert rest == b""


@pytest.mark.asyncio
async def test_a_wrong_method_is_told_the_right_ones() -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("DELETE", "/v1/settings")
    assert answer.headers["allow"] == "GET, HEAD, PUT, OPTIONS"


@pytest.mark.asyncio
async def test_an_unknown_format_is_told_the_known_ones() -> None:
    async with serving() as node, node.peer() as peer:
        answer = await peer.ask("POST", "/v1/claim", ("Content-Type", "text/xml"), body=CLAIM)
    assert answer.headers["accept"] == "application/json, application/msgpack"


@pytest.mark.asyncio
async def test_a_value_that_json_cannot_say_is_refused_in_messagepack() -> None:
    document = {"inserts": [{"queue": "/a", "value": {"n": b"bytes", 1: 2}}]}
    raw = request("POST", "/v1/modify", [MSGPACK], document=document)
    async with serving() as node, node.peer() as peer:
        await peer.send(raw)
        answer = await peer.answer()
    assert answer.headers["content-type"] == "application/problem+msgpack"
    assert answer.document()["field"] == "inserts[0].value"


@pytest.mark.asyncio
async def test_a_fault_of_the_node_is_500_logged_once_and_told_without_its_details(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("secret")

    async with serving() as node, node.peer() as peer:
        monkeypatch.setattr(node.service, "load", fail)
        answer = await peer.ask("GET", "/metrics")
        after = await peer.ask("GET", "/livez")
    assert (answer.status, answer.code) == (500, "internal")
    assert b"secret" not in answer.body
    assert after.status == 200
    assert [record.message for record in caplog.records] == ["a request could not be answered"]
    assert json.loads(answer.body)["retryable"] is False
