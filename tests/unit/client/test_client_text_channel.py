"""The text channel against nodes that hang up, stay silent, talk nonsense, or answer in any order."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import uvloop
from tests.support.scripted_node import (
    Call,
    HangUp,
    ScriptedNode,
    reply_fail,
    reply_ok,
    scripted,
    well_behaved,
)

import raftq
from raftq.transport.text import TextChannel
from raftq.transport.urls import parse_urls

TIMEOUT_S = 20.0
BODY = b'{"n":1}'


@pytest_asyncio.fixture
async def node() -> AsyncIterator[ScriptedNode]:
    async with scripted() as node:
        yield node


class Wire:
    """What lies between a channel and its socket."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.protocols: list[asyncio.Protocol] = []

    def spy_on(self, protocol: asyncio.Protocol) -> asyncio.Protocol:
        made = protocol.connection_made
        protocol.connection_made = lambda transport: made(SpyTransport(transport, self.writes))
        self.protocols.append(protocol)
        return protocol


class SpyTransport:
    """A transport that remembers what is written."""

    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self.transport = transport
        self.writes = writes

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self.transport.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self.transport, name)


@pytest_asyncio.fixture
async def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire = Wire()
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def spied(factory, *args, **options):
        return await connect(lambda: wire.spy_on(factory()), *args, **options)

    monkeypatch.setattr(loop, "create_connection", spied)
    return wire


@pytest_asyncio.fixture
async def endless_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_args, **_options):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)


@pytest_asyncio.fixture
async def channel(node: ScriptedNode) -> AsyncIterator[TextChannel]:
    channel = TextChannel(*parse_urls(node.url))
    yield channel
    await channel.close()


async def lost(call: object) -> raftq.ConnectionLost:
    with pytest.raises(raftq.ConnectionLost) as raised:
        await call
    return raised.value


def hang_up(_: Call) -> bytes:
    raise HangUp


@pytest.mark.asyncio
async def test_a_call_is_answered(channel, node):
    assert await channel.send("time", b"{}", TIMEOUT_S) == (0, b'{"now": 7}')
    assert [(call.verb, call.body) for call in node.calls] == [("time", b"{}")]


@pytest.mark.asyncio
async def test_many_calls_share_one_connection(channel, node):
    answers = await asyncio.gather(*(channel.send("time", b"{}", TIMEOUT_S) for _ in range(100)))
    assert len(answers) == 100
    assert node.connections == 1
    assert len({call.rid for call in node.calls}) == 100


@pytest.mark.asyncio
async def test_calls_of_one_turn_of_the_loop_leave_in_one_write(wire, channel):
    await channel.send("time", b"{}", TIMEOUT_S)
    wire.writes.clear()
    await asyncio.gather(*(channel.send("time", b"{}", TIMEOUT_S) for _ in range(10)))
    assert [write.count(b" call ") for write in wire.writes] == [10]


@pytest.mark.asyncio
async def test_answers_may_come_in_any_order(channel, node):
    held: list[Call] = []

    def backwards(call: Call) -> bytes | None:
        held.append(call)
        if len(held) < 3:
            return None
        return b"".join(reply_ok(call, call.document) for call in reversed(held))

    node.script = backwards
    answers = await asyncio.gather(
        *(channel.send("time", b'{"n": %d}' % n, TIMEOUT_S) for n in range(3))
    )
    assert [answer[1] for answer in answers] == [b'{"n": %d}' % n for n in range(3)]


@pytest.mark.asyncio
async def test_a_refusal_comes_as_its_error(channel, node):
    node.script = lambda call: reply_fail(call, "task_not_found", detail="no such task", index=4)
    with pytest.raises(raftq.NotFound, match="no such task") as raised:
        await channel.send("task", BODY, TIMEOUT_S)
    assert raised.value.index == 4


@pytest.mark.asyncio
async def test_a_refusal_without_a_readable_document_keeps_its_code(channel, node):
    node.script = lambda call: b"%d fail too_busy 2 {]\n" % call.rid
    with pytest.raises(raftq.TooBusy):
        await channel.send("time", b"{}", TIMEOUT_S)
    node.script = lambda call: b"%d fail full_moon 0 \n" % call.rid
    with pytest.raises(raftq.ServerFailure):
        await channel.send("time", b"{}", TIMEOUT_S)


@pytest.mark.parametrize("words", [b"error no such verb", b"pong"])
@pytest.mark.asyncio
async def test_an_answer_that_is_none_to_a_call_is_a_protocol_error(channel, node, words):
    node.script = lambda call: b"%d %b\n" % (call.rid, words)
    with pytest.raises(raftq.ProtocolError):
        await channel.send("time", b"{}", TIMEOUT_S)


# --- connections that end ------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_nobody_listening_is_certainly_not_done():
    async with scripted() as node:
        url = node.url
    channel = TextChannel(*parse_urls(url))
    assert not (await lost(channel.send("time", b"{}", TIMEOUT_S))).maybe_done


@pytest.mark.asyncio
async def test_a_hang_up_after_the_request_leaves_a_doubt(channel, node):
    node.script = hang_up
    assert (await lost(channel.send("time", b"{}", TIMEOUT_S))).maybe_done


@pytest.mark.asyncio
async def test_a_hang_up_in_the_middle_of_an_answer_leaves_a_doubt(channel, node):
    def half(call: Call) -> bytes:
        raise HangUp(reply_ok(call, {"now": 7})[:-5])

    node.script = half
    assert (await lost(channel.send("time", b"{}", TIMEOUT_S))).maybe_done


@pytest.mark.asyncio
async def test_all_calls_in_flight_fail_together_and_the_next_one_connects_anew(channel, node):
    node.script = lambda call: None
    calls = [asyncio.create_task(channel.send("time", b"{}", TIMEOUT_S)) for _ in range(3)]
    while len(node.calls) < 3:
        await asyncio.sleep(0)
    node.hang_up()
    for call in calls:
        assert (await lost(call)).maybe_done
    node.script = well_behaved
    await channel.send("time", b"{}", TIMEOUT_S)
    assert node.connections == 2


@pytest.mark.asyncio
async def test_what_was_not_written_yet_is_certainly_not_done(wire, channel):
    await channel.send("time", b"{}", TIMEOUT_S)
    call = asyncio.create_task(channel.send("time", b"{}", TIMEOUT_S))
    await asyncio.sleep(0)  # the request waits for the end of this turn
    wire.protocols[0].connection_lost(None)
    assert not (await lost(call)).maybe_done


@pytest.mark.asyncio
async def test_the_last_words_of_a_node_are_passed_on(channel, node):
    node.script = lambda call: b"- error too many connections\n"
    call = asyncio.create_task(channel.send("time", b"{}", TIMEOUT_S))
    await node.called.wait()
    await asyncio.sleep(0)
    node.script = hang_up
    second = asyncio.create_task(channel.send("time", b"{}", TIMEOUT_S))
    assert "too many connections" in str(await lost(call))
    await lost(second)


@pytest.mark.asyncio
async def test_nonsense_from_the_start_is_a_protocol_error(channel, node):
    node.script = lambda call: b"220 mail.example.org ESMTP\r\n"
    with pytest.raises(raftq.ProtocolError, match="not a reply"):
        await channel.send("time", b"{}", TIMEOUT_S)


@pytest.mark.parametrize(
    ("words", "maybe_done"),
    [
        (b"220 mail.example.org ESMTP\r\n", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"1 ok 2 {}\nnonsense\n", True),
        (b"1 ok 2 {}x", True),
    ],
)
@pytest.mark.asyncio
async def test_nonsense_leaves_a_doubt_if_it_begins_as_a_node_does(
    channel, node, words, maybe_done
):
    node.script = lambda call: words
    with pytest.raises(raftq.ProtocolError) as refused:
        await channel.send("time", b"{}", TIMEOUT_S)
    assert refused.value.maybe_done is maybe_done


@pytest.mark.asyncio
async def test_an_http_port_is_told_as_one(channel, node):
    node.script = lambda call: b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with pytest.raises(raftq.ProtocolError, match="speaks HTTP, not the text protocol"):
        await channel.send("time", b"{}", TIMEOUT_S)


@pytest.mark.asyncio
async def test_nonsense_after_good_answers_ends_the_connection_with_a_doubt(channel, node):
    await channel.send("time", b"{}", TIMEOUT_S)
    node.script = lambda call: b"\x00\x01garbage\n"
    assert (await lost(channel.send("time", b"{}", TIMEOUT_S))).maybe_done


@pytest.mark.asyncio
async def test_an_answer_that_nobody_asked_for_is_passed_over(channel, node):
    node.script = lambda call: b"999999 ok 2 {}\n" + well_behaved(call)
    assert (await channel.send("time", b"{}", TIMEOUT_S))[1] == b'{"now": 7}'


@pytest.mark.asyncio
async def test_an_answer_may_come_byte_by_byte(channel, node):
    node.script = lambda call: None
    call = asyncio.create_task(channel.send("time", b"{}", TIMEOUT_S))
    await node.called.wait()
    for byte in reply_ok(node.calls[0], {"now": 8}):
        node.say(bytes([byte]))
        await asyncio.sleep(0)
    assert (await call)[1] == b'{"now": 8}'


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_call_that_is_not_answered_in_time_fails_alone(channel, node):
    held: list[Call] = []
    node.script = lambda call: held.append(call) if call.verb == "claim" else well_behaved(call)
    late = asyncio.create_task(channel.send("claim", b"{}", 0.05))
    async with asyncio.timeout(5):
        while not late.done():  # the node goes on talking meanwhile
            await channel.send("time", b"{}", TIMEOUT_S)
    error = await lost(late)
    assert error.maybe_done
    assert "no answer in time" in str(error)
    node.say(reply_ok(held[0], {"tasks": []}))  # too late, and no harm
    await channel.send("time", b"{}", TIMEOUT_S)
    assert node.connections == 1


@pytest.mark.asyncio
async def test_a_node_that_says_nothing_at_all_is_left(channel, node):
    node.script = lambda call: None
    patient = asyncio.create_task(channel.send("claim", b"{}", TIMEOUT_S))
    await node.called.wait()
    await lost(channel.send("time", b"{}", 0.05))
    assert "silent" in str(await lost(patient))
    node.script = well_behaved
    await channel.send("time", b"{}", TIMEOUT_S)
    assert node.connections == 2


@pytest.mark.asyncio
async def test_a_node_that_gives_no_sign_of_life_is_left_long_before_a_call_ends(node):
    node.script, node.pongs = lambda call: None, False
    channel = TextChannel(*parse_urls(node.url), quiet_s=0.02, pong_s=0.04)
    error = await lost(channel.send("claim", b"{}", 3600.0))
    assert error.maybe_done
    assert "silent" in str(error)
    assert node.pings == 1
    await channel.close()


@pytest.mark.asyncio
async def test_a_node_that_gives_signs_of_life_is_waited_for(node):
    held: list[Call] = []
    node.script = held.append
    channel = TextChannel(*parse_urls(node.url), quiet_s=0.01, pong_s=0.3)
    waiting = asyncio.create_task(channel.send("claim", BODY, 3600.0))
    async with asyncio.timeout(TIMEOUT_S):
        await node.pinged(3)
    node.say(reply_ok(held[0], {"tasks": []}))
    await waiting
    assert node.connections == 1
    await channel.close()


@pytest.mark.asyncio
@pytest.mark.usefixtures("endless_connecting")
async def test_a_connection_that_cannot_be_made_in_time_is_given_up():
    channel = TextChannel(*parse_urls("raftq://127.0.0.1:9"), connect_s=0.01)
    assert not (await lost(channel.send("time", b"{}", TIMEOUT_S))).maybe_done


@pytest.mark.asyncio
@pytest.mark.usefixtures("endless_connecting")
async def test_a_call_does_not_wait_longer_than_it_may_for_a_connection():
    channel = TextChannel(*parse_urls("raftq://127.0.0.1:9"), connect_s=60.0)
    assert not (await lost(channel.send("time", b"{}", 0.01))).maybe_done
    await channel.close()


# --- cancelling, pressure, closing ---------------------------------------------------------------


@pytest.mark.asyncio
async def test_cancelling_a_call_leaves_the_others_and_the_connection(channel, node):
    node.script = lambda call: None if call.verb == "claim" else well_behaved(call)
    gone = asyncio.create_task(channel.send("claim", b"{}", TIMEOUT_S))
    await node.called.wait()
    gone.cancel()
    await asyncio.wait({gone})
    node.say(reply_ok(node.calls[0], {"tasks": []}))
    assert (await channel.send("time", b"{}", TIMEOUT_S))[1] == b'{"now": 7}'
    assert node.connections == 1


@pytest.mark.asyncio
async def test_cancelling_the_call_that_connects_leaves_those_that_wait_with_it(channel, node):
    first = asyncio.create_task(channel.send("time", b"{}", TIMEOUT_S))
    second = asyncio.create_task(channel.send("time", b"{}", TIMEOUT_S))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second)[1] == b'{"now": 7}'
    assert first.cancelled()
    assert node.connections == 1


@pytest.mark.asyncio
async def test_calls_wait_while_the_node_takes_no_more_bytes(wire, channel, node):
    await channel.send("time", b"{}", TIMEOUT_S)
    wire.protocols[0].pause_writing()
    waiting = [asyncio.create_task(channel.send("time", b"{}", TIMEOUT_S)) for _ in range(3)]
    waiting[0].cancel()
    await some_turns()
    assert len(node.calls) == 1
    wire.protocols[0].resume_writing()
    assert [answer[1] for answer in await asyncio.gather(*waiting[1:])] == [b'{"now": 7}'] * 2
    wire.protocols[0].pause_writing()
    assert not (await lost(channel.send("time", b"{}", 0.01))).maybe_done


async def some_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_closing_fails_what_is_in_flight_and_what_comes_after(channel, node):
    node.script = lambda call: None
    call = asyncio.create_task(channel.send("time", b"{}", TIMEOUT_S))
    await node.called.wait()
    await channel.close()
    await channel.close()
    await lost(call)
    with pytest.raises(raftq.MisuseError):
        await channel.send("time", b"{}", TIMEOUT_S)


@pytest.mark.asyncio
@pytest.mark.usefixtures("endless_connecting")
async def test_closing_while_connecting_ends_the_call():
    channel = TextChannel(*parse_urls("raftq://127.0.0.1:9"))
    call = asyncio.create_task(channel.send("time", b"{}", TIMEOUT_S))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await channel.close()
    with pytest.raises(raftq.MisuseError):
        await call


def test_uvloop_carries_calls_as_well():
    async def main() -> list[tuple[int, bytes]]:
        async with scripted() as node:
            channel = TextChannel(*parse_urls(node.url))
            answers = await asyncio.gather(
                *(channel.send("time", b"{}", TIMEOUT_S) for _ in range(50))
            )
            node.hang_up()
            await channel.close()
            return answers

    assert len(uvloop.run(main())) == 50
