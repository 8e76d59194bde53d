"""A machine and a model that go through one log, and what must hold between them after each entry."""

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, Final
from zlib import crc32

from raftq_cluster.codec.entries import decode_entry, encode_entry, encode_segment
from raftq_cluster.codec.snapshots import decode_chunk, encode_chunk
from raftq_cluster.core import queries
from raftq_cluster.core.machine import Applied, Machine
from raftq_cluster.core.restoring import restore
from tests.support.model import Model
from tests.support.operations import MS, QUEUES, STEPS_MS, Maker, Pick

START_MS: Final = 1_700_000_000_000
ALL_QUEUES: Final = queries.Queues((), (), 1_000)
AGE_MS: Final = 1_024  # stats and due times are exact to this


class Pair:
    """One log, and everything that reads it: machine, model, restored machines."""

    def __init__(self, pick: Pick, ids: Sequence[str]) -> None:
        self.pick = pick
        self.ids = ids
        self.machine = Machine()
        self.twin: Machine | None = None  # what a restored machine was a copy of
        self.model = Model()
        self.maker = Maker(self.model, pick, ids)
        self.log: list[bytes] = []
        self.clock_ms = START_MS
        self.snapshot: Any = None
        self.digest_then = ""
        self.chain_then = 0
        self.chunks: list[bytes] = []

    # --- entries --------------------------------------------------------------------------------

    def entry(self, seed: int) -> None:
        """Apply an entry of a few segments of a few operations each."""
        self.clock_ms += self.pick(STEPS_MS)
        sizes = self.pick(((1,), (2,), (0,), (1, 1), (3, 0, 1)))
        self.model.begin(self.clock_ms)
        segments = [[self.maker.operation() for _ in range(size)] for size in sizes]
        applied = self.log_and_apply(segments, seed)
        assert tuple(map(len, applied.outcomes)) == sizes
        answers = chain.from_iterable(applied.outcomes)
        for operation, answer in zip(chain.from_iterable(segments), answers, strict=True):
            self.model.judge(operation, answer)

    def log_and_apply(self, segments: list[list[Any]], seed: int) -> Applied:
        data = encode_entry(self.clock_ms, seed, [encode_segment(segment) for segment in segments])
        self.log.append(data)
        applied = apply(self.machine, data)
        if self.twin is not None:
            assert apply(self.twin, data) == applied
        return applied

    # --- snapshots ------------------------------------------------------------------------------

    def begin_snapshot(self, chunk_records: int) -> None:
        self.digest_then = self.machine.digest()
        self.chain_then = self.machine.chain
        self.snapshot = self.machine.snapshot(chunk_records)
        self.chunks = []

    def read_snapshot(self, chunks: int) -> None:
        self.chunks += [encode_chunk(records) for records in islice(self.snapshot, chunks)]

    def abandon_snapshot(self) -> None:
        self.snapshot.close()
        self.snapshot = None

    def go_on_from_snapshot(self) -> None:
        self.chunks += [encode_chunk(records) for records in self.snapshot]
        restored = restore(decode_chunk(chunk) for chunk in self.chunks)
        assert restored.index == self.snapshot.index
        assert restored.chain == self.chain_then
        assert restored.digest() == self.digest_then
        for data in self.log[restored.index :]:
            apply(restored, data)
        self.twin, self.machine, self.snapshot = self.machine, restored, None
        self.all_agree()

    # --- what must hold after every step ----------------------------------------------------------

    def all_agree(self) -> None:
        self.digests_agree()
        self.tasks_agree()
        self.statistics_agree()
        self.load_agrees()
        self.settings_agree()
        self.due_times_agree()

    def digests_agree(self) -> None:
        if self.twin is not None:
            assert self.twin.digest() == self.machine.digest()
            assert self.twin.chain == self.machine.chain

    def tasks_agree(self) -> None:
        rows = self.ask(queries.Tasks("", "", tuple(self.ids), 1_000, False))
        assert sorted(rows) == sorted(self.model.rows.values())
        for queue in QUEUES:
            right = self.model.in_queue(queue)
            assert sorted(self.ask(queries.Tasks(queue, "", (), 1_000, False))) == sorted(right)
            held = [row for row in right if row.claimant == "w1" and self.model.held(row)]
            found = self.ask(queries.Tasks(queue, "w1", (), 1_000, True))
            assert sorted(found) == sorted(row._replace(value=b"") for row in held)

    def statistics_agree(self) -> None:
        right = sorted(self.model.stats(queue) for queue in QUEUES if self.model.in_queue(queue))
        found = self.ask(ALL_QUEUES)
        assert [row._replace(oldest_ready_at=None) for row in found] == [
            row._replace(oldest_ready_at=None) for row in right
        ]
        for row, exact in zip(found, right, strict=True):
            assert is_close(row.oldest_ready_at, exact.oldest_ready_at)

    def load_agrees(self) -> None:
        tasks, value_bytes, keys, key_bytes = self.machine.load()
        assert (tasks, value_bytes) == (len(self.model.rows), self.model.value_bytes())
        assert keys == len(self.model.keys)
        assert (key_bytes > 0) == (keys > 0)

    def settings_agree(self) -> None:
        rows = self.ask(queries.AllSettings())
        assert rows == [self.model.settings[pattern] for pattern in sorted(self.model.settings)]

    def due_times_agree(self) -> None:
        machine, now_ms = self.machine, self.model.now_ms
        arrivals = [row.at for row in self.model.rows.values() if not self.model.arrived(row)]
        assert is_close(machine.next_due_ms(), min(arrivals, default=None))
        for later_ms in (now_ms + ms for ms in MS):
            is_due = machine.due(later_ms)
            assert is_due or not any(at <= later_ms for at in arrivals)
            for queue in QUEUES:
                found, right = (
                    machine.claimable((queue,), later_ms),
                    self.claimable(queue, later_ms),
                )
                assert found == right if not is_due else found >= right

    def claimable(self, queue: str, now_ms: int) -> bool:
        paused = self.model.setting(queue, "paused")
        return not paused and any(row.at <= now_ms for row in self.model.in_queue(queue))

    def replay(self) -> None:
        """Apply the whole log again, from nothing."""
        replayed = Machine()
        for data in self.log:
            apply(replayed, data)
        assert replayed.digest() == self.machine.digest()
        assert replayed.chain == self.machine.chain

    def ask(self, query: queries.Query) -> Any:
        return self.machine.query(query, self.clock_ms)


def apply(machine: Machine, data: bytes) -> Applied:
    return machine.apply(machine.index + 1, *decode_entry(data), crc32(data))


def is_close(found: int | None, exact: int | None) -> bool:
    if found is None or exact is None:
        return found is exact
    return exact - AGE_MS < found <= exact
