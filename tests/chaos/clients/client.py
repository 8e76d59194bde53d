"""What all clients have in common: a node that they prefer, keys, retries, a record of each call, and a pace."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, Protocol

from raftq_cluster.core.operations import Modify, Target
from tests.chaos.clients.speaking import Speaker, SurpriseError, Told
from tests.simulation.history import DONE, REFUSED, UNKNOWN, Call, History

ATTEMPTS: Final = 8  # of a keyed call, over as many nodes as there are
REPEAT_SHARE: Final = 0.06  # of keyed calls that are asked once more although they were answered
OLD_SHARE: Final = (
    0.03  # of calls before which an old one is asked once more, over whatever has happened since
)
OLD_MAX: Final = 30
_PAUSE_S: Final = 0.3  # between two attempts


class Surroundings(Protocol):
    """What the run gives to all of its clients."""

    history: History
    prefix: str  # of all queues of this round

    def nodes(self) -> Sequence[str]:
        """Nodes that clients know of."""
        ...

    def count(self, dialect: str, verb: str, outcome: str) -> None:
        """An attempt has ended."""
        ...

    def blame(self, sentence: str) -> None:
        """A promise was broken."""
        ...


class Client:
    """One client program. ``think_s``: how long it does nothing between two things, at most."""

    think_s = 0.15

    def __init__(self, run: Surroundings, name: str, chance: Random) -> None:
        self.run_of = run
        self.name = name
        self.chance = chance
        self.is_stopping = False
        self._node = ""
        self._keys = 0

    @property
    def history(self) -> History:
        """Where calls are written down."""
        return self.run_of.history

    async def run(self) -> None:
        """Work until ``is_stopping``."""
        try:
            while not self.is_stopping:
                await asyncio.sleep(self.think_s * self.chance.random())
                await self.step()
        except SurpriseError as surprise:
            self.run_of.blame(f"{self.name}: {surprise}")
        except Exception as error:  # noqa: BLE001 - a client that cannot go on must not be missed at the end only
            self.run_of.blame(f"{self.name} was told what it cannot read: {error!r}")
        finally:
            await self.close()

    async def step(self) -> None:
        """One thing that such a client does."""
        raise AssertionError

    async def close(self) -> None:
        """Close what it speaks through."""

    def new_key(self) -> str:
        """A key that was never used."""
        self._keys += 1
        return f"{self.run_of.prefix}{self.name}.{self._keys}"

    def choose(self, *, other: bool = False) -> str:
        """A node: mostly the same as before."""
        nodes = self.run_of.nodes()
        if other or self._node not in nodes or self.chance.random() < 0.1:
            self._node = self.chance.choice(nodes)
        return self._node

    def begin(self, kind: str, tags: tuple[str, ...] = (), operation: Any = None) -> Call:
        """Write down that a call begins."""
        call = Call(self.name, kind, time.monotonic_ns(), operation=operation, tags=tags)
        self.history.calls.append(call)
        return call

    def end(self, call: Call, told: Told, dialect: str, status: str = "") -> Call:
        """Write down what came of it. A status other than the attempt's is that of all attempts."""
        call.ended_ns = time.monotonic_ns()
        call.status = status or told.status
        if call.status == DONE:
            call.index, call.outcome, call.node = told.index, told.outcome, self._node
        self.run_of.count(dialect, call.kind, told.code or call.status)
        return call


class DocumentClient(Client):
    """A client of a dialect whose documents are those of v1."""

    def __init__(self, run: Surroundings, name: str, chance: Random, speaker: Speaker) -> None:
        super().__init__(run, name, chance)
        self.speaker = speaker
        self._old: deque[tuple[Call, str, dict[str, Any]]] = deque(maxlen=OLD_MAX)
        self.has_keys = speaker.dialect != "entroq"

    async def close(self) -> None:
        """Close its connections."""
        await self.speaker.close()

    async def call(
        self, verb: str, document: dict[str, Any], *, tags: tuple[str, ...] = (), keyed: float = 0.0,
        wait_s: float = 0.0,
    ) -> Call:  # fmt: skip
        """Ask until it is known what came of it; without a key, once. ``keyed``: how often it has one."""
        if self._old and self.chance.random() < OLD_SHARE:
            await self._again(*self.chance.choice(self._old))
        if self.has_keys and self.chance.random() < keyed:
            document["idempotency_key"] = self.new_key()
        call = self.begin("read" if verb == "tasks" else verb, tags, _operation(verb, document))
        is_possibly_done, told = False, Told(REFUSED)
        for _ in range(ATTEMPTS if "idempotency_key" in document else 1):
            told = await self.speaker.call(self.choose(), verb, document, wait_s)
            # A node repeats what EntroQ's clients ask, so its answer may be about an earlier entry than its index.
            call.attempts += 1 if self.has_keys else 2
            is_possibly_done = is_possibly_done or told.status != REFUSED
            if told.status == DONE:
                self.end(call, told, self.speaker.dialect)
                if "idempotency_key" in document:
                    self._old.append((call, verb, document))
                    if self.chance.random() < REPEAT_SHARE:
                        await self._again(call, verb, document)
                return call
            self._node = ""
            await asyncio.sleep(_PAUSE_S * self.chance.random())
        self.end(call, told, self.speaker.dialect, UNKNOWN if is_possibly_done else REFUSED)
        return call

    async def _again(self, call: Call, verb: str, document: dict[str, Any]) -> None:
        """Ask once more what was answered: the answer must be the same."""
        wait_s = document.get("wait_ms", 0) / 1_000
        told = await self.speaker.call(self.choose(other=True), verb, document, wait_s)
        if told.status == DONE:
            call.repeats.append(told.outcome)


def _operation(verb: str, document: dict[str, Any]) -> Any:
    """As far as checkers look at it: what a modify deletes."""
    if verb != "modify":
        return None
    deletes = tuple(Target(part["id"], part["version"]) for part in document.get("deletes", ()))
    return Modify(0, "", b"", document["claimant"], (), (), deletes, ())


Maker = Callable[[Surroundings, str, Random], Client]
