"""Jobs through another queue over PostgreSQL, by its own producer and worker: insert, claim, delete.

usage: postgres_peer.py pgqueuer|procrastinate DSN JOBS

Run by ``postgres.py`` in an environment of its own, which has that queue. A process inserts jobs one by one over many
connections, another one works them off as they come; the time is from the first insertion to the last job's end. Both queues
are as their documentation sets them up, with the largest batches and concurrency that help them.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

CONNECTIONS = 32
BATCH = 256
PAYLOAD = "x" * 64


async def in_parallel(jobs: int, insert: Callable[[], Awaitable[Any]]) -> None:
    """Insert jobs one by one, by as many inserters as there are connections."""
    left = iter(range(jobs))

    async def inserter() -> None:
        for _ in left:
            await insert()

    await asyncio.gather(*(inserter() for _ in range(CONNECTIONS)))


async def pgqueuer_insert(dsn: str, jobs: int) -> None:
    import asyncpg
    from pgqueuer.db import AsyncpgPoolDriver
    from pgqueuer.queries import Queries

    async with asyncpg.create_pool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        await in_parallel(jobs, lambda: queries.enqueue("work", PAYLOAD.encode()))


async def pgqueuer_work(dsn: str, jobs: int, begin: Callable[[], None]) -> float:
    import asyncpg
    from pgqueuer import PgQueuer

    async with asyncpg.create_pool(dsn, min_size=8, max_size=8) as pool:
        queue = PgQueuer.from_asyncpg_pool(pool)
        done = 0
        last_s = 0.0

        async def work(_job: Any) -> None:
            nonlocal done, last_s
            done += 1
            last_s = time.perf_counter()
            if done == jobs:
                queue.shutdown.set()

        queue.entrypoint("work")(work)
        begin()
        await queue.run(dequeue_timeout=timedelta(seconds=1), batch_size=BATCH)
        return last_s


def procrastinate_app(dsn: str) -> tuple[Any, Any]:
    import procrastinate

    app: Any = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=dsn, min_size=4, max_size=CONNECTIONS)
    )

    async def work(payload: str) -> None:
        del payload
        app.done()

    return app, app.task(queue="work", name="work")(work)


async def procrastinate_insert(dsn: str, jobs: int) -> None:
    app, work = procrastinate_app(dsn)
    async with app.open_async():
        await in_parallel(jobs, lambda: work.defer_async(payload=PAYLOAD))


async def procrastinate_work(dsn: str, jobs: int, begin: Callable[[], None]) -> float:
    app, _ = procrastinate_app(dsn)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        done = 0
        last_s = 0.0
        finished = asyncio.Event()

        def count() -> None:
            nonlocal done, last_s
            done += 1
            last_s = time.perf_counter()
            if done == jobs:
                finished.set()

        app.done = count
        begin()
        worker = asyncio.create_task(
            app.run_worker_async(
                concurrency=BATCH, delete_jobs="always", install_signal_handlers=False
            )
        )
        await finished.wait()
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        return last_s


INSERT: dict[str, Any] = {"pgqueuer": pgqueuer_insert, "procrastinate": procrastinate_insert}
WORK: dict[str, Any] = {"pgqueuer": pgqueuer_work, "procrastinate": procrastinate_work}


def main() -> None:
    name, dsn, jobs, *role = sys.argv[1:]
    if role:
        asyncio.run(INSERT[name](dsn, int(jobs)))
        return
    begun_s = 0.0
    inserter: subprocess.Popen[bytes] | None = None

    def begin() -> None:
        nonlocal begun_s, inserter
        inserter = subprocess.Popen([sys.executable, __file__, name, dsn, jobs, "insert"])
        begun_s = time.perf_counter()

    ended_s = asyncio.run(WORK[name](dsn, int(jobs), begin))
    assert inserter is not None
    assert inserter.wait(60) == 0
    print(json.dumps({"jobs_a_second": int(jobs) / (ended_s - begun_s)}))


if __name__ == "__main__":
    main()
