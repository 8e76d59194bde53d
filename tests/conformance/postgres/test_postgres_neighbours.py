"""Several nodes over one database: what one remembers stays true whatever the others do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from tests.support.backend_subjects import ANSWER_S, START_MS, Subject
from tests.support.postgres_nodes import node_over, person_at
from tests.support.postgres_server import fresh_schema, shared_server
from tests.support.task_table import claim, modify

from raftq.postgres import insert as insert_in_own_transaction
from raftq_cluster.backends.postgres import floors, schema, sessions
from raftq_cluster.backends.postgres.connecting import Place
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.calendar import BUCKET_SHIFT
from raftq_cluster.core.outcomes import Claimed, QueueStats

pytestmark = pytest.mark.asyncio

ORDERS = {"/random": None, "/fifo": "fifo", "/priority": "priority"}
SCANNED = """
SELECT t.queue, count(*), count(t.lane), count(*) FILTER (WHERE t.lane IS NULL AND t.claimant <> '' AND t.version > 0),
    max(t.claims), min(t.at) FILTER (WHERE t.lane IS NOT NULL)
FROM {schema}.task t GROUP BY t.queue ORDER BY t.queue
"""
ENTRIES_READ = """
SELECT sum(idx_tup_read)::bigint FROM pg_stat_all_indexes WHERE schemaname = $1
"""


class Nodes:
    """Nodes with one clock, which is the test's."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.now_ms = START_MS
        self.subjects: list[Subject] = []

    async def add(self, stack: AsyncExitStack, **options: Any) -> Subject:
        options = {"clock": lambda: self.now_ms, **options}
        subject = await stack.enter_async_context(node_over(self.place, **options))
        self.subjects.append(subject)
        return subject


STORED = """
WITH gone AS (DELETE FROM {schema}.share h WHERE h.session = 77 AND h.batch = $1 RETURNING h.*)
INSERT INTO {schema}.share (session, batch, now_ms, seq_block, tasks, value_bytes, keys, key_bytes)
    SELECT 77, batch + 1, 0, 0, tasks + 1, 0, 0, 0 FROM gone RETURNING tasks
"""


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    async with fresh_schema(shared_server()) as place:
        yield place


def insert(id_: str, queue: str, **fields: Any) -> op.Modify:
    return modify(inserts=[op.Insert(queue, id_, **fields)])


async def set_orders(subject: Subject) -> None:
    for queue, order in ORDERS.items():
        await subject.do(op.Configure(op.CONFIGURE, "", b"", queue, order, None, None))


class Worker:
    """Does to tasks whatever can be done to them, through one node."""

    def __init__(self, subject: Subject, name: str, seed: int) -> None:
        self._subject = subject
        self._name = name
        self._random = Random(seed)
        self._number = 0
        self._held: list[Any] = []

    async def work(self, steps: int) -> None:
        for _ in range(steps):
            operations = [self._operation() for _ in range(self._random.choice((1, 2, 5)))]
            for outcome in await self._subject.run(*operations):
                if isinstance(outcome, Claimed):
                    self._held += outcome.tasks

    def _operation(self) -> Any:
        chance = self._random.random()
        queue = self._random.choice(list(ORDERS))
        if self._held and chance < 0.4:
            row = self._held.pop(self._random.randrange(len(self._held)))
            if chance < 0.2:
                return modify(deletes=[op.Target(row.id, row.version)], claimant=self._name)
            delay = (op.DELAY, self._random.choice((0, 1, 50)))
            change = op.Change(row.id, row.version, self._random.choice((None, queue)), *delay)
            return modify(changes=[change], claimant=self._name)
        if chance < 0.7:
            self._number += 1
            return insert(
                f"{self._name}-{self._number}",
                queue,
                priority=self._random.choice((0, 0, 1, -1)),
                arrival=op.DELAY,
                ms=self._random.choice((0, 0, 1, 30)),
            )
        return claim(queue, claimant=self._name, lease_ms=self._random.choice((1, 20, 60)), limit=2)


async def counted(subject: Subject) -> list[tuple[Any, ...]]:
    found: list[QueueStats] = await subject.ask(queries.Queues((), (), 100))
    return [
        (row.name, row.tasks, row.ready, row.claimed, row.max_claims, row.oldest_ready_at)
        for row in found
    ]


async def scanned(place: Place) -> list[tuple[Any, ...]]:
    async with person_at(place) as person:
        rows = await person.fetch(SCANNED.format(schema=place.schema))
    return [
        (*row[:5], None if row[5] is None else row[5] >> BUCKET_SHIFT << BUCKET_SHIFT)
        for row in rows
    ]


@pytest.mark.parametrize("listens", [True, False])
@pytest.mark.parametrize("seed", range(3))
async def test_every_node_finds_every_task_and_counts_are_those_of_a_scan(
    place: Place, monkeypatch: pytest.MonkeyPatch, seed: int, listens: bool
) -> None:
    monkeypatch.setattr(floors, "LEARN_S", -1.0)  # as often as it can go wrong
    nodes = Nodes(place._replace(listens=listens))
    async with AsyncExitStack() as stack:
        for number in range(3):
            await nodes.add(stack, seed=seed * 10 + number)
        await set_orders(nodes.subjects[0])
        workers = [
            Worker(subject, f"w{number}", seed * 10 + number)
            for number, subject in enumerate(nodes.subjects)
        ]
        for round_ in range(6):
            for _ in range(5):
                await asyncio.gather(*[worker.work(4) for worker in workers])
                nodes.now_ms += 10
            looking = nodes.subjects[round_ % 3]
            assert await counted(looking) == await scanned(place)
            nodes.now_ms += 1_000  # every lease has ended
            await looking.do(op.Tick())
            left = sum(row[1] for row in await scanned(place))
            assert left
            taken = [
                row.id
                for queue in ORDERS
                for row in (await looking.do(claim(queue, limit=10_000, lease_ms=1))).tasks
            ]
            assert len(set(taken)) == len(taken) == left
            assert await counted(looking) == await scanned(place)


async def test_counts_stay_when_nodes_end_and_when_they_are_silent(place: Place) -> None:
    nodes = Nodes(place)
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as first:
            one = await nodes.add(first)
            await one.run(*[insert(f"x{number}", "/a") for number in range(9)])
            await one.do(claim("/a", limit=4))
        two = await nodes.add(stack)
        three = await nodes.add(stack)
        await two.do(insert("y", "/b"))
        async with person_at(place) as person:
            await person.execute(
                f"SELECT {place.schema}.fold(session) FROM {place.schema}.node"
                f" WHERE name = '{two.backend.status().node}'"
            )
        assert await counted(three) == await scanned(place)
        await two.do(insert("z", "/b"))
        assert await counted(two) == await counted(three) == await scanned(place)
        assert two.backend.load().tasks == 11


async def test_what_a_node_stores_while_another_one_folds_it_is_counted_or_refused(
    place: Place,
) -> None:
    async with AsyncExitStack() as stack:
        await Nodes(place).add(stack)
        waking, folding, holding = [
            await stack.enter_async_context(person_at(place)) for _ in range(3)
        ]
        await sessions.open_session(waking, place.schema, 77, sessions.Identity("asleep"))
        store = STORED.format(schema=place.schema)
        held = holding.transaction()
        await held.start()
        await holding.execute(f"SELECT FROM {place.schema}.node WHERE session = 77 FOR UPDATE")
        async with waking.transaction():
            stored = await waking.fetch(store, 0)
            fold = asyncio.ensure_future(folding.execute(f"SELECT {place.schema}.fold(77)"))
            await blocked(holding, folding, by=waking)
        await blocked(holding, folding, by=holding)  # it holds what the node stored by now
        async with waking.transaction():
            storing = asyncio.ensure_future(waking.fetch(store, 1))
            await asyncio.wait({storing, asyncio.ensure_future(blocked(holding, waking, by=folding))},
                return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
            await held.rollback()
            stored += await storing
        await fold
        counted_now = await holding.fetchval(
            f"SELECT sum(h.tasks) FROM {place.schema}.node n JOIN {place.schema}.share h USING (session)"
        )
    assert counted_now == len(stored) == 1


async def blocked(
    person: asyncpg.Connection, waiting: asyncpg.Connection, by: asyncpg.Connection
) -> None:
    """Wait until a connection waits for another one."""
    pids = waiting.get_server_pid(), by.get_server_pid()
    while not await person.fetchval("SELECT $2 = ANY (pg_blocking_pids($1))", *pids):
        await asyncio.sleep(0.01)


async def test_a_task_that_returns_before_where_another_node_searches_is_found(
    place: Place,
) -> None:
    nodes = Nodes(place._replace(listens=False))
    async with AsyncExitStack() as stack:
        one, two = await nodes.add(stack), await nodes.add(stack)
        await set_orders(one)
        await one.run(*[insert(f"x{number}", "/fifo") for number in range(5)])
        held = (await one.do(claim("/fifo", lease_ms=60_000))).tasks[0]
        assert held.id == "x0"
        for number in range(1, 4):
            await asyncio.sleep(floors.LEARN_S)  # so that it learns each time
            assert (await two.do(claim("/fifo", lease_ms=90_000))).tasks[0].id == f"x{number}"
        back = op.Change("x0", held.version, None, op.DELAY, 0)
        await one.do(modify(changes=[back], claimant=held.claimant))
        assert (await two.do(claim("/fifo"))).tasks[0].id == "x0"


async def test_what_a_program_inserts_in_a_long_transaction_is_found_when_it_commits(
    place: Place,
) -> None:
    async with AsyncExitStack() as stack:
        nodes = Nodes(place)
        subjects = [await nodes.add(stack, clock=None) for _ in range(2)]
        person = await stack.enter_async_context(person_at(place))
        transaction = person.transaction()
        await transaction.start()
        await insert_in_own_transaction(person, "/a", 1, id="late", schema=place.schema)
        for number in range(20):  # time passes, and everybody sees that nothing waits
            for subject in subjects:
                await subject.do(insert(f"{number}-{id(subject)}", "/b"))
                await subject.do(claim("/b"))
        await transaction.commit()
        assert [row.id for row in (await subjects[0].do(claim("/a"))).tasks] == ["late"]
        assert await counted(subjects[1]) == await scanned(place)


async def entries_read(person: asyncpg.Connection, place: Place) -> int:
    """Count index entries that were read: a process tells of them at most every second, and nodes do something every two."""
    await asyncio.sleep(2.5)
    found: int = await person.fetchval(ENTRIES_READ, place.schema)
    return found


async def test_claims_of_several_nodes_read_no_more_beside_a_long_transaction(place: Place) -> None:
    rounds, cycles = 10, 60
    async with AsyncExitStack() as stack:
        nodes = Nodes(place)
        subjects = [await nodes.add(stack, clock=None) for _ in range(2)]
        await set_orders(subjects[0])
        person = await stack.enter_async_context(person_at(place))
        foreign = await stack.enter_async_context(person_at(place))
        await foreign.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await foreign.execute(f"SELECT count(*) FROM {place.schema}.task")

        async def cycle(subject: Subject, name: str) -> None:
            for number in range(cycles):
                queues = list(ORDERS)
                await subject.run(*[insert(f"{name}{number}{queue}", queue) for queue in queues])
                claimed = await subject.run(*[claim(queue, claimant=name) for queue in queues])
                rows = [row for outcome in claimed for row in outcome.tasks]
                targets = [op.Target(row.id, row.version) for row in rows]
                await subject.do(modify(deletes=targets, claimant=name))

        before = await entries_read(person, place)
        for number in range(rounds):
            await asyncio.gather(
                *[cycle(subject, f"{number}{id(subject)}-") for subject in subjects]
            )
        read = await entries_read(person, place) - before
    # It is some 20 a search; past all dead rows it would be 500 and more. What nodes read by the clock (what is due,
    # who lives) is in it, and is more on a machine that is slow.
    assert read < 100 * rounds * cycles * len(ORDERS) * len(subjects), read


async def test_the_order_of_a_queue_that_taskq_made_is_told_while_nothing_is_ready(
    place: Place,
) -> None:
    async with AsyncExitStack() as stack:
        one = await Nodes(place).add(stack)
        await one.do(insert("x", "q", serial=True))
        await one.do(claim("q", serial=True))
        assert [row.order for row in await one.ask(queries.Queues((), ("q",), 1))] == ["fifo"]


async def test_nodes_over_one_database_list_each_other(place: Place) -> None:
    async with AsyncExitStack() as stack:
        nodes = Nodes(place)
        one = await nodes.add(stack, node_id="one")
        two = await nodes.add(stack, node_id="two")
        two.backend.advertise("127.0.0.1:1", "127.0.0.1:2")
        async with asyncio.timeout(ANSWER_S):
            while True:
                status = one.backend.status()
                if [(row.id, row.http) for row in status.members] == [
                    ("one", ""),
                    ("two", "127.0.0.1:1"),
                ]:
                    break
                await asyncio.sleep(0.05)
        assert (status.leader, status.members[1].text) == ("one", "127.0.0.1:2")
        assert 0 <= status.members[1].last_contact_ms < 10_000
        await two.backend.stop()
        async with asyncio.timeout(ANSWER_S):
            while len(one.backend.status().members) > 1:
                await asyncio.sleep(0.05)


async def test_counts_of_an_older_schema_are_taken_over(place: Place) -> None:
    name = f"{place.schema}_old"
    async with person_at(place) as person:
        await person.execute(f"CREATE SCHEMA {name}")
        for migration in schema.migrations(name)[:5]:
            await person.execute(migration.sql)
            await person.execute(f"INSERT INTO {name}.migration VALUES ({migration.version})")
        await person.execute(f"""
            INSERT INTO {name}.task (id, queue, seq, at, created, modified, serial, lane, pos, version, claims,
                attempt, priority, kind, claimant, err, value)
            SELECT 't' || n, '/q' || n % 3, n, 1000 * n, n, n, 0, CASE WHEN n % 4 > 0 THEN 0 END,
                CASE WHEN n % 4 > 0 THEN n END, 0, n % 5, 0, 0, 1, CASE WHEN n % 8 = 0 THEN 'w' ELSE '' END, '', 'v'
            FROM generate_series(1, 50) AS n;
            UPDATE {name}.node SET tasks = 50, value_bytes = 50 WHERE session = 0""")
        await schema.migrate(person, name, init=False)
    old = place._replace(schema=name)
    nodes = Nodes(old)
    nodes.now_ms = 1
    async with AsyncExitStack() as stack:
        one = await nodes.add(stack)
        assert await counted(one) == await scanned(old)
        assert one.backend.load()[:2] == (50, 50)
        async with person_at(old) as person:
            await person.execute(f"DROP SCHEMA {name} CASCADE")
