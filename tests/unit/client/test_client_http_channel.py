"""The HTTP channel against peers that answer with whatever the test says."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import raftq
from raftq.transport.http import HttpChannel
from raftq.transport.urls import parse_urls

TIMEOUT_S = 20.0
OK = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Raftq-Index: 12\r\n"


def answer(head: str, body: bytes = b"{}") -> bytes:
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Peer:
    """Answers each request with the next of its answers; None hangs up."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, bytes]] = []
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = {line.partition(":")[0].lower(): line.partition(":")[2] for line in head}
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                self.requests.append((head[0], body))
                reply = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if reply is None:
                    return
                writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def peer_of(*answers: bytes | None) -> AsyncIterator[tuple[Peer, HttpChannel]]:
    peer = Peer(*answers)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    channel = HttpChannel(*parse_urls(f"http://{host}:{port}"))
    try:
        yield peer, channel
    finally:
        await channel.close()
        server.close()
        await server.wait_closed()


async def send(channel: HttpChannel, verb: str = "time", body: bytes = b"{}") -> tuple[int, bytes]:
    return await channel.send(verb, body, TIMEOUT_S)


@pytest.mark.asyncio
async def test_an_answer_carries_its_log_index():
    async with peer_of(answer(OK, b'{"now":7}')) as (_, channel):
        assert await send(channel) == (12, b'{"now":7}')


@pytest.mark.parametrize("index", ["9" * 5_000, "-1", "\u0663", "x"])
@pytest.mark.asyncio
async def test_an_index_that_is_none_is_passed_over(index):
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Raftq-Index: {index}\r\n"
    async with peer_of(answer(head, b'{"now":7}')) as (_, channel):
        assert await send(channel) == (0, b'{"now":7}')


@pytest.mark.parametrize(
    ("status", "maybe_done"), [("200 OK", True), ("500 Oops", True), ("404 Not Found", False)]
)
@pytest.mark.asyncio
async def test_what_somebody_else_says_of_a_request_may_be_about_a_node(status, maybe_done):
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\n"
    async with peer_of(answer(head, b"<html>")) as (_, channel):
        with pytest.raises(raftq.ProtocolError) as refused:
            await send(channel, "modify")
        assert refused.value.maybe_done is maybe_done


@pytest.mark.parametrize(
    ("verb", "document", "line"),
    [
        ("claim", {"queues": ["q"]}, "POST /v1/claim"),
        ("modify", {}, "POST /v1/modify"),
        ("renew", {}, "POST /v1/renew"),
        ("forget", {}, "POST /v1/forget"),
        ("configure", {"pattern": "q"}, "PUT /v1/settings"),
        ("settings", {}, "GET /v1/settings"),
        ("time", {}, "GET /v1/time"),
        ("cluster", {}, "GET /v1/cluster"),
        ("queues", {"prefix": ["a/", "b c"], "limit": 3}, "GET /v1/queues?prefix=a%2F&prefix=b+c&limit=3"),
        ("tasks", {"queue": "q", "omit_values": True}, "GET /v1/tasks?queue=q&omit_values=true"),
        ("task", {"id": "a/b?", "consistency": "stale"}, "GET /v1/tasks/a%2Fb%3F?consistency=stale"),
    ],
)  # fmt: skip
@pytest.mark.asyncio
async def test_each_verb_has_its_address(verb, document, line):
    body = json.dumps(document).encode()
    async with peer_of(answer(OK)) as (peer, channel):
        await send(channel, verb, body)
    assert peer.requests == [(f"{line} HTTP/1.1", b"" if line.startswith("GET") else body)]


@pytest.mark.asyncio
async def test_a_problem_comes_as_its_error():
    problem = {"type": "", "title": "t", "status": 404, "detail": "no such task",
               "code": "task_not_found", "retryable": False}  # fmt: skip
    head = "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\n"
    async with peer_of(answer(head, json.dumps(problem).encode())) as (_, channel):
        with pytest.raises(raftq.NotFound, match="no such task"):
            await send(channel, "task", b'{"id":"x"}')


@pytest.mark.parametrize(
    "reply",
    [
        answer("HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n", b"<h1>nginx</h1>"),
        answer("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n", b"<h1>hello</h1>"),
        answer("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n", b""),
        answer("HTTP/1.1 400 Bad\r\nContent-Type: application/problem+json\r\n", b"{]"),
    ],
    ids=["foreign 404", "foreign 200", "redirect", "broken problem"],
)
@pytest.mark.asyncio
async def test_an_answer_of_something_else_is_a_protocol_error(reply):
    async with peer_of(reply) as (_, channel):
        with pytest.raises(raftq.ProtocolError):
            await send(channel)


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.asyncio
async def test_a_gateway_that_lost_its_node_leaves_a_doubt(status):
    head = f"HTTP/1.1 {status} Bad Gateway\r\nContent-Type: text/html\r\n"
    async with peer_of(answer(head, b"")) as (_, channel):
        with pytest.raises(raftq.ConnectionLost) as lost:
            await send(channel, "modify")
    assert lost.value.maybe_done


@pytest.mark.parametrize("reply", [None, b"HTTP/1.1 200 OK\r\nContent-Le", answer(OK, b"{}")[:-1]])
@pytest.mark.asyncio
async def test_a_connection_that_ends_before_the_answer_leaves_a_doubt(reply):
    async with peer_of(*([reply, None] if reply else [None])) as (peer, channel):
        sending = asyncio.create_task(send(channel, "modify"))
        while not peer.requests:
            await asyncio.sleep(0)
        if reply:  # what was said is not all; then the peer goes
            await channel.close()
        with pytest.raises(raftq.ConnectionLost) as lost:
            await sending
    assert lost.value.maybe_done


@pytest.mark.asyncio
async def test_a_peer_that_does_not_speak_http_is_told_in_one_line():
    async with peer_of(b"220 mail.example.org ESMTP\r\n") as (_, channel):
        with pytest.raises(raftq.ConnectionLost, match="does not speak HTTP") as lost:
            await send(channel)
    assert lost.value.maybe_done
    assert "\n" not in lost.value.detail


@pytest.mark.asyncio
async def test_a_text_port_is_told_apart_for_certain():
    async with peer_of(b"- error a request starts with its id, a number\n") as (_, channel):
        with pytest.raises(raftq.ProtocolError, match="raftq:// for a text port"):
            await send(channel)


@pytest.mark.asyncio
async def test_a_refused_connection_is_told_in_the_systems_words_and_leaves_no_doubt():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        (address,) = parse_urls(url)
        channel = HttpChannel(address)
        try:
            with pytest.raises(raftq.ConnectionLost, match=f"^{url}: Connection refused$") as lost:
                await send(channel)
        finally:
            await channel.close()
    assert not lost.value.maybe_done


@pytest.mark.asyncio
async def test_no_answer_in_time_leaves_a_doubt():
    async with peer_of(b"") as (_, channel):
        with pytest.raises(raftq.ConnectionLost, match="no answer in time") as lost:
            await channel.send("modify", b"{}", 0.05)
    assert lost.value.maybe_done


@pytest.mark.asyncio
async def test_nobody_listening_is_certainly_not_done():
    async with peer_of(b"") as (_, channel):
        pass
    fresh = HttpChannel(*parse_urls(channel._base))
    with pytest.raises(raftq.ConnectionLost) as lost:
        await send(fresh)
    assert not lost.value.maybe_done
    await fresh.close()


@pytest.mark.asyncio
async def test_connections_are_kept_and_a_closed_channel_refuses():
    async with peer_of(answer(OK)) as (peer, channel):
        for _ in range(3):
            await send(channel)
        assert peer.connections == 1
        await channel.close()
        await channel.close()
        with pytest.raises(raftq.MisuseError):
            await send(channel)


@pytest.mark.asyncio
async def test_a_large_body_goes_as_it_is():
    body = b'{"x":"%b"}' % (b"y" * 2_000_000)
    async with peer_of(answer(OK)) as (peer, channel):
        await send(channel, "modify", body)
    assert peer.requests[0][1] == body
