"""Migrations forward only, and one clear sentence for every schema that a node cannot serve."""

import asyncio
import os

import asyncpg
import pytest
from tests.support.postgres_server import fresh_schema, shared_server

from raftq_cluster.backends.postgres import schema
from raftq_cluster.backends.postgres.backend import PostgresBackend
from raftq_cluster.backends.postgres.connecting import Place, connect
from raftq_cluster.config import StartError
from raftq_cluster.core import queries

pytestmark = pytest.mark.asyncio

NAME = f"raftq_m{os.getpid()}"  # two test processes may share a server


async def emptied() -> asyncpg.Connection:
    connection = await connect(Place(shared_server().dsn))
    await connection.execute("SET client_min_messages = warning")
    await connection.execute(f"DROP SCHEMA IF EXISTS {NAME} CASCADE")
    return connection


async def refusal(place: Place) -> str:
    with pytest.raises(StartError) as caught:
        await PostgresBackend(place).start()
    return str(caught.value)


async def test_a_node_says_in_one_sentence_what_its_schema_lacks() -> None:
    place = Place(shared_server().dsn, NAME)
    connection = await emptied()
    assert "raftqd pg init makes it" in await refusal(place)
    with pytest.raises(StartError, match="raftqd pg init makes it"):
        await schema.migrate(connection, NAME, init=False)
    latest = schema.migrations(NAME)[-1].version
    assert await schema.migrate(connection, NAME, init=True) == (0, latest)
    assert await schema.migrate(connection, NAME, init=True) == (latest, latest)
    await connection.execute(f"DELETE FROM {NAME}.migration WHERE version = {latest}")
    assert "raftqd pg upgrade brings it there" in await refusal(place)
    await connection.execute(f"INSERT INTO {NAME}.migration VALUES (99)")
    assert "install a newer raftq" in await refusal(place)
    with pytest.raises(StartError, match="install a newer raftq"):
        await schema.migrate(connection, NAME, init=False)
    await connection.execute(f"DROP SCHEMA {NAME} CASCADE")
    await connection.close()


@pytest.mark.parametrize("older", [3, 4, 5])
async def test_a_schema_of_an_earlier_version_is_upgraded_with_what_is_in_it(older: int) -> None:
    place = Place(shared_server().dsn, NAME)
    connection = await emptied()
    await connection.execute(f"CREATE SCHEMA {NAME}")
    for version, _, sql in schema.migrations(NAME)[:older]:
        await connection.execute(sql)
        await connection.execute(f"INSERT INTO {NAME}.migration VALUES ({version})")
    await connection.execute(f"SELECT {NAME}.insert('/q', '1', id => 't')")
    latest = schema.migrations(NAME)[-1].version
    assert await schema.migrate(connection, NAME, init=False) == (older, latest)
    backend = PostgresBackend(place)
    await backend.start()
    (task,) = (await backend.read(queries.Tasks("/q", "", (), 9, omit_values=False))).value
    assert (task.id, task.value, task.version) == ("t", b"1", 0)
    await backend.stop()
    await connection.execute(f"DROP SCHEMA {NAME} CASCADE")
    await connection.close()


async def test_several_that_make_the_schema_at_once_make_one() -> None:
    connection = await emptied()
    others = [await connect(Place(shared_server().dsn)) for _ in range(4)]
    done = await asyncio.gather(*[schema.migrate(other, NAME, init=True) for other in others])
    latest = schema.migrations(NAME)[-1].version
    assert sorted(done) == [(0, latest), *[(latest, latest)] * 3]
    await connection.execute(f"DROP SCHEMA {NAME} CASCADE")
    for opened in (*others, connection):
        await opened.close()


async def test_an_upgrade_waits_for_batches_that_run_and_takes_nothing_that_they_need() -> None:
    connection = await emptied()
    await connection.execute(f"CREATE SCHEMA {NAME}")
    for version, _, sql in schema.migrations(NAME)[:5]:
        await connection.execute(sql)
        await connection.execute(f"INSERT INTO {NAME}.migration VALUES ({version})")
    batch = await connect(Place(shared_server().dsn))
    await batch.execute("BEGIN")
    await batch.execute(
        f"SELECT pg_advisory_xact_lock_shared(7677, '{NAME}.state'::regclass::oid::integer)"
    )
    await batch.execute(f"SELECT FROM {NAME}.node, {NAME}.queue")  # what was gathered
    upgrade = asyncio.create_task(schema.migrate(connection, NAME, init=False))
    waits = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted"
    while not await batch.fetchval(waits, connection.get_server_pid()):
        assert not upgrade.done()
    await batch.execute(f"SELECT {NAME}.insert('/q', '1', id => 't')")  # what is stored
    await batch.execute("COMMIT")
    assert (await upgrade)[0] == 5
    assert await connection.fetchval(f"SELECT tasks FROM {NAME}.counts_from('/q')") == 1
    await connection.execute(f"DROP SCHEMA {NAME} CASCADE")
    await batch.close()
    await connection.close()


async def test_the_printed_script_makes_what_init_makes() -> None:
    connection = await emptied()
    await connection.execute(schema.script(NAME))
    async with fresh_schema(shared_server()) as place:
        columns = """
            SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
            WHERE table_schema = $1 ORDER BY 1, 2"""
        made = await connection.fetch(columns, place.schema)
        assert await connection.fetch(columns, NAME) == made
        assert len(made) > 40
    assert await schema.version_of(connection, NAME) == schema.migrations(NAME)[-1].version
    await connection.execute(f"DROP SCHEMA {NAME} CASCADE")
    await connection.close()


@pytest.mark.parametrize("name", ["a b", "Raftq", "x;y", "", "1a"])
async def test_a_schema_of_an_odd_name_is_refused(name: str) -> None:
    with pytest.raises(StartError, match="--postgres-schema"):
        schema.check_name(name)


async def test_a_password_is_not_in_the_sentence_of_a_database_that_cannot_be_reached() -> None:
    with pytest.raises(StartError) as caught:
        await connect(Place("postgresql://u:s3cret@127.0.0.1:1/d"))
    assert "s3cret" not in str(caught.value)
