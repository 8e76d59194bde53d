"""The whole of a schema as records, from one snapshot of the database, and into an empty schema in one transaction.

What is read back before the commit must have the digest that the file names; else nothing was ever there. All other batches
wait for the end of that transaction, and give up after five seconds as with any lock.
"""

from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any, Final

import asyncpg

from raftq_cluster.backends.api import BackendError, Incoming
from raftq_cluster.backends.postgres import connecting
from raftq_cluster.backends.postgres.configuring import Known, read_settings
from raftq_cluster.backends.postgres.floors import POSITION_BITS
from raftq_cluster.backends.postgres.needs import INSERTS_MAX
from raftq_cluster.backends.postgres.reading import row_of
from raftq_cluster.backends.postgres.working_set import pack_outcome
from raftq_cluster.codec.snapshots import decode_chunk
from raftq_cluster.core.importing import REFUSED, what_is_there
from raftq_cluster.core.moving import MovingDigest
from raftq_cluster.core.outcomes import SettingsRow, TaskRow
from raftq_cluster.core.ready import FIFO, RANDOM
from raftq_cluster.core.settings import SettingsTable
from raftq_cluster.core.snapshot import (
    HEAD,
    KEY,
    QUEUE,
    READY,
    SETTING,
    VERSION,
    WAITING,
    Record,
    outcome_of,
)

ROWS_FETCHED: Final = 64  # at once: their values may be large
_HEAD: Final = """
SELECT (SELECT last_value FROM {schema}.log_index), (SELECT last_value FROM {schema}.seq_block),
    greatest({schema}.clock_ms(), (SELECT max(now_ms) FROM {schema}.node))
"""
_TASKS: Final = """
SELECT t.lane IS NOT NULL, t.seq, t.id, t.version, t.queue, t.at, t.value, t.kind, t.claimant, t.claims,
    t.attempt, t.priority, t.err, t.created, t.modified, t.serial
FROM {schema}.task t ORDER BY t.queue, t.lane, t.pos
"""
_KEYS: Final = """
SELECT k.key, k.mark, k.expires_at, k.bytes, k.outcome FROM {schema}.key k ORDER BY k.expires_at, k.key
"""
_LOCK: Final = "SELECT pg_advisory_xact_lock(7677, '{schema}.state'::regclass::oid::integer)"
_WHAT_IS_THERE: Final = """
SELECT (SELECT count(*) FROM {schema}.task), (SELECT count(*) FROM {schema}.queue),
    (SELECT count(*) FROM {schema}.setting), (SELECT count(*) FROM {schema}.key)
"""
_NEW_SETTINGS: Final = """
UPDATE {schema}.state SET settings_version = settings_version + 1 RETURNING settings_version
"""
_NUMBER_FROM: Final = """
SELECT setval('{schema}.seq_block', greatest($1::bigint, (SELECT last_value FROM {schema}.seq_block)))
"""
_COUNT: Final = """
UPDATE {schema}.node SET tasks = tasks + $1, value_bytes = value_bytes + $2, keys = keys + $3,
    key_bytes = key_bytes + $4 WHERE session = 0
"""
_TASK_COLUMNS: Final = (
    "id", "seq", "lane", "pos", "version", "queue", "at", "value", "kind", "claimant", "claims", "attempt",
    "priority", "err", "created", "modified", "serial",
)  # fmt: skip
_KEY_COLUMNS: Final = ("key", "mark", "expires_at", "bytes", "outcome")


async def records_of(connection: asyncpg.Connection, schema: str) -> AsyncIterator[list[Record]]:
    """Give everything, within a transaction of one snapshot."""
    index, block, now_ms = await connection.fetchrow(_HEAD.format(schema=schema))
    seq = (block + 1) * INSERTS_MAX
    settings = await read_settings(connection, schema)
    yield [(HEAD, VERSION, index, now_ms, seq, 0), *((SETTING, *row) for row in settings.rows())]
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
    async for rows in _fetched(connection, "moving_keys", _KEYS.format(schema=schema)):
        yield [(KEY, *fields, *_outcome(packed)) for *fields, packed in rows]


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


class TakingIn:
    """One import, in a transaction of ``connection`` that the caller has begun and ends."""

    def __init__(self, connection: asyncpg.Connection, schema: str, random: Random) -> None:
        self.ready: dict[str, int] = {}  # queue -> tasks that can be claimed
        self.next_due_ms: int | None = None
        self._connection = connection
        self._schema = schema
        self._random = random
        self._settings = SettingsTable()
        self._born: dict[str, bool] = {}  # queue -> whether it began with integer ids
        self._version = 0  # of settings and queues
        self._counts = {"tasks": 0, "value_bytes": 0, "keys": 0, "key_bytes": 0}

    async def run(self, incoming: Incoming) -> None:
        """Take everything in and compare what is there then.

        Raises:
            BackendError: ``import_refused``.
        """
        await self._begin()
        async for records in incoming.parts():
            try:
                await self._take(records)
            except Exception as error:
                if connecting.is_of_one_operation(error):
                    raise BackendError(REFUSED, f"this cannot be stored: {error}") from error
                raise
        block = -(-incoming.seq // INSERTS_MAX)
        await self._connection.fetchval(_NUMBER_FROM.format(schema=self._schema), max(block, 1))
        await self._connection.execute(_COUNT.format(schema=self._schema), *self._counts.values())
        await self._connection.fetchval(f"SELECT nextval('{self._schema}.log_index')")
        digest = MovingDigest()
        async for records in records_of(self._connection, self._schema):
            for record in records:
                digest.take(record)
        if digest.result != incoming.digest():
            raise BackendError(
                REFUSED,
                f"the digest of what was taken in is {digest.result}, not {incoming.digest()} as the"
                " file says; nothing was kept of it",
            )

    async def _begin(self) -> None:
        connection, schema = self._connection, self._schema
        await connection.execute("SET LOCAL lock_timeout = '10s'")
        await connection.execute(_LOCK.format(schema=schema))
        counts = await connection.fetchrow(_WHAT_IS_THERE.format(schema=schema))
        names = ("tasks", "queues", "settings", "idempotency keys")
        found = what_is_there(list(zip(counts, names, strict=True)))
        if found:
            raise BackendError(REFUSED, f"this store is not empty: it has {found}")
        self._version = await connection.fetchval(_NEW_SETTINGS.format(schema=schema))

    async def _take(self, records: Sequence[Record]) -> None:
        by_kind: dict[int, list[Record]] = {}
        for record in records:
            by_kind.setdefault(record[0], []).append(record)
        for record in by_kind.get(SETTING, ()):
            self._settings.put(SettingsRow(*record[1:]))
        await self._put_settings(by_kind.get(SETTING, ()))
        await self._put_queues(by_kind.get(QUEUE, ()))
        tasks = [*by_kind.get(READY, ()), *by_kind.get(WAITING, ())]
        await self._copy("task", _TASK_COLUMNS, [self._task(record) for record in tasks])
        await self._copy("key", _KEY_COLUMNS, [self._key(item) for item in by_kind.get(KEY, ())])

    async def _copy(self, table: str, columns: Sequence[str], rows: Sequence[Any]) -> None:
        if rows:
            await self._connection.copy_records_to_table(
                table, schema_name=self._schema, columns=columns, records=rows
            )

    async def _put_settings(self, records: Sequence[Record]) -> None:
        await self._copy(
            "setting",
            ("pattern", "ordering", "paused", "lease_ms"),
            [record[1:] for record in records],
        )

    async def _put_queues(self, records: Sequence[Record]) -> None:
        new = [record for record in records if record[1] not in self._born]
        self._born.update((name, born) for _, name, _, born in new)
        await self._copy(
            "queue",
            ("name", "next_serial", "serial_born", "version"),
            [(*record[1:], self._version) for record in new if record[2:] != (1, False)],
        )

    def _task(self, record: Record) -> tuple[Any, ...]:
        kind, seq, fields = record
        row = TaskRow(*fields)
        lane, pos = self._place(row, seq) if kind == READY else (None, None)
        if kind == WAITING and (self.next_due_ms is None or row.at < self.next_due_ms):
            self.next_due_ms = row.at
        self._counts["tasks"] += 1
        self._counts["value_bytes"] += len(row.value) + len(row.err)
        return (
            row.id, seq, lane, pos, row.version, row.queue, row.at, row.value, row.kind, row.claimant,
            row.claims, row.attempt, row.priority, row.err.encode(), row.created, row.modified, row.serial,
        )  # fmt: skip

    def _place(self, row: TaskRow, seq: int) -> tuple[int, int]:
        """Tell where a ready task stands: at random, it is among those that arrived when it did."""
        name = row.queue
        if not self._settings.resolve(name).paused:
            self.ready[name] = self.ready.get(name, 0) + 1
        order = Known(0, self._settings, self._born).order_of(name)
        if order == RANDOM:
            return 0, (row.at << POSITION_BITS) + self._random.getrandbits(POSITION_BITS)
        return (0 if order == FIFO else -row.priority), seq

    def _key(self, record: Record) -> tuple[Any, ...]:
        _, key, mark, expires_at, size_bytes, name, fields = record
        self._counts["keys"] += 1
        self._counts["key_bytes"] += size_bytes
        return key, mark, expires_at, size_bytes, pack_outcome(outcome_of(name, fields))
