"""A connection to the text port: any bytes get replies, one for each request, and upset nothing.

Bodies of ``call`` are v1 documents, in JSON or MessagePack: the same document in both gets the same outcome.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from raftq.wire.text import CONNECTION_RID, Reply, ReplyParser
from raftq_cluster.servers.text.parser import BROKEN, RequestParser
from raftq_cluster.service.limits import Limits
from tests.fuzz.served import served, settle
from tests.fuzz.source import Source
from tests.fuzz.targets import text_requests

LIMITS: Final = Limits(
    body_bytes_max=4_096, value_bytes_max=1_000, err_bytes_max=100, operations_max=5
)


def fuzz(data: bytes) -> None:
    """Say these bytes in pieces, and hang up."""
    asyncio.run(_talk(Source(data)))


async def _talk(source: Source) -> None:
    pieces = source.pieces(stream := source.rest())
    async with served(LIMITS) as node:
        connection, transport = node.text()
        for piece in pieces:
            if transport.is_closing():
                break
            connection.data_received(piece)
            await settle(transport)
        said = transport.said
        if not transport.is_closing():
            transport.lose()
    replies = replies_of(said)
    for reply in replies:
        assert (reply.word, reply.text) != ("fail", "internal"), reply
        assert not reply.text.startswith("internal"), reply
    _match(stream, replies)


def replies_of(said: bytes) -> list[Reply]:
    """What a server said, which must be whole replies."""
    parser = ReplyParser()
    replies = parser.feed(said)
    assert parser._held_bytes == 0, "half a reply"
    return replies


def _match(stream: bytes, replies: list[Reply]) -> None:
    """Each request has one reply at most, and none has another rid."""
    requests = RequestParser(LIMITS.body_bytes_max).feed(stream)
    asked = sorted(CONNECTION_RID if rid == b"-" else int(rid) for _, rid, _, _ in requests)
    answered = sorted(reply.rid for reply in replies)
    broken = [request for request in requests if request[0] == BROKEN]
    left = list(asked)
    for rid in answered:
        if rid in left:
            left.remove(rid)
        else:
            assert rid == CONNECTION_RID, f"{rid} was not asked"
            assert broken or len(requests) > 1 or not requests


def seeds() -> Iterator[bytes]:
    """Sessions of TaskQ, and calls of all verbs."""
    for seed in text_requests.seeds():
        yield b"\0" + seed[2:]
    calls = [
        (b"claim", b'{"queues":["q"]}'),
        (b"modify", b'{"inserts":[{"queue":"q","id":"a","value":{"a":1}}]}'),
        (b"modify", b'{"changes":[{"id":"a","version":0,"value_b64":"AQ=="}]}'),
        (b"modify", b'{"inserts":[{"queue":"q","value":1e400}],"dry_run":true}'),
        (b"modify", b'{"doc_inserts":[{"namespace":"n","key":"k","value":"\\u0000"}]}'),
        (b"renew", b'{"tasks":[{"id":"a","version":1}],"lease_ms":1}'),
        (b"tasks", b'{"queue":"q"}'), (b"queues", b"{}"), (b"time", b"\x80"), (b"cluster", b"{}"),
        (b"task", b'{"id":"a"}'), (b"settings", b"{}"), (b"forget", b'{"keys":["k"]}'),
        (b"configure", b'{"pattern":"q*","order":"fifo","lease_ms":5}'), (b"docs", b'{"namespace":"n"}'),
        (b"claim_docs", b'{"sets":[{"namespace":"n","key":"k"}]}'), (b"namespaces", b"{}"),
        (b"add_member", b'{"peer":"h:1"}'), (b"verify", b"{}"), (b"tasks", b"\x81\xa5queue\xa1q"),
    ]  # fmt: skip
    for verb, body in calls:
        yield b"\0" + b"1 call %b %d %b\n" % (verb, len(body), body)
    session = b"".join(b"%d call %b %d %b\n" % (n, v, len(b), b) for n, (v, b) in enumerate(calls))
    yield b"\0" + session
    yield bytes((5, 1, 0, 2, 0, 0, 40, 0, 90, 1, 7)) + session
