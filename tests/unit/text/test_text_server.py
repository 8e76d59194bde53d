"""The server starts and stops without losing a reply, and one bad peer is one peer's trouble."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from tests.support.text_node import ANSWER_S, Node, serving, until

from raftq_cluster.core.queries import Queues
from raftq_cluster.servers.text.connection import Connection
from raftq_cluster.servers.text.limits import Patience
from raftq_cluster.servers.text.server import TextServer
from raftq_cluster.service.doors import Doors
from raftq_cluster.service.limits import Limits

Scene = Callable[[], Awaitable[None]]
Loop = Callable[[], asyncio.AbstractEventLoop]
LONG_S = 600.0  # a drain that ends because all is answered, not because its time is over

on_both_loops = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def play(scene: Scene, loop: Loop) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(2 * ANSWER_S):
            await scene()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(in_time())


@on_both_loops
def test_stopping_answers_what_is_in_flight_ends_waits_and_closes(loop: Loop) -> None:
    async def scene() -> None:
        async with serving() as node, node.peer() as peer, node.peer() as idle:
            await peer.send(b'1 call claim 32 {"queues":["z"],"wait_ms":60000}\n')
            await node.until_waiting()
            node.backend.is_holding = True
            await peer.send(b"2 enq q 1 x\n")
            await until(lambda: node.backend.held == 1)
            stopping = asyncio.create_task(node.server.stop(LONG_S))
            assert await idle.end() == b""
            assert await peer.line() == b'1 ok 22 {"index":0,"tasks":[]}\n'
            assert not stopping.done()
            node.backend.release()
            assert await peer.end() == b"2 enqed q 1\n"
            idle.writer.close()
            peer.writer.close()
            await stopping

    play(scene, loop)


@on_both_loops
def test_what_a_connection_took_is_free_again_when_it_is_over_without_the_collector(
    loop: Loop,
) -> None:
    def connections() -> int:
        return sum(type(item) is Connection for item in gc.get_objects())

    async def scene() -> None:
        async with serving() as node:
            async with node.peer() as peer, node.peer() as other:
                await peer.send(b'1 call claim 32 {"queues":["z"],"wait_ms":60000}\n')
                await node.until_waiting()
                assert await other.ask(b"2 ping\n", 7) == b"2 pong\n"
                assert connections() == 2
            await until(lambda: connections() == 0)

    gc.collect()
    gc.disable()
    try:
        play(scene, loop)
    finally:
        gc.enable()


@on_both_loops
def test_stopping_cuts_off_what_is_not_answered_in_time(loop: Loop) -> None:
    async def scene() -> None:
        async with serving() as node, node.peer() as peer:
            node.backend.is_holding = True
            await peer.send(b"2 enq q 1 x\n")
            await until(lambda: node.backend.held == 1)
            await node.server.stop(drain_s=0.01)
            assert await peer.end() == b""
            node.backend.release()

    play(scene, loop)


@on_both_loops
def test_a_client_that_dies_in_mid_batch_disturbs_nobody(loop: Loop) -> None:
    async def scene() -> None:
        async with serving() as node, node.peer() as other:
            node.backend.is_holding = True
            async with node.peer() as peer:
                await peer.send(b"".join(b"%d enq q 1 x\n" % rid for rid in range(1_000)))
                await until(lambda: node.backend.held == 1)
                peer.die()
            await until(lambda: node.server.served == 1)
            node.backend.release()
            assert await other.ask(b"1 deq q\n", 16) == b"1 deqed q 1 1 x\n"

    play(scene, loop)


@on_both_loops
def test_replies_to_a_client_that_hung_up_disturb_nobody(loop: Loop) -> None:
    async def scene() -> None:
        async with serving() as node, node.peer() as other:
            node.backend.is_holding = True
            async with node.peer() as peer:
                await peer.send(b"".join(b"%d enq q 1 x\n" % rid for rid in range(1_000)))
                await until(lambda: node.backend.held == 1)
            node.backend.release()
            assert await other.ask(b"1 deq q\n", 16) == b"1 deqed q 1 1 x\n"
            await until(lambda: node.server.served == 1)

    play(scene, loop)


@on_both_loops
def test_a_peer_that_does_not_read_stops_being_read_and_others_are_served(loop: Loop) -> None:
    async def scene() -> None:
        async with serving() as node, node.peer() as greedy, node.peer() as other:
            body = b"x" * 100_000
            await greedy.send(b"1 enq q %d %b\n" % (len(body), body))
            await greedy.line()
            greedy.reader._transport.pause_reading()  # the test is the peer's system here
            cycle = b"2 deq q\n3 nack q 1\n"
            sent = asyncio.create_task(greedy.send(cycle * 20_000))  # 2 GB of replies
            await until_stalled(node)
            (stats,) = (await node.service.read(Queues((), ("q",), 1))).value
            assert 0 < stats.max_claims < 2_000
            assert await other.ask(b"1 ping\n", 7) == b"1 pong\n"
            sent.cancel()

    play(scene, loop)


async def until_stalled(node: Node) -> None:
    """Return once no request has been done for some turns of the loop."""
    quiet_turns, index = 0, -1
    while quiet_turns < 200:
        await asyncio.sleep(0)
        quiet_turns = quiet_turns + 1 if node.service.status().index == index else 0
        index = node.service.status().index


@on_both_loops
def test_half_closing_is_answered_to_the_end(loop: Loop) -> None:
    async def scene() -> None:
        async with serving() as node, node.peer() as peer:
            count = 3_000
            await peer.send(b"".join(b"%d enq q 1 x\n" % rid for rid in range(count)))
            await peer.hang_up_sending()
            assert len((await peer.end()).splitlines()) == count

    play(scene, loop)


@on_both_loops
def test_a_refused_connection_reads_why(loop: Loop) -> None:
    async def scene() -> None:
        async with serving(limits=Limits(connections_max=1)) as node, node.peer():
            await until(lambda: node.server.served == 1)
            async with node.peer() as peer:
                await peer.send(b"1 ping\n")
                assert (await peer.end()).startswith(b"- error too_busy: too many connections")

    play(scene, loop)


@on_both_loops
def test_a_peer_that_stays_after_its_last_words_is_cut_off(loop: Loop) -> None:
    async def scene() -> None:
        patience = Patience(linger_s=0.0, sweep_s=0.01)
        async with serving(patience=patience) as node, node.peer() as peer:
            await peer.send(b"what?\n")
            await until(lambda: node.server.served == 0)

    play(scene, loop)


@pytest.mark.asyncio
async def test_a_taken_port_is_an_os_error() -> None:
    async with serving() as node:
        with pytest.raises(OSError, match="address already in use"):
            await TextServer(Doors(node.service), *node.server.address).start()


@pytest.mark.asyncio
async def test_a_stopped_server_can_be_stopped_again() -> None:
    async with serving() as node:
        await node.server.stop(LONG_S)
        await node.server.stop(LONG_S)
        assert node.server.served == 0
