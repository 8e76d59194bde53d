"""``raftqd pg``: what an operator does with the tables of the PostgreSQL backend.

Each function gives lines for a person. The driver stays behind ``backends.postgres``.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from raftq_cluster.backends.postgres import connecting, schema
from raftq_cluster.backends.postgres.connecting import Place
from raftq_cluster.config import StartError
from raftq_cluster.config.settings import Settings, without_password

_FIGURES: Final = (
    ("tasks", "SELECT tasks FROM {schema}.look(0, 0, 0)"),
    ("bytes of values", "SELECT value_bytes FROM {schema}.look(0, 0, 0)"),
    ("idempotency keys", "SELECT keys FROM {schema}.look(0, 0, 0)"),
    ("docs", "SELECT coalesce(sum(docs), 0) FROM {schema}.doc_set"),
    ("sets of docs", "SELECT count(*) FROM {schema}.doc_set"),
    (
        "nodes",
        "SELECT count(*) || coalesce(' (' || string_agg(name, ', ') || ')', '') FROM {schema}.nodes()",
    ),
    ("bytes of table and indexes", "SELECT pg_total_relation_size('{schema}.task')"),
    (
        "bytes of docs and indexes",
        "SELECT pg_total_relation_size('{schema}.doc') + pg_total_relation_size('{schema}.doc_set')",
    ),
    (
        "dead tuples",
        "SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = '{schema}.task'::regclass",
    ),
    (
        "last vacuum",
        "SELECT coalesce(greatest(last_vacuum, last_autovacuum)::text, 'never') FROM pg_stat_all_tables WHERE relid = '{schema}.task'::regclass",
    ),
    (
        "oldest open transaction, s",
        "SELECT coalesce(max(extract(epoch FROM now() - xact_start))::bigint, 0) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
    ),
)


def run(settings: Settings, action: str) -> str:
    """Connect, act, and give what to print.

    Raises:
        StartError: one sentence.
    """
    place = Place(settings.postgres_dsn, settings.postgres_schema)
    return asyncio.run(_with_connection(place, _ACTIONS[action]))


def script(name: str) -> str:
    """Give the whole schema as SQL. Raises as :func:`run`."""
    schema.check_name(name)
    return schema.script(name)


async def _with_connection(
    place: Place, action: Callable[[Any, Place], Coroutine[Any, Any, str]]
) -> str:
    connection = await connecting.connect(place)
    try:
        return await action(connection, place)
    except connecting.FAILURES as error:
        raise StartError(f"the database refuses: {error}") from error
    finally:
        await connection.close()


async def _init(connection: Any, place: Place) -> str:
    return _said(place, *await schema.migrate(connection, place.schema, init=True))


async def _upgrade(connection: Any, place: Place) -> str:
    return _said(place, *await schema.migrate(connection, place.schema, init=False))


def _said(place: Place, before: int, after: int) -> str:
    if before == after:
        return f"schema {place.schema} has version {after} already"
    return f"schema {place.schema} has version {after} now" + (
        f"; it had {before}" if before else ""
    )


async def _status(connection: Any, place: Place) -> str:
    schema.check_name(place.schema)
    found = await schema.version_of(connection, place.schema)
    wanted = schema.migrations(place.schema)[-1].version
    server = await connection.fetchval("SHOW server_version")
    commit = await connection.fetchval("SHOW synchronous_commit")
    lines = [
        f"database: {without_password(place.dsn)}",
        f"server: PostgreSQL {server}, synchronous_commit = {commit}",
        f"schema {place.schema}: version {found or 'none'}, this raftq needs {wanted}",
    ]
    if found:
        for name, sql in _FIGURES:
            lines.append(f"{name}: {await connection.fetchval(sql.format(schema=place.schema))}")
    return "\n".join(lines)


_ACTIONS: Final = {"init": _init, "upgrade": _upgrade, "status": _status}
