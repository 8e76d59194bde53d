"""Dead tuples under churn: whether the tables stay small and the cycles quick, also beside a long foreign transaction.

usage: postgres_churn.py [--minutes M] [--in-flight N] [--nodes N] [--foreign | --foreign-after M] [--sample-s S]

Cycles as in ``postgres.py``, spread over the nodes; every few seconds a line on stderr with the rate, dead tuples (of the task
table, of all tables), bytes of both, and how many index entries a cycle read. With ``--foreign`` another program
holds a snapshot open all the time, with ``--foreign-after`` from then on, so that nothing dead can be removed: what
remains then is how much slower claims become. The figure on stdout is the last third's rate in percent of the first
third's, of the time with the foreign transaction if there is one.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import asyncpg
from tests.support.node_process import NodeProcess
from tests.support.postgres_server import PostgresServer

SERVER = {"shared_buffers": "256MB", "max_wal_size": "4GB", "autovacuum_naptime": "5s"}
HERE = Path(__file__).resolve().parent
SAMPLE = """
SELECT (SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = 'raftq.task'::regclass),
    (SELECT sum(n_dead_tup)::bigint FROM pg_stat_all_tables WHERE schemaname = 'raftq'),
    pg_total_relation_size('raftq.task'),
    (SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_stat_all_tables WHERE schemaname = 'raftq'),
    (SELECT sum(idx_tup_read)::bigint FROM pg_stat_all_indexes WHERE schemaname = 'raftq'),
    (SELECT max(q.next_serial) FROM raftq.queue q)
"""
MIB = 2**20


class Watch:
    """Looks at the database while the clients run."""

    def __init__(self, dsn: str, given: argparse.Namespace) -> None:
        self._dsn = dsn
        self._given = given
        self._foreign: asyncpg.Connection | None = None
        self.samples: list[
            tuple[bool, float, int, int]
        ] = []  # whether beside it, rate, dead, bytes

    async def run(self, client: subprocess.Popen[bytes]) -> None:
        looking = await asyncpg.connect(self._dsn)
        loop = asyncio.get_running_loop()
        begin_s = before_s = loop.time()
        reads_before = begun_before = 0
        while client.poll() is None:
            await self._hold(loop.time() - begin_s)
            is_beside = self._foreign is not None
            await asyncio.sleep(self._given.sample_s)
            dead, all_dead, size, whole, reads, begun = await looking.fetchrow(SAMPLE)
            cycles = max((begun or 0) - begun_before, 1)
            rate = cycles / (loop.time() - before_s)
            read = (reads - reads_before) / cycles
            begun_before, before_s, reads_before = begun or 0, loop.time(), reads
            if loop.time() - begin_s > 2 * self._given.sample_s:
                self.samples.append((is_beside, rate, dead, whole))
            print(
                f"{loop.time() - begin_s:.0f} s: {rate:.0f} cycles/s, dead tuples {dead} ({all_dead} in all),"
                f" {size / MIB:.0f} MiB ({whole / MIB:.0f}), {read:.1f} index entries a cycle"
                + (" (beside)" if is_beside else ""),
                file=sys.stderr,
                flush=True,
            )
        if self._foreign is not None:
            await self._foreign.close()
        await looking.close()

    async def _hold(self, elapsed_s: float) -> None:
        """Open the foreign transaction once its time has come."""
        after_min = 0 if self._given.foreign else self._given.foreign_after
        if self._foreign is None and after_min is not None and elapsed_s >= after_min * 60:
            self._foreign = await asyncpg.connect(self._dsn)
            await self._foreign.execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM raftq.task"
            )

    def figures(self) -> list[dict[str, Any]]:
        figures = []
        for is_beside in (False, True):
            samples = [sample[1:] for sample in self.samples if sample[0] == is_beside]
            if not samples:
                continue
            rates, dead, sizes = zip(*samples, strict=True)
            third = max(1, len(rates) // 3)
            first, last = statistics.median(rates[:third]), statistics.median(rates[-third:])
            name = f"postgres: {self._given.nodes} nodes, the last third of {len(rates)} samples"
            figures.append(
                {
                    "name": name + (" beside a foreign transaction" if is_beside else ""),
                    "value": 100 * last / first if first else 0.0,
                    "unit": "% of the first",
                    "better": "higher",
                    "note": f"{first:.0f} to {last:.0f} cycles/s; dead tuples {min(dead)} to {max(dead)},"
                    f" {min(sizes) / MIB:.0f} to {max(sizes) / MIB:.0f} MiB",
                }
            )
        return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--sample-s", type=float, default=5.0)
    parser.add_argument("--foreign", action="store_true")
    parser.add_argument("--foreign-after", type=float, metavar="MINUTES")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = ""
    server = PostgresServer(SERVER)
    watch = Watch(server.dsn, given)
    with tempfile.TemporaryDirectory(prefix="raftq-bench-") as folder, ExitStack() as stack:
        stack.callback(server.remove)
        server.start()
        dsn = ("--postgres-dsn", server.dsn)
        init = [sys.executable, "-m", "raftq_cluster", "pg", "init", *dsn]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
        nodes = [
            stack.enter_context(
                NodeProcess(Path(folder) / f"data{number}", "--backend", "postgres", *dsn)
            )
            for number in range(given.nodes)
        ]
        load = ("--in-flight", str(given.in_flight), "--seconds", str(given.minutes * 60))
        addresses = [node.facts["text"] for node in nodes]
        client = subprocess.Popen(
            [sys.executable, str(HERE / "text_client.py"), *addresses, *load],
            stdout=subprocess.DEVNULL,
        )
        asyncio.run(watch.run(client))
    print(json.dumps(watch.figures()))


if __name__ == "__main__":
    main()
