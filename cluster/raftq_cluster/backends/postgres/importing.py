"""The records of another store into an empty schema, in one transaction.

What is read back before the commit must have the digest that the file names; else nothing was ever there. All other batches
wait for the end of that transaction, and give up after five seconds as with any lock.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

import asyncpg

from raftq_cluster.backends.api import BackendError, Incoming
from raftq_cluster.backends.postgres import connecting
from raftq_cluster.backends.postgres.configuring import Known
from raftq_cluster.backends.postgres.exporting import records_of
from raftq_cluster.backends.postgres.floors import POSITION_BITS
from raftq_cluster.backends.postgres.needs import INSERTS_MAX
from raftq_cluster.backends.postgres.working_set import pack_outcome
from raftq_cluster.core.doc_store import EMPTY_WINDOW_MS, SET_BYTES, Doc
from raftq_cluster.core.importing import REFUSED, what_is_there
from raftq_cluster.core.keys import WINDOW_MS
from raftq_cluster.core.moving import MovingDigest
from raftq_cluster.core.outcomes import SettingsRow, TaskRow
from raftq_cluster.core.ready import FIFO, RANDOM
from raftq_cluster.core.settings import SettingsTable
from raftq_cluster.core.snapshot import (
    DOC,
    DOC_SET,
    HEAD,
    KEY,
    QUEUE,
    READY,
    SETTING,
    WAITING,
    Record,
    outcome_of,
)

_LOCK: Final = "SELECT pg_advisory_xact_lock(7677, '{schema}.state'::regclass::oid::integer)"
# Programs that insert in transactions of their own wait too: what they insert is not in the file's digest.
_LOCK_TASKS: Final = "LOCK TABLE {schema}.task IN SHARE ROW EXCLUSIVE MODE"
# A node that vanishes without a word would keep all others out for as long as the server believes in it. A slow sender
# needs its time for one large part; one that stands still is given up sooner.
IDLE_MS: Final = 300_000
_WHAT_IS_THERE: Final = """
SELECT (SELECT count(*) FROM {schema}.task), (SELECT count(*) FROM {schema}.queue),
    (SELECT count(*) FROM {schema}.setting), (SELECT count(*) FROM {schema}.key),
    (SELECT count(*) FROM {schema}.doc_set)
"""
_NEW_SETTINGS: Final = """
UPDATE {schema}.state SET settings_version = settings_version + 1 + (random() * 1000000)::bigint
RETURNING settings_version
"""
# All nodes begin anew: what they remember of places and times does not hold for what is taken in.
_FOLD: Final = "SELECT {schema}.fold(session) FROM {schema}.nodes()"
_NUMBER_FROM: Final = """
SELECT setval('{schema}.seq_block', greatest($1::bigint, (SELECT last_value FROM {schema}.seq_block)))
"""
_COUNT: Final = """
UPDATE {schema}.node SET tasks = tasks + $1, value_bytes = value_bytes + $2, keys = keys + $3,
    key_bytes = key_bytes + $4, empty_sets = empty_sets + $5 WHERE session = 0
"""
# A source whose clock was ahead, for as long as it was; never for longer than a key of now.
_KEYS_OF_NOW: Final = "UPDATE {schema}.key SET expires_at = $1 WHERE expires_at > $1"
_TASK_COLUMNS: Final = (
    "id", "seq", "lane", "pos", "version", "queue", "at", "value", "kind", "claimant", "claims", "attempt",
    "priority", "err", "created", "modified", "serial",
)  # fmt: skip
_SETTING_COLUMNS: Final = (
    "pattern", "ordering", "paused", "lease_ms", "lease_ms_min", "lease_ms_max",
)  # fmt: skip
_QUEUE_COLUMNS: Final = ("name", "next_serial", "serial_born", "version")
_SET_COLUMNS: Final = (
    "namespace", "key", "version", "claimant", "at", "modified", "docs", "doc_bytes", "forget_at",
)  # fmt: skip
_DOC_COLUMNS: Final = (
    "namespace", "key", "id", "secondary_key", "value", "kind", "created", "modified",
)  # fmt: skip
_KEY_COLUMNS: Final = ("key", "mark", "expires_at", "bytes", "outcome")


class _Counts:
    """What is added to the counts of the nodes."""

    def __init__(self) -> None:
        self.tasks = 0
        self.value_bytes = 0
        self.keys = 0
        self.key_bytes = 0
        self.empty_sets = 0


class _Set(NamedTuple):
    """The set of docs that is being taken in."""

    record: Record
    docs: int = 0
    doc_bytes: int = 0

    def row(self) -> tuple[Any, ...]:
        at, modified = self.record[5:]
        forget_at = None if self.docs else max(at, modified) + EMPTY_WINDOW_MS
        return (*self.record[1:], self.docs, self.doc_bytes, forget_at)


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
        self._next_serials: dict[str, int] = {}
        self._last_seq = 0
        self._version = 0  # of settings and queues
        self._counts = _Counts()
        self._set: _Set | None = None
        self._rows: dict[tuple[str, tuple[str, ...]], list[tuple[Any, ...]]] = {}  # to be written
        self._takers: dict[int, Callable[[Record], None]] = {
            SETTING: self._setting,
            QUEUE: self._queue,
            READY: self._task,
            WAITING: self._task,
            DOC_SET: self._doc_set,
            DOC: self._doc,
            KEY: self._key,
        }

    async def run(self, incoming: Incoming) -> None:
        """Take everything in and compare what is there then.

        Raises:
            BackendError: ``import_refused``.
        """
        await self._begin()
        self._last_seq = incoming.seq
        async for records in incoming.parts():
            for record in records:
                self._takers[record[0]](record)
            await self._write()
        self._end_set()
        await self._write()
        block = -(-incoming.seq // INSERTS_MAX)
        await self._connection.fetchval(_NUMBER_FROM.format(schema=self._schema), max(block, 1))
        await self._connection.execute(
            _COUNT.format(schema=self._schema), *vars(self._counts).values()
        )
        await self._connection.fetchval(f"SELECT {self._schema}.recount()")
        await self._connection.fetchval(f"SELECT nextval('{self._schema}.log_index')")
        digest, latest = MovingDigest(), 0
        async for records in records_of(self._connection, self._schema):
            for record in records:
                digest.take(record)
                if record[0] == HEAD:
                    latest = record[3] + WINDOW_MS
        if digest.result != incoming.digest():
            raise BackendError(
                REFUSED,
                f"the digest of what was taken in is {digest.result}, not {incoming.digest()} as the"
                " file says; nothing was kept of it",
            )
        await self._connection.execute(_KEYS_OF_NOW.format(schema=self._schema), latest)

    async def _begin(self) -> None:
        connection, schema = self._connection, self._schema
        await connection.execute("SET LOCAL lock_timeout = '10s'")
        await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}")
        await connection.execute(_LOCK.format(schema=schema))
        await connection.execute(_LOCK_TASKS.format(schema=schema))
        counts = await connection.fetchrow(_WHAT_IS_THERE.format(schema=schema))
        names = ("tasks", "queues", "settings", "idempotency keys", "sets of docs")
        found = what_is_there(list(zip(counts, names, strict=True)))
        if found:
            raise BackendError(REFUSED, f"this store is not empty: it has {found}")
        await connection.fetch(_FOLD.format(schema=schema))
        self._version = await connection.fetchval(_NEW_SETTINGS.format(schema=schema))

    async def _write(self) -> None:
        rows, self._rows = self._rows, {}
        for (table, columns), records in rows.items():
            try:
                await self._connection.copy_records_to_table(
                    table, schema_name=self._schema, columns=columns, records=records
                )
            except Exception as error:
                if connecting.is_of_one_operation(error):
                    raise BackendError(REFUSED, f"this cannot be stored: {error}") from error
                raise

    def _put(self, table: str, columns: tuple[str, ...], row: tuple[Any, ...]) -> None:
        self._rows.setdefault((table, columns), []).append(row)

    def _setting(self, record: Record) -> None:
        row = SettingsRow(*record[1:])
        self._settings.put(row)
        self._put("setting", _SETTING_COLUMNS, row)

    def _queue(self, record: Record) -> None:
        _, name, next_serial, born = record
        if name not in self._born and (next_serial, born) != (1, False):
            self._put("queue", _QUEUE_COLUMNS, (*record[1:], self._version))
        self._born[name], self._next_serials[name] = born, next_serial

    def _task(self, record: Record) -> None:
        kind, seq, fields = record
        row = TaskRow(*fields)
        # Numbers that come again would have no order, or stop what is inserted later.
        if not 0 < seq <= self._last_seq or row.serial >= self._next_serials.get(row.queue, 0):
            raise BackendError(REFUSED, f"task {row.id!r} has a number that it cannot have")
        lane, pos = self._place(row, seq) if kind == READY else (None, None)
        if kind == WAITING and (self.next_due_ms is None or row.at < self.next_due_ms):
            self.next_due_ms = row.at
        self._counts.tasks += 1
        self._counts.value_bytes += len(row.value) + len(row.err)
        self._put("task", _TASK_COLUMNS, (
            row.id, seq, lane, pos, row.version, row.queue, row.at, row.value, row.kind, row.claimant,
            row.claims, row.attempt, row.priority, row.err.encode(), row.created, row.modified, row.serial,
        ))  # fmt: skip

    def _place(self, row: TaskRow, seq: int) -> tuple[int, int]:
        """Tell where a ready task stands: at random, it is among those that arrived when it did."""
        name = row.queue
        if not self._settings.resolve(name).paused:
            self.ready[name] = self.ready.get(name, 0) + 1
        order = Known(0, self._settings, self._born).order_of(name)
        if order == RANDOM:
            return 0, (row.at << POSITION_BITS) + self._random.getrandbits(POSITION_BITS)
        return (0 if order == FIFO else -row.priority), seq

    def _doc_set(self, record: Record) -> None:
        if self._set is None or self._set.record != record:  # else it goes on in another part
            self._end_set()
            self._set = _Set(record)

    def _doc(self, record: Record) -> None:
        docs = self._set
        if docs is None:
            raise BackendError(REFUSED, f"doc {record[1]!r} stands where it cannot")
        _, namespace, key, *_ = docs.record
        _, id_, *fields = record
        doc = Doc(id_, key, *fields)
        self._counts.value_bytes += doc.size_bytes()
        self._set = _Set(docs.record, docs.docs + 1, docs.doc_bytes + len(doc.value))
        self._put("doc", _DOC_COLUMNS, (namespace, key, id_, *fields))

    def _end_set(self) -> None:
        docs, self._set = self._set, None
        if docs is not None:
            self._counts.value_bytes += SET_BYTES + len(docs.record[2])
            self._counts.empty_sets += not docs.docs
            self._put("doc_set", _SET_COLUMNS, docs.row())

    def _key(self, record: Record) -> None:
        _, key, mark, expires_at, size_bytes, name, fields = record
        self._counts.keys += 1
        self._counts.key_bytes += size_bytes
        outcome = pack_outcome(outcome_of(name, fields))
        self._put("key", _KEY_COLUMNS, (key, mark, expires_at, size_bytes, outcome))
