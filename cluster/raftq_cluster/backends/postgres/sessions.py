"""The row that stands for one life of a node: made at its start, folded into that of the gone at its end.

It holds the node's share of the counts and the number of its last batch. The row of a node that was killed is
folded by another one after a day.
"""

from typing import Final

import asyncpg

from raftq_cluster.core.doc_store import EMPTY_SETS_KEPT_MAX, SET_BYTES

_OPEN: Final = """
INSERT INTO {schema}.node (session, batch, now_ms, tasks, value_bytes, keys, key_bytes, name)
VALUES ($1, 0, 0, 0, 0, 0, 0, $2) ON CONFLICT (session) DO NOTHING
"""
_FOLD: Final = """
WITH gone AS (DELETE FROM {schema}.node n WHERE n.session <> 0 AND {condition}
    RETURNING n.now_ms, n.tasks, n.value_bytes, n.keys, n.key_bytes, n.empty_sets)
UPDATE {schema}.node b SET
    now_ms = greatest(b.now_ms, s.now_ms), tasks = b.tasks + s.tasks,
    value_bytes = b.value_bytes + s.value_bytes, keys = b.keys + s.keys,
    key_bytes = b.key_bytes + s.key_bytes, empty_sets = b.empty_sets + s.empty_sets
FROM (SELECT max(now_ms) AS now_ms, sum(tasks) AS tasks, sum(value_bytes) AS value_bytes,
      sum(keys) AS keys, sum(key_bytes) AS key_bytes, sum(empty_sets) AS empty_sets, count(*) AS count
      FROM gone) s
WHERE b.session = 0 AND s.count > 0
"""
_TAKE_OVER: Final = """
WITH gone AS (DELETE FROM {schema}.inserted RETURNING tasks, value_bytes)
UPDATE {schema}.node n SET tasks = n.tasks + s.tasks, value_bytes = n.value_bytes + s.value_bytes
FROM (SELECT sum(tasks) AS tasks, sum(value_bytes) AS value_bytes, count(*) AS count FROM gone) s
WHERE n.session = 0 AND s.count > 0
"""
_DEAD: Final = "n.seen_at < now() - interval '1 day'"
_FIND: Final = """
SELECT sum(n.tasks)::bigint, sum(n.value_bytes)::bigint, sum(n.keys)::bigint, sum(n.key_bytes)::bigint,
    max(n.now_ms), (SELECT last_value FROM {schema}.log_index),
    (SELECT t.at FROM {schema}.task t WHERE t.lane IS NULL ORDER BY t.at LIMIT 1),
    {schema}.clock_ms(), (SELECT cluster_id FROM {schema}.state)
FROM {schema}.node n
"""


async def open_session(
    connection: asyncpg.Connection, schema: str, session: int, name: str
) -> None:
    """Make the row of a node, and fold those of nodes that are long gone. May be repeated."""
    await connection.execute(_FOLD.format(schema=schema, condition=_DEAD))
    await connection.execute(_OPEN.format(schema=schema), session, name)


async def close_session(connection: asyncpg.Connection, schema: str, session: int) -> None:
    """Fold the row of a node that ends."""
    sql = _FOLD.format(schema=schema, condition="n.session = $1")
    await connection.execute(sql, session)


async def take_over_counts(connection: asyncpg.Connection, schema: str) -> bool:
    """Count what programs inserted in transactions of their own; tell whether there was anything."""
    done: str = await connection.execute(_TAKE_OVER.format(schema=schema))
    return done != "UPDATE 0"


async def forget_sets(connection: asyncpg.Connection, schema: str, now_ms: int) -> None:
    """Forget locks of sets of docs that are of no use any more."""
    sql = f"SELECT {schema}.forget_sets(0, $1, $2, $3)"
    await connection.execute(sql, now_ms, SET_BYTES, EMPTY_SETS_KEPT_MAX)


async def was_committed(
    connection: asyncpg.Connection, schema: str, session: int, batch: int
) -> bool:
    """Tell whether a batch whose connection broke was committed.

    Waits for its transaction, should the server still be about to end it.
    """
    sql = f"SELECT batch FROM {schema}.node WHERE session = $1 FOR UPDATE"  # noqa: S608 - a checked name
    found: int | None = await connection.fetchval(sql, session)
    return found == batch


async def find_state(connection: asyncpg.Connection, schema: str) -> asyncpg.Record:
    """Read counts, times, the log index and the cluster's id: what a node wants to know first."""
    return await connection.fetchrow(_FIND.format(schema=schema))
