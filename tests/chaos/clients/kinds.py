"""The kinds of clients: what each does, again and again.

Producers insert; workers claim, renew, and complete, hand on, give back or forget what they hold; pollers wait; readers read at
other nodes. Values carry a tag each, so that a task can be recognised wherever it turns up, in whatever dialect.
Queues ``a`` and ``b`` belong to v1 and EntroQ, ``t`` to v1 and TaskQ.
"""

import asyncio
from random import Random
from typing import Any, Final

from raftq_cluster.core.outcomes import Claimed, Renewed, TaskRow
from tests.chaos.clients.client import Client, DocumentClient, Surroundings
from tests.chaos.clients.speaking import Refusal
from tests.chaos.clients.text import Numbered, TaskQ
from tests.chaos.clients.values import value_of
from tests.simulation.history import DONE

SHARED: Final = "a"
OTHER: Final = "b"
NUMBERED: Final = "t"
QUEUES: Final = (SHARED, OTHER, NUMBERED)
_SIZES: Final = (0, 0, 20, 200, 3_000)
_LEASES_MS: Final = (1_000, 1_000, 4_000)  # EntroQ's are at least a second


class Tagging(DocumentClient):
    """A client that inserts."""

    _tags = 0

    def new_tag(self) -> str:
        """A tag that was never used."""
        self._tags += 1
        return f"{self.name}.{self._tags}"

    def queue(self) -> str:
        """Any queue of its dialect."""
        names = (SHARED, OTHER) if self.speaker.dialect == "entroq" else QUEUES
        return self.run_of.prefix + self.chance.choice(names)

    def insert(self, tag: str) -> dict[str, Any]:
        """A task with this tag, of any size, sometimes for later."""
        padding = "." * self.chance.choice(_SIZES)
        part: dict[str, Any] = {"queue": self.queue(), "value": value_of(tag, padding)}
        if self.has_keys and self.chance.random() < 0.15:
            part["delay_ms"] = self.chance.randrange(1, 2_000)
        return part


class Producer(Tagging):
    """Inserts some tasks at a time, mostly with a key, through changing nodes."""

    async def step(self) -> None:
        tags = tuple(self.new_tag() for _ in range(self.chance.choice((1, 1, 2, 3))))
        document = {"claimant": self.name, "inserts": [self.insert(tag) for tag in tags]}
        await self.call("modify", document, tags=tags, keyed=0.75)


class Worker(Tagging):
    """Claims, holds for a while, and ends it in one of the ways there are."""

    think_s = 0.08
    wait_ms = 0

    async def step(self) -> None:
        lease_ms = self.chance.choice(_LEASES_MS)
        document: dict[str, Any] = {
            "queues": sorted({self.queue(), self.queue()}),
            "claimant": self.name,
            "lease_ms": lease_ms,
        }
        if self.has_keys:
            document["limit"] = self.chance.choice((1, 1, 1, 3))
        if self.wait_ms:
            document["wait_ms"] = self.wait_ms
        call = await self.call("claim", document, keyed=0.4, wait_s=self.wait_ms / 1_000)
        if call.status == DONE and isinstance(call.outcome, Claimed):
            for row in call.outcome.tasks:
                await self.work_on(row, lease_ms)

    async def work_on(self, row: TaskRow, lease_ms: int) -> None:
        """Complete, hand on, give back, or forget; perhaps renewed before."""
        chance = self.chance
        await asyncio.sleep(chance.choice((0.0, 0.0, 0.1, 0.4)) * chance.random())
        version: int | None = row.version
        if self.has_keys and chance.random() < 0.25:
            version = await self._renew(row, lease_ms)
        way = chance.random()
        if version is None or way < 0.08:  # it crashed, as it were: the lease runs out
            return
        target = {"id": row.id, "version": version}
        document: dict[str, Any] = {"claimant": self.name}
        tags: tuple[str, ...] = ()
        if way < 0.75 or not self.has_keys:
            document["deletes"] = [target]
        elif way < 0.87:
            tags = (self.new_tag(),)
            document |= {"deletes": [target], "inserts": [self.insert(tags[0])]}
        else:
            change = {
                "delay_ms": chance.choice((0, 300)),
                "attempt": row.attempt + 1,
                "err": "again",
            }
            document["changes"] = [target | change]
        if not self.has_keys:
            target["queue"] = row.queue
        await self.call("modify", document, tags=tags, keyed=0.7)

    async def _renew(self, row: TaskRow, lease_ms: int) -> int | None:
        """Hold it for longer, and give its version; None where it is held no more, or nobody knows."""
        target = {"id": row.id, "version": row.version}
        document = {"claimant": self.name, "tasks": [target], "lease_ms": lease_ms}
        call = await self.call("renew", document, keyed=0.5)
        if isinstance(call.outcome, Renewed) and call.outcome.renewed:
            return call.outcome.renewed[0].version
        return None


class Poller(Worker):
    """Waits for tasks."""

    wait_ms = 1_500


class Reader(Tagging):
    """Lists a queue, at any node."""

    think_s = 0.4

    async def step(self) -> None:
        self.choose(other=True)
        await self.call("tasks", {"queue": self.queue(), "limit": 20})


class TaskQClient(Client):
    """A client of TaskQ's verbs: what has no key is asked once."""

    def __init__(self, run: Surroundings, name: str, chance: Random, speaker: TaskQ) -> None:
        super().__init__(run, name, chance)
        self.speaker = speaker

    @property
    def queue(self) -> str:
        """The one queue of such clients."""
        return self.run_of.prefix + NUMBERED

    async def close(self) -> None:
        """Close its connection."""
        await self.speaker.close()


class TaskQProducer(TaskQClient):
    """Enqueues."""

    _tags = 0

    async def step(self) -> None:
        self._tags += 1
        tag = f"{self.name}.{self._tags}"
        call = self.begin("enq", (tag,), self.queue)
        told = await self.speaker.enq(self.choose(), self.queue, value_of(tag, "taskq").encode())
        self.end(call, told, self.speaker.dialect)
        if told.status != DONE:
            self._node = ""


class TaskQWorker(TaskQClient):
    """Dequeues and acks; some it leaves until their lease ends."""

    async def step(self) -> None:
        call = self.begin("deq", operation=self.queue)
        told = await self.speaker.deq(self.choose(), self.queue)
        self.end(call, told, self.speaker.dialect)
        if told.status != DONE:
            self._node = ""
        if isinstance(told.outcome, Refusal) or told.status != DONE or self.chance.random() < 0.08:
            return
        task: Numbered = told.outcome
        call = self.begin("ack", operation=task)
        told = await self.speaker.ack(self.choose(), task)
        self.end(call, told, self.speaker.dialect)
