"""Connections of which it is not known who is at the other end: their time, number and bytes are bounded."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.support.text_node import serving, until
from tests.support.tokens import Tokens

from raftq_cluster.servers.text import guard as guards
from raftq_cluster.servers.text.guard import Guard
from raftq_cluster.servers.text.limits import Patience

pytestmark = pytest.mark.asyncio
AUTHED = b"1 authed\n"


async def test_who_does_not_say_who_it_is_in_time_is_sent_away(tmp_path: Path) -> None:
    patience = Patience(stranger_s=0.05, sweep_s=0.01)
    tokens = Tokens(tmp_path, caller=["all:*"])
    async with (
        serving(tokens=tokens.store, patience=patience) as node,
        node.peer() as known,
        node.peer() as stranger,
    ):
        assert await known.ask(b"1 auth rq_caller\n", len(AUTHED)) == AUTHED
        assert b"- error unauthenticated: no token was given within 0.05 s\n" in (
            await stranger.end()
        )
        assert await known.ask(b"2 ping\n", 7) == b"2 pong\n"


async def test_without_tokens_nobody_is_a_stranger() -> None:
    patience = Patience(stranger_s=0.0, sweep_s=0.01)
    async with serving(patience=patience) as node, node.peer() as peer:
        for rid in range(1, 4):
            assert await peer.ask(b"%d ping\n" % rid, 7) == b"%d pong\n" % rid


async def test_of_too_many_strangers_the_oldest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "STRANGERS_MAX", 2)
    tokens = Tokens(tmp_path, caller=["all:*"])
    async with serving(tokens=tokens.store) as node, AsyncExitStack() as stack:
        known = await stack.enter_async_context(node.peer())
        assert await known.ask(b"1 auth rq_caller\n", len(AUTHED)) == AUTHED
        strangers = []
        for count in range(1, 4):
            strangers.append(await stack.enter_async_context(node.peer()))
            await until(lambda count=count: node.server.served >= min(count, 2) + 1)
        assert await strangers[0].end() == b""
        assert await known.ask(b"2 ping\n", 7) == b"2 pong\n"
        assert await strangers[2].ask(b"1 auth rq_caller\n", len(AUTHED)) == AUTHED


class Nobody:
    """A connection of which only its number matters."""

    def sweep(self, now_s: float) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


async def test_bytes_of_strangers_are_counted_apart() -> None:
    guard = Guard(10, Patience())
    assert guard.admit(Nobody(), is_known=False)
    assert not guard.receive(guards.STRANGERS_RECEIVING_BYTES_MAX + 1, is_known=False)
    assert guard.receive(guards.RECEIVING_BYTES_MAX)
    assert guard.receive(-1, is_known=False)


async def test_what_a_connection_holds_counts_as_its_owner_is_known_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "STRANGERS_RECEIVING_BYTES_MAX", 100)
    tokens = Tokens(tmp_path, caller=["all:*"])
    async with serving(tokens=tokens.store) as node, node.peer() as known, node.peer() as stranger:
        await known.send(b"1 auth rq_caller\n2 enq q 500 " + b"x" * 90)
        assert await known.line() == AUTHED
        await known.send(b"x" * 410 + b"\n")
        assert await known.line() == b"2 enqed q 1\n"
        await stranger.send(b"1 enq q 500 " + b"x" * 200)
        assert b"- error too_busy: too many bytes" in await stranger.end()
        assert await known.ask(b"3 ping\n", 7) == b"3 pong\n"
