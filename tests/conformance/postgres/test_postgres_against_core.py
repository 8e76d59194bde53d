"""The same histories through the core in memory and through PostgreSQL: every answer is the same.

Ids and time are the test's. Chance is taken out: every queue is in an order, and a claim names one queue;
what random claims may answer is judged by the model in ``tests/conformance/backend``.
"""

import asyncio
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.backend_subjects import START_MS, NodeOverPostgres, Subject
from tests.support.doc_operations import IDS as DOC_IDS
from tests.support.doc_operations import KEYS as DOC_KEYS
from tests.support.doc_operations import NAMESPACES
from tests.support.doc_operations import Maker as DocMaker
from tests.support.doc_table import claim_docs, held
from tests.support.model import Model
from tests.support.operations import PATTERNS, QUEUES, STEPS_MS, Maker
from tests.support.postgres_server import fresh_schema, shared_server

from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import Claimed, Modified, Renewed, Settled

IDS = tuple(f"t{number}" for number in range(10))
ALL_QUEUES = queries.Queues((), (), 100)


class Two:
    """Both backends, and a model that knows which tasks there are, so that operations meet them."""

    def __init__(self, over_postgres: NodeOverPostgres, random: Random) -> None:
        self.clock = over_postgres
        self.memory = Subject(self)  # type: ignore[arg-type] # its clock is the other's
        self.postgres = Subject(over_postgres)
        self.backend = MemoryBackend(clock=lambda: over_postgres.now_ms, seed=1)
        self.random = random
        self.model = Model()
        self.maker = Maker(self.model, random.choice, IDS)
        self.doc_maker = DocMaker(self.backend._machine, random)

    async def begin(self) -> None:
        for pattern in ("*", *PATTERNS):
            await self.run(op.Configure(op.CONFIGURE, "", b"", pattern, "fifo", None, None))

    async def step(self) -> None:
        self.clock.pass_ms(self.random.choice(STEPS_MS))
        # Time passes in both, whether or not the operations would make it: a claim that finds nothing does not.
        await self.run(op.Tick())
        self.model.begin(self.clock.now_ms)
        self.model.now_ms = max(self.model.now_ms, await self.memory.ask(queries.Time()))
        operations = [self.deterministic() for _ in range(self.random.choice((1, 1, 2, 5, 9)))]
        outcomes = await self.run(*operations)
        for outcome in outcomes:
            self.follow(outcome)
        self.model.rows = {
            row.id: row
            for row in await self.memory.ask(queries.Tasks("", "", IDS, 1_000, omit_values=False))
        }

    def deterministic(self) -> Any:
        if self.random.random() < 0.4:
            return self.doc_maker.operation()
        operation = self.maker.operation()
        if operation[0] == op.CLAIM:
            return operation._replace(queues=operation.queues[:1])
        if operation[0] == op.CONFIGURE:
            order = operation.order if operation.order in {"fifo", "priority"} else "fifo"
            return operation._replace(order=order)
        return operation

    async def run(self, *operations: Any) -> list[Any]:
        expected = await self.memory.run(*operations)
        assert await self.postgres.run(*operations) == expected
        return expected

    def follow(self, outcome: Any) -> None:
        """Let the maker know of integer ids that were given."""
        rows: tuple[Any, ...] = ()
        if isinstance(outcome, Claimed):
            rows = outcome.tasks
        elif isinstance(outcome, Modified):
            rows = outcome.inserted
        elif isinstance(outcome, Renewed):
            rows = outcome.renewed
        elif isinstance(outcome, Settled):
            rows = (outcome.row,)
        last = self.model.last_serial
        for row in rows:
            if row.serial:
                last[row.queue] = max(last.get(row.queue, 0), row.serial)

    async def agree(self) -> None:
        """Ask both everything."""
        # Locks of sets that are of no use any more are forgotten by whoever looks at docs.
        await self.run(claim_docs(held("z"), lease_ms=1))
        asked: list[queries.Query] = [
            ALL_QUEUES,
            queries.Queues(("/a",), ("q",), 2),
            queries.AllSettings(),
            queries.Time(),
            queries.Tasks("", "", IDS, 1_000, omit_values=False),
            queries.Tasks("/a", "w1", IDS[::-1], 3, omit_values=True),
            queries.DryRun(self.maker._modify()),
            queries.DryRun(self.doc_maker.transact()),
            queries.DryRun(self.doc_maker.transact(), [("/a", 63)]),
            *self.about_docs(),
        ]
        for query in asked:
            assert await self.postgres.ask(query) == await self.memory.ask(query), query
        for queue in QUEUES:
            for claimant in ("", "w1"):
                query = queries.Tasks(queue, claimant, (), 1_000, omit_values=False)
                rows = [
                    sorted(await subject.ask(query)) for subject in (self.postgres, self.memory)
                ]
                assert rows[0] == rows[1]
        assert self.postgres.backend.load()[:4] == self.memory.backend.load()[:4]

    def about_docs(self) -> Iterator[queries.Query]:
        yield queries.Namespaces((), (), 100)
        yield queries.Namespaces(("/o",), ("/ns",), 100)
        yield queries.Namespaces((), ("/other", "/none"), 1)
        for namespace in dict.fromkeys(NAMESPACES):
            yield queries.Docs(namespace, (), None, "", "", 100, omit_values=False)
            yield queries.Docs(namespace, DOC_IDS[::-1], None, "", "", 7, omit_values=True)
            yield queries.Docs(namespace, (), None, "c", "e", 3, omit_values=False)
            for key in DOC_KEYS:
                yield queries.Docs(namespace, (), key, "", "", 2, omit_values=False)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


async def go_through(random: Random, steps: int) -> None:
    async with fresh_schema(shared_server()) as place:
        over_postgres = NodeOverPostgres(shared_server(), place, START_MS)
        await over_postgres.backend.start()
        try:
            two = Two(over_postgres, random)
            await two.begin()
            for number in range(steps):
                await two.step()
                if number % 5 == 0:
                    await two.agree()
            await two.agree()
        finally:
            await over_postgres.backend.stop()


@settings(max_examples=20)
@given(random=st.randoms(use_true_random=False), steps=st.integers(1, 30))
def test_every_answer_is_that_of_the_core(
    runner: asyncio.Runner, random: Random, steps: int
) -> None:
    runner.run(go_through(random, steps))


@pytest.mark.parametrize("seed", range(3))
def test_every_answer_of_a_long_history_is_that_of_the_core(
    runner: asyncio.Runner, seed: int
) -> None:
    runner.run(go_through(Random(seed), 120))
