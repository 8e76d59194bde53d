"""A connection to the HTTP port: any bytes get whole answers and upset nothing; encodings and dialects agree.

The first byte chooses: any bytes in pieces; a v1 document in JSON and in MessagePack, to two nodes in the same state;
or a message of EntroQ over REST and over Connect.
"""

import base64
import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from raftq_cluster.servers.http.entroq_routes import CONNECT, REST, ROUTES
from raftq_cluster.servers.http.routes import ROUTES as V1
from raftq_cluster.servers.http.routes import VerbRoute
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.verbs import VERBS
from tests.fuzz.served import Served, Stage, settle
from tests.fuzz.source import Source
from tests.fuzz.targets.documents import _means_another
from tests.fuzz.trees import Odds, document, in_json, in_msgpack

LIMITS: Final = Limits(
    body_bytes_max=20_000, value_bytes_max=10_000, err_bytes_max=100, operations_max=5
)
POSTED: Final = tuple(
    route for route in V1 if isinstance(route, VerbRoute) and route.source == "body"
)
ENTROQ: Final = tuple(route for route in ROUTES if route.http_method == "POST")
BEFORE: Final = (
    b'{"inserts":[{"queue":"q","id":"a","value":1},{"queue":"/q","id":"b","value_b64":"AA=="}],'
    b'"doc_inserts":[{"namespace":"n","key":"k","id":"a","value":[2]}]}'
)


class Answer(NamedTuple):
    """One answer."""

    status: int
    head: str
    body: bytes


def fuzz(data: bytes) -> None:
    """Ask."""
    source = Source(data)
    stage = _stage()
    stage.run((_bytes, _v1, _entroq)[source.below(3)](source, stage.node))


@cache
def _stage() -> Stage:
    return Stage(LIMITS)


def answers(said: bytes) -> list[Answer]:
    """Whole answers, whatever the method was."""
    found = []
    while said:
        head, end, rest = said.partition(b"\r\n\r\n")
        assert end, said[:200]
        text = head.decode()
        status = int(text.split()[1])
        length = [
            line.split(": ")[1]
            for line in text.split("\r\n")
            if line.lower().startswith("content-length: ")
        ]
        size = int(length[0]) if length and not (rest.startswith(b"HTTP/1.1 ") or not rest) else 0
        found.append(Answer(status, text, rest[:size]))
        assert len(rest) >= size, "half an answer"
        said = rest[size:]
    return found


async def _bytes(source: Source, node: Served) -> None:
    pieces = source.pieces(source.rest())
    connection, transport = node.http()
    for piece in pieces:
        if transport.is_closing():
            break
        connection.data_received(piece)
        await settle(transport)
    said = transport.said
    transport.lose()
    await settle(transport)
    for answer in answers(said):
        assert answer.status != 500, answer


def _request(path: str, body: bytes, **headers: str) -> bytes:
    fields = {"Host": "n", "Content-Length": str(len(body)), **headers}
    lines = [
        f"POST {path} HTTP/1.1",
        *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _ask(node: Served, raw: bytes) -> Answer:
    connection, transport = node.http()
    connection.data_received(raw)
    await settle(transport)
    said = transport.said
    transport.lose()
    (answer,) = answers(said)
    assert answer.status != 500, answer
    return answer


async def _on_new_node(node: Served, raw: bytes) -> Answer:
    node.forget()
    prepared = await _ask(node, _request("/v1/modify", BEFORE, Content_Type="application/json"))
    assert prepared.status == 200
    return await _ask(node, raw)


async def _v1(source: Source, node: Served) -> None:
    route = source.pick(POSTED)
    tree = document(VERBS[route.verb].request, Odds(source, source.pick((200, 30, 5))))
    tree.pop("wait_ms", None)
    packed = in_msgpack(tree)
    if packed is None or _means_another(tree) or "{" in route.path or route.method != "POST":
        return
    plain = await _on_new_node(
        node, _request(route.path, in_json(tree), Content_Type="application/json")
    )
    other = await _on_new_node(
        node, _request(route.path, packed, Content_Type="application/msgpack")
    )
    assert _outcome(json.loads(plain.body)) == _outcome(msgspec.msgpack.decode(other.body)), tree
    assert plain.status == other.status


def _outcome(answer: Any) -> Any:
    """An answer without what is made by chance, or is in the words of a reader of one encoding."""
    if isinstance(answer, dict):
        if "code" in answer:
            return (answer["code"], answer.get("field"), answer.get("failed"))
        return {name: _outcome(item) for name, item in answer.items() if name != "id"}
    if isinstance(answer, list):
        return [_outcome(item) for item in answer]
    return base64.b64encode(answer).decode() if isinstance(answer, bytes) else answer


TEXTS: Final = ("a", "b", "q", "/q", "n", "k", "", "w1", "CLAIM", "REPLACE", "\0", "x" * 70)
SCALARS: Final[tuple[Any, ...]] = (
    "0",
    0,
    1,
    "1",
    2,
    -1,
    "5000",
    2**31,
    "9223372036854775808",
    1.0,
    1e400,
    True,
    None,
    [],
    {},
    "x",
)
NAMES: Final = ("claimantId", "claimant_id", "queues", "durationMs", "pollMs", "inserts", "changes", "deletes",
                "depends", "docInserts", "docChanges", "docDeletes", "docDepends", "claimQuery", "nope")  # fmt: skip
PARTS: Final = ("queue", "atMs", "byMs", "value", "id", "version", "attempt", "err", "oldId", "newData", "mode",
                "namespace", "key", "secondaryKey", "content", "sets", "set", "omitMembers", "taskToMatch")  # fmt: skip


def _message(source: Source, names: tuple[str, ...], depth: int) -> dict[str, Any]:
    message: dict[str, Any] = {}
    for _ in range(source.below(5)):
        name = source.pick(names)
        what = source.below(8)
        if name in ("queues", "sets", *NAMES[5:13]) and what:
            items = [_message(source, PARTS, depth - 1) for _ in range(1 + source.below(2))]
            message[name] = [source.pick(TEXTS)] if name == "queues" else items
        elif (
            name in ("oldId", "newData", "set", "taskToMatch", "claimQuery") and what and depth > 0
        ):
            message[name] = _message(source, PARTS, depth - 1)
        else:
            message[name] = source.pick(SCALARS if what < 3 else TEXTS)
    return message


async def _entroq(source: Source, node: Served) -> None:
    route = source.pick(ENTROQ)
    if route.method == "Claim":
        return  # it waits as long as its caller does
    body = (
        source.rest() if source.below(4) == 3 else json.dumps(_message(source, NAMES, 3)).encode()
    )
    protocol = source.pick(("1", "2"))
    headers = {"Content_Type": "application/json", "entroq_protocol": protocol}
    rest = await _on_new_node(node, _request(REST + route.path, body, **headers))
    connect = await _on_new_node(node, _request(f"{CONNECT}/{route.method}", body, **headers))
    assert (rest.status == 200) == (connect.status == 200), (rest, connect)
    told, also_told = json.loads(rest.body), json.loads(connect.body)
    if rest.status == 200:
        assert _same(told) == _same(also_told)
    else:
        assert rest.status == connect.status
        assert told["message"] == also_told["message"]


def _same(answer: Any) -> Any:
    """An answer without the ids that nodes make."""
    if isinstance(answer, dict):
        return {name: _same(item) for name, item in answer.items() if name != "id"}
    return [_same(item) for item in answer] if isinstance(answer, list) else answer


def seeds() -> Iterator[bytes]:
    """Requests of all dialects, pipelined and broken; documents of each route; messages of each method."""
    body = b'{"queues":["q"]}'
    length = b"Content-Length: %d\r\n" % len(body)
    heads = [
        b"GET /v1/time HTTP/1.1\r\nHost: n\r\n\r\n",
        b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\n" + length + b"\r\n" + body,
        b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"10\r\n" + body + b"\r\n0\r\n\r\n",
        b"GET /v1/tasks?queue=%2Fq&limit=x HTTP/1.1\r\nHost: n\r\n\r\n",
        b"GET /v1/tasks/a%2Fb HTTP/1.1\r\nHost: n\r\n\r\n",
        (b"PUT /v1/settings HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"
        b'{"pattern":""}'),
        b"POST /apps/taskq/q/tasks HTTP/1.1\r\nHost: n\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /api/v0/tasks?queue=q&query.ids=a HTTP/1.1\r\nHost: n\r\n\r\n",
        b"GET /api/v0/docs?query.namespace=n&query.a.b.c=1 HTTP/1.1\r\nHost: n\r\n\r\n",
        (b"POST /api.EntroQ/StreamTasks HTTP/1.1\r\nHost: n\r\nContent-Type: application/connect+json\r\n"
        b"Content-Length: 7\r\n\r\n\0\0\0\0\2{}"),
        b"GET /metrics HTTP/1.1\r\nHost: n\r\n\r\n", b"GET /openapi.json HTTP/1.1\r\nHost: n\r\n\r\n",
        b"OPTIONS /v1/claim HTTP/1.1\r\nHost: n\r\n\r\n", b"1 ping\n", b"\x16\x03\x01\x02\0",
        b"GET /v1/queues?prefix=%ff HTTP/1.1\r\nHost: n\r\nAccept: application/msgpack\r\n\r\n",
        (b"POST /v1/modify HTTP/1.1\r\nHost: n\r\nContent-Type: application/msgpack\r\nContent-Length: 1\r\n"
        b"Idempotency-Key: k\r\nExpect: 100-continue\r\n\r\n\x80"),
    ]  # fmt: skip
    for head in heads:
        yield b"\0\0" + head
    yield b"\0\0" + heads[0] * 2 + heads[1]
    for number in range(len(POSTED)):
        yield bytes((1, number, 0, *(2, 0, 1, 2, 0, 0, 3, 1) * 10))
        yield bytes((1, number, 1, *(0, 2, 0, 1, 7, 2, 0, 0, 1) * 12))
    for number, route in enumerate(ENTROQ):
        yield bytes((2, number, 3)) + b'{"claimantId":"c"}'
        yield bytes((2, number, 0, 3, 5, 1, 1, 3, 0, 4, 4, 1, 1, 4, 6, 0, 5, 1, 0, 1, 0, 1))
        if route.method == "Modify":
            message = {
                "claimantId": "w",
                "inserts": [{"queue": "q", "value": {"a": 1}}],
                "deletes": [{"id": "a", "version": 0}],
            }
            yield bytes((2, number, 3)) + json.dumps(message).encode()
