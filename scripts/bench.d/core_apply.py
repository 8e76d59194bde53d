"""The state machine alone: cycles in process, few and a million tasks, memory, pauses of a snapshot.

A cycle is insert + claim + delete with a value of 64 bytes; entries hold 100 operations of a kind.
No disk, no codec and no network: what is left is what the core itself costs.
"""

import gc
import json
import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from raftq_cluster.codec.snapshots import encode_chunk
from raftq_cluster.core import operations as op
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.outcomes import Claimed

QUEUE = "/bench"
VALUE = bytes(64)
BATCH = 100
FEW, MANY = 1_000, 1_000_000
ENTRIES_A_SECOND = 100  # of log time: leases expire in the virtual future only
ROUNDS_MEASURED = 100
TURNS = 5
CHUNKS_A_ROUND = 10
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Log:
    """Feeds a machine with entries, one after the other."""

    def __init__(self) -> None:
        self.machine = Machine()
        self._ids = 0

    def apply(self, operations: list[op.Operation]) -> list[object]:
        index = self.machine.index + 1
        now_ms = 1_000_000 + index * 1000 // ENTRIES_A_SECOND
        return list(self.machine.apply(index, now_ms, index, [operations]).outcomes[0])

    def insert(self, number: int) -> None:
        ids = [f"{n:024x}" for n in range(self._ids, self._ids + number)]
        self._ids += number
        self.apply([modify(inserts=(insert(id_),)) for id_ in ids])

    def cycles(self, rounds: int) -> Iterator[None]:
        """Insert, claim and delete ``BATCH`` tasks a round."""
        claim = op.Claim(op.CLAIM, "", b"", "bench", (QUEUE,), 30_000, 1, False)
        for _ in range(rounds):
            self.insert(BATCH)
            outcomes = self.apply([claim] * BATCH)
            targets = []
            for outcome in outcomes:
                assert isinstance(outcome, Claimed)
                targets.append(op.Target(outcome.tasks[0].id, outcome.tasks[0].version))
            self.apply([modify(deletes=(target,)) for target in targets])
            yield


def insert(id_: str) -> op.Insert:
    return op.Insert(QUEUE, id_, value=VALUE, kind=op.BYTES)


def modify(
    *, inserts: tuple[op.Insert, ...] = (), deletes: tuple[op.Target, ...] = ()
) -> op.Operation:
    return op.Modify(op.MODIFY, "", b"", "bench", inserts, (), deletes, ())


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def filled(tasks: int) -> tuple[Log, float]:
    """A machine with that many ready tasks, and the bytes that each of them takes over its value."""
    gc.collect()
    log, before = Log(), resident_bytes()
    for _ in range(tasks // BATCH):
        log.insert(BATCH)
    used = resident_bytes() - before
    gc.collect()
    gc.freeze()  # as a node does: a collection would otherwise walk every task
    return log, used / tasks - len(VALUE)


def rate(log: Log) -> float:
    """Cycles a second."""
    for _ in log.cycles(ROUNDS_MEASURED // 10):
        pass
    begin = time.process_time()
    for _ in log.cycles(ROUNDS_MEASURED):
        pass
    return ROUNDS_MEASURED * BATCH / (time.process_time() - begin)


def snapshot_pauses(log: Log) -> tuple[float, float]:
    """Seconds of a whole snapshot's own work, and of its longest uninterrupted piece."""
    work = log.cycles(MANY)
    begin = time.perf_counter()
    snapshot = log.machine.snapshot()
    longest = total = time.perf_counter() - begin
    for number in count():
        begin = time.perf_counter()
        chunk = next(snapshot, None)
        if chunk is None:
            break
        encode_chunk(chunk)
        took = time.perf_counter() - begin
        longest, total = max(longest, took), total + took
        if number % CHUNKS_A_ROUND == 0:
            next(work)  # the machine goes on meanwhile: some tasks change before their turn
    return total, longest


def main() -> None:
    empty, _ = filled(FEW)
    crowded, task_bytes = filled(MANY)
    # Turn by turn, and the best of each: what else the machine does must not look like a ratio.
    rates = [(rate(empty), rate(crowded)) for _ in range(TURNS)]
    few, many = (max(column) for column in zip(*rates, strict=True))
    total_s, longest_s = snapshot_pauses(crowded)
    rows = [
        ("core, 1,000 tasks", few, "cycles/s", "higher"),
        ("core, 1,000,000 tasks", many, "cycles/s", "higher"),
        ("core, a million against a thousand", 100 * many / few, "%", "higher"),
        ("a waiting task over its value", task_bytes, "bytes", "lower"),
        ("snapshot of 1,000,000 tasks", total_s, "s", "lower"),
        ("longest pause of that snapshot", longest_s * 1000, "ms", "lower"),
    ]
    print(
        json.dumps(
            [
                {"name": name, "value": value, "unit": unit, "better": better}
                for name, value, unit, better in rows
            ]
        )
    )


if __name__ == "__main__":
    main()
