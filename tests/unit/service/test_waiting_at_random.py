"""Long polls under everything at once: whoever waits when all is quiet has nothing to wait for."""

from random import Random

import pytest
from tests.support.task_table import claim, configure
from tests.support.waiting_node import Waiter, WaitingNode

from raftq_cluster.core import operations as op
from raftq_cluster.core.queries import Queues

pytestmark = pytest.mark.asyncio

QUEUES = ("/a", "/b")
CYCLES = 60
STEPS = 12
WAITING_MAX = 3  # in a larger crowd somebody else is always there to be woken


class Crowd:
    """Waiters that come and go at random, at a node whose backend holds back what it likes."""

    def __init__(self, seed: int) -> None:
        self.node = WaitingNode(seed=seed)
        self.random = Random(seed)
        self.waiters: list[Waiter] = []
        self.ids = 0
        often = (self.come, self.come, self.come, self.insert, self.rush, self.hold)
        self.steps = (
            *often,
            self.snatch,
            self.snatch,
            self.leave,
            self.pause,
            self.let_go,
            self.pass_time,
        )

    def come(self) -> None:
        if self.node.service.waiting() >= WAITING_MAX:
            return
        queues = self.random.choice((QUEUES, QUEUES[:1], QUEUES[:1], QUEUES[1:]))
        limit = self.random.choice((1, 1, 3))
        self.waiters.append(self.node.wait(*queues, limit=limit, lease_ms=5_000))

    def insert(self) -> None:
        self.insert_into(self.random.choice(QUEUES), self.random.choice((0, 0, 700, 3_000)))

    def insert_into(self, queue: str, delay_ms: int) -> None:
        ids = [f"t{self.ids + number}" for number in range(self.random.choice((1, 1, 1, 2)))]
        self.ids += len(ids)
        self.node.insert(*ids, queue=queue, delay_ms=delay_ms)

    def rush(self) -> None:
        """Let a task arrive in each queue while the claims that the first ones woke are under way."""
        self.snatch()
        self.node.backend.apply()
        self.node.backend.tell()
        self.node.backend.hold_claims = True
        for queue in self.random.sample(QUEUES, len(QUEUES)):
            self.insert_into(queue, 0)
        self.node.backend.hold_claims = False
        self.node.backend.apply()

    def snatch(self) -> None:
        """Leave nothing ready: only where tasks are few does anybody wait."""
        self.node.submit(claim(*QUEUES, claimant="quick", limit=50, lease_ms=60_000))

    def leave(self) -> None:
        if self.waiters:
            self.waiters.pop(self.random.randrange(len(self.waiters))).give_up()

    def pause(self) -> None:
        paused = self.random.choice((True, False, False, None))
        self.node.submit(configure(self.random.choice(QUEUES), paused=paused))

    def hold(self) -> None:
        backend = self.node.backend
        backend.hold_claims = self.random.choice((True, False))
        backend.hold_outcomes = self.random.choice((True, False))

    def let_go(self) -> None:
        self.random.choice((self.node.backend.apply, self.node.backend.tell))()

    def pass_time(self) -> None:
        self.node.pass_ms(self.random.choice((1, 500, 5_000)))

    async def all_is_quiet(self) -> None:
        """Let everything go that was held back, and what that brings about."""
        backend = self.node.backend
        backend.hold_claims = backend.hold_outcomes = False
        for _ in range(20):
            backend.apply()
            backend.tell()
            self.node.service.check_due()
        self.node.submit(op.Tick())
        self.waiters = [waiter for waiter in self.waiters if not waiter.told]
        assert self.node.service.waiting() == len(self.waiters)
        stats = (await self.node.service.read(Queues((), (), 10))).value
        claimable = {row.name for row in stats if row.ready and not row.paused}
        for waiter in self.waiters:
            assert claimable.isdisjoint(waiter.queues)


@pytest.mark.parametrize("seed", range(40))
async def test_nobody_waits_for_what_is_there(seed: int) -> None:
    crowd = Crowd(seed)
    await crowd.node.service.start()
    for _ in range(CYCLES):
        for _ in range(STEPS):
            crowd.random.choice(crowd.steps)()
        await crowd.all_is_quiet()
    await crowd.node.service.stop()
    assert crowd.node.service.waiting() == 0
    assert all(waiter.told for waiter in crowd.waiters)
