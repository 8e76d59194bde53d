"""The whole of a schema as records, from one snapshot of the database."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import asyncpg

from raftq_cluster.backends.counting import Held
from raftq_cluster.backends.postgres.configuring import read_settings
from raftq_cluster.backends.postgres.needs import INSERTS_MAX
from raftq_cluster.backends.postgres.reading import row_of
from raftq_cluster.codec.snapshots import decode_chunk
from raftq_cluster.core.snapshot import (
    DOC,
    DOC_SET,
    HEAD,
    KEY,
    QUEUE,
    READY,
    VERSION,
    WAITING,
    Record,
    setting_record,
)

ROWS_FETCHED: Final = 64  # at once: their values may be large
# A node that vanishes would keep dead rows from being removed. What was fetched at once may go out slowly; a reader that stands still is
# given up sooner.
IDLE_MS: Final = 900_000
_HEAD: Final = """
SELECT (SELECT last_value FROM {schema}.log_index), (SELECT last_value FROM {schema}.seq_block),
    greatest({schema}.clock_ms(), (SELECT log_ms FROM {schema}.look(0, 0, 0)))
"""
_TASKS: Final = """
SELECT t.lane IS NOT NULL, t.seq, t.id, t.version, t.queue, t.at, t.value, t.kind, t.claimant, t.claims,
    t.attempt, t.priority, t.err, t.created, t.modified, t.serial
FROM {schema}.task t ORDER BY t.queue, t.lane, t.pos
"""
_KEYS: Final = """
SELECT k.key, k.mark, k.expires_at, k.bytes, k.outcome FROM {schema}.key k ORDER BY k.expires_at, k.key
"""
_DOCS: Final = """
SELECT s.namespace, s.key, s.version, s.claimant, s.at, s.modified,
    d.id, d.secondary_key, d.value, d.kind, d.created, d.modified
FROM {schema}.doc_set s LEFT JOIN {schema}.doc d ON d.namespace = s.namespace AND d.key = s.key
ORDER BY s.namespace, s.key, d.secondary_key, d.id
"""
_SET_FIELDS: Final = 6
_HELD: Final = """
SELECT (SELECT count(*) FROM {schema}.task), (SELECT count(*) FROM {schema}.doc), (SELECT count(*) FROM {schema}.key)
"""


async def records_of(connection: asyncpg.Connection, schema: str) -> AsyncIterator[list[Record]]:
    """Give everything, within a transaction of one snapshot."""
    index, block, now_ms = await connection.fetchrow(_HEAD.format(schema=schema))
    seq = (block + 1) * INSERTS_MAX
    settings = await read_settings(connection, schema)
    yield [(HEAD, VERSION, index, now_ms, seq, 0), *map(setting_record, settings.rows())]
    sql = f"SELECT name, next_serial, serial_born FROM {schema}.queue"  # noqa: S608 - a checked name
    numbered = {name: (QUEUE, name, *rest) for name, *rest in await connection.fetch(sql)}
    name = ""
    async for rows in _fetched(connection, "moving_tasks", _TASKS.format(schema=schema)):
        records: list[Record] = []
        for is_ready, seq, *fields in rows:
            row = row_of(fields)
            if row.queue != name:
                name = row.queue
                records.append(numbered.pop(name, (QUEUE, name, 1, False)))
            records.append((READY if is_ready else WAITING, seq, tuple(row)))
        yield records
    yield list(numbered.values())
    last: Sequence[Any] = ()
    async for rows in _fetched(connection, "moving_docs", _DOCS.format(schema=schema)):
        records = []
        for row in rows:
            found, doc = row[:_SET_FIELDS], row[_SET_FIELDS:]
            if found[:2] != last:
                last = found[:2]
                records.append((DOC_SET, *found))
            if doc[0] is not None:
                records.append((DOC, *doc))
        yield records
    async for rows in _fetched(connection, "moving_keys", _KEYS.format(schema=schema)):
        yield [(KEY, *fields, *_outcome(packed)) for *fields, packed in rows]


async def held_in(connection: asyncpg.Connection, schema: str) -> Held:
    """Count what ``records_of`` must have given, within the same transaction."""
    return Held(*await connection.fetchrow(_HELD.format(schema=schema)))


async def _fetched(
    connection: asyncpg.Connection, name: str, sql: str
) -> AsyncIterator[Sequence[Any]]:
    """Give the rows of a question, some at a time. The driver's own cursors need statements that outlive transactions."""
    await connection.execute(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}")
    while rows := await connection.fetch(f"FETCH {ROWS_FETCHED} FROM {name}"):
        yield rows
    await connection.execute(f"CLOSE {name}")


def _outcome(packed: bytes) -> tuple[str, tuple[Any, ...]]:
    ((name, fields),) = decode_chunk(packed)
    return name, fields
