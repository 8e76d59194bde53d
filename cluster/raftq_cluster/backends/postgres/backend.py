"""The Backend over PostgreSQL: puts the parts of this package together.

Three connections a node: one for the batches, one for questions, one that listens.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from random import Random, SystemRandom
from typing import Any, Final

import asyncpg
import structlog

from raftq_cluster.backends.api import (
    SAME,
    Answer,
    BackendError,
    Incoming,
    Load,
    MemberChange,
    MemberDigest,
    MemberStatus,
    Ready,
    Sink,
    Status,
    Verification,
)
from raftq_cluster.backends.counting import Counting
from raftq_cluster.backends.postgres import connecting, exporting, schema, sessions
from raftq_cluster.backends.postgres.connecting import FAILURES, Place
from raftq_cluster.backends.postgres.exporting import held_in, records_of
from raftq_cluster.backends.postgres.importing import TakingIn
from raftq_cluster.backends.postgres.neighbours import Neighbours
from raftq_cluster.backends.postgres.reading import Reader
from raftq_cluster.backends.postgres.sessions import Identity
from raftq_cluster.backends.postgres.submissions import tell
from raftq_cluster.backends.postgres.transaction import Transactions
from raftq_cluster.backends.postgres.view import View
from raftq_cluster.backends.postgres.writer import SESSION_BITS, UNAVAILABLE, UNKNOWN, Writer
from raftq_cluster.config import StartError
from raftq_cluster.core.importing import REFUSED
from raftq_cluster.core.operations import Operation, Tick
from raftq_cluster.core.outcomes import Done, Outcome, Unfinished
from raftq_cluster.core.queries import DryRun, Query, Time
from raftq_cluster.core.snapshot import Record
from raftq_cluster.version import VERSION

READ_WAIT_S: Final = 10.0
_NOT_RUNNING: Final = "the node does not run"

_log = structlog.get_logger(__name__)


class PostgresBackend:
    """One stateless node over a database.

    Args:
        place: where the tasks are.
        node_id: this node's name; "" makes one up.
        on_fatal: told one sentence when the node cannot go on.
        clock: gives ms since the epoch in the place of the database's clock, for tests.
        seed: of the generator of entry seeds; the same seed gives the same choices.
    """

    def __init__(
        self,
        place: Place,
        *,
        node_id: str = "",
        on_fatal: Callable[[str], None] | None = None,
        clock: Callable[[], int] | None = None,
        seed: int | None = None,
    ) -> None:
        self._place = place
        chance = SystemRandom()
        session = chance.getrandbits(SESSION_BITS)  # never a test's: rows outlive processes
        self._node_id = node_id or f"pg-{session:016x}"
        self._on_fatal = on_fatal
        self._listener: Callable[[Ready], None] | None = None
        random = Random(chance.getrandbits(64) if seed is None else seed)  # noqa: S311 - it chooses tasks, it guards nothing
        self._view = View(clock)
        self._random = random
        self._writer = Writer(
            place, Identity(self._node_id), self._view, random, session, self._tell_listener
        )
        self._neighbours = Neighbours(
            place,
            self._writer.transactions.channel,
            self._writer,
            self._view,
            self._tell_listener,
        )
        self._previews = Transactions(place.schema, self._view, random, session, previews=True)
        self._reader = Reader(place.schema, self._view)
        self._reading = asyncio.Lock()
        self._read_connection: asyncpg.Connection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_running = False
        self._cluster_id = ""
        self._durability = ""

    async def start(self) -> None:
        """Connect, look at the schema, and serve. See ``Backend``."""
        opened = []
        try:
            for _ in range(3):
                opened.append(await connecting.connect(self._place))  # noqa: PERF401 - what is open is closed if the next fails
            writing, self._read_connection, listening = opened
            await schema.check(writing, self._place)
            await self._learn(writing)
            await self._writer.open(writing)
            await self._neighbours.open(listening)
        except BaseException as error:
            for connection in opened:
                connection.terminate()
            if isinstance(error, FAILURES):
                raise StartError(f"the database refuses this node: {error}") from error
            raise
        self._is_running = True
        self._tasks = [
            asyncio.create_task(self._guard(self._writer.run())),
            asyncio.create_task(self._guard(self._neighbours.run())),
        ]

    async def _learn(self, connection: asyncpg.Connection) -> None:
        found = await sessions.find_state(connection, self._place.schema)
        self._cluster_id = found.cluster_id
        self._view.see_time(found.log_ms if self._view.clock else max(found.log_ms, found.now_ms))
        self._view.see_load(Load(*found[:4]))
        self._view.see_index(found.log_index)
        self._view.see_due(found.due_ms)
        commit = await connection.fetchval("SHOW synchronous_commit")
        self._durability = f"postgres (synchronous_commit = {commit})"

    async def stop(self) -> None:
        """Finish what was submitted, close everything. Idempotent."""
        if not self._is_running:
            return
        self._is_running = False
        self._writer.end()
        writing, asking = self._tasks
        asking.cancel()
        await asyncio.gather(writing, asking, return_exceptions=True)
        await self._writer.close()
        self._neighbours.close()
        if self._read_connection is not None:
            self._read_connection.terminate()

    async def _guard(self, work: Any) -> None:
        """Stop the node if a part of it breaks."""
        try:
            await work
        except Exception as error:
            _log.exception("the PostgreSQL backend broke")
            if self._on_fatal is not None:
                self._on_fatal(f"the PostgreSQL backend met an error of its own: {error!r}")
            self._is_running = False
            raise

    def submit(self, operations: Sequence[Operation], sink: Sink) -> None:
        """Have operations done. See ``Backend``."""
        if not self._is_running:
            unfinished = Unfinished(UNAVAILABLE, _NOT_RUNNING)
            tell(sink, self._view.index, [unfinished] * len(operations))
        elif not operations:
            tell(sink, self._view.index, ())
        else:
            self._writer.submit(operations, sink)

    async def read(self, query: Query, *, stale: bool = False) -> Answer:
        """Answer a query. See ``Backend``."""
        if not self._is_running:
            raise BackendError(UNAVAILABLE, _NOT_RUNNING)
        try:
            async with asyncio.timeout(READ_WAIT_S), self._reading:
                connection = await self._connected()
                index, value = await self._answer(connection, query, stale=stale)
        except (*FAILURES, StartError, TimeoutError) as error:
            self._drop_read_connection()
            detail = f"the database did not answer: {error or type(error).__name__}"
            raise BackendError(UNAVAILABLE, detail) from error
        self._view.see_index(index)
        return Answer(self._view.index, value)

    async def _answer(
        self, connection: asyncpg.Connection, query: Query, *, stale: bool
    ) -> tuple[int, Any]:
        if isinstance(query, DryRun):
            return await self._previews.preview(connection, query)
        if not stale or isinstance(query, Time):
            index = await self._catch_up(connection)
            if isinstance(query, Time):
                return index, self._view.now_ms()
        return await self._reader.answer(connection, query, self._view.now_ms())

    async def _catch_up(self, connection: asyncpg.Connection) -> int:
        """Let the arrivals happen that are due; give the log index."""
        while True:
            index, now_ms, due_ms = await self._reader.time(connection)
            if self._view.clock is None:
                self._view.see_time(now_ms)
            if due_ms is None or due_ms > self._view.now_ms():
                return index
            outcome = await self._tick()
            if not isinstance(outcome, Done):
                raise BackendError(UNAVAILABLE, f"no time could pass: {outcome}")

    async def _tick(self) -> Outcome:
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.submit([Tick()], lambda _index, outcomes: _resolve(done, outcomes[0]))
        return await done

    async def _connected(self) -> asyncpg.Connection:
        connection = self._read_connection
        if connection is None or connection.is_closed():
            connection = await sessions.connect(self._place, self._view)
            self._read_connection = connection
        return connection

    def _drop_read_connection(self) -> None:
        connection, self._read_connection = self._read_connection, None
        if connection is not None:
            with suppress(*FAILURES):
                connection.terminate()

    def next_due_ms(self) -> int | None:
        """When the next waiting task arrives, at the earliest."""
        return self._view.next_due_ms

    def now_ms(self) -> int:
        """The time that the next batch would have."""
        return self._view.now_ms()

    def on_ready(self, listener: Callable[[Ready], None]) -> None:
        """Set the listener."""
        self._listener = listener

    def load(self) -> Load:
        """How full the database was at the last batch, at this node or a second ago."""
        return self._view.load

    def advertise(self, http: str, text: str) -> None:
        """Say it in this node's row, within a second."""
        self._writer.identity = self._writer.identity._replace(http=http, text=text)

    def status(self) -> Status:
        """The nodes over the database, as of a second ago: each is complete in itself, as a leader is."""
        index, is_ready = self._view.index, self._is_running and self._writer.is_connected
        identity, session = self._writer.identity, self._writer.transactions.session
        me = MemberStatus(
            self._node_id, "leader", "", identity.http, identity.text, index, 0, 0, VERSION
        )
        others = [
            MemberStatus(
                row.name, "leader", "", row.http, row.text, index, 0, row.silent_ms, row.version
            )
            for row in self._neighbours.members
            if row.session != session
        ]
        return Status(
            self._cluster_id,
            self._node_id,
            "postgres",
            self._durability,
            1,
            self._node_id if is_ready else "",
            index,
            is_ready,
            (me, *others),
        )

    async def change_members(self, change: MemberChange) -> None:
        """Refuse: nodes over one database come and go as they like."""
        del change
        raise BackendError(
            "change_refused", "nodes over PostgreSQL need no membership: start one more"
        )

    async def verify(self, entry: int) -> Verification:
        """Nodes over one database share its one state: there is nothing to compare, and no digest."""
        del entry
        if not self._writer.is_connected:
            raise BackendError(UNAVAILABLE, "the database cannot be reached")
        return Verification(self._view.index, (MemberDigest(self._node_id, SAME, ""),))

    async def export(self) -> AsyncIterator[Sequence[Record]]:
        """Give everything, from one snapshot of the database. See ``Backend``."""
        connection = await self._connection_of_its_own()
        try:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            await connection.execute(
                f"SET LOCAL idle_in_transaction_session_timeout = {exporting.IDLE_MS}"
            )
            counting = Counting()
            async for records in records_of(connection, self._place.schema):
                counting.take(records)
                yield records
            counting.check(await held_in(connection, self._place.schema))
        except FAILURES as error:
            raise BackendError(UNAVAILABLE, f"the database did not answer: {error}") from error
        finally:
            connection.terminate()

    async def take_in(self, incoming: Incoming) -> None:
        """Become what another store was, in one transaction. See ``Backend``."""
        connection = await self._connection_of_its_own()
        taking_in = TakingIn(connection, self._place.schema, self._random)
        is_committing = False
        try:
            await connection.execute("BEGIN")
            await taking_in.run(incoming)
            is_committing = True
            await connection.execute("COMMIT")
        except FAILURES as error:
            if is_committing:
                detail = "the connection to the database broke while it committed the import"
                raise BackendError(UNKNOWN, detail) from error
            raise BackendError(UNAVAILABLE, f"nothing was taken in: {error}") from error
        finally:
            connection.terminate()
        self._view.floors.forget()
        self._view.see_due(taking_in.next_due_ms)
        self._tell_listener(taking_in.ready)

    async def abandon_import(self) -> None:
        """Refuse: an import that does not come to its end leaves nothing."""
        raise BackendError(REFUSED, "no import is unfinished here")

    async def _connection_of_its_own(self) -> asyncpg.Connection:
        if not self._is_running:
            raise BackendError(UNAVAILABLE, _NOT_RUNNING)
        try:
            return await sessions.connect(self._place, self._view)
        except StartError as error:
            raise BackendError(UNAVAILABLE, str(error)) from error

    def _tell_listener(self, ready: Ready) -> None:
        if self._listener is not None:
            self._listener(ready)


def _resolve(done: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not done.done():
        done.set_result(outcome)
