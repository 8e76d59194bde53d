"""Clients that insert, claim and delete as fast as they are answered, and write down what they learn.

They speak the text protocol's frames directly, not through the client library, so that nothing retries
behind their back: each decides itself what an unanswered request means. A request that has an idempotency key and
no certain answer is repeated, through whatever node the client comes to next, until it has one.
"""

import asyncio
import json
import random
from collections.abc import Callable
from itertools import count
from typing import Any, Final, NamedTuple

from raftq.wire.text import ReplyParser, request_with_body
from tests.support.crash.history import History, Row

QUEUE: Final = "/crash"
LEASE_MS: Final = 400  # short: what a killed client held is claimed again within the run
REPLY_S: Final = 20.0
# Certainly not done, or not known: somebody else may know better.
_ELSEWHERE: Final = frozenset({"unavailable", "outcome_unknown", "draining"})
_KEYED: Final = 0.7  # of all requests


class CutError(Exception):
    """No answer came, or none that says anything: the outcome is unknown."""


class RefusedError(Exception):
    """The node answered with a problem."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem)
        self.problem = problem


class Connection:
    """One connection, one request at a time."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply_s: float
    ) -> None:
        self._reply_s = reply_s
        self._reader = reader
        self._writer = writer
        self._parser = ReplyParser()
        self._rids = count(1)

    @classmethod
    async def open(cls, address: tuple[str, int], reply_s: float = REPLY_S) -> "Connection":
        try:
            return cls(*await asyncio.open_connection(*address), reply_s)
        except OSError as error:
            raise CutError from error

    async def call(self, verb: str, document: dict[str, Any]) -> dict[str, Any]:
        rid = next(self._rids)
        try:
            self._writer.write(request_with_body(rid, "call", verb, json.dumps(document).encode()))
            async with asyncio.timeout(self._reply_s):
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


class _Request(NamedTuple):
    """What is to be done: a verb, its document, and what to note of a good answer."""

    verb: str
    document: dict[str, Any]
    note: Callable[[dict[str, Any]], None]
    refused: Callable[[], None] = lambda: None  # it is certain that it was never done


class Client:
    """One client, which lives through any number of cuts."""

    def __init__(self, name: str, history: History, seed: int, *, reply_s: float = REPLY_S) -> None:
        self._name = name
        self._history = history
        self._random = random.Random(seed)
        self._numbers = count(1)
        self._reply_s = reply_s
        self._pending: _Request | None = None  # it has a key, and its outcome is unknown
        self._held: list[Row] = []  # what the last claim brought

    async def run(self, address: tuple[str, int]) -> None:
        """Work until the connection is cut, or the node cannot say what became of a request."""
        try:
            connection = await Connection.open(address, self._reply_s)
        except CutError:
            return
        try:
            while True:
                await self._do(connection, self._pending or self._next())
        except CutError:
            return
        finally:
            connection.close()

    async def _do(self, connection: Connection, request: _Request) -> None:
        self._pending = request if "idempotency_key" in request.document else None
        try:
            answer = await connection.call(request.verb, request.document)
        except RefusedError as refused:
            if refused.problem["code"] in _ELSEWHERE:
                raise CutError from refused
            if refused.problem["code"] != "dependency":
                raise
            self._pending = None
            request.refused()
            return
        self._pending = None
        request.note(answer)

    def _next(self) -> _Request:
        held, self._held = self._held, []
        if held and self._random.random() < 0.9:  # some are left until their lease ends
            return self._delete(held)
        return self._insert() if self._random.random() < 0.4 else self._claim()

    def _keyed(self, document: dict[str, Any]) -> dict[str, Any]:
        if self._random.random() < _KEYED:
            document["idempotency_key"] = f"{self._name}-{next(self._numbers)}"
        return document

    def _insert(self) -> _Request:
        inserts: list[dict[str, Any]] = []
        for _ in range(self._random.choice((1, 1, 1, 5))):
            tag = f"{self._name}-{next(self._numbers)}"
            self._history.attempted.add(tag)
            delay_ms = self._random.choice((0, 0, 0, 50))
            inserts.append({"queue": QUEUE, "value": {"tag": tag}, "delay_ms": delay_ms})

        def note(answer: dict[str, Any]) -> None:
            for insert, row in zip(inserts, answer["inserted"], strict=True):
                self._history.note_inserted(insert["value"]["tag"], row["id"])

        document = self._keyed({"claimant": self._name, "inserts": inserts})
        return _Request("modify", document, note)

    def _claim(self) -> _Request:
        invoked = self._history.events  # of the first try: it may be the one that was done

        def note(answer: dict[str, Any]) -> None:
            self._held = answer["tasks"]
            for row in self._held:
                self._history.note_claimed(invoked, row)

        limit = self._random.choice((1, 1, 4))
        claim = {"queues": [QUEUE], "claimant": self._name, "lease_ms": LEASE_MS, "limit": limit}
        return _Request("claim", self._keyed(claim), note)

    def _delete(self, tasks: list[Row]) -> _Request:
        ids = [row["id"] for row in tasks]
        self._history.maybe_deleted.update(ids)

        def note(_answer: dict[str, Any]) -> None:
            for id_ in ids:
                self._history.note_deleted(id_)

        deletes = [{"id": row["id"], "version": row["version"]} for row in tasks]
        document = self._keyed({"claimant": self._name, "deletes": deletes})
        return _Request("modify", document, note, lambda: self._history.note_refused_delete(ids))


async def list_all(address: tuple[str, int]) -> list[Row]:
    """Every task that is left."""
    connection = await Connection.open(address)
    try:
        answer = await connection.call("tasks", {"queue": QUEUE, "limit": 10_000})
        assert len(answer["tasks"]) < 10_000, "more is left than one listing tells"
        return list(answer["tasks"])
    finally:
        connection.close()
