"""The rows that stand for one session of a node: made when it connects, folded into those of the gone at its end.

A session lasts as long as a connection: what a node remembers of the database is as of one, since after it another server
may answer, which has lost commits. Rows of a node that is silent are folded by the others; if it lives after all, its
next batch fails, and it begins a new session.
"""

from typing import Final, NamedTuple

import asyncpg

from raftq_cluster.backends.postgres import connecting
from raftq_cluster.backends.postgres.connecting import Place
from raftq_cluster.backends.postgres.view import View
from raftq_cluster.config import StartError
from raftq_cluster.core.doc_store import EMPTY_SETS_KEPT_MAX, SET_BYTES
from raftq_cluster.version import VERSION

SILENT_MS: Final = 60_000  # a node that was heard of this long ago is gone
NUMBERS_SKIPPED: Final = (
    1_000_000  # integer ids after a promotion: those that were given and lost do not come again
)
_OPEN: Final = """
WITH made AS (
    INSERT INTO {schema}.node (session, batch, now_ms, tasks, value_bytes, keys, key_bytes, name, http, text, version)
    VALUES ($1, 0, 0, 0, 0, 0, 0, $2, $3, $4, $5))
INSERT INTO {schema}.share (session, batch, now_ms, seq_block, tasks, value_bytes, keys, key_bytes)
VALUES ($1, 0, 0, 0, 0, 0, 0, 0)
"""
_FOLD_SILENT: Final = """
SELECT {schema}.fold(n.session) FROM {schema}.nodes() AS n WHERE n.session <> $1 AND n.silent_ms > $2
"""
_TIMELINE: Final = (
    "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint"
)


class Identity(NamedTuple):
    """What a node says of itself in its row."""

    name: str
    http: str = ""
    text: str = ""


class Found(NamedTuple):
    """Counts, times and what else a node asks for every second. Times in ms since the epoch."""

    tasks: int
    value_bytes: int
    keys: int
    key_bytes: int
    log_ms: int
    log_index: int
    due_ms: int | None  # when the first of the waiting tasks that were asked for arrives
    now_ms: int
    cluster_id: str
    has_inserted: bool  # programs inserted what no node has counted


class Node(NamedTuple):
    """A node that lives, by its row."""

    session: int
    name: str
    http: str
    text: str
    version: str
    silent_ms: int  # since it was heard of last


async def connect(place: Place, view: View) -> asyncpg.Connection:
    """Open a connection, and not to a server that has been replaced.

    A primary that died, whose standby was promoted, and that was started again takes writes, which nobody will ever see.

    Raises:
        StartError: there is no other server.
    """
    connection = await connecting.connect(place)
    found = await timeline(connection)
    if found is not None and found < (view.timeline or 0):
        connection.terminate()
        raise StartError(
            f"the server has timeline {found}, and this node has seen {view.timeline}: another server has"
            " taken over from it"
        )
    return connection


async def open_session(
    connection: asyncpg.Connection, schema: str, session: int, identity: Identity
) -> None:
    """Make the rows of a node, and fold those of nodes that are long gone."""
    await fold_silent(connection, schema, session)
    await connection.execute(_OPEN.format(schema=schema), session, *identity, VERSION)


async def close_session(connection: asyncpg.Connection, schema: str, session: int) -> None:
    """Fold the rows of a session that ends. May be repeated."""
    await connection.execute(f"SELECT {schema}.fold($1)", session)


async def fold_silent(connection: asyncpg.Connection, schema: str, session: int) -> None:
    """Fold the rows of nodes that have been silent for long."""
    await connection.fetch(_FOLD_SILENT.format(schema=schema), session, SILENT_MS)


async def advertise(
    connection: asyncpg.Connection, schema: str, session: int, identity: Identity
) -> None:
    """Say where a node's servers listen."""
    sql = f"UPDATE {schema}.node SET http = $2, text = $3 WHERE session = $1"  # noqa: S608 - a checked name
    await connection.execute(sql, session, identity.http, identity.text)


async def members(connection: asyncpg.Connection, schema: str) -> list[Node]:
    """List the nodes over this schema."""
    rows = await connection.fetch(f"SELECT * FROM {schema}.nodes()")  # noqa: S608 - a checked name
    return [Node(*row) for row in rows]


async def forget_sets(connection: asyncpg.Connection, schema: str, now_ms: int) -> None:
    """Forget locks of sets of docs that are of no use any more."""
    sql = f"SELECT {schema}.forget_sets(0, $1, $2, $3)"
    await connection.execute(sql, now_ms, SET_BYTES, EMPTY_SETS_KEPT_MAX)


async def was_committed(
    connection: asyncpg.Connection, schema: str, session: int, batch: int
) -> bool | None:
    """Tell whether a batch whose connection broke was committed; None: the session's rows are gone.

    Waits for its transaction, should the server still be about to end it.
    """
    rows = f"FROM {schema}.share WHERE session = $1"
    await connection.execute(f"SELECT {rows} FOR UPDATE", session)
    last: int | None = await connection.fetchval(f"SELECT max(batch) {rows}", session)
    return None if last is None else last >= batch


async def find_state(
    connection: asyncpg.Connection,
    schema: str,
    after_ms: int = -1,
    before_ms: int = 2**62,
    taken: int = 0,
) -> Found:
    """Read counts, times, the log index and the cluster's id: what a node wants to know first.

    Of the waiting tasks only those that arrive after ``after_ms`` and before ``before_ms`` are looked at.
    """
    sql = f"SELECT * FROM {schema}.look($1, $2, $3)"  # noqa: S608 - a checked name
    return Found(*await connection.fetchrow(sql, after_ms, before_ms, taken))


async def timeline(connection: asyncpg.Connection) -> int | None:
    """Tell the server's timeline, which a promotion or a restored backup makes another one; None: it does not say."""
    try:
        found: int = await connection.fetchval(_TIMELINE)
    except asyncpg.PostgresError:
        return None
    return found


async def note_timeline(connection: asyncpg.Connection, schema: str, found: int) -> None:
    """See to it that what was lost with another timeline is not taken for what comes after.

    The first who sees a new timeline skips integer ids, of which lost commits may have given some.
    """
    before = await connection.fetchval(f"SELECT timeline FROM {schema}.state")  # noqa: S608 - a checked name
    if before == found:
        return
    async with connection.transaction():
        await connection.execute(
            f"SELECT pg_advisory_xact_lock(7677, '{schema}.state'::regclass::oid::integer)"
        )
        before = await connection.fetchval(f"SELECT timeline FROM {schema}.state")  # noqa: S608 - the same
        if before not in {0, found}:
            await connection.execute(
                f"UPDATE {schema}.queue SET next_serial = next_serial + $1",  # noqa: S608 - the same
                NUMBERS_SKIPPED,
            )
        await connection.execute(
            f"UPDATE {schema}.state SET timeline = $1,"  # noqa: S608 - the same
            " settings_version = settings_version + 1 + (random() * 1000000)::bigint",
            found,
        )
