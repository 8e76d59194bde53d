"""Whatever one peer sends, it gets replies of the protocol or is closed, and another one is served."""

import asyncio
import re

from hypothesis import given
from hypothesis import strategies as st
from tests.support.http_node import ManualClock
from tests.support.text_node import HeldBackend
from tests.support.text_transport import FakeTransport

from raftq.wire.text import CONNECTION_RID, FramingError, Reply, ReplyParser
from raftq_cluster.servers.text.connection import Connection
from raftq_cluster.servers.text.guard import Guard
from raftq_cluster.servers.text.limits import Patience
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.facade import Service
from raftq_cluster.service.limits import Limits

LIMITS = Limits(body_bytes_max=2_000, value_bytes_max=1_000, operations_max=2)
documents = st.sampled_from(
    [
        b"{}", b"", b"[", b"null", b"\x80", b"\x81\xa1a\xc1", b'{"queues":["q"]}',
        b'{"queues":["q"],"wait_ms":1000}', b'{"inserts":[{"queue":"q","value":1}]}',
        b'{"inserts":[{"queue":"q"},{"queue":"q"},{"queue":"q"}]}', b'{"dry_run":true}',
        b'{"inserts":[{"queue":"q","value":' + b"[" * 300 + b"]" * 300 + b"}]}",
        b'{"inserts":[{"queue":"q","value":1e999}]}', b'{"tasks":[{"id":"","version":-1}]}',
        b'{"queue":"q"}', b'{"pattern":"*","order":"priority"}', b'{"keys":[]}',
    ]
)  # fmt: skip
calls = st.tuples(
    st.sampled_from(
        [
            b"claim",
            b"modify",
            b"renew",
            b"tasks",
            b"configure",
            b"forget",
            b"cluster",
            b"x",
            b"\xff",
        ]
    ),
    documents,
).map(lambda call: b"7 call %b %d %b\n" % (call[0], len(call[1]), call[1]))
lines = st.sampled_from(
    [
        b"1 enq q 3 a\nb\n", b"2 deq q\n", b"3 ack q 1\n", b"3 ack q 1\n\0", b"4 touch q 1\n",
        b"5 nack q 1 5\n", b"5 nack q 1\n", b"6 stats q\n", b"8 ping\n", b"9 auth x\n", b"10 help\n",
        b"11 enq \xff 1 x\n", b"12 deq \n", b"13 ack q 99999999999999999999\n",
        b"14 enq q 1500 " + b"x" * 1_500 + b"\n", b"15 enq q 2001 " + b"x" * 2_001 + b"\n",
        b"16 nack q 1 99999999999999\n", b"17 what\n", b"x",
    ]
)  # fmt: skip
streams = st.lists(lines | calls | st.binary(max_size=30), max_size=12)


async def serve(pieces: list[bytes]) -> None:
    service = Service(HeldBackend(ManualClock()), LIMITS)
    await service.start()
    guard = Guard(10, Patience())
    connection, other = (Connection(Doors(service), guard, "line_end") for _ in range(2))
    transport, its_transport = FakeTransport(connection), FakeTransport(other)
    for piece in pieces:
        connection.data_received(piece)
    transport.end()
    for _ in range(50):
        await asyncio.sleep(0)
    check_replies(b"".join(pieces), read_all(transport.said))
    assert transport.is_closing()
    assert service.waiting() == 0
    other.data_received(b"1 ping\n")
    assert its_transport.said == b"1 pong\n"
    await service.stop()


def read_all(said: bytes) -> list[Reply]:
    try:
        return ReplyParser().feed(said)
    except FramingError as error:
        raise AssertionError(said) from error


def check_replies(stream: bytes, replies: list[Reply]) -> None:
    """All rids were in the requests; words about the connection come once and last."""
    rids = {int(digits) for digits in re.findall(rb"\d+", stream)}
    about_connection = [reply for reply in replies if reply.rid == CONNECTION_RID]
    assert about_connection in ([], replies[-1:])
    assert {reply.rid for reply in replies} <= rids | {CONNECTION_RID}


@given(streams)
def test_any_stream_is_answered_and_another_peer_is_served(pieces: list[bytes]) -> None:
    asyncio.run(serve(pieces))
