"""Does what was submitted, batch after batch, whatever becomes of the connection.

What is decided here: which failures are tried again, which are somebody's own fault, and when an outcome is
unknown. A batch whose commit was under way when the connection broke is looked up afterwards: the
node's row tells whether it was done.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import asyncpg
import structlog

from raftq_cluster.backends.api import Ready, Sink
from raftq_cluster.backends.postgres import connecting, sessions
from raftq_cluster.backends.postgres.connecting import FAILURES, Place
from raftq_cluster.backends.postgres.schema import check as check_schema
from raftq_cluster.backends.postgres.sessions import Identity
from raftq_cluster.backends.postgres.submissions import Batch, Submissions, refusal_of
from raftq_cluster.backends.postgres.transaction import (
    BEAT_S,
    Answered,
    ServerChangedError,
    Transactions,
)
from raftq_cluster.backends.postgres.view import View
from raftq_cluster.config import StartError
from raftq_cluster.core.operations import Operation, Tick
from raftq_cluster.core.outcomes import Refused, Unfinished
from raftq_cluster.core.transaction import TOO_LARGE

SESSION_BITS: Final = 62
TRIES_MAX: Final = 20  # of a batch that others get in the way of: some two seconds
RECONNECT_S: Final = (
    5.0  # how long callers wait for a connection: less than they wait for an answer
)
_PAUSE_S: Final = 0.005
_PAUSE_MAX_S: Final = 0.2
_RECONNECT_PAUSE_S: Final = 0.1
UNAVAILABLE: Final = "unavailable"
UNKNOWN: Final = "outcome_unknown"
_NO_CONNECTION: Final = Unfinished(UNAVAILABLE, "there is no connection to the database")
_STOPPED: Final = Unfinished(UNAVAILABLE, "the node does not run")
_UNKNOWN: Final = Unfinished(UNKNOWN, "the connection to the database broke while it committed")
_LOCKED: Final = Unfinished(UNAVAILABLE, "another program holds a lock on what this needs")
_CONTENDED: Final = Unfinished(UNAVAILABLE, "other nodes were in the way each time this was tried")

_log = structlog.get_logger(__name__)


class Writer:
    """One node's stream of batches.

    Args:
        place: where the tasks are.
        identity: of this node, for those who look at the tables.
        view: what the node knows; kept up to date.
        random: chooses tasks and pauses.
        session: number of the first session.
        on_ready: told after each batch what became claimable by it.
    """

    def __init__(
        self,
        place: Place,
        identity: Identity,
        view: View,
        random: Random,
        session: int,
        on_ready: Callable[[Ready], None],
    ) -> None:
        self.transactions = Transactions(place.schema, view, random, session, self._has_more)
        self.is_connected = False
        self._place = place
        self.identity = identity
        self._view = view
        self._random = random
        self._on_ready = on_ready
        self._submissions = Submissions()
        self._wake = asyncio.Event()
        self._is_ending = False
        self._reason = ""  # why there is no connection, as it was logged
        self._connection: asyncpg.Connection | None = None
        self._last_session = 0  # whose rows are to be folded
        self._next_session = session

    async def open(self, connection: asyncpg.Connection) -> None:
        """Begin, over a connection that is the writer's from now on."""
        await self._take(connection)

    def submit(self, operations: Sequence[Operation], sink: Sink) -> None:
        """Take operations, to be done after those of earlier calls."""
        self._submissions.add(operations, sink)
        self._wake.set()

    def let_pass(self, *, has_inserted: bool) -> None:
        """Let time pass if nothing else happens: this node shows that it lives, and counts what programs inserted."""
        is_silent = time.monotonic() - self.transactions.stored_s > BEAT_S
        if self.is_connected and not self._submissions and (is_silent or has_inserted):
            self.submit([Tick()], lambda _index, _outcomes: None)

    def _has_more(self) -> bool:
        return bool(self._submissions)

    def end(self) -> None:
        """Let :meth:`run` return once everything is done."""
        self._is_ending = True
        self._wake.set()

    async def run(self) -> None:
        """Do batches until :meth:`end`."""
        while not self._is_ending or self._submissions:
            await self._wake.wait()
            self._wake.clear()
            while self._submissions:
                await self._do(self._submissions.next_batch())

    async def close(self) -> None:
        """Answer whoever waits still, fold the node's row, and close the connection."""
        self._submissions.abandon(self._view.index, _STOPPED)
        connection, self._connection = self._connection, None
        self.is_connected = False
        if connection is None or connection.is_closed():
            return
        try:
            await sessions.close_session(connection, self._place.schema, self.transactions.session)
            await connection.close(timeout=connecting.CONNECT_S)
        except FAILURES:
            connection.terminate()

    async def _do(self, batch: Batch) -> None:
        """Do a batch and tell its callers."""
        for tries in range(TRIES_MAX):
            connection = await self._connected()
            if connection is None:
                batch.tell(self._view.index, [_NO_CONNECTION] * len(batch.operations))
                self._submissions.abandon(self._view.index, _NO_CONNECTION)
                return
            try:
                answered = await self.transactions.run(connection, batch.operations)
            except Exception as error:  # noqa: BLE001 - sorted out below; what is nobody's goes on
                if await self._is_dealt_with(batch, error):
                    return
                await self._pause(tries)
            else:
                self._tell(batch, answered)
                return
        batch.tell(self._view.index, [_CONTENDED] * len(batch.operations))

    async def _is_dealt_with(self, batch: Batch, error: Exception) -> bool:
        """Decide what a failure means; False: the batch was not done, and may be tried again."""
        if isinstance(error, ServerChangedError) or connecting.is_session_gone(error):
            await self._begin_session()
            return False
        if connecting.is_worth_another_try(error):
            return False
        if connecting.is_of_one_operation(error):
            await self._single_out(batch, error)
            return True
        if not connecting.is_failure(error):
            raise error
        _log.warning("database connection failed", reason=str(error))
        was_committing = self.transactions.is_committing
        self._drop()
        if not was_committing:
            return False
        return await self._is_told_after_doubt(batch)

    async def _is_told_after_doubt(self, batch: Batch) -> bool:
        """Find out whether the last batch was committed."""
        is_done = None
        connection = await self._connected()
        transactions = self.transactions
        if connection is not None:
            try:
                is_done = await sessions.was_committed(
                    connection, self._place.schema, transactions.session, transactions.batch + 1
                )
                # What is visible may not have reached the standby that has to have it. A later commit waits for that.
                await self._open_session(connection)
            except (*FAILURES, StartError) as error:
                _log.warning("a batch could not be looked up", reason=str(error))
                is_done = None
                self._drop()
        transactions.is_committing = False
        answered = transactions.in_doubt
        if is_done is False:
            return False
        if is_done and answered is not None:
            self._tell(batch, answered)
        else:
            batch.tell(self._view.index, [_UNKNOWN] * len(batch.operations))
        return True

    async def _single_out(self, batch: Batch, error: Exception) -> None:
        """Do the operations one by one, so that only the one that cannot be done is refused."""
        if not batch.is_one():
            for single in batch.alone():
                await self._do(single)
        elif connecting.is_lock_timeout(error):
            batch.tell(self._view.index, [_LOCKED])
        elif connecting.is_too_many_docs(error):
            batch.tell(self._view.index, [TOO_LARGE])
        else:
            detail = f"this cannot be stored: {error}"
            batch.tell(
                self._view.index, [refusal_of(batch.operations[0]) or Refused("invalid", detail)]
            )

    def _tell(self, batch: Batch, answered: Answered) -> None:
        batch.tell(answered.log_index, answered.outcomes)
        try:
            self._on_ready(answered.ready)
        except Exception:  # noqa: BLE001 - a bad listener may not harm the callers
            _log.exception("the listener for claimable tasks has raised")

    async def _pause(self, tries: int) -> None:
        """Let the others be done; not all nodes for the same time."""
        longest_s = min(_PAUSE_S * 2**tries, _PAUSE_MAX_S)
        await asyncio.sleep(self._random.uniform(0, longest_s))

    # --- the connection -----------------------------------------------------------------------

    async def _connected(self) -> asyncpg.Connection | None:
        """Give the connection, or try for a while to make one."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self._drop()
        try:
            async with asyncio.timeout(RECONNECT_S):
                while True:
                    connection = await self._try_to_connect()
                    if connection is not None:
                        return connection
                    await asyncio.sleep(_RECONNECT_PAUSE_S)
        except TimeoutError:
            return None

    async def _try_to_connect(self) -> asyncpg.Connection | None:
        connection = None
        try:
            connection = await sessions.connect(self._place, self._view)
            await check_schema(connection, self._place)  # it may have been upgraded meanwhile
            await self._take(connection)
        except (*FAILURES, StartError) as error:
            if str(error) != self._reason:  # not ten times a second
                self._reason = str(error)
                _log.warning("no connection to the database", reason=self._reason)
        finally:
            if connection is not None and self._connection is not connection:
                connection.terminate()
        return self._connection

    async def _take(self, connection: asyncpg.Connection) -> None:
        """Use this connection from now on."""
        if not self.transactions.is_committing:
            await self._open_session(connection)
        self._connection = connection
        self.is_connected = True
        self._reason = ""

    async def _open_session(self, connection: asyncpg.Connection) -> None:
        """Begin to remember things, as of this connection."""
        schema = self._place.schema
        await self._look_at_timeline(connection)
        if self._last_session:
            await sessions.close_session(connection, schema, self._last_session)
        await sessions.open_session(connection, schema, self._next_session, self.identity)
        self._last_session = self._next_session
        self.transactions.begin(self._next_session)
        self._next_session = secrets.randbits(SESSION_BITS)  # never a seeded one

    async def _look_at_timeline(self, connection: asyncpg.Connection) -> None:
        """Say it if another server has taken over, and if it lacks what the last one had."""
        schema, view = self._place.schema, self._view
        timeline = await sessions.timeline(connection)
        if timeline is not None:
            await sessions.note_timeline(connection, schema, timeline)
        index = (await sessions.find_state(connection, schema)).log_index
        if view.timeline not in {None, timeline}:
            _log.warning("the database was promoted", timeline=timeline, before=view.timeline)
        if index < view.index:
            _log.error(
                "commits are lost: the database has a lower log index than this node has seen",
                index=index,
                seen=view.index,
            )
            view.index = index
        view.timeline = timeline

    async def _begin_session(self) -> None:
        connection = await self._connected()
        if connection is not None:
            try:
                await self._open_session(connection)
            except FAILURES as error:
                _log.warning("the node's row could not be made", reason=str(error))

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self.is_connected = False
        if connection is not None:
            connection.terminate()
