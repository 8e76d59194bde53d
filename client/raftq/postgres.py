"""Insert tasks in a transaction of one's own, where PostgreSQL keeps them: the task is there exactly if it commits.

    with psycopg.connect(dsn) as conn:                       # psycopg, synchronous
        conn.execute("UPDATE orders SET paid = true WHERE id = %s", (7,))
        raftq.postgres.insert(conn, "/mail/out", {"order": 7})

    async with connection.transaction():                     # asyncpg, or psycopg's AsyncConnection
        await raftq.postgres.insert(connection, "/mail/out", {"order": 7})

    with Session(engine) as session, session.begin():        # SQLAlchemy: Session, Connection, and their async kinds
        raftq.postgres.insert(session, "/mail/out", {"order": 7})

Imports no driver: the connection is the caller's, and so are transaction and errors. Source: docs/postgres.md.
"""

from inspect import isawaitable
from typing import Any, Final

from msgspec import UNSET

from raftq.errors import InvalidRequest
from raftq.values import VALUE_BYTES_MAX, encode_value

_ARGUMENTS: Final = ("queue", "value", "id", "at", "delay_ms", "priority", "attempt")
_TYPES: Final = {
    "queue": "text", "id": "text", "at": "bigint", "delay_ms": "bigint", "priority": "integer",
    "attempt": "integer",
}  # fmt: skip
_SCHEMA: Final = "raftq"


def insert(  # noqa: PLR0913 - a keyword each
    conn: Any,
    queue: str,
    value: object = None,
    *,
    id: str | None = None,  # noqa: A002 - the name that it has everywhere
    at: int | None = None,
    delay_ms: int = 0,
    priority: int = 0,
    attempt: int = 0,
    schema: str = _SCHEMA,
    value_bytes_max: int = VALUE_BYTES_MAX,
) -> Any:
    """Insert a task through ``conn``, in whatever transaction it is in.

    Args:
        conn: a connection of psycopg (3), psycopg2 or asyncpg, or a connection or session of SQLAlchemy over any of them.
        queue: its queue.
        value: anything that JSON can say, or bytes.
        id: its id; one is made if none is given. One that exists is an error of the driver's (a unique violation).
        at: arrival time in ms since the epoch.
        delay_ms: arrive this long after now; at most one of the two.
        priority: higher is claimed first in a queue by priority.
        attempt: tries that were made before.
        schema: where the tables of raftq are.
        value_bytes_max: largest value; nodes have a limit of this kind too.

    Returns:
        The task's id; of an asynchronous connection, an awaitable of it.

    Raises:
        InvalidRequest: JSON cannot say the value, or ``schema`` is no name.
        TooLarge: the value is too large.
    """
    if not (schema.isidentifier() and schema.isascii()):
        raise InvalidRequest(f"{schema!r} is no name of a schema")
    text, data = encode_value(value, value_bytes_max)
    function = "insert_bytes" if text is UNSET else "insert"
    said = data if text is UNSET else bytes(text).decode()
    arguments = (queue, said, id, at, delay_ms, priority, attempt)
    if any(cls.__module__.startswith("sqlalchemy.") for cls in type(conn).__mro__):
        return _through_sqlalchemy(conn, schema, function, arguments)
    if hasattr(conn, "fetchval"):  # asyncpg
        places = [f"{name} => ${number}" for number, name in enumerate(_ARGUMENTS, 1)]
        return conn.fetchval(_call(schema, function, places), *arguments)
    places = [f"{name} => %s" for name in _ARGUMENTS]
    places[1] += "::bytea" if text is UNSET else "::json"
    return _through_cursor(conn, _call(schema, function, places), arguments)


def _call(schema: str, function: str, places: list[str]) -> str:
    return f"SELECT {schema}.{function}({', '.join(places)})"


def _through_sqlalchemy(conn: Any, schema: str, function: str, arguments: tuple[Any, ...]) -> Any:
    """Have it write the places in its driver's way; it says nothing of their types, so they are said here."""
    from sqlalchemy import text  # noqa: PLC0415 - it is there: the caller has made the connection with it

    types = {**_TYPES, "value": "json" if function == "insert" else "bytea"}
    places = [f"{name} => CAST(:{name} AS {types[name]})" for name in _ARGUMENTS]
    done = conn.execute(
        text(_call(schema, function, places)), dict(zip(_ARGUMENTS, arguments, strict=True))
    )
    return _awaited_scalar(done) if isawaitable(done) else done.scalar_one()


async def _awaited_scalar(done: Any) -> Any:
    return (await done).scalar_one()


def _through_cursor(conn: Any, sql: str, arguments: tuple[Any, ...]) -> Any:
    cursor = conn.cursor()
    done = cursor.execute(sql, arguments)
    if isawaitable(done):
        return _awaited(cursor, done)
    with cursor:
        return cursor.fetchone()[0]


async def _awaited(cursor: Any, done: Any) -> Any:
    async with cursor:
        await done
        return (await cursor.fetchone())[0]
