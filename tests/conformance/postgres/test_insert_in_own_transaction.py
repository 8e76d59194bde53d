"""``raftq.postgres.insert`` and its SQL function: a task is there exactly if somebody's transaction commits."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from inspect import isawaitable

import asyncpg
import psycopg
import psycopg2
import pytest
import pytest_asyncio
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from tests.support.backend_subjects import ANSWER_S, START_MS, NodeOverPostgres, Subject
from tests.support.postgres_server import fresh_schema, shared_server
from tests.support.task_table import claim

from raftq import InvalidRequest, TooLarge
from raftq.postgres import insert
from raftq_cluster.backends.postgres.backend import PostgresBackend
from raftq_cluster.backends.postgres.connecting import Place
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    async with fresh_schema(shared_server()) as place:
        yield place


@pytest_asyncio.fixture
async def backend(place: Place) -> AsyncIterator[PostgresBackend]:
    backend = PostgresBackend(place)
    await backend.start()
    yield backend
    await backend.stop()


@pytest.fixture
def person(place: Place) -> Iterator[psycopg.Connection]:
    with psycopg.connect(place.dsn) as connection:
        yield connection


async def claimed(backend: PostgresBackend, queue: str = "/a") -> list[tuple[str, bytes, int]]:
    told: asyncio.Future = asyncio.get_running_loop().create_future()
    backend.submit([claim(queue, limit=10)], lambda _, outcomes: told.set_result(outcomes[0]))
    outcome = await asyncio.wait_for(told, ANSWER_S)
    return sorted((row.id, row.value, row.kind) for row in outcome.tasks)


async def test_a_task_is_there_exactly_if_the_transaction_commits(person, place, backend):
    insert(person, "/a", {"n": 1}, id="x", schema=place.schema)
    assert await claimed(backend) == []
    person.rollback()
    assert await claimed(backend) == []
    insert(person, "/a", {"n": 2}, id="y", schema=place.schema)
    insert(person, "/a", b"\x00\xff", id="z", schema=place.schema)
    person.commit()
    assert await claimed(backend) == [("y", b'{"n":2}', op.JSON), ("z", b"\x00\xff", op.BYTES)]


async def test_asyncpg_and_psycopgs_async_connection_are_awaited(place, backend):
    connection = await asyncpg.connect(place.dsn)
    async with connection.transaction():
        first = await insert(connection, "/a", [1], priority=3, schema=place.schema)
    await connection.close()
    async with await psycopg.AsyncConnection.connect(place.dsn) as other:
        second = await insert(other, "/a", b"2", schema=place.schema)
    assert first != second
    assert sorted(await claimed(backend)) == sorted(
        [(first, b"[1]", op.JSON), (second, b"2", op.BYTES)]
    )


async def test_a_waiting_node_hears_of_it(person, place, backend):
    due = asyncio.Event()
    backend.on_ready(lambda _ready: due.set() if backend.next_due_ms() else None)
    insert(person, "/a", 1, schema=place.schema)
    person.commit()
    await asyncio.wait_for(due.wait(), ANSWER_S)
    assert len(await claimed(backend)) == 1


async def test_it_arrives_when_it_is_told_to_and_in_its_queues_order(person, place):
    node = NodeOverPostgres(shared_server(), place, START_MS)
    await node.backend.start()
    subject = Subject(node)
    await subject.do(op.Configure(op.CONFIGURE, "", b"", "/a", "priority", None, None))
    node.now_ms = (await asyncio.to_thread(_clock, person, place)) + 10_000
    for id_, priority, at in (("low", 1, 0), ("high", 2, 0), ("later", 3, node.now_ms + 60_000)):
        insert(person, "/a", 1, id=id_, priority=priority, at=at, schema=place.schema)
    person.commit()
    taken = [(await subject.do(claim("/a", lease_ms=600_000))).tasks for _ in range(3)]
    assert [[row.id for row in rows] for rows in taken] == [["high"], ["low"], []]
    node.pass_ms(60_000)
    assert [row.id for row in (await subject.do(claim("/a"))).tasks] == ["later"]
    await node.backend.stop()


def _clock(person: psycopg.Connection, place: Place) -> int:
    row = person.execute(f"SELECT {place.schema}.clock_ms()").fetchone()
    assert row is not None
    now_ms: int = row[0]
    return now_ms


async def test_it_is_counted_within_a_second(person, place, backend):
    counted = asyncio.Event()
    backend.on_ready(
        lambda _ready: counted.set() if backend.load()[:2] == (1, 7) else None,
    )
    insert(person, "/a", b"1234567", schema=place.schema)
    person.commit()
    await asyncio.wait_for(counted.wait(), ANSWER_S)
    rows = (await backend.read(queries.Tasks("/a", "", (), 5, omit_values=False))).value
    assert [row.value for row in rows] == [b"1234567"]


@pytest.mark.parametrize(
    ("queue", "fields"),
    [
        ("a b", {}),
        ("", {}),
        ("q" * 257, {}),
        ("/a", {"id": "i" * 65}),
        ("/a", {"id": "a\nb"}),
        ("/a", {"at": 1, "delay_ms": 1}),
        ("/a", {"delay_ms": -1}),
    ],
)
async def test_what_a_node_would_refuse_is_refused_here_too(person, place, queue, fields):
    with pytest.raises(psycopg.DataError, match="raftq: "):
        insert(person, queue, 1, schema=place.schema, **fields)


async def test_what_cannot_be_sent_is_refused_before_it_is(person, place):
    with pytest.raises(TooLarge):
        insert(person, "/a", b"123", value_bytes_max=2, schema=place.schema)
    with pytest.raises(InvalidRequest):
        insert(person, "/a", float("nan"), schema=place.schema)
    with pytest.raises(InvalidRequest):
        insert(person, "/a", 1, schema="a; drop")


async def test_an_id_that_exists_is_the_drivers_error(person, place):
    insert(person, "/a", 1, id="x", schema=place.schema)
    with pytest.raises(psycopg.errors.UniqueViolation):
        insert(person, "/a", 1, id="x", schema=place.schema)


async def test_a_role_with_no_right_but_the_use_of_the_schema_may_insert(person, place, backend):
    role = f"{place.schema}_app"
    person.execute(f"CREATE ROLE {role}")
    person.execute(f"GRANT USAGE ON SCHEMA {place.schema} TO {role}")
    person.execute(f"SET LOCAL ROLE {role}")
    insert(person, "/a", 1, id="x", schema=place.schema)
    with pytest.raises(psycopg.errors.InsufficientPrivilege), person.transaction():
        person.execute(f"SELECT * FROM {place.schema}.task")
    person.execute("RESET ROLE")
    person.execute(f"REVOKE ALL ON SCHEMA {place.schema} FROM {role}")
    person.execute(f"DROP ROLE {role}")
    person.commit()
    assert [id_ for id_, _, _ in await claimed(backend)] == ["x"]


# --- every driver: the same test, in its own words -------------------------------------------------------


def with_psycopg(place: Place, ids: list[str], *, commits: bool) -> None:
    with psycopg.connect(place.dsn) as connection:
        assert insert(connection, "/a", {"n": 1}, id=ids[0], schema=place.schema) == ids[0]
        assert insert(connection, "/a", b"\x00'\xff", id=ids[1], schema=place.schema) == ids[1]
        if not commits:
            connection.rollback()


def with_psycopg2(place: Place, ids: list[str], *, commits: bool) -> None:
    connection = psycopg2.connect(place.dsn)
    assert insert(connection, "/a", {"n": 1}, id=ids[0], schema=place.schema) == ids[0]
    assert insert(connection, "/a", b"\x00'\xff", id=ids[1], schema=place.schema) == ids[1]
    (connection.commit if commits else connection.rollback)()
    connection.close()


class UndoneError(Exception):
    """Ends a transaction."""


async def with_asyncpg(place: Place, ids: list[str], *, commits: bool) -> None:
    connection = await asyncpg.connect(place.dsn)
    try:
        with suppress(UndoneError):
            async with connection.transaction():
                await insert(connection, "/a", {"n": 1}, id=ids[0], schema=place.schema)
                await insert(connection, "/a", b"\x00'\xff", id=ids[1], schema=place.schema)
                if not commits:
                    raise UndoneError
    finally:
        await connection.close()


def url_of(place: Place, driver: str) -> str:
    return place.dsn.replace("postgresql://", f"postgresql+{driver}://")


def with_sqlalchemy(driver: str, place: Place, ids: list[str], *, commits: bool) -> None:
    engine = sqlalchemy.create_engine(url_of(place, driver))
    with suppress(UndoneError), Session(engine) as session, session.begin():
        assert insert(session, "/a", {"n": 1}, id=ids[0], schema=place.schema) == ids[0]
        insert(session.connection(), "/a", b"\x00'\xff", id=ids[1], schema=place.schema)
        if not commits:
            raise UndoneError
    engine.dispose()


async def with_async_sqlalchemy(
    driver: str, place: Place, ids: list[str], *, commits: bool
) -> None:
    engine = create_async_engine(url_of(place, driver))
    with suppress(UndoneError):
        async with AsyncSession(engine) as session, session.begin():
            found = await insert(session, "/a", {"n": 1}, id=ids[0], schema=place.schema)
            assert found == ids[0]
            connection = await session.connection()
            await insert(connection, "/a", b"\x00'\xff", id=ids[1], schema=place.schema)
            if not commits:
                raise UndoneError
    await engine.dispose()


DRIVERS = {
    "psycopg": with_psycopg,
    "psycopg2": with_psycopg2,
    "asyncpg": with_asyncpg,
    "sqlalchemy-psycopg": partial(with_sqlalchemy, "psycopg"),
    "sqlalchemy-psycopg2": partial(with_sqlalchemy, "psycopg2"),
    "sqlalchemy-asyncpg": partial(with_async_sqlalchemy, "asyncpg"),
    "sqlalchemy-psycopg-async": partial(with_async_sqlalchemy, "psycopg"),
}


@pytest.mark.parametrize("driver", DRIVERS)
async def test_every_driver_inserts_in_the_transaction_it_is_in(place, backend, driver):
    inserting = DRIVERS[driver]
    for ids, commits in ((["x", "y"], False), (["v", "w"], True)):
        done = inserting(place, ids, commits=commits)
        if isawaitable(done):
            await done
    assert await claimed(backend) == [
        ("v", b'{"n":1}', op.JSON),
        ("w", b"\x00'\xff", op.BYTES),
    ]
