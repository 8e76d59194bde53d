"""``call`` does the verbs of the v1 dialect in either format, and the small verbs do what they say."""

import json
from typing import Any, Final

import msgspec
import pytest
from tests.support.text_node import Peer, serving

from raftq.wire.documents import Problem
from raftq.wire.formats import Format, decode, encode, sniff
from raftq.wire.text import Reply, ReplyParser, request_with_body
from raftq_cluster.service.limits import Limits
from raftq_cluster.service.verbs import VERBS

FORMATS: Final[tuple[Format, ...]] = ("json", "msgpack")


class Caller:
    """Calls verbs over a peer and reads the replies."""

    def __init__(self, peer: Peer, fmt: Format = "json") -> None:
        self.fmt = fmt
        self._peer = peer
        self._parser = ReplyParser()
        self._replies: list[Reply] = []

    async def reply(self) -> Reply:
        while not self._replies:
            self._replies = self._parser.feed(await self._peer.read(1))
        return self._replies.pop(0)

    async def send(self, rid: int, verb: str, document: object) -> None:
        await self._peer.send(request_with_body(rid, "call", verb, encode(document, self.fmt)))

    async def call(self, verb: str, document: object) -> Any:
        await self.send(1, verb, document)
        reply = await self.reply()
        assert (reply.rid, reply.word) == (1, "ok"), reply
        return self.read(reply)

    async def refusal(self, verb: str, document: object) -> Problem:
        await self.send(1, verb, document)
        return problem(await self.reply())

    def read(self, reply: Reply) -> Any:
        assert sniff(reply.body) == self.fmt
        if self.fmt == "json":
            return json.loads(reply.body)
        return msgspec.msgpack.decode(reply.body)


def problem(reply: Reply) -> Problem:
    assert reply.word == "fail", reply
    document = decode(reply.body, Problem, sniff(reply.body))
    assert document.code == reply.text
    return document


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.asyncio
async def test_a_task_lives_its_life_by_call(fmt: Format) -> None:
    async with serving() as node, node.peer() as peer:
        caller = Caller(peer, fmt)
        inserts = [{"queue": "q", "value": {"n": 2**60}}, {"queue": "bytes", "value_b64": b"\n\0"}]
        made = await caller.call("modify", {"claimant": "c", "inserts": inserts})
        assert [task["version"] for task in made["inserted"]] == [0, 0]
        (task,) = (await caller.call("claim", {"queues": ["q"], "claimant": "c"}))["tasks"]
        assert task["value"] == {"n": 2**60}
        held = {"id": task["id"], "version": task["version"]}
        renewed = await caller.call("renew", {"claimant": "c", "tasks": [held], "lease_ms": 5})
        held["version"] += 1
        assert renewed["renewed"][0]["version"] == held["version"]
        change = {**held, "queue": "done", "value": None}
        changed = await caller.call("modify", {"claimant": "c", "changes": [change]})
        assert changed["changed"][0]["queue"] == "done"
        found = await caller.call("task", {"id": task["id"]})
        assert (found["queue"], found["value"]) == ("done", None)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.asyncio
async def test_bytes_come_out_of_call_as_they_went_in(fmt: Format) -> None:
    async with serving() as node, node.peer() as peer:
        caller = Caller(peer, fmt)
        await peer.send(b"9 enq q 4 \n\0\xff \n")
        await caller.reply()
        (task,) = (await caller.call("claim", {"queues": ["q"]}))["tasks"]
        shown = "CgD/IA==" if fmt == "json" else b"\n\0\xff "
        assert task["value_b64"] == shown


@pytest.mark.asyncio
async def test_every_query_answers() -> None:
    async with serving() as node, node.peer() as peer:
        caller = Caller(peer)
        await caller.call("configure", {"pattern": "q*", "order": "fifo", "paused": False})
        await peer.send(b"9 enq q1 1 x\n")
        await caller.reply()
        assert (await caller.call("queues", {"prefix": ["q"]}))["queues"][0]["order"] == "fifo"
        assert len((await caller.call("tasks", {"queue": "q1"}))["tasks"]) == 1
        assert (await caller.call("settings", {}))["settings"][0]["pattern"] == "q*"
        assert (await caller.call("time", {}))["now"] == node.clock.now_ms
        assert (await caller.call("cluster", {}))["leader"] == "n1"
        assert await caller.call("forget", {"keys": ["k"]}) == {"index": 3}


@pytest.mark.asyncio
async def test_a_dry_run_says_what_would_happen_and_does_nothing() -> None:
    async with serving() as node, node.peer() as peer:
        caller = Caller(peer)
        document = {"inserts": [{"queue": "q", "id": "a"}], "dry_run": True}
        assert (await caller.call("modify", document))["inserted"][0]["id"] == "a"
        assert (await caller.call("queues", {}))["queues"] == []


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.asyncio
async def test_a_refusal_is_a_problem_document_in_the_format_of_its_request(fmt: Format) -> None:
    async with serving() as node, node.peer() as peer:
        caller = Caller(peer, fmt)
        await caller.send(1, "modify", {"deletes": [{"id": "a", "version": 3}]})
        reply = await caller.reply()
        assert sniff(reply.body) == fmt
        refusal = problem(reply)
        assert (refusal.code, refusal.status, refusal.retryable) == ("dependency", 409, False)
        assert [(part.part, part.id, part.reason) for part in refusal.failed] == [
            ("delete", "a", "missing")
        ]


@pytest.mark.parametrize(
    ("verb", "document", "code", "field"),
    [
        ("claim", {"queues": []}, "invalid", "queues"),
        ("claim", {"queues": ["a b"]}, "invalid", "queues"),
        ("claim", {"queues": ["q"], "lease_ms": 0}, "invalid", "lease_ms"),
        ("claim", {"queues": ["q"], "leese_ms": 1}, "invalid", ""),
        ("modify", {}, "invalid", ""),
        ("task", {"id": "none"}, "task_not_found", ""),
        ("tasks", {}, "invalid", "queue"),
        ("queues", {"prefix": ["p"] * 101}, "invalid", "prefix"),
        ("queues", {"exact": ["q"] * 1_001}, "invalid", "exact"),
        ("namespaces", {"prefix": ["p"] * 101}, "invalid", "prefix"),
        ("namespaces", {"exact": ["n"] * 1_001}, "invalid", "exact"),
        ("steal", {}, "not_found", ""),
    ],
)
@pytest.mark.asyncio
async def test_a_bad_document_fails_with_its_code_and_field(
    verb: str, document: object, code: str, field: str
) -> None:
    async with serving() as node, node.peer() as peer:
        caller = Caller(peer)
        refusal = await caller.refusal(verb, document)
        assert refusal.code == code
        assert (refusal.field or "") == field
        assert (await caller.call("queues", {}))["queues"] == []


@pytest.mark.parametrize("body", [b"", b"{", b'{"queues":["\xff"]}', b"\x81", b"[1]", b"null"])
@pytest.mark.asyncio
async def test_what_is_no_document_fails_and_the_connection_stays(body: bytes) -> None:
    async with serving() as node, node.peer() as peer:
        caller = Caller(peer)
        await peer.send(request_with_body(1, "call", "claim", body))
        assert problem(await caller.reply()).code in {"bad_request", "invalid"}
        assert (await caller.call("queues", {}))["queues"] == []


@pytest.mark.asyncio
async def test_a_name_that_is_not_utf_8_is_refused() -> None:
    async with serving() as node, node.peer() as peer:
        await peer.send(b"1 deq \xff\n2 call \xff 0 {}\n")
        assert b"invalid: a name is not UTF-8" in await peer.line()
        assert b"fail invalid" in await peer.line()


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"1 enq  1 x\n", b"invalid: a queue's name cannot be empty"),
        (b"1 deq\n", b"invalid: a queue's name cannot be empty"),
        (b"1 deq a b\n", b"invalid: a queue's name has a space or a control character"),
        (b"1 deq a\x01\n", b"invalid: a queue's name has a space or a control character"),
        (b"1 stats \x01\n", b"invalid: a queue's name has a space or a control character"),
        (b"1 enq %b 1 x\n" % (b"q" * 257), b"the limit queue_name_bytes_max is 256"),
        (b"1 ack q\n", b"invalid: id is a number"),
        (b"1 ack q x\n", b"invalid: id is a number"),
        (b"1 ack q -1\n", b"invalid: id is a number"),
        (b"1 ack q 1 2\n", b"invalid: id is a number"),
        (b"1 ack q 9223372036854775808\n", b"invalid: id is a number"),
        (b"1 ack q %b\n" % (b"1" * 5_000), b"invalid: id is a number"),
        (b"1 nack q 1 soon\n", b"invalid: delay_ms is a number"),
        (b"1 touch q 1\n", b"taskq: no such task"),
        (b"1 nack q 1\n", b"taskq: no such task"),
        (b"1 stats q\n", b"not_found: there is no task in queue q"),
    ],
)
@pytest.mark.asyncio
async def test_a_line_that_means_nothing_is_refused_in_one_line(line: bytes, what: bytes) -> None:
    async with serving() as node, node.peer() as peer:
        await peer.send(line + b"2 ping\n")
        replies = await peer.lines(2)
        (error,) = [reply for reply in replies if reply.startswith(b"1 error ")]
        assert what in error
        assert b"2 pong\n" in replies


@pytest.mark.asyncio
async def test_limits_are_named_and_the_connection_stays() -> None:
    limits = Limits(body_bytes_max=2_000, value_bytes_max=100)
    async with serving(limits=limits) as node, node.peer() as peer:
        caller = Caller(peer)
        await peer.send(b"1 enq q 101 %b\n" % (b"x" * 101))
        assert b"1 error too_large: the value has 101 bytes: the limit value_bytes_max is 100" in (
            await peer.line()
        )
        await peer.send(b"1 enq q 2001 %b\n" % (b"x" * 2_001))
        assert b"1 error too_large: a body of 2001 bytes: the limit body_bytes_max" in (
            await peer.line()
        )
        await peer.send(request_with_body(1, "call", "claim", b" " * 2_001))
        refusal = problem(await caller.reply())
        assert (refusal.code, refusal.limit_name, refusal.limit) == (
            "too_large", "body_bytes_max", 2_000,
        )  # fmt: skip
        assert await peer.ask(b"1 ping\n", 7) == b"1 pong\n"


@pytest.mark.asyncio
async def test_touch_begins_the_lease_anew_and_nack_gives_back() -> None:
    async with serving() as node, node.peer() as peer:
        await peer.send(b"1 enq q 1 x\n2 deq q\n")
        await peer.lines(2)
        node.pass_time(59_999)
        assert await peer.ask(b"3 touch q 1\n", 14) == b"3 touched q 1\n"
        node.pass_time(59_999)
        assert await say(peer, b"4 deq q\n") == b"4 error taskq: no task in queue\n"
        assert await say(peer, b"5 nack q 1 1000\n") == b"5 nacked q 1\n"
        assert await say(peer, b"6 deq q\n") == b"6 error taskq: no task in queue\n"
        node.pass_time(1_000)
        assert await say(peer, b"7 deq q\n") == b"7 deqed q 1 1 x\n"
        assert await say(peer, b"8 nack q 1\n") == b"8 nacked q 1\n"
        assert await say(peer, b"9 deq q\n") == b"9 deqed q 1 1 x\n"


async def say(peer: Peer, line: bytes) -> bytes:
    await peer.send(line)
    return await peer.line()


@pytest.mark.asyncio
async def test_stats_describe_a_queue() -> None:
    async with serving() as node, node.peer() as peer:
        await peer.send(b"1 enq q 1 x\n2 enq q 1 x\n3 deq q\n")
        await peer.lines(3)
        caller = Caller(peer)
        await peer.send(b"4 stats q\n")
        stats = json.loads((await caller.reply()).body)
        assert (stats["name"], stats["tasks"], stats["ready"], stats["claimed"]) == ("q", 2, 1, 1)


@pytest.mark.asyncio
async def test_help_names_every_verb() -> None:
    async with serving() as node, node.peer() as peer:
        await peer.send(b"1 help\n")
        text = (await Caller(peer).reply()).body.decode()
        words = set(text.split())
        assert words >= {
            *VERBS,
            *["enq", "deq", "ack", "touch", "nack", "stats", "call", "ping", "auth", "help"],
        }


@pytest.mark.asyncio
async def test_a_waiting_claim_does_not_hold_up_what_follows_and_gets_what_arrives() -> None:
    async with serving() as node, node.peer() as peer:
        caller = Caller(peer)
        await caller.send(1, "claim", {"queues": ["q"], "wait_ms": 60_000})
        await peer.send(b"2 ping\n")
        assert (await caller.reply()).word == "pong"
        await node.until_waiting()
        await peer.send(b"3 enq q 1 x\n")
        replies = {reply.rid: reply for reply in (await caller.reply(), await caller.reply())}
        assert replies[3].text == "q 1"
        assert len(caller.read(replies[1])["tasks"]) == 1


@pytest.mark.asyncio
async def test_a_waiting_claim_ends_empty() -> None:
    async with serving() as node, node.peer() as peer:
        caller = Caller(peer)
        assert await caller.call("claim", {"queues": ["q"], "wait_ms": 1}) == {
            "index": 0,
            "tasks": [],
        }


@pytest.mark.asyncio
async def test_waiting_claims_have_a_limit() -> None:
    async with serving(limits=Limits(waiters_max=1)) as node, node.peer() as peer:
        caller = Caller(peer)
        await caller.send(1, "claim", {"queues": ["q"], "wait_ms": 60_000})
        await caller.send(2, "claim", {"queues": ["q"], "wait_ms": 60_000})
        reply = await caller.reply()
        assert (reply.rid, problem(reply).code) == (2, "too_busy")


@pytest.mark.asyncio
async def test_an_idempotency_key_gives_the_same_answer_again() -> None:
    async with serving() as node, node.peer() as peer:
        caller = Caller(peer)
        document = {"inserts": [{"queue": "q"}], "idempotency_key": "k"}
        first = await caller.call("modify", document)
        again = await caller.call("modify", document)
        assert again.pop("index") > first.pop("index")
        assert again == first
        document["inserts"].append({"queue": "other"})
        assert (await caller.refusal("modify", document)).code == "idempotency_key_reused"


@pytest.mark.asyncio
async def test_a_full_node_refuses_inserts_and_lets_itself_be_drained() -> None:
    async with serving(limits=Limits(bytes_held_max=3)) as node, node.peer() as peer:
        assert await say(peer, b"1 enq q 3 abc\n") == b"1 enqed q 1\n"
        await peer.send(b"2 enq q 3 abc\n3 deq q\n4 ack q 1\n")
        assert (await peer.line()).startswith(b"2 error store_full: the limit bytes_held_max is 3")
        assert await peer.lines(2) == [b"3 deqed q 1 3 abc\n", b"4 acked q 1\n"]
