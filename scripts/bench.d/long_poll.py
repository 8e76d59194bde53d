"""How soon a worker that waits at one node gets what was put in through another.

usage: long_poll.py [--nodes N] [--times N]

One worker waits at a time, the cluster is idle otherwise. From the acknowledgement of the insert (so its commit was before) to
the claimed task in the worker's hands, which needs a log entry of its own.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from local_node import LocalCluster
from raftq import AsyncClient

QUEUE = "/bench/long-poll"
WAIT_MS = 60_000
IDLE_S = 0.02


async def measure(addresses: list[str], times: int) -> list[float]:
    """Seconds, for each pair of different nodes in turn."""
    clients = [AsyncClient(f"raftq://{address}") for address in addresses]
    pairs = [(one, other) for one in clients for other in clients if one is not other]
    took_s = []
    for number in range(times):
        inserter, worker = pairs[number % len(pairs)]
        waiting = asyncio.create_task(worker.claim(QUEUE, wait_ms=WAIT_MS))
        await asyncio.sleep(IDLE_S)  # it waits by then, and the cluster is at rest
        put = asyncio.create_task(inserter.put(QUEUE, number))
        ends: dict[asyncio.Task[Any], float] = {}
        note = partial(_note_end, ends)
        put.add_done_callback(note)
        waiting.add_done_callback(note)
        await put
        (task,) = await waiting
        took_s.append(max(0.0, ends[waiting] - ends[put]))
        await worker.delete(task)
    for client in clients:
        await client.close()
    return took_s


def _note_end(ends: dict[asyncio.Task[Any], float], task: asyncio.Task[Any]) -> None:
    ends[task] = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--times", type=int, default=300)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="raftq-long-poll-") as folder,
        LocalCluster(Path(folder) / "data", given.nodes) as cluster,
    ):
        took_s = asyncio.run(measure(cluster.text_addresses, given.times))
    figure = {
        "name": f"a waiting worker at another of {given.nodes} nodes has the task",
        "value": 1e3 * statistics.median(took_s),
        "unit": "ms",
        "better": "lower",
        "note": f"after the insert's acknowledgement; p99"
        f" {1e3 * statistics.quantiles(took_s, n=100)[98]:.1f} ms, worst {1e3 * max(took_s):.1f} ms",
    }
    print(json.dumps([figure]))


if __name__ == "__main__":
    main()
