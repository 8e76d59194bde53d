"""What other nodes and programs do to the same tables: heard of at once where that works, and looked for always.

One connection listens for notifications, which are hints: each may be lost. Once a second the
tables are asked, so that a lost hint costs a second and nothing else. Where nothing may outlive a transaction
(PgBouncer), asking is all there is.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import structlog

from raftq_cluster.backends.api import Load, Ready
from raftq_cluster.backends.postgres import sessions
from raftq_cluster.backends.postgres.connecting import FAILURES, Place
from raftq_cluster.backends.postgres.counting import QueueCounts
from raftq_cluster.backends.postgres.view import View
from raftq_cluster.backends.postgres.writer import Writer
from raftq_cluster.config import StartError

ASK_S: Final = 1.0
WINDOW_MS: Final = 2_000  # of the arrivals that are looked for: until after the next asking
FOLDS: Final = 10  # of askings: rows of nodes that are silent for long are folded
_log = structlog.get_logger(__name__)


class Neighbours:
    """One node's ear.

    Args:
        place: where the tasks are.
        channel: of the notifications.
        writer: does what is to be done; its own notifications are passed over.
        view: what the node knows; kept up to date.
        on_ready: told what became claimable elsewhere.
    """

    def __init__(
        self,
        place: Place,
        channel: str,
        writer: Writer,
        view: View,
        on_ready: Callable[[Ready], None],
    ) -> None:
        self._place = place
        self._channel = channel
        self._writer = writer
        self._view = view
        self._on_ready = on_ready
        self._connection: asyncpg.Connection | None = None
        self._is_listening = False
        self._counts = QueueCounts(place.schema, view)
        self._asked = 0
        self.members: list[sessions.Node] = []  # the nodes that live, a second ago
        self._reason = ""  # why the database could not be asked, as it was logged

    async def open(self, connection: asyncpg.Connection) -> None:
        """Begin, over a connection that is this object's from now on."""
        if self._place.listens:
            await connection.add_listener(self._channel, self._hear)
            self._is_listening = True
        self._connection = connection

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await asyncio.sleep(ASK_S)
            try:
                await self._ask(await self._connected())
            except (*FAILURES, StartError, TimeoutError) as error:
                if str(error) != self._reason:  # not every second
                    self._reason = str(error)
                    _log.warning("the database could not be asked", reason=self._reason)
                self._drop()
            else:
                self._reason = ""

    def close(self) -> None:
        """Hear nothing more."""
        self._drop()

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._drop()
            connection = await sessions.connect(self._place, self._view)
            try:
                await self.open(connection)
            except BaseException:
                connection.terminate()
                raise
        assert self._connection is not None
        return self._connection

    async def _ask(self, connection: asyncpg.Connection) -> None:
        schema, view = self._place.schema, self._view
        known, was_listening = view.index, self._is_listening
        await sessions.forget_sets(connection, schema, view.now_ms())
        floors, before_ms = view.floors, view.now_ms() + WINDOW_MS
        found = await sessions.find_state(
            connection, schema, floors.waiting_ms, before_ms, floors.taken
        )
        index = found.log_index
        if view.clock is None:
            view.see_time(max(found.log_ms, found.now_ms))
        if index > view.index:  # of what this node did itself it knows better than a moment ago
            view.see_load(Load(*found[:4]))
        view.see_due(found.due_ms)
        self._writer.let_pass(has_inserted=found.has_inserted)
        await self._see_members(connection)
        ready: Ready = {}
        if index > known and view.index < index and not was_listening:
            ready = await self._counts.ready(connection)
        view.see_index(index)
        self._is_listening = self._place.listens
        self._on_ready(ready)

    async def _see_members(self, connection: asyncpg.Connection) -> None:
        schema, writer = self._place.schema, self._writer
        session, identity = writer.transactions.session, writer.identity
        self._asked += 1
        if self._asked % FOLDS == 0:
            await sessions.fold_silent(connection, schema, session)
        self.members = await sessions.members(connection, schema)
        if any(row[0] == session and row[2:4] != identity[1:] for row in self.members):
            await sessions.advertise(connection, schema, session, identity)

    def _hear(self, _connection: Any, _pid: int, _channel: str, news: Any) -> None:
        """Take a notification: ``[session, {queue: count}, next_due_ms]``."""
        try:
            session, ready, due_ms = json.loads(news)
            ready = {str(queue): int(count) for queue, count in ready.items()}
            due_ms = None if due_ms is None else int(due_ms)
        except (ValueError, TypeError, AttributeError):
            _log.warning("a notification is malformed", news=str(news)[:200])
            return
        if session != self._writer.transactions.session:
            self._view.see_due(due_ms)
            self._on_ready(ready)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._is_listening = False  # until the tables have been asked what was missed
        if connection is not None:
            connection.terminate()
