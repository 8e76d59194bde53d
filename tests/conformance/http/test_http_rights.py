"""Tokens, in every dialect: each request needs its right on its queue, and names the one it lacks.

A table of requests runs over HTTP v1, the text protocol's ``call``, TaskQ over HTTP and TaskQ's lines.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support import http_node, text_node
from tests.support.tokens import Tokens, all_but, secret_of

from raftq.wire.tokens import RIGHTS
from raftq_cluster.servers.http import connection
from raftq_cluster.servers.http.routes import VERB_ROUTES
from raftq_cluster.service.verbs import VERBS

pytestmark = pytest.mark.asyncio

CALLER = "caller"
BEARER = ("Authorization", f"Bearer {secret_of(CALLER)}")


class Case(NamedTuple):
    """A request, and the rights that it needs, each on a queue or pattern."""

    verb: str
    document: dict[str, Any]
    needs: tuple[tuple[str, str], ...]


HELD = [{"id": "held", "version": 1}]
CASES = {
    "claim": Case("claim", {"queues": ["/a"]}, (("claim", "/a"),)),
    "claim from two": Case(
        "claim", {"queues": ["/a", "/b"], "claimant": "x"}, (("claim", "/a"), ("claim", "/b"))
    ),
    "waiting claim": Case("claim", {"queues": ["/none"], "wait_ms": 1}, (("claim", "/none"),)),
    "insert": Case("modify", {"inserts": [{"queue": "/b"}]}, (("insert", "/b"),)),
    "change": Case(
        "modify", {"changes": [{"id": "in-a", "version": 0, "err": "x"}]}, (("change", "/a"),)
    ),
    "move": Case(
        "modify",
        {"changes": [{"id": "in-a", "version": 0, "queue": "/b"}]},
        (("delete", "/a"), ("insert", "/b")),
    ),
    "delete": Case("modify", {"deletes": [{"id": "in-a", "version": 0}]}, (("delete", "/a"),)),
    "depend": Case(
        "modify",
        {"depends": [{"id": "in-a", "version": 0}], "inserts": [{"queue": "/b"}]},
        (("insert", "/b"),),
    ),
    "dry run": Case(
        "modify", {"deletes": [{"id": "in-a", "version": 0}], "dry_run": True}, (("delete", "/a"),)
    ),
    "renew": Case(
        "renew", {"tasks": HELD, "lease_ms": 1_000, "claimant": "me"}, (("claim", "/a"),)
    ),
    "tasks": Case("tasks", {"queue": "/a"}, (("read", "/a"),)),
    "configure": Case("configure", {"pattern": "/a", "paused": True}, (("admin", "/a"),)),
    "add_member": Case("add_member", {"peer": "h:1"}, (("admin", "*"),)),
    "remove_member": Case("remove_member", {"id": "n9"}, (("admin", "*"),)),
    "promote_member": Case("promote_member", {"id": "n9"}, (("admin", "*"),)),
    "replace_member": Case("replace_member", {"id": "n9", "by": "n8:1"}, (("admin", "*"),)),
    "transfer": Case("transfer", {}, (("admin", "*"),)),
    "verify": Case("verify", {}, (("admin", "*"),)),
    "docs": Case("docs", {"namespace": "/n"}, (("read", "/n"),)),
    "claim_docs": Case(
        "claim_docs", {"sets": [{"namespace": "/n", "key": "k"}]}, (("claim", "/n"),)
    ),
}
# Whoever has a token may ask these; listings show what may be read, and nothing else.
FREE = {
    "forget": {"keys": ["k"]}, "queues": {}, "namespaces": {}, "task": {"id": "in-a"}, "settings": {}, "time": {},
    "cluster": {},
}  # fmt: skip

Ask = Callable[[str, dict[str, Any]], Awaitable[tuple[int, dict[str, Any]]]]
"""Does a verb; gives the status of its answer, 200 for none, and the document."""


def rights_of(case: Case) -> list[str]:
    return [f"{right}:{queue}" for right, queue in case.needs]


def document_of(verb: str) -> dict[str, Any]:
    if verb in FREE:
        return FREE[verb]
    return next(case.document for case in CASES.values() if case.verb == verb)


async def _fill(service: Any) -> None:
    from raftq.wire.formats import decode, encode
    from raftq_cluster.service.verbs import call

    for verb, document in (
        ("modify", {"inserts": [{"queue": "/a", "id": "held"}]}),
        ("claim", {"queues": ["/a"], "claimant": "me", "lease_ms": 60_000}),
        ("modify", {"inserts": [{"queue": "/a", "id": "in-a"}]}),
    ):
        request = decode(encode(document, "json"), VERBS[verb].request, "json")
        await call(service, VERBS[verb], request, "json")


@asynccontextmanager
async def over_http(tokens: Tokens, *headers: http_node.Header) -> AsyncIterator[Ask]:
    routes = {route.verb: route for route in VERB_ROUTES}
    async with http_node.serving(tokens=tokens.store) as node, node.peer() as peer:
        await _fill(node.service)

        async def ask(verb: str, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            route, fields = routes[verb], dict(document)
            path = route.path
            for name in route.path_fields:
                path = path.replace(f"{{{name}}}", fields.pop(name))
            if route.source == "body":
                answer = await peer.ask(route.method, path, *headers, document=fields)
            else:
                query = "&".join(f"{name}={value}" for name, value in fields.items())
                answer = await peer.ask(route.method, f"{path}?{query}", *headers)
            assert (answer.status == 401) == ("www-authenticate" in answer.headers)
            return answer.status, answer.document()

        yield ask


@asynccontextmanager
async def over_text(tokens: Tokens, *words: bytes) -> AsyncIterator[Ask]:
    async with text_node.serving(tokens=tokens.store) as node, node.peer() as peer:
        await _fill(node.service)
        for word in words:
            await peer.ask(b"1 auth %b\n" % word, len(b"1 authed\n"))

        async def ask(verb: str, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            body = json.dumps(document).encode()
            await peer.send(b"7 call %b %d %b\n" % (verb.encode(), len(body), body))
            head = (await peer.line()).split(b" ", 4)
            if head[1] == b"ok":
                return 200, json.loads(b" ".join(head[3:]))
            answer = json.loads(head[4])
            return answer["status"], answer

        yield ask


DIALECTS = {
    "http": lambda tokens: over_http(tokens, BEARER),
    "text": lambda tokens: over_text(tokens, secret_of(CALLER).encode()),
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", CASES)
async def test_a_request_passes_with_the_rights_it_needs_and_no_more(
    tmp_path: Path, dialect: str, name: str
) -> None:
    case = CASES[name]
    extra = ["read:/a"] if name == "depend" else []
    async with DIALECTS[dialect](Tokens(tmp_path, caller=[*rights_of(case), *extra])) as ask:
        status, document = await ask(case.verb, case.document)
        assert status not in {401, 403}, document


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", CASES)
async def test_without_any_one_of_them_it_is_forbidden_by_name(
    tmp_path: Path, dialect: str, name: str
) -> None:
    case = CASES[name]
    for lacking in case.needs:
        others = [f"{right}:{queue}" for right, queue in case.needs if (right, queue) != lacking]
        tokens = Tokens(tmp_path, caller=[*all_but(lacking[0]), *others])
        async with DIALECTS[dialect](tokens) as ask:
            status, document = await ask(case.verb, case.document)
            assert (status, document["code"]) == (403, "forbidden")
            assert f"the right {lacking[0]} on queue {lacking[1]}" in document["detail"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", FREE)
async def test_what_every_token_may_ask_shows_nothing_of_queues_it_may_not_read(
    tmp_path: Path, dialect: str, name: str
) -> None:
    async with DIALECTS[dialect](Tokens(tmp_path, caller=all_but("read"))) as ask:
        status, document = await ask(name, FREE[name])
        assert status == (404 if name == "task" else 200)
        assert not document.get("queues")
        assert not document.get("namespaces")
        assert not document.get("settings")


async def test_every_verb_is_in_one_of_the_tables() -> None:
    assert {case.verb for case in CASES.values()} | FREE.keys() == VERBS.keys()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_task_that_may_not_be_read_does_not_exist(tmp_path: Path, dialect: str) -> None:
    rights = ["insert,claim,change,delete:/b"]
    async with DIALECTS[dialect](Tokens(tmp_path, caller=rights)) as ask:
        status, document = await ask("modify", CASES["delete"].document)
        assert status == 409
        assert document["failed"][0]["reason"] == "missing"


@pytest.mark.parametrize("verb", VERBS)
async def test_nobody_gets_anything_over_http(tmp_path: Path, verb: str) -> None:
    document = document_of(verb)
    tokens = Tokens(tmp_path, other=["all:*"])
    for headers in ((), (BEARER,), (("Authorization", "Basic YTpi"),), (("Authorization", "x"),)):
        async with over_http(tokens, *headers) as ask:
            status, answer = await ask(verb, document)
            assert (status, answer["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("verb", VERBS)
async def test_nobody_gets_anything_over_text(tmp_path: Path, verb: str) -> None:
    document = document_of(verb)
    tokens = Tokens(tmp_path, other=["all:*"])
    async with over_text(tokens) as ask:
        status, answer = await ask(verb, document)
        assert (status, answer["code"]) == (401, "unauthenticated")


async def test_ids_that_a_token_sees_do_not_tell_it_those_to_come(tmp_path: Path) -> None:
    """Who has an id first keeps others from it: guessed ones would make their insertions fail."""
    tokens = Tokens(tmp_path, caller=["insert:/x"], other=["insert:/y"])
    async with http_node.serving(tokens=tokens.store) as node, node.peer() as peer:
        last = node.service.new_id()
        guesses = [f"{last[:12]}{number:x}{last[13:]}" for number in range(2, 9)]
        inserts = [{"queue": "/x", "id": guess} for guess in guesses]
        await peer.ask("POST", "/v1/modify", BEARER, document={"inserts": inserts})
        other = ("Authorization", f"Bearer {secret_of('other')}")
        asked = await peer.ask("POST", "/v1/modify", other, document={"inserts": [{"queue": "/y"}]})
        assert asked.status == 200, asked


# --- TaskQ over HTTP -----------------------------------------------------------------------------

TASKQ_HTTP = {
    "insert": ("POST", "/apps/taskq/q/tasks"),
    "claim": ("POST", "/apps/taskq/q/tasks/deque"),
    "delete": ("DELETE", "/apps/taskq/q/tasks/1"),
}


@pytest.mark.parametrize("right", TASKQ_HTTP)
async def test_taskq_over_http_needs_each_right(tmp_path: Path, right: str) -> None:
    tokens = Tokens(tmp_path, caller=all_but(right), only=[f"{right}:q"])
    method, path = TASKQ_HTTP[right]
    async with http_node.serving(tokens=tokens.store) as node, node.peer() as peer:
        refused = await peer.ask(method, path, BEARER, body=b"x")
        assert refused.status == 403
        assert f"the right {right} on queue q" in refused.body.decode()
        passes = await peer.ask(
            method, path, ("Authorization", f"bearer {secret_of('only')}"), body=b"x"
        )
        assert passes.status in {200, 500}  # 500 is TaskQ's answer where nothing is found
        nobody = await peer.ask(method, path, body=b"x")
        assert nobody.status == 401
        assert nobody.headers["www-authenticate"].startswith("Bearer")


# --- TaskQ's lines and their relatives -----------------------------------------------------------

LINES = {
    b"1 enq q 1 x\n": "insert",
    b"1 deq q\n": "claim",
    b"1 ack q 1\n": "delete",
    b"1 touch q 1\n": "claim",
    b"1 nack q 1\n": "claim",
    b"1 stats q\n": "read",
}


@pytest.mark.parametrize("line", LINES)
async def test_each_line_needs_its_right(tmp_path: Path, line: bytes) -> None:
    right = LINES[line]
    tokens = Tokens(tmp_path, caller=all_but(right), only=[f"{right}:q"])
    async with text_node.serving(tokens=tokens.store) as node, node.peer() as peer:
        await peer.send(line)
        assert await peer.line() == (
            b"1 error unauthenticated: this node wants a token, and none was given\n"
        )
        await peer.send(b"2 auth rq_caller\n" + line)
        assert await peer.line() == b"2 authed\n"
        refused = await peer.line()
        if right == "read":  # of what may not be read nothing is told, not even that
            assert refused == b"1 error not_found: there is no task in queue q\n"
        else:
            assert refused == (
                b"1 error forbidden: this needs the right %b on queue q\n" % right.encode()
            )
        await peer.send(b"3 auth rq_only\n" + line)
        assert await peer.line() == b"3 authed\n"
        assert b"forbidden" not in await peer.line()


async def test_requests_of_one_write_belong_to_whoever_came_in_before_them(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, a=["insert:q"], b=["claim:q"])
    async with text_node.serving(tokens=tokens.store) as node, node.peer() as peer:
        await peer.send(
            b"1 enq q 1 x\n2 auth rq_a\n3 enq q 1 x\n4 deq q\n5 auth rq_b\n6 deq q\n"
            b"7 auth wrong\n8 deq q\n9 ping\n"
        )
        lines = sorted(await peer.lines(9))
        words = [line.split()[1] for line in lines]
        assert words == b"error authed enqed error authed deqed error error pong".split()
        assert lines[0].startswith(b"1 error unauthenticated")
        assert lines[3].startswith(b"4 error forbidden")
        assert lines[6].startswith(b"7 error unauthenticated: this token is not known")
        assert lines[7].startswith(b"8 error unauthenticated")


# --- open doors, pages, and tokens that change ---------------------------------------------------


async def test_probes_and_the_description_are_open(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    async with http_node.serving(tokens=tokens.store) as node, node.peer() as peer:
        for path in ("/livez", "/readyz", "/openapi.json"):
            assert (await peer.ask("GET", path)).status == 200
        assert (await peer.ask("GET", "/metrics")).status == 401


@pytest.mark.parametrize(
    ("right", "status"), [("read:*", 200), ("admin:*", 200), ("read:/a", 403), ("claim:*", 403)]
)
async def test_metrics_are_for_who_may_see_the_whole_node(
    tmp_path: Path, right: str, status: int
) -> None:
    tokens = Tokens(tmp_path, caller=[right])
    async with http_node.serving(tokens=tokens.store) as node, node.peer() as peer:
        assert (await peer.ask("GET", "/v1/time")).status == 401
        answer = await peer.ask("GET", "/metrics", BEARER)
        assert answer.status == status
        assert (b"raftq_unauthenticated_total 1.0" in answer.body) == (status == 200)


async def test_where_nobody_is_asked_every_token_is_as_good_as_none() -> None:
    async with http_node.serving() as node, node.peer() as peer:
        assert (await peer.ask("GET", "/v1/time", BEARER)).status == 200
    async with text_node.serving() as text, text.peer() as other:
        assert await other.ask(b"1 auth rq_x\n", 9) == b"1 authed\n"


async def test_a_removed_token_loses_its_rights_and_its_waits(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, caller=["all:*"], other=["all:*"])
    async with http_node.serving(tokens=tokens.store) as node, node.peer() as peer:
        await peer.send(
            http_node.request(
                "POST", "/v1/claim", [BEARER], document={"queues": ["q"], "wait_ms": 60_000}
            )
        )
        await node.until_waiting()
        tokens.write(other=["all:*"])
        assert (await peer.answer()).code == "unauthenticated"
        assert node.service.waiting() == 0
        assert (await peer.ask("GET", "/v1/time", BEARER)).status == 401


async def test_a_removed_token_loses_its_open_text_connection(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, caller=["all:*"])
    async with text_node.serving(tokens=tokens.store) as node, node.peer() as peer:
        claim = b'{"queues":["q"],"wait_ms":60000}'
        assert await peer.ask(b"1 auth rq_caller\n", 9) == b"1 authed\n"
        await peer.send(b"2 call claim %d %b\n" % (len(claim), claim))
        await node.until_waiting()
        tokens.write(other=["all:*"])
        assert (await peer.line()).startswith(b"2 fail unauthenticated ")
        await peer.send(b"3 deq q\n")
        assert (await peer.line()).startswith(b"3 error unauthenticated")


async def test_changed_rights_count_for_waits_and_open_connections(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, caller=["claim:*"])
    async with text_node.serving(tokens=tokens.store) as node, node.peer() as peer:
        assert await peer.ask(b"1 auth rq_caller\n", 9) == b"1 authed\n"
        for rid, queue in ((2, b"/a"), (3, b"/b")):
            claim = b'{"queues":["%b"],"wait_ms":60000}' % queue
            await peer.send(b"%d call claim %d %b\n" % (rid, len(claim), claim))
        await node.until_waiting(2)
        tokens.write(caller=["insert,claim:/a"])
        assert (await peer.line()).startswith(b"3 fail forbidden ")
        assert node.service.waiting() == 1
        await peer.send(b"4 enq /a 1 x\n")
        lines = sorted(await peer.lines(2))
        assert lines[0].startswith(b"2 ok ")
        assert lines[1].startswith(b"4 enqed ")


async def test_a_body_is_asked_for_only_from_those_who_are_let_in(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, caller=["all:*"])
    head = b"POST /v1/claim HTTP/1.1\r\nHost: n\r\nExpect: 100-continue\r\nContent-Length: 9\r\n"
    async with http_node.serving(tokens=tokens.store) as node, node.peer() as peer:
        await peer.send(head + b"Content-Type: application/json\r\n\r\n")
        assert (await peer.answer(with_body=False)).status == 401


async def test_of_too_many_connections_without_a_token_the_oldest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STRANGERS_MAX", 1)
    tokens = Tokens(tmp_path, caller=["all:*"])
    async with http_node.serving(tokens=tokens.store) as node, node.peer() as known:
        assert (await known.ask("GET", "/v1/time", BEARER)).status == 200
        async with node.peer() as first:
            assert (await first.ask("GET", "/livez")).status == 200
            async with node.peer() as second:
                assert (await second.ask("GET", "/livez")).status == 200
                assert await first.end() == b""
                assert (await known.ask("GET", "/v1/time", BEARER)).status == 200


async def test_rights_are_those_of_the_wire() -> None:
    from raftq_cluster.core.rights import NAMES

    assert tuple(NAMES.values()) == RIGHTS
