"""Clients whose histories are small enough to be checked for linearizability whole: registers and small queues.

A register is one task that nobody claims; its value is read, and changed by those who know its version. A small
queue is a few tasks that are inserted and claimed for good. After some calls the group takes the next one.
"""

import asyncio
from random import Random
from typing import Any, Final

from raftq.wire import documents as wire
from raftq_cluster.core.outcomes import Claimed, Modified, Transacted
from raftq_cluster.core.queries import Docs, Tasks
from raftq_cluster.service import building
from tests.simulation.clients.client import Client
from tests.simulation.clients.gateway import Gateway
from tests.simulation.history import DONE, REFUSED, History

FOREVER_NS: Final = 1 << 62  # the end of a call that may still take effect
CALLS_MAX: Final = 24
LONG_MS: Final = 3_600_000
DOCS: Final = "registers"  # the namespace


class Shared:
    """What a group of clients works on at the moment."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.number = 0
        self.calls = CALLS_MAX

    def take(self) -> str:
        """The name for one more call."""
        self.calls += 1
        if self.calls > CALLS_MAX:
            self.calls = 1
            self.number += 1
        return f"{self._prefix}{self.number}"


class Small(Client):
    """One of such a group."""

    think_s = 0.25

    def __init__(
        self, gateway: Gateway, history: History, name: str, chance: Random, shared: Shared
    ) -> None:
        super().__init__(gateway, history, name, chance)
        self.shared = shared


class RegisterClient(Small):
    """Reads a register, and writes what it thinks is the next version."""

    known: dict[str, int]

    async def step(self) -> None:
        name = self.shared.take()
        record = self.history.registers.setdefault(name, [])
        began_ns, node = self.gateway.world.now_ns, self.chance.choice(self.gateway.names())
        version = getattr(self, "_version", (name, 0))
        if self.shared.calls == 1 or self.chance.random() < 0.1:
            step, is_known = await self._create(node, name)
        elif version[0] != name or self.chance.random() < 0.5:
            step, is_known = await self._read(node, name)
        else:
            step, is_known = await self._write(node, name, version[1])
        if step is not None:
            record.append((began_ns, self.gateway.world.now_ns if is_known else FOREVER_NS, step))

    async def _create(self, node: str, name: str) -> tuple[Any, bool]:
        value = self.new_key()
        request = wire.ModifyRequest(
            inserts=[wire.Insert(queue="/registers", id=name, value_b64=value.encode())]
        )
        return await self._modify(node, request, ("create", value))

    async def _write(self, node: str, name: str, version: int) -> tuple[Any, bool]:
        value = self.new_key()
        change = wire.Change(id=name, version=version, value_b64=value.encode())
        request = wire.ModifyRequest(changes=[change])
        return await self._written(node, name, version, request, value)

    async def _written(
        self, node: str, name: str, version: int, request: wire.ModifyRequest, value: str
    ) -> tuple[Any, bool]:
        step, is_known = await self._modify(node, request, ("write", version, value))
        if is_known and step is not None and step[-1]:
            self._version = (name, version + 1)
        else:
            self._version = ("", 0)
        return step, is_known

    async def _modify(
        self, node: str, request: wire.ModifyRequest, step: tuple[Any, ...]
    ) -> tuple[Any, bool]:
        told, _ = await self.gateway.submit(
            node, lambda service: building.modify_of(service, request, "json")
        )
        if told.status == REFUSED:
            return None, True
        is_known = told.status == DONE
        return (
            *step,
            isinstance(told.value, Modified | Transacted) if is_known else None,
        ), is_known

    async def _read(self, node: str, name: str) -> tuple[Any, bool]:
        told = await self.gateway.read(node, self._query(name))
        if told.status != DONE:
            return None, True
        row = told.value[0] if told.value else None
        seen = None if row is None else (row.version, row.value.decode())
        self._version = ("", 0) if row is None else (name, row.version)
        return ("read", seen), True

    def _query(self, name: str) -> Any:
        return Tasks("", "", (name,), 1, omit_values=False)


class DocClient(RegisterClient):
    """The same with a doc for a register."""

    async def _create(self, node: str, name: str) -> tuple[Any, bool]:
        value = self.new_key()
        insert = wire.DocInsert(namespace=DOCS, key=name, id=name, value_b64=value.encode())
        request = wire.ModifyRequest(doc_inserts=[insert])
        return await self._modify(node, request, ("create", value))

    async def _write(self, node: str, name: str, version: int) -> tuple[Any, bool]:
        value = self.new_key()
        change = wire.DocChange(namespace=DOCS, id=name, version=version, value_b64=value.encode())
        request = wire.ModifyRequest(doc_changes=[change])
        return await self._written(node, name, version, request, value)

    def _query(self, name: str) -> Any:
        return Docs(DOCS, (name,), None, "", "", 1, omit_values=False)


class SmallQueueClient(Small):
    """Inserts into a small queue, and claims from it for good."""

    async def step(self) -> None:
        name = self.shared.take()
        record = self.history.small_queues.setdefault(name, [])
        began_ns, node = self.gateway.world.now_ns, self.chance.choice(self.gateway.names())
        if self.chance.random() < 0.5:
            id_ = self.new_key()
            request = wire.ModifyRequest(inserts=[wire.Insert(queue=f"/small/{name}", id=id_)])
            told, _ = await self.gateway.submit(
                node, lambda service: building.modify_of(service, request, "json")
            )
            step: Any = ("insert", id_)
        else:
            claim = wire.ClaimRequest(
                queues=[f"/small/{name}"], claimant=self.name, lease_ms=LONG_MS
            )
            told, _ = await self.gateway.submit(
                node, lambda service: building.claim_of(service, claim, "json")
            )
            is_claimed = told.status == DONE and isinstance(told.value, Claimed)
            taken = [row.id for row in told.value.tasks] if is_claimed else []
            step = ("claim", (taken[0] if taken else "") if is_claimed else None)
        if told.status != REFUSED:
            ended_ns = self.gateway.world.now_ns if told.status == DONE else FOREVER_NS
            record.append((began_ns, ended_ns, step))
        await asyncio.sleep(0)
