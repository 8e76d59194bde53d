"""What all clients have in common: a node that they prefer, keys, retries, and a record of each call."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, Final

from raftq.wire import documents as wire
from raftq_cluster.service import building
from tests.simulation.clients.gateway import Gateway, Told
from tests.simulation.history import DONE, REFUSED, UNKNOWN, Call, History

ATTEMPTS: Final = 6
REPEAT_SHARE: Final = 0.08  # of keyed calls that are asked once more although they were answered
FORGET_SHARE: Final = 0.5  # of keys whose answer has arrived


class Client:
    """One client program. ``think_s``: how long it does nothing between two things, at most."""

    think_s = 0.2

    def __init__(self, gateway: Gateway, history: History, name: str, chance: Random) -> None:
        self.gateway = gateway
        self.history = history
        self.name = name
        self.chance = chance
        self.node = ""
        self.is_stopping = self.is_done = False
        self._keys = 0
        self._old_keys: list[str] = []

    async def run(self) -> None:
        """Work until ``is_stopping``."""
        while not self.is_stopping:
            await asyncio.sleep(self.think_s * self.chance.random())
            await self.step()
        self.is_done = True

    async def step(self) -> None:
        """One thing that such a client does."""
        raise AssertionError

    def new_key(self) -> str:
        self._keys += 1
        return f"{self.name}.{self._keys}"

    def choose(self) -> str:
        """A node: mostly the same as before."""
        names = self.gateway.names()
        if self.node not in names or self.chance.random() < 0.15:
            self.node = self.chance.choice(names)
        return self.node

    async def call(
        self,
        kind: str,
        build: Callable[[Any], Any],
        *,
        key: str = "",
        tags: tuple[str, ...] = (),
        deletes: tuple[str, ...] = (),
    ) -> Call:
        """Ask until it is known what came of it; without a key, once."""
        call = Call(self.name, kind, self.gateway.world.now_ns, tags=tags, deletes=deletes)
        self.history.calls.append(call)
        is_possibly_done = False
        for _ in range(ATTEMPTS if key else 1):
            told, operation = await self.gateway.submit(self.choose(), build)
            call.attempts += 1
            call.operation = operation or call.operation
            is_possibly_done = is_possibly_done or told.status != REFUSED
            if told.status == DONE:
                self._finish(call, told)
                await self._after(call, build, key)
                return call
            self.node = ""
            await asyncio.sleep(0.3 * self.chance.random())
        call.ended_ns = self.gateway.world.now_ns
        call.status = UNKNOWN if is_possibly_done else REFUSED
        return call

    def _finish(self, call: Call, told: Told) -> None:
        call.ended_ns = self.gateway.world.now_ns
        call.status, call.index, call.outcome, call.node = DONE, told.index, told.value, self.node

    async def _after(self, call: Call, build: Callable[[Any], Any], key: str) -> None:
        """With a key: perhaps ask again, perhaps have it forgotten."""
        if not key:
            return
        if self.chance.random() < REPEAT_SHARE:
            told, _ = await self.gateway.submit(self.chance.choice(self.gateway.names()), build)
            if told.status == DONE:
                call.repeats.append(told.value)
        elif self.chance.random() < FORGET_SHARE:
            self._old_keys.append(key)
        if len(self._old_keys) >= 8:
            keys, self._old_keys = self._old_keys, []
            await self.gateway.submit(
                self.choose(), lambda service: building.forget_of(
                    service, wire.ForgetRequest(keys=keys), "json"))  # fmt: skip

    async def modify(self, request: wire.ModifyRequest, tags: tuple[str, ...] = ()) -> Call:
        return await self.call(
            "modify",
            lambda service: building.modify_of(service, request, "json"),
            key=request.idempotency_key,
            tags=tags,
        )

    async def claim(self, request: wire.ClaimRequest) -> Call:
        return await self.call(
            "claim",
            lambda service: building.claim_of(service, request, "json"),
            key=request.idempotency_key,
        )

    async def renew(self, request: wire.RenewRequest) -> Call:
        return await self.call(
            "renew",
            lambda service: building.renew_of(service, request, "json"),
            key=request.idempotency_key,
        )

    async def read(self, query: Any) -> Call:
        """A linearizable read, at any node."""
        call = Call(self.name, "read", self.gateway.world.now_ns, operation=query)
        self.history.calls.append(call)
        name = self.chance.choice(self.gateway.names())
        told = await self.gateway.read(name, query)
        if told.status == DONE:
            self._finish(call, told)
        else:
            call.ended_ns, call.status = self.gateway.world.now_ns, told.status
        return call
