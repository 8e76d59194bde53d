"""How fast a connection's requests are begun where that is limited."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.text_node import serving

from raftq_cluster.servers.text.allowance import Allowance
from raftq_cluster.service.limits import Limits

RATE = 1_000


def test_twice_the_rate_may_come_at_once_and_the_rate_from_then_on() -> None:
    allowance = Allowance(10, 100.0)
    assert allowance.take(50, 100.0) == 20
    assert allowance.take(50, 100.0) == 0
    assert allowance.wait_s() == pytest.approx(0.1)
    assert allowance.take(50, 100.05) == 0
    assert allowance.wait_s() == pytest.approx(0.05)
    assert allowance.take(50, 100.11) == 1
    assert allowance.take(50, 101.11) == 10


def test_a_rest_gains_no_more_than_twice_the_rate() -> None:
    allowance = Allowance(10, 0.0)
    assert allowance.take(5, 0.0) == 5
    assert allowance.take(100, 1_000.0) == 20


def test_nobody_waits_while_there_are_tokens() -> None:
    assert Allowance(1, 0.0).wait_s() == 0.0


@given(
    rate=st.integers(1, 1_000),
    steps=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3_000)), max_size=50),
)
def test_never_more_than_the_rate_and_a_burst(rate: int, steps: list[tuple[int, int]]) -> None:
    allowance, now_s, taken = Allowance(rate, 0.0), 0.0, 0
    for pause, wanted in steps:
        now_s += pause / 10
        count = allowance.take(wanted, now_s)
        assert 0 <= count <= wanted
        taken += count
        assert taken <= rate * now_s + 2 * rate + 1e-6
        assert count == wanted or allowance.wait_s() > 0


@pytest.mark.asyncio
async def test_requests_beyond_the_rate_are_delayed_and_all_answered_in_order() -> None:
    requests = [b"%d enq q 1 x\n" % number for number in range(1, 3 * RATE + 1)]
    replies = [b"%d enqed q %d\n" % (number, number) for number in range(1, 3 * RATE + 1)]
    async with serving(limits=Limits(text_rate_max=RATE)) as node, node.peer() as peer:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await peer.send(b"".join(requests))
        expected = b"".join(replies)
        assert await peer.read(len(expected)) == expected
        assert loop.time() - began_s >= 0.9  # 2,000 at once, the others in a second
        async with node.peer() as other:
            assert await other.ask(b"1 ping\n", 7) == b"1 pong\n"  # each connection has its own


@pytest.mark.asyncio
async def test_a_connection_that_ends_meanwhile_is_over() -> None:
    async with serving(limits=Limits(text_rate_max=1)) as node:
        async with node.peer() as peer:
            await peer.send(b"1 ping\n2 ping\n3 ping\n4 ping\n")
            assert await peer.read(14) == b"1 pong\n2 pong\n"
        async with node.peer() as peer:
            assert await peer.ask(b"1 ping\n", 7) == b"1 pong\n"


@pytest.mark.asyncio
async def test_others_are_answered_while_a_connection_waits() -> None:
    async with serving(limits=Limits(text_rate_max=1)) as node, node.peer() as peer:
        await peer.send(b"".join(b"%d ping\n" % number for number in range(1, 100)))
        assert await peer.read(14) == b"1 pong\n2 pong\n"
        async with asyncio.timeout(
            20
        ):  # for a hundred requests: one bucket for all would give one a second
            for _ in range(50):
                async with node.peer() as other:
                    assert await other.ask(b"1 ping\n2 ping\n", 14) == b"1 pong\n2 pong\n"
