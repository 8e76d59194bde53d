"""Counts of queues, as one reads them: the shares of all nodes added up, from one snapshot of the database.

No task is looked at, but one of each queue for its age.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg

from raftq_cluster.backends.postgres.floors import NEVER
from raftq_cluster.backends.postgres.tallies import ZERO, Counts, claims_of
from raftq_cluster.backends.postgres.view import View

SLOW_S: Final = 0.05  # so long takes a search past many dead rows
SLACK_MS: Final = 60_000  # a task that a program inserted may come so late, where searches are slow
_UNCOUNTED: Final = """
SELECT i.queue, count(*), 0::bigint, 0::bigint, '{{}}'::bigint[] FROM {schema}.inserted i
WHERE i.xid >= $1 AND ({condition}) GROUP BY i.queue
"""

Age = tuple[int | None, bool]


class QueueCounts:
    """Reads counts. Use it with one connection at a time."""

    def __init__(
        self, schema: str, view: View, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._schema = schema
        self._view = view
        self._monotonic = monotonic
        self._ages: dict[str, int] = {}  # queue -> before this no ready task arrived

    async def of(
        self,
        connection: asyncpg.Connection,
        prefixes: Sequence[str],
        names: Sequence[str],
        limit: int,
    ) -> dict[str, Counts]:
        """Give the counts of up to ``limit`` queues in which a task is, by name.

        Asked for are those whose names begin so, and those that are named; all of them if there are neither.
        """
        shares: list[asyncpg.Record] = []
        if not (prefixes or names):
            prefixes = [""]
        for prefix in _shortest(prefixes):
            shares += await self._asked(
                connection, "counts_from", prefix, "starts_with(i.queue, $2)"
            )
        others = [name for name in dict.fromkeys(names) if not name.startswith(tuple(prefixes))]
        if others:
            shares += await self._asked(connection, "counts_of", others, "i.queue = ANY ($2)")
        found: dict[str, Counts] = {}
        for queue, tasks, ready, held, claims in shares:
            share = Counts(tasks, ready, held, claims_of(claims))
            found[queue] = found.get(queue, ZERO).plus(share)
        there = sorted(queue for queue, counts in found.items() if counts.tasks > 0)
        return {queue: found[queue] for queue in there[:limit]}

    async def ready(self, connection: asyncpg.Connection) -> dict[str, int]:
        """Give the queues from which something can be claimed, and how many tasks each."""
        found = await self.of(connection, (), (), 2**62)
        return {queue: counts.ready for queue, counts in found.items() if counts.ready}

    async def _asked(
        self, connection: asyncpg.Connection, function: str, argument: object, condition: str
    ) -> list[asyncpg.Record]:
        rows = await connection.fetch(f"SELECT * FROM {self._schema}.{function}($1)", argument)  # noqa: S608 - a checked name
        uncounted = _UNCOUNTED.format(schema=self._schema, condition=condition)
        rows += await connection.fetch(uncounted, self._view.floors.taken, argument)
        return list(rows)

    async def oldest(self, connection: asyncpg.Connection, queues: Sequence[str]) -> dict[str, Age]:
        """Tell when the first of each queue's ready tasks arrived, and whether TaskQ made the queue."""
        begin_s = self._monotonic()
        rows = await connection.fetch(
            f"SELECT * FROM {self._schema}.oldest($1, $2)",  # noqa: S608 - a checked name
            list(queues),
            [self._ages.get(queue, NEVER) for queue in queues],
        )
        is_slow = self._monotonic() - begin_s > SLOW_S
        self._learn(rows, is_slow=is_slow)
        return {queue: (oldest, bool(serial_born)) for queue, oldest, serial_born in rows}

    def _learn(self, rows: Sequence[asyncpg.Record], *, is_slow: bool) -> None:
        """Remember where to begin, where a search from the beginning is slow.

        What becomes ready later has arrived later than all that has stopped waiting, but for what programs inserted.
        """
        waiting_ms = self._view.floors.waiting_ms
        for queue, oldest, _ in rows:
            if waiting_ms != NEVER and (is_slow or queue in self._ages):
                first = waiting_ms if oldest is None else min(oldest, waiting_ms)
                self._ages[queue] = first - SLACK_MS
        if waiting_ms == NEVER:
            self._ages.clear()


def _shortest(prefixes: Sequence[str]) -> list[str]:
    """Leave out what another one has in it."""
    found: list[str] = []
    for prefix in sorted(prefixes):
        if not (found and prefix.startswith(found[-1])):
            found.append(prefix)
    return found
