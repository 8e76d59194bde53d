"""The Raft backend alone: one node, real files and fdatasync, operations made in the same process.

A cycle is insert + claim + delete with a value of 64 bytes, submitted in batches as a text connection
would. What it costs over the core and the disk is what log, rounds and group commit cost.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from raftq_cluster.backends.raft.backend import RaftBackend
from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Claimed, Modified, Outcome

QUEUE = "/bench"
VALUE = bytes(64)
SINGLE_OPERATIONS = 1_000
RUN_S = 2.0
LOADS = ((64, 16), (1_024, 64))  # operations in flight, and how many a submission has
IDLE_S = 2.0
SWITCH_INTERVAL_S = 0.0005  # as a node sets it: the sync thread must get the interpreter soon
CLAIM = op.Claim(op.CLAIM, "", b"", "bench", (QUEUE,), 30_000, 1, False)


def insert(id_: str) -> op.Modify:
    new = op.Insert(QUEUE, id_, value=VALUE, kind=op.BYTES)
    return op.Modify(op.MODIFY, "", b"", "", (new,), (), (), ())


def delete(id_: str, version: int) -> op.Modify:
    return op.Modify(op.MODIFY, "", b"", "bench", (), (), (op.Target(id_, version),), ())


async def submit(backend: RaftBackend, operations: Sequence[op.Operation]) -> Sequence[Outcome]:
    done = asyncio.get_running_loop().create_future()
    backend.submit(operations, lambda _index, outcomes: done.set_result(outcomes))
    outcomes: Sequence[Outcome] = await done
    return outcomes


class Load:
    """Keeps batches going round: insert, claim, delete."""

    def __init__(self, backend: RaftBackend, batch: int) -> None:
        self._backend = backend
        self._batch = batch
        self._ids = 0
        self.cycles = 0

    async def go_round(self, end_s: float) -> None:
        while time.perf_counter() < end_s:
            first, self._ids = self._ids, self._ids + self._batch
            ids = range(first, self._ids)
            await submit(self._backend, [insert(f"{self._batch}-{n:020x}") for n in ids])
            claimed = await submit(self._backend, [CLAIM] * self._batch)
            targets = [task for one in claimed if isinstance(one, Claimed) for task in one.tasks]
            await submit(self._backend, [delete(task.id, task.version) for task in targets])
            self.cycles += len(targets)


async def one_at_a_time(backend: RaftBackend) -> dict[str, object]:
    took_ms = []
    for number in range(SINGLE_OPERATIONS):
        begin = time.perf_counter()
        (outcome,) = await submit(backend, [insert(f"single-{number}")])
        took_ms.append((time.perf_counter() - begin) * 1e3)
        assert isinstance(outcome, Modified)
        await submit(backend, [delete(f"single-{number}", outcome.inserted[0].version)])
    p99_ms = statistics.quantiles(took_ms, n=100)[98]
    value, note = statistics.median(took_ms), f"p99 {p99_ms:.1f} ms"
    return figure("raft backend: one insert at a time", value, "ms", "lower", note=note)


async def in_flight(backend: RaftBackend, operations: int, batch: int) -> dict[str, object]:
    load = Load(backend, batch)
    cpu_s, begin_s, index = time.process_time(), time.perf_counter(), backend.status().index
    rounds = (load.go_round(begin_s + RUN_S) for _ in range(operations // batch))
    await asyncio.gather(*rounds)
    took_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - cpu_s
    entries = backend.status().index - index
    note = f"{3 * load.cycles / entries:.0f} operations an entry"
    name = f"raft backend: {operations} in flight, in batches of {batch}"
    rate = load.cycles / took_s
    return figure(name, rate, "cycles/s", "higher", note=note, cycles=load.cycles, cpu_s=cpu_s)


async def idle() -> dict[str, object]:
    cpu_s = time.process_time()
    await asyncio.sleep(IDLE_S)
    share = (time.process_time() - cpu_s) / IDLE_S
    return figure("raft backend: idle", 100 * share, "% of a core", "lower")


def figure(name: str, value: float, unit: str, better: str, **more: object) -> dict[str, object]:
    return {"name": name, "value": value, "unit": unit, "better": better, **more}


async def main() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with tempfile.TemporaryDirectory(prefix="raftq-bench-") as directory:
        backend = RaftBackend(Path(directory) / "data", on_fatal=sys.exit)
        await backend.start()
        figures = [await idle(), await one_at_a_time(backend)]
        for operations, batch in LOADS:
            figures.append(await in_flight(backend, operations, batch))
        await backend.stop()
    print(json.dumps(figures))


if __name__ == "__main__":
    try:
        import uvloop as loops
    except ImportError:
        loops = asyncio  # type: ignore[misc]
    loops.run(main())
