"""Insert tasks in a transaction of one's own, where PostgreSQL keeps them: the task is there exactly if it commits.

    with psycopg.connect(dsn) as conn:                       # psycopg, synchronous
        conn.execute("UPDATE orders SET paid = true WHERE id = %s", (7,))
        raftq.postgres.insert(conn, "/mail/out", {"order": 7})

    async with connection.transaction():                     # asyncpg, or psycopg's AsyncConnection
        await raftq.postgres.insert(connection, "/mail/out", {"order": 7})

Imports no driver: the connection is the caller's, and so are transaction and errors. Source: docs/postgres.md.
"""

from inspect import isawaitable
from typing import Any, Final

from msgspec import UNSET

from raftq.errors import InvalidRequest
from raftq.values import VALUE_BYTES_MAX, encode_value

_ARGUMENTS: Final = ("queue", "value", "id", "at", "delay_ms", "priority", "attempt")
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
        conn: a connection of psycopg (3), psycopg2 or asyncpg.
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
    if hasattr(conn, "fetchval"):  # asyncpg
        places = [f"{name} => ${number}" for number, name in enumerate(_ARGUMENTS, 1)]
        return conn.fetchval(_call(schema, function, places), *arguments)
    places = [f"{name} => %s" for name in _ARGUMENTS]
    places[1] += "::bytea" if text is UNSET else "::json"
    return _through_cursor(conn, _call(schema, function, places), arguments)


def _call(schema: str, function: str, places: list[str]) -> str:
    return f"SELECT {schema}.{function}({', '.join(places)})"


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
