"""The dialects of the text protocol: v1 by ``call``, and TaskQ's own verbs. One connection a client, one request at a time."""

import asyncio
import json
from collections.abc import Mapping
from itertools import count
from typing import Any, NamedTuple

from raftq.wire.text import CONNECTION_RID, Reply, ReplyParser, request, request_with_body
from tests.chaos.clients.speaking import (
    BROKEN,
    HASTY_S,
    NOBODY,
    SILENT,
    Address,
    Refusal,
    SurpriseError,
    Told,
    outcome_of,
    refusal,
)
from tests.chaos.networks.api import TEXT
from tests.simulation.history import DONE

_CONNECT_S = 1.0
_NOTHING = "taskq: no task in queue"
_NO_SUCH = "taskq: no such task"


class _Lines:
    """A connection to the node that was asked last; closed when an answer stays away."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._node = ""
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._parser = ReplyParser()
        self._rids = count(1)

    async def _connect(self, node: str) -> bool:
        if self._node == node and self._writer is not None:
            return True
        await self.close()
        try:
            async with asyncio.timeout(_CONNECT_S):
                self._reader, self._writer = await asyncio.open_connection(
                    *self._address(node, TEXT)
                )
        except (OSError, TimeoutError):
            return False
        self._node, self._parser = node, ReplyParser()
        return True

    async def ask(
        self, node: str, wait_s: float, verb: str, *words: str, body: bytes = b""
    ) -> Reply | Told:
        """The reply to one request, or what is known without one."""
        if not await self._connect(node):
            return NOBODY
        assert self._writer is not None
        rid = next(self._rids)
        if body:
            self._writer.write(request_with_body(rid, verb, words[0], body))
        else:
            self._writer.write(request(rid, verb, *words))
        try:
            async with asyncio.timeout(HASTY_S + wait_s):
                return await self._reply(rid)
        except TimeoutError:
            await self.close()
            return SILENT
        except OSError:
            await self.close()
            return BROKEN

    async def _reply(self, rid: int) -> Reply:
        assert self._reader is not None
        while data := await self._reader.read(1 << 16):
            for reply in self._parser.feed(data):
                if reply.rid == CONNECTION_RID:
                    raise ConnectionAbortedError(reply.text)
                if reply.rid != rid:
                    raise SurpriseError(f"request {rid} was answered {reply}")
                return reply
        raise ConnectionResetError

    async def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._writer = self._reader = None


class V1Text(_Lines):
    """raftq's own dialect, by ``call``."""

    dialect = "v1 text"

    async def call(
        self, node: str, verb: str, document: Mapping[str, Any], wait_s: float = 0.0
    ) -> Told:
        """See ``Speaker``."""
        told = await self.ask(node, wait_s, "call", verb, body=json.dumps(document).encode())
        if isinstance(told, Told):
            return told
        answer = json.loads(told.body)
        if told.word == "fail":
            return refusal(told.text, answer.get("index", 0))
        return Told(DONE, answer["index"], outcome_of(verb, answer))


class Numbered(NamedTuple):
    """A task as TaskQ tells of it: by its number in a queue. ``body`` is that of a claimed one."""

    queue: str
    number: int
    body: bytes = b""


class TaskQ(_Lines):
    """TaskQ's verbs. Nothing has a key; claims give integer ids and tell no version."""

    dialect = "taskq"

    async def enq(self, node: str, queue: str, body: bytes) -> Told:
        """Insert."""
        return self._told(await self.ask(node, 0.0, "enq", queue, body=body), queue)

    async def deq(self, node: str, queue: str) -> Told:
        """Claim one; the outcome is a refusal where there is none."""
        return self._told(await self.ask(node, 0.0, "deq", queue), queue)

    async def ack(self, node: str, task: Numbered) -> Told:
        """Delete."""
        told = await self.ask(node, 0.0, "ack", task.queue, str(task.number))
        return self._told(told, task.queue)

    def _told(self, reply: Reply | Told, queue: str) -> Told:
        if isinstance(reply, Told):
            return reply
        if reply.word == "error":
            if reply.text in {_NOTHING, _NO_SUCH}:
                return Told(DONE, 0, Refusal(reply.text), reply.text)
            return refusal(reply.text.partition(":")[0])
        name, _, number = reply.text.partition(" ")
        if name != queue:
            raise SurpriseError(f"asked about {queue}, told about {name}")
        return Told(DONE, 0, Numbered(queue, int(number), reply.body))
