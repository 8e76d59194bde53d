"""One batch in one transaction: gather, decide, store, commit.

Four round trips whatever the number of operations, three where the next batch waits already; one that changes nothing
is rolled back after two. Knows nothing of retries.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final, NamedTuple

import asyncpg

from raftq_cluster.backends.api import Ready
from raftq_cluster.backends.postgres import doc_part
from raftq_cluster.backends.postgres.changes import Changes
from raftq_cluster.backends.postgres.configuring import Known, copy_of, learn, write_settings
from raftq_cluster.backends.postgres.connecting import FAILURES
from raftq_cluster.backends.postgres.needs import Needs, needs_of
from raftq_cluster.backends.postgres.tallies import Tallies
from raftq_cluster.backends.postgres.view import View
from raftq_cluster.backends.postgres.working_set import WorkingSet
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Outcome
from raftq_cluster.core.queries import DryRun
from raftq_cluster.core.settings import SettingsTable

_GATHER_ARGUMENTS: Final = 24
_STORE_ARGUMENTS: Final = 59
_NEWS_BYTES_MAX: Final = 7_000  # a notification may have 8,000
_SEED_BITS: Final = 64
# A server's process counts what it did only between transactions: autovacuum would never hear of dead rows.
CHAIN_S: Final = 0.5
BEAT_S: Final = (
    2.0  # a node that has nothing to write says so often that it lives, and what time it has
)
# Others have looked by then, or look anew; longer than a node that is silent keeps its row, whose clock may have stood still.
RETURNED_KEPT_S: Final = 90.0
# A node that vanishes without a word leaves its transaction open at the server, which would keep its locks for hours.
IDLE_MS: Final = 10_000


class Answered(NamedTuple):
    """What came of a batch."""

    outcomes: Sequence[Outcome]
    ready: Ready
    log_index: int


class ServerChangedError(Exception):
    """Another server answers than the one of which this node remembers something."""


class Transactions:
    """Runs batches over one connection at a time.

    Args:
        schema: where the tables are.
        view: learns what every batch sees.
        random: chooses tasks; guards nothing.
        session: number of this life of the node.
        previews: whether this only asks what would be.
        has_more: whether another batch will be run at once, so that its transaction may be begun.
    """

    def __init__(
        self,
        schema: str,
        view: View,
        random: Random,
        session: int,
        has_more: Callable[[], bool] = lambda: False,
        *,
        previews: bool = False,
    ) -> None:
        self.session = session
        self.batch = 0  # number of the last batch that was committed
        self.server: int | None = None
        self.stored_s = time.monotonic()  # when something was committed last
        self._paused_s = 0.0  # when there was no transaction last
        self.is_committing = False  # whether a failure now may have come after the commit
        self.in_doubt: Answered | None = None  # what to say if that commit was done
        self._schema = schema
        self._has_more = has_more
        self._view = view
        self._random = random
        self._previews = previews
        self._limit = f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}"
        self._known = Known(0, SettingsTable(), {})
        gather = _call(schema, "gather", _GATHER_ARGUMENTS)
        store = _call(schema, "store", _STORE_ARGUMENTS)
        gather_docs = _call(schema, "gather_docs", doc_part.GATHER_ARGUMENTS, _GATHER_ARGUMENTS)
        store_docs = _call(schema, "store_docs", doc_part.STORE_ARGUMENTS, _STORE_ARGUMENTS)
        self._gather_sql = f"SELECT * FROM {gather}"  # noqa: S608 - checked names, and places
        self._store_sql = f"SELECT {store}"
        # In this order, which is that of the locks.
        self._gather_with_docs_sql = f"SELECT * FROM {gather_docs} UNION ALL SELECT * FROM {gather}"  # noqa: S608 - the same
        self._store_with_docs_sql = f"SELECT {store} FROM {store_docs}"  # noqa: S608 - the same
        self._tallies = Tallies()
        self._returned: deque[tuple[float, int]] = deque()  # when, and by which batch

    def begin(self, session: int) -> None:
        """Remember nothing, and go on as a session whose row was just made."""
        self.session, self.batch, self.server = session, 0, None
        self.is_committing = False
        self._known = Known(0, SettingsTable(), {})
        self._tallies = Tallies()
        self._returned.clear()
        self._view.floors.forget()

    @property
    def channel(self) -> str:
        """Where nodes tell each other what can be claimed."""
        return f"{self._schema}_ready"

    async def run(
        self, connection: asyncpg.Connection, operations: Sequence[Operation]
    ) -> Answered:
        """Do a batch. Raises what the driver raises; the transaction has been ended then, if it could be."""
        self.is_committing = False
        if not connection.is_in_transaction():
            await connection.execute(f"BEGIN; {self._limit}")
        try:
            answered = await self._run(connection, operations)
        except BaseException:
            if not connection.is_closed() and not self.is_committing:
                with suppress(*FAILURES):
                    await connection.execute("ROLLBACK")
            raise
        return answered

    async def preview(self, connection: asyncpg.Connection, query: DryRun) -> tuple[int, Outcome]:
        """Tell what a modification would do now, and change nothing; with the log index."""
        await connection.execute(f"BEGIN; {self._limit}")
        try:
            working_set = await self._gather(connection, needs_of([query.modify]))
            head = working_set.head
            working_set.machine.begin(1, head.now_ms, 0)
            outcome: Outcome = working_set.machine.query(query, head.now_ms)
            working_set.close()
        finally:
            if not connection.is_closed():
                await connection.execute("ROLLBACK")
        return head.log_index, outcome

    async def _run(
        self, connection: asyncpg.Connection, operations: Sequence[Operation]
    ) -> Answered:
        needs = needs_of(operations)
        generation = self._view.floors.generation
        working_set = await self._gather(connection, needs)
        head = working_set.head
        if needs.is_alone:
            working_set.machine.settings = copy_of(self._known.settings)
        seed = self._random.getrandbits(_SEED_BITS)
        outcomes, ready = working_set.apply(operations, seed)
        changes = Changes(working_set, self._random.randrange)
        old, new = self._known.settings, working_set.machine.settings
        if needs.is_alone and new.rows() != old.rows():
            ready |= await write_settings(connection, self._schema, old, new, head.now_ms)
        elif changes.is_nothing() and not (working_set.is_dirty() or self._is_beat_due()):
            await self._end(connection, "ROLLBACK")
            self._view.see_head(head)
            self._learn_floors(working_set, (), generation)
            working_set.close()
            return Answered(outcomes, ready, self._view.index)
        writing = self._tallies.writing(working_set.deltas())
        stored = await self._store(connection, working_set, changes, ready, writing.columns)
        self._see(head, stored, changes)
        self.in_doubt = answered = Answered(outcomes, ready, stored[0])
        self.is_committing = True
        await self._end(connection, "COMMIT")
        self.is_committing = False
        self.batch += 1
        self.stored_s = time.monotonic()
        self._tallies.written(writing, self.batch)
        if changes.returned:
            self._returned.append((self.stored_s, self.batch))
        self._learn_floors(working_set, changes.ready, generation)
        working_set.close()
        return answered

    def _is_beat_due(self) -> bool:
        return time.monotonic() - self.stored_s > BEAT_S

    def _learn_floors(
        self,
        working_set: WorkingSet,
        written: Sequence[tuple[str, tuple[int, int]]],
        generation: int,
    ) -> None:
        known = self._known
        orders = {
            name: known.order_of(name)
            for name in working_set.first_ready
            if not known.settings.resolve(name).paused
        }
        self._view.floors.learn(working_set, orders, written, generation)

    async def _end(self, connection: asyncpg.Connection, word: str) -> None:
        """End the transaction, and begin the next one in the same round trip if its batch waits already."""
        now_s = time.monotonic()
        if self._has_more() and now_s - self._paused_s < CHAIN_S:
            await connection.execute(f"{word} AND CHAIN; {self._limit}")
        else:
            self._paused_s = now_s
            await connection.execute(word)

    def _see(self, head: Any, stored: Sequence[int], changes: Changes) -> None:
        index, keys, key_bytes = stored
        self._view.see_head(
            head._replace(
                log_index=index,
                tasks=head.tasks + changes.tasks,
                value_bytes=head.value_bytes + changes.value_bytes,
                keys=head.keys + keys,
                key_bytes=head.key_bytes + key_bytes,
            )
        )
        self._view.see_due(changes.next_due_ms)

    async def _gather(self, connection: asyncpg.Connection, needs: Needs) -> WorkingSet:
        """Read, and read again if what is remembered was not true, or answers name further tasks."""
        cleaned: list[Any] = []  # what earlier questions of the same transaction took away
        while True:
            if any(
                is_insert and name not in self._known.numbered
                for name, is_insert in needs.numbering.items()
            ):
                needs.is_alone = True  # a queue may begin, and its order with it
            floors = self._view.floors
            floors.forget_old()
            rows = await self._gathered(connection, needs)
            working_set = WorkingSet(needs, self._known, rows)
            self._check_server(working_set.head.server)
            version = working_set.head.settings_version
            is_known = version == self._known.version
            if is_known and working_set.is_complete():
                working_set.count_cleaned(cleaned)
                return working_set
            cleaned.append(working_set.cleaned())
            working_set.close()
            if not is_known:
                await self._learn(connection, version)

    async def _learn(self, connection: asyncpg.Connection, version: int) -> None:
        """Learn settings, and forget floors where the order of a queue may have become another one."""
        before, floors = self._known, self._view.floors
        self._known = await learn(connection, self._schema, before, version)
        if self._known.settings.rows() != before.settings.rows():
            floors.forget()
        for name in self._known.numbered.keys() - before.numbered.keys():
            floors.forget_queue(name)

    async def _gathered(self, connection: asyncpg.Connection, needs: Needs) -> Sequence[Any]:
        sql, arguments = self._gather_sql, self._gather_arguments(needs)
        if needs.is_about_docs():
            clock_ms, known_ms = arguments[1:3]
            sql = self._gather_with_docs_sql
            arguments += doc_part.gather_arguments(needs, self.session, clock_ms, known_ms)
        rows: Sequence[Any] = await connection.fetch(sql, *arguments)
        return rows

    def _check_server(self, server: int) -> None:
        """Notice that another server answers, also where a pooler keeps the connection.

        Its commits may be fewer than those of which this node remembers something.
        """
        if self.server is None or self._previews:
            self.server = server
        elif self.server != server:
            raise ServerChangedError

    def _gather_arguments(self, needs: Needs) -> list[Any]:
        view, known = self._view, self._known
        resolve = known.settings.resolve
        claimed = [name for name in needs.claims if not resolve(name).paused]
        settled = list(needs.settles)
        numbering = sorted(needs.numbering)
        floors = view.floors
        places = [floors.of(name) for name in claimed]
        return [
            needs.is_alone,
            None if view.clock is None else view.clock(),
            view.log_ms,
            list(needs.ids),
            [queue for queue, _ in settled],
            [serial for _, serial in settled],
            numbering,
            [needs.numbering[name] for name in numbering],
            claimed,
            [needs.claims[name] for name in claimed],
            [known.order_of(name) for name in claimed],
            [self._random.random() for _ in places],
            [place[0] for place in places],
            [place[1] for place in places],
            [floors.is_worth_learning(name) for name in claimed],
            floors.waiting_ms,
            floors.keys_ms,
            view.next_due_ms is not None and view.next_due_ms <= view.now_ms(),
            list(needs.keys),
            self.session,
            list(floors.seen),
            list(floors.seen.values()),
            not self._previews,
            floors.taken,
        ]

    async def _store(
        self,
        connection: asyncpg.Connection,
        working_set: WorkingSet,
        changes: Changes,
        ready: Ready,
        tallies: Sequence[Sequence[Any]],
    ) -> Sequence[int]:
        head = working_set.head
        returned = changes.returned
        news = self._news(ready, changes.next_due_ms) if head.nodes > 1 else []
        sql, doc_arguments = self._store_sql, []
        if changes.docs is not None:
            sql, doc_arguments = self._store_with_docs_sql, changes.docs.arguments(self.session)
        stored: Sequence[int] = await connection.fetchval(
            sql,
            self.session,
            self.batch,
            head.now_ms,
            head.seq_block,
            changes.tasks,
            changes.value_bytes,
            head.keys_gone,
            head.key_bytes_gone,
            *changes.arguments(),
            *tallies,
            list(returned),
            [lane for lane, _ in returned.values()],
            [pos for _, pos in returned.values()],
            self._returned_no_more(),
            self.channel,
            news,
            *doc_arguments,
        )
        return stored

    def _returned_no_more(self) -> list[int]:
        """Give batches whose returned tasks everybody has heard of; if this one fails, their rows stay."""
        before_s = time.monotonic() - RETURNED_KEPT_S
        gone = []
        while self._returned and self._returned[0][0] < before_s:
            gone.append(self._returned.popleft()[1])
        return gone

    def _news(self, ready: Ready, due_ms: int | None) -> list[str]:
        """Write what other nodes may want to know."""
        news: list[str] = []
        part: dict[str, int] = {}
        size = 0
        for queue, count in ready.items():
            part[queue] = count
            size += 6 * len(queue) + 16  # as JSON at its longest
            if size > _NEWS_BYTES_MAX:
                news.append(json.dumps([self.session, part, due_ms]))
                part, size = {}, 0
        if part or (due_ms is not None and not news):
            news.append(json.dumps([self.session, part, due_ms]))
        return news


def _call(schema: str, function: str, arguments: int, before: int = 0) -> str:
    places = ", ".join([f"${number}" for number in range(before + 1, before + arguments + 1)])
    return f"{schema}.{function}({places})"
