"""``kill -9`` of the database server under load: what was acknowledged is there, what was refused is not, nothing is done twice."""

import asyncio
import time

from tests.support.backend_subjects import NodeOverPostgres, Subject
from tests.support.postgres_server import PostgresServer, fresh_schema
from tests.support.task_table import modify

from raftq_cluster.backends.postgres.backend import PostgresBackend
from raftq_cluster.backends.postgres.connecting import Place
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import Modified, Unfinished

WORKERS = 8
KILLS = 3
BETWEEN_S = 0.7
DURABLE = {"fsync": "on", "shared_buffers": "64MB"}
RESTART_S = 30.0


class Ledger:
    """What callers were told."""

    def __init__(self) -> None:
        self.inserted: set[str] = set()
        self.deleted: set[str] = set()
        self.not_inserted: set[str] = set()
        self.unknown: set[str] = set()
        self.is_over = False

    async def work(self, subject: Subject, name: str) -> None:
        number = 0
        while not self.is_over:
            number += 1
            id_ = f"{name}-{number}"
            outcome = await subject.do(modify(inserts=[op.Insert("/a", id_)]))
            if isinstance(outcome, Unfinished):
                (self.unknown if outcome.code == "outcome_unknown" else self.not_inserted).add(id_)
                continue
            assert isinstance(outcome, Modified), outcome
            self.inserted.add(id_)
            if number % 2:
                continue
            outcome = await subject.do(modify(deletes=[op.Target(id_, 0)]))
            if isinstance(outcome, Modified):
                self.inserted.remove(id_)
                self.deleted.add(id_)
            else:
                assert isinstance(outcome, Unfinished), outcome
                if outcome.code == "outcome_unknown":
                    self.inserted.remove(id_)
                    self.unknown.add(id_)


def restart(server: PostgresServer) -> None:
    """Start it again; its killed children may hold its memory for a moment."""
    deadline = time.monotonic() + RESTART_S
    while True:
        try:
            server.start()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


async def go_through(server: PostgresServer, place: Place) -> tuple[Ledger, list[str], int]:
    backend = PostgresBackend(place)
    await backend.start()
    node = NodeOverPostgres(server, place)
    node.backend = backend
    subject = Subject(node)
    ledger = Ledger()
    workers = [asyncio.create_task(ledger.work(subject, f"w{number}")) for number in range(WORKERS)]
    for _ in range(KILLS):
        await asyncio.sleep(BETWEEN_S)
        server.kill()
        restart(server)
    await asyncio.sleep(BETWEEN_S)
    ledger.is_over = True
    await asyncio.wait_for(asyncio.gather(*workers), RESTART_S)
    answer = await backend.read(queries.Tasks("/a", "", (), 1_000_000, omit_values=True))
    counted = backend.load().tasks
    await backend.stop()
    return ledger, [row.id for row in answer.value], counted


def test_a_killed_server_loses_nothing_that_was_acknowledged() -> None:
    server = PostgresServer(DURABLE)

    async def run() -> tuple[Ledger, list[str], int]:
        async with fresh_schema(server) as place:
            return await go_through(server, place)

    try:
        server.start()
        ledger, found, counted = asyncio.run(run())
    finally:
        server.remove()
    there = set(found)
    assert len(found) == len(there) == counted
    assert ledger.inserted - there == set(), "acknowledged, and lost"
    assert ledger.deleted & there == set(), "deleted, and back"
    assert ledger.not_inserted & there == set(), "said not to be done, and done"
    assert there - ledger.inserted <= ledger.unknown
    assert len(ledger.inserted) > KILLS * WORKERS
