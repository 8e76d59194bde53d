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
from raftq_cluster.backends.postgres import connecting, sessions
from raftq_cluster.backends.postgres.connecting import FAILURES, Place
from raftq_cluster.backends.postgres.view import View
from raftq_cluster.config import StartError

ASK_S: Final = 1.0
HEARTBEATS: Final = 60  # of askings: the node's row says that it lives
_COUNT_MAX: Final = 100  # of the tasks of one queue that a poll counts
_READY: Final = """
WITH RECURSIVE found AS (
    (SELECT queue FROM {schema}.task WHERE lane IS NOT NULL ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT t.queue FROM {schema}.task t
            WHERE t.lane IS NOT NULL AND t.queue > found.queue ORDER BY t.queue LIMIT 1)
    FROM found WHERE found.queue IS NOT NULL)
SELECT found.queue, (SELECT count(*) FROM (SELECT FROM {schema}.task t
    WHERE t.queue = found.queue AND t.lane IS NOT NULL LIMIT {most}) AS first)
FROM found WHERE found.queue IS NOT NULL
"""

_log = structlog.get_logger(__name__)


class Neighbours:
    """One node's ear.

    Args:
        place: where the tasks are.
        channel: of the notifications.
        session: number of this node's life; its own notifications are passed over.
        view: what the node knows; kept up to date.
        on_ready: told what became claimable elsewhere.
    """

    def __init__(
        self,
        place: Place,
        channel: str,
        session: int,
        view: View,
        on_ready: Callable[[Ready], None],
    ) -> None:
        self._place = place
        self._channel = channel
        self._session = session
        self._view = view
        self._on_ready = on_ready
        self._connection: asyncpg.Connection | None = None
        self._is_listening = False
        self._asked = 0
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
            connection = await connecting.connect(self._place)
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
        if await sessions.take_over_counts(connection, schema):
            view.floors.forget()
        await sessions.forget_sets(connection, schema, view.now_ms())
        found = await sessions.find_state(connection, schema)
        *load, log_ms, index, due_ms, now_ms, _ = found
        if view.clock is None:
            view.see_time(max(log_ms, now_ms))
        if index > view.index:  # of what this node did itself it knows better than a moment ago
            view.see_load(Load(*load))
        view.see_due(due_ms)
        ready: Ready = {}
        if index > known and view.index < index and not was_listening:
            sql = _READY.format(schema=schema, most=_COUNT_MAX)
            ready = dict(map(tuple, await connection.fetch(sql)))
        view.see_index(index)
        self._is_listening = self._place.listens
        self._on_ready(ready)
        self._asked += 1
        if self._asked % HEARTBEATS == 0:
            sql = f"UPDATE {schema}.node SET seen_at = now() WHERE session = $1"  # noqa: S608 - a checked name
            await connection.execute(sql, self._session)

    def _hear(self, _connection: Any, _pid: int, _channel: str, news: Any) -> None:
        """Take a notification: ``[session, {queue: count}, next_due_ms]``."""
        try:
            session, ready, due_ms = json.loads(news)
            ready = {str(queue): int(count) for queue, count in ready.items()}
            due_ms = None if due_ms is None else int(due_ms)
        except (ValueError, TypeError, AttributeError):
            _log.warning("a notification is malformed", news=str(news)[:200])
            return
        if session != self._session:
            self._view.floors.forget()
            self._view.see_due(due_ms)
            self._on_ready(ready)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._is_listening = False  # until the tables have been asked what was missed
        if connection is not None:
            connection.terminate()
