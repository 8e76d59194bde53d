"""Dead tuples under churn: whether the tables stay small and the cycles quick, also beside a long foreign transaction.

usage: postgres_churn.py [--minutes M] [--in-flight N] [--foreign]

Cycles as in ``postgres.py``; every 5 s a line on stderr with the rate, dead tuples and bytes of the task table. With
``--foreign`` another program holds a snapshot open all the time, so that nothing dead can be removed: what
remains then is how much slower claims become. The figure on stdout is the last third's rate in percent of the first third's.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import asyncpg
from tests.support.node_process import NodeProcess
from tests.support.postgres_server import PostgresServer

SERVER = {"shared_buffers": "256MB", "max_wal_size": "4GB", "autovacuum_naptime": "5s"}
HERE = Path(__file__).resolve().parent
SAMPLE_S = 5.0
SAMPLE = """
SELECT (SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = 'raftq.task'::regclass),
    pg_total_relation_size('raftq.task'), (SELECT coalesce(sum(next_serial), 0)::bigint FROM raftq.queue)
"""


async def watch(dsn: str, client: subprocess.Popen[bytes], *, is_foreign: bool) -> list[float]:
    looking = await asyncpg.connect(dsn)
    foreign = await asyncpg.connect(dsn)
    if is_foreign:
        await foreign.execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM raftq.task"
        )
    loop = asyncio.get_running_loop()
    rates = []
    before, before_s = 0, loop.time()
    while client.poll() is None:
        await asyncio.sleep(SAMPLE_S)
        dead, size, begun = await looking.fetchrow(SAMPLE)
        rate = (begun - before) / (loop.time() - before_s)
        before, before_s = begun, loop.time()
        rates.append(rate)
        print(f"{rate:.0f} cycles/s, {dead} dead tuples, {size / 2**20:.0f} MiB", file=sys.stderr)
    await foreign.close()
    await looking.close()
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--foreign", action="store_true")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = ""
    server = PostgresServer(SERVER)
    with tempfile.TemporaryDirectory(prefix="raftq-bench-") as folder:
        try:
            server.start()
            init = [
                sys.executable,
                "-m",
                "raftq_cluster",
                "pg",
                "init",
                "--postgres-dsn",
                server.dsn,
            ]
            subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
            flags = ("--backend", "postgres", "--postgres-dsn", server.dsn)
            with NodeProcess(Path(folder) / "data", *flags) as node:
                load = ("--in-flight", str(given.in_flight), "--seconds", str(given.minutes * 60))
                client = subprocess.Popen(
                    [sys.executable, str(HERE / "text_client.py"), node.facts["text"], *load],
                    stdout=subprocess.DEVNULL,
                )
                rates = asyncio.run(watch(server.dsn, client, is_foreign=given.foreign))
        finally:
            server.remove()
    third = max(1, len(rates) // 3)
    first, last = statistics.median(rates[:third]), statistics.median(rates[-third:])
    figure = {
        "name": f"postgres: the last third of {given.minutes:g} minutes"
        + (" beside a foreign transaction" if given.foreign else ""),
        "value": 100 * last / first if first else 0.0,
        "unit": "% of the first",
        "better": "higher",
    }
    print(json.dumps([figure]))


if __name__ == "__main__":
    main()
