"""TaskQ over TCP: its recorded bytes, and what its users count on."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from tests.support.text_exchanges import steps
from tests.support.text_node import Peer, serving

VECTORS = (Path(__file__).parents[2] / "vectors" / "text" / "taskq.txt").read_text("utf-8")
EXCHANGES = re.split(r"^== ", VECTORS, flags=re.MULTILINE)[1:]
LEASE_MS = 60_000  # of a queue that has no setting

Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_recorded_exchanges_are_answered_byte_for_byte(loop: Loop) -> None:
    async def play() -> None:
        async with serving() as node:
            for exchange in EXCHANGES:
                async with node.peer() as peer:
                    await play_exchange(peer, exchange)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(play())


async def play_exchange(peer: Peer, exchange: str) -> None:
    for step in steps(exchange, line_ends=False):
        assert await peer.ask(step.sent, len(step.answered)) == step.answered
    assert await peer.ask(b"0 ping\n", len(b"0 pong\n")) == b"0 pong\n"


def test_all_recorded_exchanges_are_there() -> None:
    assert [exchange.split()[0] for exchange in EXCHANGES] == [*"1234567", "12", "8"]


async def ask(peer: Peer, line: bytes) -> bytes:
    await peer.send(line)
    return await peer.line()


@pytest.mark.asyncio
async def test_ids_count_from_1_in_each_queue() -> None:
    async with serving() as node, node.peer() as peer:
        assert await ask(peer, b"1 enq a 1 x\n") == b"1 enqed a 1\n"
        assert await ask(peer, b"2 enq a 1 x\n") == b"2 enqed a 2\n"
        assert await ask(peer, b"3 enq b 1 x\n") == b"3 enqed b 1\n"
        assert await ask(peer, b"4 enq a 1 x\n") == b"4 enqed a 3\n"


@pytest.mark.asyncio
async def test_dequeue_is_first_in_first_out() -> None:
    async with serving() as node, node.peer() as peer:
        for number in range(20):
            await ask(peer, b"1 enq q 2 %02d\n" % number)
        for number in range(20):
            reply = await ask(peer, b"2 deq q\n")
            assert reply == b"2 deqed q %d 2 %02d\n" % (number + 1, number)


@pytest.mark.parametrize("body", [b"\x00", b"\n", b" ", b"\r\n", b"a b\nc\x00\xff\r", b"", b"0"])
@pytest.mark.asyncio
async def test_a_body_survives_byte_for_byte(body: bytes) -> None:
    async with serving() as node, node.peer() as peer:
        assert await ask(peer, b"1 enq q %d %b\n" % (len(body), body)) == b"1 enqed q 1\n"
        reply = b"2 deqed q 1 %d %b\n" % (len(body), body)
        assert await peer.ask(b"2 deq q\n", len(reply)) == reply


@pytest.mark.asyncio
async def test_with_len_0_the_rest_of_the_line_is_the_body() -> None:
    async with serving() as node, node.peer() as peer:
        await ask(peer, b"1 enq q 0 hello world\r\n")
        assert await ask(peer, b"2 deq q\n") == b"2 deqed q 1 11 hello world\n"


@pytest.mark.asyncio
async def test_a_refused_request_leaves_the_connection_usable() -> None:
    async with serving() as node, node.peer() as peer:
        assert await ask(peer, b"1 deq q\n") == b"1 error taskq: no task in queue\n"
        assert await ask(peer, b"2 ack q 1\n") == b"2 error taskq: no such task\n"
        await ask(peer, b"3 enq q 1 x\n")
        assert await ask(peer, b"4 ack q 1\n") == b"4 error taskq: no such task\n"
        assert await ask(peer, b"5 deq q\n") == b"5 deqed q 1 1 x\n"
        assert await ask(peer, b"6 ack q 1\n") == b"6 acked q 1\n"
        assert await ask(peer, b"7 ack q 1\n") == b"7 error taskq: no such task\n"
        assert await ask(peer, b"8 deq q\n") == b"8 error taskq: no task in queue\n"


@pytest.mark.parametrize(
    ("malformed", "answer"),
    [
        (b"hello\n", b"- error a request starts with its id, a number\n"),
        (b"GET / HTTP/1.1\r\n", b"- error a request starts with its id, a number\n"),
        (b"\x16\x03\x01\x02", b"- error a request starts with its id, a number\n"),
        (b"5 foo q\n", b"5 error unknown verb; there is: RID help\n"),
        (b"5 enq q -1 x\n", b"5 error LEN cannot be negative\n"),
        (b"5 enq q 9999999999999999999 x\n", b"5 error too_large: LEN is beyond every limit\n"),
        (b"5 enq q 1 xx\n", b"5 error no line end after the body: LEN does not fit\n"),
    ],
)
@pytest.mark.asyncio
async def test_a_malformed_request_ends_its_connection_with_an_error_and_no_other(
    malformed: bytes, answer: bytes
) -> None:
    async with serving() as node, node.peer() as peer, node.peer() as other:
        await peer.send(b"4 enq q 1 x\n" + malformed)
        assert await peer.end() == b"4 enqed q 1\n" + answer
        assert await ask(other, b"1 deq q\n") == b"1 deqed q 1 1 x\n"


@pytest.mark.asyncio
async def test_every_pipelined_request_has_one_reply_and_those_of_a_queue_are_in_order() -> None:
    async with serving() as node, node.peer() as peer:
        count = 5_000
        requests = []
        for rid in range(count):
            queue = b"q%d" % (rid % 7)
            requests.append(b"%d enq %b 1 x\n" % (rid, queue))
        await peer.send(b"".join(requests))
        replies = await peer.lines(count)
        fields = [reply.split() for reply in replies]
        assert sorted(int(rid) for rid, *_ in fields) == list(range(count))
        for queue in {queue for _, _, queue, _ in fields}:
            ids = [int(number) for _, _, name, number in fields if name == queue]
            assert ids == list(range(1, len(ids) + 1))


@pytest.mark.asyncio
async def test_an_unacked_task_comes_back_after_its_lease_before_newer_ones() -> None:
    async with serving() as node, node.peer() as peer:
        await ask(peer, b"1 enq q 5 older\n")
        assert await ask(peer, b"2 deq q\n") == b"2 deqed q 1 5 older\n"
        node.pass_time(LEASE_MS - 1)
        assert await ask(peer, b"3 deq q\n") == b"3 error taskq: no task in queue\n"
        await ask(peer, b"4 enq q 5 newer\n")
        node.pass_time(1)
        assert await ask(peer, b"5 deq q\n") == b"5 deqed q 1 5 older\n"
        assert await ask(peer, b"6 deq q\n") == b"6 deqed q 2 5 newer\n"


@pytest.mark.asyncio
async def test_an_expired_task_that_nobody_took_can_still_be_acked_and_is_gone() -> None:
    async with serving() as node, node.peer() as peer:
        await ask(peer, b"1 enq q 1 x\n")
        await ask(peer, b"2 deq q\n")
        node.pass_time(2 * LEASE_MS)
        assert await ask(peer, b"3 ack q 1\n") == b"3 acked q 1\n"
        assert await ask(peer, b"4 deq q\n") == b"4 error taskq: no task in queue\n"


@pytest.mark.asyncio
async def test_a_slow_worker_can_ack_what_another_one_is_working_on() -> None:
    async with serving() as node, node.peer() as slow, node.peer() as other:
        await ask(slow, b"1 enq q 1 x\n")
        await ask(slow, b"2 deq q\n")
        node.pass_time(LEASE_MS)
        assert await ask(other, b"1 deq q\n") == b"1 deqed q 1 1 x\n"
        assert await ask(slow, b"3 ack q 1\n") == b"3 acked q 1\n"


@pytest.mark.asyncio
async def test_acked_ends_as_this_connection_wants_it() -> None:
    async with serving() as node, node.peer() as go, node.peer() as plain:
        await ask(plain, b"1 enq q 1 a\n2 enq q 1 b\n3 deq q\n4 deq q\n")
        await plain.lines(3)
        assert await go.ask(b"2 ack q 1\n\x00", len(b"2 acked q 1 ")) == b"2 acked q 1 "
        assert await ask(plain, b"5 ack q 2\n") == b"5 acked q 2\n"


@pytest.mark.parametrize(
    ("acked_ends", "reply"), [("line_end", b"3 acked q 1\n"), ("space", b"3 acked q 1 ")]
)
@pytest.mark.parametrize("nul", [b"", b"\x00"])
@pytest.mark.asyncio
async def test_the_end_of_acked_can_be_forced(acked_ends: str, reply: bytes, nul: bytes) -> None:
    async with serving(acked_ends=acked_ends) as node, node.peer() as peer:
        await ask(peer, b"1 enq q 1 a\n")
        await ask(peer, b"2 deq q\n")
        assert await peer.ask(b"3 ack q 1\n" + nul, len(reply)) == reply
        assert await peer.ask(b"4 ping\n", 7) == b"4 pong\n"


@pytest.mark.asyncio
async def test_a_json_task_is_dequeued_as_its_text() -> None:
    async with serving() as node, node.peer() as peer:
        insert = b'{"inserts":[{"queue":"q","value":{"a": 1}},{"queue":"q"}]}'
        await ask(peer, b"1 call modify %d %b\n" % (len(insert), insert))
        await ask(peer, b"9 call configure 0 {%b}\n" % b'"pattern":"q","order":"fifo"')
        await peer.send(b"2 deq q\n3 deq q\n")
        bodies = {(await peer.line()).split(b" ", 5)[5] for _ in range(2)}
        assert bodies == {b'{"a": 1}\n', b"null\n"}
