"""Clients that insert, claim and delete as fast as they are answered, and write down what they learn.

They speak the text protocol's frames directly, not through the client library, so that nothing retries
behind their back: each decides itself what an unanswered request means.
"""

import asyncio
import json
import random
from itertools import count
from typing import Any, Final

from raftq.wire.text import ReplyParser, request_with_body
from tests.support.crash.history import History, Row

QUEUE: Final = "/crash"
LEASE_MS: Final = 400  # short: what a killed client held is claimed again within the run
_REPLY_S: Final = 20.0


class CutError(Exception):
    """The connection ended before the answer came: the outcome is unknown."""


class RefusedError(Exception):
    """The node answered with a problem."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem)
        self.problem = problem


class Connection:
    """One connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = ReplyParser()
        self._rids = count(1)

    @classmethod
    async def open(cls, address: tuple[str, int]) -> "Connection":
        try:
            return cls(*await asyncio.open_connection(*address))
        except OSError as error:
            raise CutError from error

    async def call(self, verb: str, document: dict[str, Any]) -> dict[str, Any]:
        rid = next(self._rids)
        try:
            self._writer.write(request_with_body(rid, "call", verb, json.dumps(document).encode()))
            async with asyncio.timeout(_REPLY_S):
                return await self._reply(rid)
        except OSError as error:
            raise CutError from error

    async def _reply(self, rid: int) -> dict[str, Any]:
        while data := await self._reader.read(65536):
            for reply in self._parser.feed(data):
                assert reply.rid == rid, reply
                document: dict[str, Any] = json.loads(reply.body)
                if reply.word == "fail":
                    raise RefusedError(document)
                return document
        raise CutError

    def close(self) -> None:
        self._writer.transport.abort()


class Client:
    """One client, which lives through any number of cuts."""

    def __init__(self, name: str, history: History, seed: int) -> None:
        self._name = name
        self._history = history
        self._random = random.Random(seed)
        self._numbers = count(1)
        self._pending: dict[str, Any] | None = None  # a keyed insert whose outcome is unknown

    async def run(self, address: tuple[str, int]) -> None:
        """Work until the connection is cut."""
        try:
            connection = await Connection.open(address)
        except CutError:
            return
        try:
            while True:
                await self._step(connection)
        except CutError:
            return
        finally:
            connection.close()

    async def _step(self, connection: Connection) -> None:
        if self._pending is not None or self._random.random() < 0.4:  # more work than inserts
            await self._insert(connection)
        else:
            await self._work(connection)

    async def _insert(self, connection: Connection) -> None:
        document = self._pending or self._new_insert()
        self._pending = document if "idempotency_key" in document else None
        answer = await connection.call("modify", document)
        self._pending = None
        for insert, row in zip(document["inserts"], answer["inserted"], strict=True):
            self._history.note_inserted(insert["value"]["tag"], row["id"])

    def _new_insert(self) -> dict[str, Any]:
        inserts: list[dict[str, Any]] = []
        for _ in range(self._random.choice((1, 1, 1, 5))):
            tag = f"{self._name}-{next(self._numbers)}"
            self._history.attempted.add(tag)
            delay_ms = self._random.choice((0, 0, 0, 50))
            inserts.append({"queue": QUEUE, "value": {"tag": tag}, "delay_ms": delay_ms})
        document: dict[str, Any] = {"claimant": self._name, "inserts": inserts}
        if self._random.random() < 0.7:
            document["idempotency_key"] = inserts[0]["value"]["tag"]
        return document

    async def _work(self, connection: Connection) -> None:
        invoked = self._history.events
        limit = self._random.choice((1, 1, 4))
        claim = {"queues": [QUEUE], "claimant": self._name, "lease_ms": LEASE_MS, "limit": limit}
        tasks = (await connection.call("claim", claim))["tasks"]
        for row in tasks:
            self._history.note_claimed(invoked, row)
        if tasks and self._random.random() < 0.9:  # some are left until their lease ends
            await self._delete(connection, tasks)

    async def _delete(self, connection: Connection, tasks: list[Row]) -> None:
        ids = [row["id"] for row in tasks]
        self._history.maybe_deleted.update(ids)
        deletes = [{"id": row["id"], "version": row["version"]} for row in tasks]
        try:
            await connection.call("modify", {"claimant": self._name, "deletes": deletes})
        except RefusedError as refused:
            if refused.problem["code"] != "dependency":
                raise
            self._history.maybe_deleted.difference_update(ids)  # certainly not by this request
            return
        for id_ in ids:
            self._history.note_deleted(id_)


async def list_all(address: tuple[str, int]) -> list[Row]:
    """Every task that is left."""
    connection = await Connection.open(address)
    try:
        answer = await connection.call("tasks", {"queue": QUEUE, "limit": 10_000})
        assert len(answer["tasks"]) < 10_000, "more is left than one listing tells"
        return list(answer["tasks"])
    finally:
        connection.close()
