"""Settings: kept as rows, remembered by every node, and what their change does to tasks that are ready.

Whoever changes them holds every other batch off meanwhile, so that no task is put into an order that is no
longer its queue's.
"""

from typing import Final, NamedTuple

import asyncpg

from raftq_cluster.core.outcomes import SettingsRow
from raftq_cluster.core.ready import FIFO, RANDOM
from raftq_cluster.core.settings import SettingsTable, matches

# Queues that have ready tasks, without reading all of these.
_READY_QUEUES: Final = """
WITH RECURSIVE found AS (
    (SELECT queue FROM {schema}.task WHERE lane IS NOT NULL ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT t.queue FROM {schema}.task t
            WHERE t.lane IS NOT NULL AND t.queue > found.queue ORDER BY t.queue LIMIT 1)
    FROM found WHERE found.queue IS NOT NULL)
SELECT found.queue, coalesce(q.serial_born, false)
FROM found LEFT JOIN {schema}.queue q ON q.name = found.queue WHERE found.queue IS NOT NULL
"""
_REORDER: Final = """
UPDATE {schema}.task SET
    lane = CASE $2 WHEN 'priority' THEN -priority::bigint ELSE 0 END,
    pos = CASE $2 WHEN 'random' THEN ($3::bigint << 20) + (random() * 1048575)::bigint ELSE seq END
WHERE queue = ANY ($1) AND lane IS NOT NULL
"""
_PUT: Final = """
INSERT INTO {schema}.setting (pattern, ordering, paused, lease_ms, lease_ms_min, lease_ms_max)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (pattern) DO UPDATE SET ordering = $2, paused = $3, lease_ms = $4, lease_ms_min = $5, lease_ms_max = $6
"""


class Known(NamedTuple):
    """What a node remembers, as of a ``settings_version``; 0: nothing yet."""

    version: int
    settings: SettingsTable
    numbered: dict[str, bool]  # queues that give integer ids -> whether they began so

    def order_of(self, name: str) -> str:
        """Tell the order of a queue."""
        return _order_of(self.settings, name, self.numbered.get(name, False))


async def learn(connection: asyncpg.Connection, schema: str, known: Known, version: int) -> Known:
    """Bring up to date what a node remembers, within a transaction that keeps settings as they are."""
    settings = await read_settings(connection, schema)
    sql = f"SELECT name, serial_born FROM {schema}.queue WHERE version > $1"  # noqa: S608 - a checked name
    rows = await connection.fetch(sql, known.version)
    return Known(version, settings, {**known.numbered, **dict(map(tuple, rows))})


async def read_settings(connection: asyncpg.Connection, schema: str) -> SettingsTable:
    """Read all settings."""
    table = SettingsTable()
    columns = "pattern, ordering, paused, lease_ms, lease_ms_min, lease_ms_max"
    sql = f"SELECT {columns} FROM {schema}.setting"  # noqa: S608 - a checked name
    for row in await connection.fetch(sql):
        table.put(SettingsRow(*row))
    return table


def copy_of(table: SettingsTable) -> SettingsTable:
    """Copy a table, so that a change that is not committed can be forgotten."""
    copied = SettingsTable()
    for row in table.rows():
        copied.put(row)
    return copied


async def write_settings(
    connection: asyncpg.Connection,
    schema: str,
    old: SettingsTable,
    new: SettingsTable,
    now_ms: int,
) -> dict[str, int]:
    """Write what changed; give the queues that go on, and how many of their tasks can be claimed.

    ``now_ms`` is the batch's time: where tasks stand whose order is random from now on.
    """
    before, after = ({row.pattern: row for row in table.rows()} for table in (old, new))
    changed = [
        pattern for pattern in {**before, **after} if before.get(pattern) != after.get(pattern)
    ]
    for pattern in changed:
        if pattern in after:
            await connection.execute(_PUT.format(schema=schema), *after[pattern])
        else:
            sql = f"DELETE FROM {schema}.setting WHERE pattern = $1"  # noqa: S608 - a checked name
            await connection.execute(sql, pattern)
    # Not the next number: a node may remember it of commits that a failover has lost.
    await connection.execute(
        f"UPDATE {schema}.state SET"  # noqa: S608 - the same
        " settings_version = settings_version + 1 + (random() * 1000000)::bigint"
    )
    ready = await connection.fetch(_READY_QUEUES.format(schema=schema))
    affected = [
        (name, serial_born)
        for name, serial_born in ready
        if any(matches(pattern, name) for pattern in changed)
    ]
    await _reorder(connection, schema, affected, old, new, now_ms)
    going_on = [
        name for name, _ in affected if old.resolve(name).paused and not new.resolve(name).paused
    ]
    counts = await connection.fetch(
        f"SELECT queue, count(*) FROM {schema}.task"  # noqa: S608 - a checked name
        " WHERE queue = ANY ($1) AND lane IS NOT NULL GROUP BY queue ORDER BY queue",
        going_on,
    )
    return dict(map(tuple, counts))


async def _reorder(
    connection: asyncpg.Connection,
    schema: str,
    affected: list[tuple[str, bool]],
    old: SettingsTable,
    new: SettingsTable,
    now_ms: int,
) -> None:
    """Put the ready tasks of queues whose order changed into the new one."""
    by_order: dict[str, list[str]] = {}
    for name, serial_born in affected:
        order = _order_of(new, name, serial_born)
        if order != _order_of(old, name, serial_born):
            by_order.setdefault(order, []).append(name)
    for order, names in by_order.items():
        await connection.execute(_REORDER.format(schema=schema), names, order, now_ms)


def _order_of(table: SettingsTable, name: str, serial_born: bool) -> str:
    return table.resolve(name).order or (FIFO if serial_born else RANDOM)
