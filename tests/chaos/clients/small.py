"""Clients whose histories are small enough to be checked for linearizability whole: registers and small queues.

A register is one task that nobody claims; its value is read, and changed by those who know its version. A small queue is
a few tasks that are inserted and claimed for good. After some calls the group takes the next one.
"""

import time
from random import Random
from typing import Any, Final

from raftq_cluster.core.outcomes import Claimed, Modified
from tests.chaos.clients.client import DocumentClient, Surroundings
from tests.chaos.clients.speaking import Speaker, Told
from tests.simulation.checkers.linearizability import FOREVER_NS
from tests.simulation.clients.small import Shared
from tests.simulation.history import DONE, REFUSED

LONG_MS: Final = 3_600_000

Step = tuple[Any, bool] | None
"""What was asked and answered, and whether that is known; None: nothing was done."""


class Small(DocumentClient):
    """One of such a group. Every call goes to another node, and none is repeated."""

    think_s = 0.3

    def __init__(
        self, run: Surroundings, name: str, chance: Random, speaker: Speaker, shared: Shared
    ) -> None:
        super().__init__(run, name, chance, speaker)
        self.shared = shared

    async def once(self, verb: str, document: dict[str, Any]) -> Told:
        """One attempt, at any node."""
        told = await self.speaker.call(self.choose(other=True), verb, document)
        self.run_of.count(self.speaker.dialect, verb, told.code or told.status)
        return told


class RegisterClient(Small):
    """Reads a register, and writes what it thinks is the next version."""

    _name, _version = "", 0

    async def step(self) -> None:
        name = self.run_of.prefix + self.shared.take()
        record = self.history.registers.setdefault(name, [])
        began_ns = time.monotonic_ns()
        if self.shared.calls == 1 or self.chance.random() < 0.1:
            step = await self._create(name)
        elif self._name != name or self.chance.random() < 0.5:
            step = await self._read(name)
        else:
            step = await self._write(name, self._version)
        if step is not None:
            record.append((began_ns, time.monotonic_ns() if step[1] else FOREVER_NS, step[0]))

    async def _create(self, name: str) -> Step:
        value = self.new_key()
        queue = self.run_of.prefix + "registers"
        part = {"queue": queue, "id": _id(name), "value": value}
        return await self._modify({"inserts": [part]}, ("create", value))

    async def _write(self, name: str, version: int) -> Step:
        value = self.new_key()
        part = {"id": _id(name), "version": version, "value": value}
        step = await self._modify({"changes": [part]}, ("write", version, value))
        is_done = step is not None and step[0][-1] is True
        self._name, self._version = (name, version + 1) if is_done else ("", 0)
        return step

    async def _modify(self, document: dict[str, Any], step: tuple[Any, ...]) -> Step:
        told = await self.once("modify", {"claimant": self.name} | document)
        if told.status == REFUSED:
            return None
        is_known = told.status == DONE
        return (*step, isinstance(told.outcome, Modified) if is_known else None), is_known

    async def _read(self, name: str) -> Step:
        told = await self.once("tasks", {"id": [_id(name)]})
        if told.status != DONE:
            return None
        row = told.outcome[0] if told.outcome else None
        self._name, self._version = ("", 0) if row is None else (name, row.version)
        return ("read", None if row is None else (row.version, row.value.decode())), True


class SmallQueueClient(Small):
    """Inserts into a small queue, and claims from it for good."""

    async def step(self) -> None:
        name = self.run_of.prefix + "small/" + self.shared.take()
        record = self.history.small_queues.setdefault(name, [])
        began_ns = time.monotonic_ns()
        if self.chance.random() < 0.5:
            id_ = _id(self.new_key())
            part = {"queue": name, "id": id_, "value": "small|"}
            told = await self.once("modify", {"claimant": self.name, "inserts": [part]})
            step: Any = ("insert", id_)
        else:
            claim = {"queues": [name], "claimant": self.name, "lease_ms": LONG_MS}
            told = await self.once("claim", claim)
            rows = told.outcome.tasks if isinstance(told.outcome, Claimed) else ()
            step = ("claim", None if told.status != DONE else rows[0].id if rows else "")
        if told.status != REFUSED:
            ended_ns = time.monotonic_ns() if told.status == DONE else FOREVER_NS
            record.append((began_ns, ended_ns, step))


def _id(name: str) -> str:
    """A name as an id: at most 64 characters, and no slash at its beginning."""
    return name.strip("/").replace("/", "-")
