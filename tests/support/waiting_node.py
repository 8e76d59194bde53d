"""A service over a backend that holds things back, and claims that wait at it."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Claimed, Outcome, Unfinished
from raftq_cluster.core.queries import Tasks
from raftq_cluster.service.facade import Service
from raftq_cluster.service.limits import Limits
from tests.support.held_backend import HeldBackend
from tests.support.task_table import claim, modify

LONG_MS: Final = 3_600_000  # longer than any test: a wait that ends has been ended
UNAVAILABLE: Final = Unfinished("unavailable", "no leader")


class Waiter:
    """One waiting claim, and what it was told."""

    def __init__(
        self, node: "WaitingNode", *queues: str, wait_ms: int = LONG_MS, **fields: Any
    ) -> None:
        self.queues = queues
        self.told: list[Outcome] = []
        self.ended = asyncio.Event()
        self.give_up = node.service.claim(claim(*queues, **fields), wait_ms, self._sink)

    def _sink(self, index: int, outcomes: Sequence[Outcome]) -> None:
        assert index >= 0
        self.told += outcomes
        self.ended.set()

    @property
    def ids(self) -> list[str] | None:
        """Ids of the tasks it got; None while it waits."""
        if not self.told:
            return None
        (outcome,) = self.told
        assert isinstance(outcome, Claimed)
        return [row.id for row in outcome.tasks]


class WaitingNode:
    """A service over a backend that holds things back."""

    def __init__(self, limits: Limits | None = None, seed: int = 1) -> None:
        self.backend = HeldBackend(seed)
        self.service = Service(self.backend, limits)

    def wait(self, *queues: str, **fields: Any) -> Waiter:
        return Waiter(self, *queues, **fields)

    def insert(self, *ids: str, queue: str = "/a", delay_ms: int = 0) -> None:
        arrival = op.DELAY if delay_ms else op.KEEP
        inserts = [op.Insert(queue, id_, arrival, delay_ms) for id_ in ids]
        self.submit(modify(inserts=inserts))

    def submit(self, *operations: op.Operation) -> None:
        self.service.submit(operations, lambda _index, _outcomes: None)

    def pass_ms(self, ms: int) -> None:
        self.backend.clock_ms += ms
        self.service.check_due()

    async def held_by(self, claimant: str, queue: str = "/a") -> list[str]:
        rows = (await self.service.read(Tasks(queue, claimant, (), 100, False))).value
        return [row.id for row in rows]
