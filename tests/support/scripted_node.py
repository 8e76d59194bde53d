"""A text node that says what a test tells it to, and remembers what it was asked.

    async with scripted(lambda call: reply_ok(call, {"now": 1})) as node:
        client = AsyncClient(node.url)

A script takes each ``call`` and gives the bytes to answer, None for silence, or raises HangUp.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from raftq.wire.codes import CODES


class Call(NamedTuple):
    """One request as it came."""

    rid: int
    verb: str
    document: dict[str, Any]
    body: bytes


class HangUp(Exception):  # noqa: N818 - an order of the script
    """Close the connection, after saying ``last_words``."""

    def __init__(self, last_words: bytes = b"") -> None:
        super().__init__()
        self.last_words = last_words


Script = Callable[[Call], bytes | None]


class ScriptedNode:
    """What happened at the node."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.calls: list[Call] = []
        self.connections = 0
        self.pings = 0
        self._pinged = asyncio.Condition()
        self.pongs = True  # whether it gives signs of life
        self.url = ""
        self.called = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                call = await _read_call(reader)
                if call.verb == "ping":
                    async with self._pinged:
                        self.pings += 1
                        self._pinged.notify_all()
                    writer.write(b"%d pong\n" % call.rid if self.pongs else b"")
                    continue
                self.calls.append(call)
                self.called.set()
                answer = self.script(call)
                if answer is not None:
                    writer.write(answer)
        except HangUp as order:
            writer.write(order.last_words)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def pinged(self, times: int) -> None:
        """Wait until it was asked so many times for a sign of life."""
        async with self._pinged:
            await self._pinged.wait_for(lambda: self.pings >= times)

    def say(self, words: bytes) -> None:
        """Say something on the newest connection."""
        self._writers[-1].write(words)

    def hang_up(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.transport.abort()


async def _read_call(reader: asyncio.StreamReader) -> Call:
    rid = (await reader.readuntil(b" "))[:-1]
    word = await reader.readexactly(4)
    if await reader.readexactly(1) == b"\n":
        return Call(int(rid), word.decode(), {}, b"")
    if word == b"auth":
        secret = (await reader.readuntil(b"\n"))[:-1]
        return Call(int(rid), f"auth {secret.decode()}", {}, b"")
    words = [rid, word, *[(await reader.readuntil(b" "))[:-1] for _ in range(2)]]
    body = await reader.readexactly(int(words[3]))
    await reader.readexactly(1)
    return Call(int(words[0]), words[2].decode(), json.loads(body), body)


def reply_ok(call: Call, document: Any) -> bytes:
    """Write a good answer."""
    body = json.dumps(document).encode()
    return b"%d ok %d %b\n" % (call.rid, len(body), body)


def reply_fail(call: Call, code: str, **fields: Any) -> bytes:
    """Write a refusal."""
    known = CODES[code]
    problem = {
        "type": f"urn:raftq:problem:{code}",
        "title": known.title,
        "status": known.status,
        "detail": fields.pop("detail", known.title),
        "code": code,
        "retryable": known.retryable,
        **fields,
    }
    body = json.dumps(problem).encode()
    return b"%d fail %b %d %b\n" % (call.rid, code.encode(), len(body), body)


def task_document(id_: str = "t1", **fields: Any) -> dict[str, Any]:
    """Write a task."""
    return {"id": id_, "version": 0, "queue": "q", "at": 1, **fields}


def well_behaved(call: Call) -> bytes:
    """Answer any call with as little as it takes."""
    inserts = call.document.get("inserts", [])
    answers: dict[str, Any] = {
        "claim": {"tasks": [task_document(version=1, value=1)]},
        "modify": {"inserted": [task_document() for _ in inserts], "changed": []},
        "renew": {"renewed": [], "lost": []},
        "time": {"now": 7},
        "forget": {},
        "configure": {},
    }
    return reply_ok(call, answers[call.verb])


@asynccontextmanager
async def scripted(script: Script = well_behaved) -> AsyncIterator[ScriptedNode]:
    """Start a node and stop it in the end."""
    node = ScriptedNode(script)
    server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    node.url = f"raftq://{host}:{port}"
    try:
        yield node
    finally:
        server.close()
        node.hang_up()
        await server.wait_closed()
