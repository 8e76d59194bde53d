"""Import and export over PostgreSQL: what other nodes notice, lost connections, servers behind a pooler of transactions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from tests.support.backend_subjects import START_MS, NodeOverPostgres, Subject
from tests.support.doc_table import doc, transact
from tests.support.moves import Cut, cut
from tests.support.postgres_server import fresh_schema, shared_server
from tests.support.task_table import TaskTable, claim, configure, modify

from raftq_cluster.backends.api import BackendError
from raftq_cluster.backends.postgres.connecting import Place
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import Claimed, Unfinished
from raftq_cluster.core.snapshot import QUEUE, READY

pytestmark = pytest.mark.asyncio
EVERYTHING = queries.Queues((), (), 100)
ROW = ("x", 0, "/a", START_MS, b"", 0, "", 0, 0, 0, "", START_MS, START_MS, 0)


class Interrupted(Cut):
    """A file in the middle of which something happens."""

    def __init__(self, whole: Cut, what: Callable[[], Awaitable[object]]) -> None:
        super().__init__([], whole.id)
        self.seq, self.cut, self.said = whole.seq, whole.cut, whole.said
        self._what = what

    async def parts(self) -> AsyncIterator[Any]:
        yield self.cut[0]
        await self._what()
        for part in self.cut[1:]:
            yield part


def some(tasks: int = 600) -> Cut:
    table = TaskTable()
    table.configure("/a", order="fifo")
    table.entry(modify(inserts=[op.Insert("/a", f"t{number}") for number in range(tasks)]))
    return cut(table.machine)


async def started(place: Place) -> Subject:
    subject = Subject(NodeOverPostgres(shared_server(), place))
    await subject.backend.start()
    return subject


async def exported(subject: Subject) -> Cut:
    return Cut([list(records) async for records in subject.backend.export()])


async def kill_others(place: Place) -> None:
    """End every connection to the server but this one."""
    connection = await asyncpg.connect(place.dsn)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND state = 'idle in transaction' AND query LIKE 'COPY%'"
    )
    await connection.close()


async def test_a_node_that_serves_already_finds_what_another_took_in() -> None:
    async with fresh_schema(shared_server()) as place:
        one, other = await started(place), await started(place)
        await other.run(configure("/x", order="fifo"), configure("/x"))  # it knows of no settings
        assert await other.do(claim("/a")) == Claimed(())
        await one.backend.take_in(some())
        taken = await other.do(claim("/a", limit=1_000))
        assert [row.id for row in taken.tasks] == [f"t{number}" for number in range(600)]
        await one.do(modify(inserts=[op.Insert("/a", "last")]))
        assert [row.id for row in (await other.do(claim("/a"))).tasks] == ["last"]
        for subject in (one, other):
            await subject.backend.stop()


async def test_an_import_whose_connection_breaks_leaves_nothing() -> None:
    async with fresh_schema(shared_server()) as place:
        subject = await started(place)
        state = some()
        with pytest.raises(BackendError) as refused:
            await subject.backend.take_in(Interrupted(state, lambda: kill_others(place)))
        assert refused.value.code == "unavailable"
        assert await subject.ask(EVERYTHING) == []
        await subject.backend.take_in(state)
        assert (await exported(subject)).said == state.said
        await subject.backend.stop()


async def test_what_is_asked_of_a_node_meanwhile_is_not_done() -> None:
    async with fresh_schema(shared_server()) as place:
        subject, other = await started(place), await started(place)
        told: list[Any] = []

        async def ask() -> None:
            assert await other.ask(EVERYTHING) == []
            told.append(await other.do(modify(inserts=[op.Insert("/a", "early")])))

        await subject.backend.take_in(Interrupted(some(), ask))
        assert isinstance(told[0], Unfinished)
        assert told[0].code == "unavailable"
        assert (await other.ask(EVERYTHING))[0].tasks == 600
        for node in (subject, other):
            await node.backend.stop()


async def test_a_program_that_inserts_by_itself_meanwhile_waits_for_the_end() -> None:
    async with fresh_schema(shared_server()) as place:
        subject, state = await started(place), some()
        program = await asyncpg.connect(place.dsn)
        inserting: list[asyncio.Task[str]] = []

        async def insert() -> None:
            sql = f"SELECT {place.schema}.insert_bytes('/own', 'v', 'own')"
            inserting.append(asyncio.create_task(program.fetchval(sql)))
            await asyncio.wait(inserting, timeout=0.3)
            assert not inserting[0].done()

        await subject.backend.take_in(Interrupted(state, insert))
        assert await asyncio.wait_for(inserting[0], 10) == "own"
        assert [(row.name, row.tasks) for row in await subject.ask(EVERYTHING)] == [
            ("/a", 600),
            ("/own", 1),
        ]
        await program.close()
        await subject.backend.stop()


async def test_nothing_needs_more_than_a_transaction_of_a_pooled_connection() -> None:
    async with (
        fresh_schema(shared_server(), listens=False) as place,
        fresh_schema(shared_server(), listens=False) as next_place,
    ):
        one, other = await started(place), await started(next_place)
        await one.backend.take_in(some())
        await one.do(transact(doc_inserts=[doc("d", value=b"v")]))
        state = await exported(one)
        await other.backend.take_in(state)
        assert (await exported(other)).said == state.said
        for subject in (one, other):
            await subject.backend.stop()


@pytest.mark.parametrize(
    "row",
    [
        ("x", 2**31, *ROW[2:]),
        (*ROW[:9], -(2**31) - 1, *ROW[10:]),
        ("x\0", *ROW[1:]),
    ],
    ids=["version", "priority", "NUL"],
)
async def test_what_the_tables_cannot_hold_is_refused_in_plain_words(row: Any) -> None:
    async with fresh_schema(shared_server()) as place:
        subject = await started(place)
        state = Cut([[(QUEUE, "/a", 1, False), (READY, 1, row)]])
        state.seq = 1
        with pytest.raises(BackendError, match="this cannot be stored") as refused:
            await subject.backend.take_in(state)
        assert refused.value.code == "import_refused"
        assert await subject.ask(EVERYTHING) == []
        await subject.backend.stop()


@pytest.mark.parametrize(
    "records",
    [
        [(QUEUE, "/a", 1, False), (READY, 1, ROW), (READY, 2, ROW)],
        [(5, "k", b"", 1, 1, "Done", ())] * 2,
        [(8, "d", "", b"", 0, 1, 1)],
        [(7, "/n", "k", 1, "", 1, 1), (7, "/n", "k", 2, "", 1, 1)],
        [(1, "/q", "fifo", None, None)] * 2,
    ],
    ids=["task", "key", "doc", "set", "setting"],
)
async def test_records_that_do_not_fit_together_are_refused(records: list[Any]) -> None:
    async with fresh_schema(shared_server()) as place:
        subject = await started(place)
        state = Cut([])
        state.seq, state.cut = 9, [records]
        with pytest.raises(BackendError) as refused:
            await subject.backend.take_in(state)
        assert refused.value.code == "import_refused"
        assert await subject.ask(EVERYTHING) == []
        await subject.backend.stop()
