"""The schema: forward-only migrations, numbered, each a file of ``sql/``, each in one transaction.

A node never changes the schema; ``raftqd pg init`` and ``raftqd pg upgrade`` do. Several may run at once: the
first takes a lock, the others find the work done.
"""

import re
from importlib.resources import files
from typing import Final, NamedTuple

import asyncpg

from raftq_cluster.backends.postgres.connecting import Place
from raftq_cluster.config import StartError

SCHEMA_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")  # what needs no quotes
_LOCK: Final = (7677, 1)
_OLDEST_SERVER: Final = 120_000
# All batches share it.
_ALONE: Final = "SELECT pg_advisory_xact_lock(7677, '{schema}.state'::regclass::oid::integer)"
_NAME: Final = re.compile(r"\braftq\.")


class Migration(NamedTuple):
    """One step."""

    version: int
    name: str
    sql: str


def migrations(schema: str) -> list[Migration]:
    """Give all steps in order, written for a schema."""
    found = []
    for entry in files(__package__).joinpath("sql").iterdir():
        number, _, name = entry.name.removesuffix(".sql").partition("_")
        if number.isdigit():
            found.append(Migration(int(number), name, in_schema(entry.read_text("utf-8"), schema)))
    return sorted(found)


def in_schema(sql: str, schema: str) -> str:
    """Write SQL, in which the schema is called raftq, for a schema of another name."""
    return _NAME.sub(f"{schema}.", sql)


def script(schema: str) -> str:
    """Give everything as one script for ``psql``."""
    parts = ["BEGIN;", f"CREATE SCHEMA {schema};"]
    for migration in migrations(schema):
        parts += [migration.sql, _noted(schema, migration.version) + ";"]
    return "\n".join([*parts, "COMMIT;", ""])


async def version_of(connection: asyncpg.Connection, schema: str) -> int:
    """Tell which version the schema has; 0: there is none."""
    exists = await connection.fetchval("SELECT to_regclass($1)", f"{schema}.migration")
    if exists is None:
        return 0
    version: int = await connection.fetchval(f"SELECT max(version) FROM {schema}.migration")  # noqa: S608 - a checked name
    return version or 0


async def check(connection: asyncpg.Connection, place: Place) -> None:
    """Refuse to serve over a schema that this version was not made for.

    Raises:
        StartError: one sentence that tells what to do.
    """
    check_name(place.schema)
    found, wanted = await version_of(connection, place.schema), migrations(place.schema)[-1].version
    if not found:
        raise StartError(f"the database has no schema {place.schema}: raftqd pg init makes it")
    if found < wanted:
        raise StartError(
            f"the schema {place.schema} has version {found} and this node needs {wanted}:"
            " raftqd pg upgrade brings it there"
        )
    if found > wanted:
        raise _newer(place.schema, found, wanted)


async def migrate(connection: asyncpg.Connection, schema: str, *, init: bool) -> tuple[int, int]:
    """Bring the schema to this version; give the versions before and after.

    Args:
        connection: to the database.
        schema: its name.
        init: whether the schema may be made; otherwise it must be there.

    Raises:
        StartError: one sentence.
    """
    check_name(schema)
    await _check_server(connection)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", *_LOCK)
        before = await version_of(connection, schema)
        if not before and not init:
            raise StartError(f"the database has no schema {schema}: raftqd pg init makes it")
        wanted = migrations(schema)[-1].version
        if before > wanted:
            raise _newer(schema, before, wanted)
        if not before:
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        elif (
            before < wanted
        ):  # no batch that runs meets half of it, and none holds what it waits for
            await connection.execute(_ALONE.format(schema=schema))
        after = before
        for migration in migrations(schema):
            if migration.version > before:
                await connection.execute(migration.sql)
                await connection.execute(_noted(schema, migration.version))
                after = migration.version
    return before, after


def _newer(schema: str, found: int, wanted: int) -> StartError:
    return StartError(
        f"the schema {schema} has version {found}, which is newer than this raftq's {wanted}:"
        " install a newer raftq"
    )


def check_name(schema: str) -> None:
    """Refuse what cannot be the name of a schema.

    Raises:
        StartError: it cannot.
    """
    if not SCHEMA_NAME.fullmatch(schema):
        raise StartError(
            f"--postgres-schema: {schema!r} is no name of small letters, digits and underscores"
        )


async def _check_server(connection: asyncpg.Connection) -> None:
    number = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
    if number < _OLDEST_SERVER:
        raise StartError(f"the server is PostgreSQL {number // 10_000}; 12 or later is needed")
    encoding = await connection.fetchval("SELECT current_setting('server_encoding')")
    if encoding != "UTF8":
        raise StartError(f"the database's encoding is {encoding}; UTF8 is needed")


def _noted(schema: str, version: int) -> str:
    return f"INSERT INTO {schema}.migration (version) VALUES ({version})"  # noqa: S608 - a checked name
