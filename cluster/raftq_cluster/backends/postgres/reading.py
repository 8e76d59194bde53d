"""Answers to queries, each from one snapshot of the database.

What the core computes from its state is asked here in SQL; where the core's own code can answer from
the rows (a preview, the digest), it does.
"""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import asyncpg

from raftq_cluster.backends.postgres import sessions
from raftq_cluster.backends.postgres.configuring import read_settings
from raftq_cluster.backends.postgres.counting import QueueCounts
from raftq_cluster.backends.postgres.due import due_of
from raftq_cluster.backends.postgres.tallies import Counts
from raftq_cluster.backends.postgres.view import View
from raftq_cluster.core import queries
from raftq_cluster.core.calendar import BUCKET_SHIFT
from raftq_cluster.core.doc_store import Doc, DocStore, Lock
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.outcomes import DocRow, NamespaceStats, QueueStats, SettingsRow, TaskRow
from raftq_cluster.core.queries import Query
from raftq_cluster.core.ready import FIFO, RANDOM
from raftq_cluster.core.settings import Effective
from raftq_cluster.core.task import task_of

_NO_VALUE: Final = "''::bytea"
_AHEAD_MS: Final = 1_000  # that the database's clock may be before what this node believes
_COLUMNS: Final = (
    "t.id, t.version, t.queue, t.at, {value}, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err,"
    " t.created, t.modified, t.serial"
)
_BY_ID: Final = """
SELECT {columns} FROM unnest($1::text[]) WITH ORDINALITY AS n (id, place) JOIN {schema}.task t ON t.id = n.id
WHERE ($2 = '' OR t.queue = $2) AND ($3 = '' OR (t.claimant = $3 AND t.lane IS NULL AND t.version > 0))
ORDER BY n.place LIMIT $4
"""
_BY_QUEUE: Final = """
(SELECT {columns} FROM {schema}.task t WHERE t.queue = $1 AND $2 = '' AND t.lane IS NOT NULL
    ORDER BY t.lane, t.pos LIMIT $3)
UNION ALL
(SELECT {columns} FROM {schema}.task t WHERE t.queue = $1 AND t.lane IS NULL
    AND ($2 = '' OR (t.claimant = $2 AND t.version > 0)) LIMIT $3)
LIMIT $3
"""
# Names that say "gc=" and have ready tasks, without reading all of these.
_MARKED: Final = """
WITH RECURSIVE found AS (
    (SELECT queue FROM {schema}.task WHERE lane IS NOT NULL AND queue LIKE '%gc=%' ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT t.queue FROM {schema}.task t
            WHERE t.lane IS NOT NULL AND t.queue LIKE '%gc=%' AND t.queue > found.queue ORDER BY t.queue LIMIT 1)
    FROM found WHERE found.queue IS NOT NULL)
SELECT found.queue FROM found WHERE found.queue IS NOT NULL
"""
_MARKED_SPACES: Final = """
WITH RECURSIVE found AS (
    (SELECT namespace FROM {schema}.doc_set WHERE docs > 0 AND namespace LIKE '%gc=%' ORDER BY namespace LIMIT 1)
    UNION ALL
    SELECT (SELECT s.namespace FROM {schema}.doc_set s
            WHERE s.docs > 0 AND s.namespace LIKE '%gc=%' AND s.namespace > found.namespace
            ORDER BY s.namespace LIMIT 1)
    FROM found WHERE found.namespace IS NOT NULL)
SELECT found.namespace FROM found WHERE found.namespace IS NOT NULL
"""
_FREE_DOCS: Final = """
SELECT s.namespace, s.key, array_agg(d.id) FROM (
    SELECT * FROM {schema}.doc_set
    WHERE docs > 0 AND namespace LIKE '%gc=%' AND namespace = ANY ($1) AND (claimant = '' OR at <= $2) LIMIT $3
) AS s JOIN LATERAL (
    SELECT d.id FROM {schema}.doc d WHERE d.namespace = s.namespace AND d.key = s.key ORDER BY d.id LIMIT $3
) AS d ON true
GROUP BY s.namespace, s.key
"""
_ALL: Final = """
SELECT t.seq, t.lane IS NOT NULL, {columns} FROM {schema}.task t
ORDER BY t.queue, t.lane, t.pos
"""
_DOC_COLUMNS: Final = "d.namespace, d.id, s.version, d.key, d.secondary_key, s.claimant, s.at, {value}, d.kind, d.created, d.modified"
# Each doc and each lock is looked up by itself: LIMIT keeps the planner from reading a whole table for a few of them.
_LOCK: Final = """
CROSS JOIN LATERAL (SELECT l.version, l.claimant, l.at FROM {schema}.doc_set l
    WHERE l.namespace = d.namespace AND l.key = d.key LIMIT 1) s
"""
_DOCS_BY_ID: Final = """
SELECT {columns} FROM unnest($3::text[]) WITH ORDINALITY AS n (id, place)
CROSS JOIN LATERAL (SELECT f.* FROM {schema}.doc f WHERE f.namespace = $1 AND f.id = n.id LIMIT 1) d
{lock} ORDER BY n.place LIMIT $2
"""
_DOCS_OF_KEY: Final = """
SELECT {columns} FROM (SELECT f.* FROM {schema}.doc f WHERE f.namespace = $1 AND f.key = $3
    ORDER BY f.secondary_key, f.id LIMIT $2) d
{lock} ORDER BY d.secondary_key, d.id
"""
_DOCS_OF_RANGE: Final = """
SELECT {columns} FROM (SELECT f.* FROM {schema}.doc f
    WHERE f.namespace = $1 AND f.key >= $3 AND ($4 = '' OR f.key < $4)
    ORDER BY f.key, f.secondary_key, f.id LIMIT $2) d
{lock} ORDER BY d.key, d.secondary_key, d.id
"""
_NAMESPACES: Final = """
SELECT s.namespace, sum(s.docs)::bigint,
    coalesce(sum(s.docs) FILTER (WHERE s.claimant <> '' AND s.at > $4), 0)::bigint, count(*)
FROM {schema}.doc_set s
WHERE s.docs > 0 AND ((cardinality($1::text[]) = 0 AND cardinality($2::text[]) = 0)
    OR s.namespace = ANY ($2) OR EXISTS (SELECT FROM unnest($1::text[]) AS p WHERE starts_with(s.namespace, p)))
GROUP BY s.namespace ORDER BY s.namespace LIMIT $3
"""
_ALL_SETS: Final = "SELECT namespace, key, version, claimant, at, modified FROM {schema}.doc_set"
_ALL_DOCS: Final = """
SELECT namespace, id, key, secondary_key, value, kind, created, modified FROM {schema}.doc
"""


class Reader:
    """Answers over a connection; the caller sees to one question at a time.

    Args:
        schema: where the tables are.
        view: what the node knows.
    """

    def __init__(self, schema: str, view: View) -> None:
        self._schema = schema
        self._view = view
        self._counts = QueueCounts(schema, view)
        self._answers: dict[type, Callable[[asyncpg.Connection, Any], Coroutine[Any, Any, Any]]] = {
            queries.Queues: self._queues,
            queries.Tasks: self._tasks,
            queries.AllSettings: self._settings,
            queries.Digest: self._digest,
            queries.Docs: self._docs,
        }

        self._timed: dict[type, Callable[..., Coroutine[Any, Any, Any]]] = {
            queries.Namespaces: self._namespaces,
            queries.Collectable: self._collectable,
        }

    async def answer(
        self, connection: asyncpg.Connection, query: Query, now_ms: int
    ) -> tuple[int, Any]:
        """Give the log index and the answer, of one moment; ``now_ms`` tells which leases of docs live."""
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            index = await connection.fetchval(f"SELECT last_value FROM {self._schema}.log_index")  # noqa: S608 - a checked name
            timed = self._timed.get(type(query))
            if timed is not None:
                return index, await timed(connection, query, now_ms)
            return index, await self._answers[type(query)](connection, query)

    async def time(self, connection: asyncpg.Connection) -> tuple[int, int, int | None]:
        """Give the log index, the database's time, and when the first task arrived that waits nevertheless."""
        view = self._view
        found = await sessions.find_state(
            connection, self._schema, view.floors.waiting_ms, view.now_ms() + _AHEAD_MS
        )
        due_ms = 0 if found.has_inserted else found.due_ms
        return found.log_index, max(found.now_ms, found.log_ms), due_ms

    async def _queues(self, connection: asyncpg.Connection, query: queries.Queues) -> Any:
        settings = await read_settings(connection, self._schema)
        counts = await self._counts.of(connection, query.prefixes, query.names, query.limit)
        ages = await self._counts.oldest(connection, list(counts))
        return [
            _stats(name, found, settings.resolve(name), *ages.get(name, (None, False)))
            for name, found in counts.items()
        ]

    async def _tasks(self, connection: asyncpg.Connection, query: queries.Tasks) -> Any:
        columns = _columns(with_values=not query.omit_values)
        if query.ids:
            sql = _BY_ID.format(schema=self._schema, columns=columns)
            arguments: tuple[Any, ...] = (list(query.ids), query.queue, query.claimant, query.limit)
        else:
            sql = _BY_QUEUE.format(schema=self._schema, columns=columns)
            arguments = (query.queue, query.claimant, query.limit)
        return [row_of(row) for row in await connection.fetch(sql, *arguments)]

    async def _docs(self, connection: asyncpg.Connection, query: queries.Docs) -> list[DocRow]:
        columns = _DOC_COLUMNS.format(value=_NO_VALUE if query.omit_values else "d.value")
        arguments: list[Any]
        if query.ids:
            sql, arguments = _DOCS_BY_ID, [list(query.ids)]
        elif query.key is not None:
            sql, arguments = _DOCS_OF_KEY, [query.key]
        else:
            sql, arguments = _DOCS_OF_RANGE, [query.key_start, query.key_end]
        lock = _LOCK.format(schema=self._schema)
        sql = sql.format(schema=self._schema, columns=columns, lock=lock)
        rows = await connection.fetch(sql, query.namespace, query.limit, *arguments)
        return [DocRow._make(row) for row in rows]

    async def _namespaces(
        self, connection: asyncpg.Connection, query: queries.Namespaces, now_ms: int
    ) -> list[NamespaceStats]:
        sql = _NAMESPACES.format(schema=self._schema)
        prefixes, names = list(query.prefixes), list(query.names)
        rows = await connection.fetch(sql, prefixes, names, query.limit, now_ms)
        return [NamespaceStats._make(row) for row in rows]

    async def _settings(
        self, connection: asyncpg.Connection, _query: queries.AllSettings
    ) -> list[SettingsRow]:
        return (await read_settings(connection, self._schema)).rows()

    async def _collectable(
        self, connection: asyncpg.Connection, query: queries.Collectable, now_ms: int
    ) -> queries.Collectables:
        """Give due queues as if each had ready tasks enough: what is done about them will tell."""
        settings = await read_settings(connection, self._schema)
        queues, malformed = await due_of(
            await self._names(connection, _MARKED),
            now_ms,
            lambda name: bool(settings.resolve(name).paused),
        )
        spaces, others = await due_of(
            await self._names(connection, _MARKED_SPACES), now_ms, lambda _: False
        )
        sql = _FREE_DOCS.format(schema=self._schema)
        sets = await connection.fetch(sql, spaces, now_ms, query.limit) if spaces else []
        return queries.Collectables(
            _shared_out(_turned(queues, query.turn), query.limit),
            tuple(_within(sets, query.limit)),
            malformed + others,
        )

    async def _names(self, connection: asyncpg.Connection, sql: str) -> list[str]:
        return [name for (name,) in await connection.fetch(sql.format(schema=self._schema))]

    async def _digest(self, connection: asyncpg.Connection, _query: queries.Digest) -> str:
        return (await self._whole(connection)).digest()

    async def _whole(self, connection: asyncpg.Connection) -> Machine:
        """Make a machine of everything."""
        machine = Machine()
        machine.settings = await read_settings(connection, self._schema)
        for name, next_serial, born in await connection.fetch(
            f"SELECT name, next_serial, serial_born FROM {self._schema}.queue"  # noqa: S608 - a checked name
        ):
            machine.queue_for(name, serial_born=born).next_serial = next_serial
        sql = _ALL.format(schema=self._schema, columns=_columns(with_values=True))
        async for seq, is_ready, *fields in connection.cursor(sql):
            row = row_of(fields)
            queue = machine.queue_for(row.queue)
            task = task_of(row, queue, seq, machine.epoch)
            machine.tasks[task.id] = task
            queue.size += 1
            if is_ready:
                queue.add_ready(task)
            else:
                machine.calendar.add(task)
        await self._put_docs(connection, machine.docs)
        return machine

    async def _put_docs(self, connection: asyncpg.Connection, store: DocStore) -> None:
        async for namespace, key, *lock in connection.cursor(_ALL_SETS.format(schema=self._schema)):
            store.put_lock(namespace, key, Lock(*lock))
        async for namespace, *fields in connection.cursor(_ALL_DOCS.format(schema=self._schema)):
            doc = Doc(*fields)
            docs = store.set_of(namespace, doc.key)
            assert docs is not None
            store.put_doc(docs, doc)


def _turned(names: list[str], turn: int) -> list[str]:
    """Let every name be the first in its turn."""
    first = turn % len(names) if names else 0
    return names[first:] + names[:first]


def _within(rows: list[Any], limit: int) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Give sets with their docs, so many docs of all together."""
    for namespace, key, ids in rows:
        if limit > 0:
            yield namespace, key, tuple(ids[:limit])
        limit -= len(ids)


def _shared_out(names: list[str], limit: int) -> tuple[tuple[str, int], ...]:
    """Let the first names have equal shares of ``limit``, 1 at least."""
    names = names[:limit]
    return tuple((name, limit // len(names)) for name in names)


def _columns(*, with_values: bool) -> str:
    return _COLUMNS.format(value="t.value" if with_values else _NO_VALUE)


def _stats(
    name: str, counts: Counts, settings: Effective, oldest: int | None, serial_born: bool
) -> QueueStats:
    tasks, ready, claimed, claims = counts
    return QueueStats(
        name=name,
        tasks=tasks,
        ready=ready,
        claimed=claimed,
        delayed=tasks - ready - claimed,
        max_claims=max(claims, default=0),
        oldest_ready_at=None if oldest is None else oldest >> BUCKET_SHIFT << BUCKET_SHIFT,
        order=settings.order or (FIFO if serial_born else RANDOM),
        paused=bool(settings.paused),
    )


def row_of(fields: Any) -> TaskRow:
    """Make a row of columns."""
    values = list(fields)
    values[10] = values[10].decode()
    return TaskRow._make(values)
