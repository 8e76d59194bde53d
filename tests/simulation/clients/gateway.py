"""From a client to a node and back: requests that may be refused, lost on the way, or never answered.

Clients live in one process that never fails; each request and each answer takes its time. A client is told at once
that a connection is broken when the node's process ends, and gives up by itself after a while.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from raftq_cluster.backends.api import BackendError
from raftq_cluster.core.outcomes import Refused, Unfinished
from raftq_cluster.service.refusals import Refusal
from tests.simulation.clock import ProcessClock
from tests.simulation.cluster import Cluster
from tests.simulation.history import DONE, REFUSED, UNKNOWN
from tests.simulation.node import SimNode
from tests.simulation.process import ProcessLoop

CLIENT_S: Final = 9.0  # a client's patience
# Nodes tell every caller within five seconds, and what they add for counting and long polls.
TOLD_S: Final = 7.0
_NOT_DONE: Final = frozenset({"store_full", "too_busy", "unavailable"})


class Told(NamedTuple):
    """What came of one attempt."""

    status: str
    index: int = 0  # type: ignore[assignment] # a tuple has a method of this name
    value: Any = None


LOST: Final = Told(UNKNOWN, 0, "the connection was lost")
NOBODY: Final = Told(REFUSED, 0, "nobody listens")


class _Open:
    """A request that a node works on."""

    def __init__(self, began_ns: int, wait_ms: int, reply: Callable[[Told], None]) -> None:
        self.began_ns = began_ns
        self.wait_ms = wait_ms
        self.reply = reply
        self.is_told = False


class Gateway:
    """The way of all clients to all nodes."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.process = ProcessLoop(
            cluster.world, ProcessClock(cluster.world), "clients", cluster.judge.blame
        )
        self._chance = cluster.world.random("gateway")
        self._open: dict[str, list[_Open]] = {}
        self.requests = 0
        self.written = 0  # of them, those that were logged and answered

    def _delay_s(self) -> float:
        return 0.0001 + 0.001 * self._chance.random()

    def names(self) -> list[str]:
        """Nodes that clients know of."""
        return [name for name, node in self.cluster.nodes.items() if not node.is_removed]

    async def ask(
        self, name: str, begin: Callable[[SimNode, Callable[[Told], None]], None], wait_ms: int = 0
    ) -> Told:
        """Have ``begin`` run in a node's process; it calls what it is given with the answer."""
        self.requests += 1
        node = self.cluster.nodes[name]
        answer: asyncio.Future[Told] = self.process.create_future()

        def come_back(told: Told) -> None:
            def settle() -> None:
                if not answer.done():
                    answer.set_result(told)

            self.world.after_s(self._delay_s(), lambda: self.process.deliver(settle))

        def arrive() -> None:
            if not node.is_alive or not node.is_serving:
                come_back(NOBODY)
                return
            request = self._note(node, wait_ms, come_back)
            node.process.deliver(lambda: begin(node, lambda told: self._tell(request, told)))

        self.world.after_s(self._delay_s(), arrive)
        try:
            async with asyncio.timeout(CLIENT_S + wait_ms / 1_000):
                return await answer
        except TimeoutError:
            return Told(UNKNOWN, 0, "no answer came")

    def _note(self, node: SimNode, wait_ms: int, come_back: Callable[[Told], None]) -> _Open:
        label = node.process.name
        if label not in self._open:
            self._open[label] = []
            node.ended = lambda: self._lose(label)
        request = _Open(self.world.now_ns, wait_ms, come_back)
        self._open[label].append(request)
        if len(self._open[label]) % 64 == 0:
            self._open[label] = [item for item in self._open[label] if not item.is_told]
        return request

    def _tell(self, request: _Open, told: Told) -> None:
        if request.is_told:
            self.cluster.judge.blame("a caller was told twice")
        request.is_told = True
        request.reply(told)

    def _lose(self, label: str) -> None:
        for request in self._open.pop(label, []):
            if not request.is_told:
                request.reply(LOST)

    def check_told(self) -> None:
        """All who asked a node that lives must have been told in time. For times without pauses."""
        for label, requests in self._open.items():
            for request in requests:
                waited_s = (self.world.now_ns - request.began_ns) / 1e9 - request.wait_ms / 1_000
                if not request.is_told and waited_s > TOLD_S:
                    self.cluster.judge.blame(
                        f"a caller of {label} was told nothing for {waited_s:.1f} s"
                    )

    # --- requests -------------------------------------------------------------------------------

    async def submit(self, name: str, build: Callable[[Any], Any]) -> tuple[Told, Any]:
        """One operation, built by the node from its document; and that operation."""
        built: list[Any] = [None]

        def begin(node: SimNode, reply: Callable[[Told], None]) -> None:
            operation = built[0] = build(node.service)
            node.service.submit([operation], lambda index, outcomes: reply(
                told_of(index, outcomes[0])))  # fmt: skip

        told = await self.ask(name, begin)
        self.written += told.status == DONE
        return told, built[0]

    async def wait_claim(
        self, name: str, build: Callable[[Any], Any], wait_ms: int
    ) -> tuple[Told, Any]:
        """A long poll."""
        built: list[Any] = [None]

        def begin(node: SimNode, reply: Callable[[Told], None]) -> None:
            operation = built[0] = build(node.service)
            node.service.claim(
                operation, wait_ms, lambda index, outcomes: reply(told_of(index, outcomes[0]))
            )

        return await self.ask(name, begin, wait_ms), built[0]

    async def read(self, name: str, query: Any, *, stale: bool = False) -> Told:
        """A query."""

        def begin(node: SimNode, reply: Callable[[Told], None]) -> None:
            async def read() -> None:
                try:
                    answer = await node.service.read(query, stale=stale)
                except (Refusal, BackendError) as error:
                    reply(Told(REFUSED, 0, str(error)))
                else:
                    reply(Told(DONE, answer.index, answer.value))

            node.process.create_task(read())

        return await self.ask(name, begin)


def told_of(index: int, outcome: Any) -> Told:
    """Sort an outcome."""
    if isinstance(outcome, Unfinished):
        return Told(REFUSED if outcome.code == "unavailable" else UNKNOWN, index, outcome)
    if isinstance(outcome, Refused) and outcome.code in _NOT_DONE:
        return Told(REFUSED, index, outcome)
    return Told(DONE, index, outcome)
