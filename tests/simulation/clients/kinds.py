"""The kinds of clients: what each does, again and again.

Producers insert; workers claim, renew, and complete, change or drop what they hold; pollers wait; readers read at other nodes;
one sets up queues. Values carry a tag each, so that a task can be recognised wherever it turns up.
"""

import asyncio
from random import Random
from typing import Any, Final

from msgspec import UNSET

from raftq.wire import documents as wire
from raftq_cluster.core.outcomes import Claimed, Modified, Renewed, TaskRow
from raftq_cluster.core.queries import Queues, Tasks
from raftq_cluster.service import building
from tests.simulation.clients.client import Client
from tests.simulation.clients.gateway import Gateway
from tests.simulation.clock import EPOCH_NS
from tests.simulation.history import DONE, Call, History
from tests.simulation.world import NS_PER_S

QUEUES: Final = ("/jobs/a", "/jobs/b", "/mail/out", "/slow")
_SIZES: Final = (0, 0, 20, 20, 200, 3_000)
HUGE_SHARE: Final = 0.005  # of values that are larger than a segment of the log
HUGE_BYTES: Final = 40_000


def tag_of(row: TaskRow) -> str:
    """The tag in a task's value."""
    return row.value.partition(b"|")[0].decode()


class Tags:
    """Numbers for values, over all clients."""

    def __init__(self) -> None:
        self._count = 0

    def new(self) -> str:
        self._count += 1
        return f"v{self._count}"


class Tagging(Client):
    """A client that inserts."""

    def __init__(
        self, gateway: Gateway, history: History, name: str, chance: Random, tags: Tags
    ) -> None:
        super().__init__(gateway, history, name, chance)
        self.tags = tags

    def insert(self, tag: str) -> wire.Insert:
        chance = self.chance
        padding = b"." * (chance.choice(_SIZES) if chance.random() > HUGE_SHARE else HUGE_BYTES)
        delay_ms = chance.randrange(1, 3_000) if chance.random() < 0.2 else UNSET
        return wire.Insert(
            queue=chance.choice(QUEUES),
            value_b64=tag.encode() + b"|" + padding,
            priority=chance.randrange(3),
            delay_ms=delay_ms,
        )


class Producer(Tagging):
    """Inserts some tasks at a time, mostly with a key, through changing nodes."""

    async def step(self) -> None:
        tags = tuple(self.tags.new() for _ in range(self.chance.randint(1, 3)))
        key = self.new_key() if self.chance.random() < 0.75 else ""
        await self.modify(
            wire.ModifyRequest(
                claimant=self.name,
                inserts=[self.insert(tag) for tag in tags],
                idempotency_key=key,
            ),
            tags,
        )


class Worker(Tagging):
    """Claims, holds for a while, and ends it in one of the ways there are."""

    think_s = 0.12

    async def step(self) -> None:
        chance = self.chance
        request = wire.ClaimRequest(
            queues=chance.sample(QUEUES, chance.randint(1, 3)),
            claimant=self.name,
            lease_ms=chance.choice((200, 1_000, 4_000)),
            limit=chance.choice((1, 1, 1, 3)),
            idempotency_key=self.new_key() if chance.random() < 0.4 else "",
        )
        await self.work_on(await self.claim(request), request.lease_ms)

    async def work_on(self, call: Call, lease_ms: int) -> None:
        if call.status != DONE or not isinstance(call.outcome, Claimed):
            return
        for row in call.outcome.tasks:
            await asyncio.sleep(self.chance.choice((0.0, 0.0, 0.1, 0.5)) * self.chance.random())
            await self.end(row, lease_ms)

    async def end(self, row: TaskRow, lease_ms: int) -> None:
        """Complete, hand on, give back, or forget; perhaps renewed before."""
        chance = self.chance
        target = wire.Target(id=row.id, version=row.version)
        if chance.random() < 0.25:
            held = await self.renew(
                wire.RenewRequest(claimant=self.name, tasks=[target], lease_ms=lease_ms)
            )
            if not isinstance(held.outcome, Renewed) or not held.outcome.renewed:
                return
            target = wire.Target(id=row.id, version=held.outcome.renewed[0].version)
        way = chance.random()
        if way < 0.1:
            return  # it crashed, as it were: the lease runs out
        key = self.new_key() if chance.random() < 0.7 else ""
        request = wire.ModifyRequest(claimant=self.name, idempotency_key=key)
        tags: tuple[str, ...] = ()
        if way < 0.7:
            request.deletes = [target]
        elif way < 0.85:
            tags = (self.tags.new(),)
            request.deletes, request.inserts = [target], [self.insert(tags[0])]
        else:
            request.changes = [
                wire.Change(
                    id=target.id,
                    version=target.version,
                    queue=chance.choice(QUEUES),
                    delay_ms=chance.choice((0, 300)),
                    attempt=row.attempt + 1,
                    err="try again",
                )
            ]
        await self.modify(request, tags)


class Poller(Worker):
    """Waits for tasks, and sometimes goes away before one comes."""

    think_s = 0.3

    async def step(self) -> None:
        chance = self.chance
        key = self.new_key() if chance.random() < 0.3 else ""
        request = wire.ClaimRequest(
            queues=[chance.choice(QUEUES)], claimant=self.name, lease_ms=2_000, idempotency_key=key
        )
        call = Call(self.name, "claim", self.gateway.world.now_ns)
        self.history.calls.append(call)
        told, call.operation = await self.gateway.wait_claim(
            self.choose(),
            lambda service: building.claim_of(service, request, "json"),
            chance.choice((100, 1_000, 5_000)),
        )
        if told.status == DONE:
            self._finish(call, told)
            await self.work_on(call, 2_000)
        else:
            self.node = ""
            call.ended_ns, call.status = self.gateway.world.now_ns, told.status


class Reader(Client):
    """Reads through other nodes than it wrote to."""

    think_s = 0.25

    async def step(self) -> None:
        chance = self.chance
        if chance.random() < 0.5:
            await self.read(Tasks(chance.choice(QUEUES), "", (), 30, omit_values=False))
        elif chance.random() < 0.5:
            await self.read(Queues((), (), 20))
        else:
            rows = [row for call in self.history.calls[-40:] for row in rows_of(call)]
            ids = tuple(dict.fromkeys(row.id for row in rows[-5:]))
            if ids:
                await self.read(Tasks("", "", ids, 10, omit_values=False))


class Configurer(Client):
    """Sets up queues anew, which no call may suffer from; what it pauses it lets go on."""

    think_s = 3.0

    async def step(self) -> None:
        name = self.chance.choice(QUEUES)
        order: Any = self.chance.choice(("random", "fifo", "priority"))
        await self._set(wire.ConfigureRequest(pattern=name, order=order, paused=True))
        await asyncio.sleep(0.3 * self.chance.random())
        await self._set(wire.ConfigureRequest(pattern=name, order=order, paused=False))

    async def _set(self, request: wire.ConfigureRequest) -> None:
        request.idempotency_key = self.new_key()
        await self.call(
            "configure",
            lambda service: building.configure_of(service, request, "json"),
            key=request.idempotency_key,
        )


class Litterer(Client):
    """Inserts what may be collected, at once or soon, and sometimes claims it. It is in no history: it may be gone at any time."""

    think_s = 0.4

    async def step(self) -> None:
        chance, claimant = self.chance, self.name
        due_s = (EPOCH_NS + self.gateway.world.now_ns) // NS_PER_S + chance.randrange(20)
        queue = chance.choice(("/litter/gc=0", f"/litter/sess=1;gc={due_s}"))
        inserts = [wire.Insert(queue=queue, delay_ms=chance.choice((0, 3_000))) for _ in range(30)]
        if chance.random() < 0.3:
            claim = wire.ClaimRequest(queues=[queue], claimant=claimant, lease_ms=4_000, limit=5)
            await self.gateway.submit(
                self.choose(), lambda service: building.claim_of(service, claim, "json")
            )
        else:
            modify = wire.ModifyRequest(claimant=claimant, inserts=inserts)
            await self.gateway.submit(
                self.choose(), lambda service: building.modify_of(service, modify, "json")
            )


def rows_of(call: Call) -> tuple[TaskRow, ...]:
    """The task rows that a call has brought into being."""
    outcome = call.outcome
    if isinstance(outcome, Claimed):
        return outcome.tasks
    if isinstance(outcome, Modified):
        return outcome.inserted + outcome.changed
    if isinstance(outcome, Renewed):
        return outcome.renewed
    return ()
