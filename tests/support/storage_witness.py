"""Drives a ``Store`` as a Raft node would and knows what may be on disk afterwards.

Every change is noted under its write number. After a crash the store must be as it was after some write
that is not older than the last one that a completed sync covered: nothing promised is missing, nothing
was invented, and no order was changed.
"""

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from raftq_cluster.backends.raft.storage.store import Store
from tests.support.virtual_disk import Loss, PowerCut, VirtualDisk

State = TypeVar("State")

DIRECTORY = Path("/data")
IDENTITY = b"c1/n1"
SEGMENT_BYTES = 4096


def open_store(disk: VirtualDisk, segment_bytes: int = SEGMENT_BYTES) -> Store:
    disk.make_directory(DIRECTORY)
    return Store.open(disk, DIRECTORY, IDENTITY, segment_bytes=segment_bytes)


def sync(store: Store) -> None:
    plan = store.begin_sync()
    plan.run()
    store.end_sync(plan)


@dataclass(frozen=True)
class Past:
    """The log after some write: its entries behind the last reset."""

    base: tuple[int, int] = (0, 0)
    entries: tuple[tuple[int, bytes], ...] = ()

    @property
    def last_index(self) -> int:
        return self.base[0] + len(self.entries)

    def term_at(self, index: int) -> int:
        if index == self.base[0]:
            return self.base[1]
        return self.entries[index - self.base[0] - 1][0]

    def holds(self, index: int, term: int) -> bool:
        return self.base[0] <= index <= self.last_index and self.term_at(index) == term

    def continuing(self, snapshot: tuple[int, int] | None) -> "Past":
        """What a restart makes of it beside the newest snapshot."""
        if snapshot is None or self.holds(*snapshot):
            return self
        return Past(snapshot)


class Witness:
    """One life of a store: changes it and remembers."""

    def __init__(self, store: Store) -> None:
        self.store = store
        journal = store.journal
        entries = journal.entries(journal.first_index, journal.last_index + 1)
        past = Past((journal.base_index, journal.base_term), tuple(entries))
        self.pasts = [(0, past)]
        self.votes = [(0, (store.votes.term, store.votes.voted_for))]
        self.durable = 0
        self.dropped_to = journal.base_index
        self.snapshots = [_snapshot(store)]
        self.begun: tuple[int, int, tuple[bytes, ...]] | None = None

    @property
    def past(self) -> Past:
        return self.pasts[-1][1]

    def append(self, term: int, data: bytes) -> None:
        index = self.store.journal.append(term, data)
        past = self.past
        assert index == past.last_index + 1
        self._note(Past(past.base, (*past.entries, (term, data))))

    def truncate_from(self, index: int) -> None:
        self.store.journal.truncate_from(index)
        past = self.past
        self._note(Past(past.base, past.entries[: index - past.base[0] - 1]))

    def vote(self, term: int, voted_for: str | None) -> None:
        number = self.store.votes.set(term, voted_for)
        self.votes.append((number, (term, voted_for)))

    def sync(self) -> None:
        plan = self.store.begin_sync()
        plan.run()
        self.store.end_sync(plan)
        self.durable = plan.number
        assert self.store.journal.durable_index == self.past.last_index

    def snapshot(self, index: int, term: int, chunks: tuple[bytes, ...]) -> None:
        self.begun = (index, term, chunks)
        writer = self.store.snapshots.begin(index, term, b"members")
        for chunk in chunks:
            writer.write(chunk)
        writer.finish()
        self.snapshots.append(self.begun)
        self.store.snapshots.prune()

    def drop_before(self, index: int) -> None:
        self.dropped_to = max(self.dropped_to, index - 1)
        self.store.journal.drop_before(index)

    def install(self, index: int, term: int, chunks: tuple[bytes, ...]) -> None:
        self.snapshot(index, term, chunks)
        self.store.journal.reset_to(index, term)
        self._note(Past((index, term)))

    def _note(self, past: Past) -> None:
        self.pasts.append((self.store.last_number, past))

    def check(self, store: Store) -> None:
        """The store that was read back after a crash keeps every promise of this life."""
        snapshot = _snapshot(store)
        allowed = [self.snapshots[-1], *([self.begun] if self.begun else [])]
        assert snapshot in allowed
        vote = (store.votes.term, store.votes.voted_for)
        assert vote in list(_since(self.votes, self.durable))
        place = snapshot[:2] if snapshot else None
        pasts = [past.continuing(place) for past in _since(self.pasts, self.durable)]
        assert any(self._is(store, past) for past in pasts)
        assert store.journal.durable_index == store.journal.last_index

    def _is(self, store: Store, past: Past) -> bool:
        journal = store.journal
        base, last = journal.base_index, journal.last_index
        if last != past.last_index or not past.base[0] <= base <= max(
            self.dropped_to, past.base[0]
        ):
            return False
        entries = tuple(journal.entries(base + 1, last + 1))
        return (
            journal.base_term == past.term_at(base)
            and entries == past.entries[base - past.base[0] :]
        )


def _snapshot(store: Store) -> tuple[int, int, tuple[bytes, ...]] | None:
    reader = store.snapshots.latest()
    if reader is None:
        return None
    content = (reader.info.index, reader.info.term, tuple(reader.chunks()))
    reader.close()
    return content


def _since(changes: list[tuple[int, State]], durable: int) -> Iterator[State]:
    """The last state that is durable, and all later ones."""
    newest = max(number for number, _ in changes if number <= durable)
    for number, state in changes:
        if number >= newest:
            yield state


STEPS = {
    "append": 12,
    "sync": 6,
    "flush": 2,
    "truncate": 2,
    "vote": 2,
    "compact": 2,
    "install": 1,
    "collect": 2,
    "mark": 1,
}
"""What a life consists of, by weight."""


class Life:
    """A random but lawful life of a node: the same one for the same seed."""

    def __init__(self, witness: Witness, seed: int) -> None:
        self.witness = witness
        self.rng = random.Random(seed)
        self.term = max(witness.store.votes.term, witness.past.term_at(witness.past.last_index))
        self.settled = witness.store.journal.base_index  # may not be truncated
        if witness.snapshots[-1]:
            self.settled = max(self.settled, witness.snapshots[-1][0])
        self.serial = 0

    def run(self, steps: int) -> None:
        names, weights = list(STEPS), list(STEPS.values())
        for _ in range(steps):
            getattr(self, self.rng.choices(names, weights)[0])()

    def data(self) -> bytes:
        self.serial += 1
        size = self.rng.choice((0, 1, 40, 300, 700, 1500, 5000))
        return (b"%d." % self.rng.getrandbits(64) * (size // 3 + 1))[:size]

    def append(self) -> None:
        for _ in range(self.rng.randint(1, 4)):
            self.witness.append(self.term, self.data())

    def sync(self) -> None:
        self.witness.sync()

    def flush(self) -> None:
        self.witness.store.journal.flush()

    def truncate(self) -> None:
        last = self.witness.past.last_index
        if last > self.settled:
            self.witness.truncate_from(self.rng.randint(self.settled + 1, last))
            self.term += 1

    def vote(self) -> None:
        self.term += self.rng.randint(0, 1)
        term = max(self.term, self.witness.store.votes.term)
        self.witness.vote(term, self.rng.choice((None, "n1", "n2", "")))

    def compact(self) -> None:
        last = self.witness.past.last_index
        if last > self.settled:  # on disk or not: others may have made it committed
            index = self.rng.randint(self.settled + 1, last)
            term = self.witness.past.term_at(index)
            self.witness.snapshot(index, term, (self.data() or b"-", b"end"))
            self.settled = index
            self.witness.drop_before(index + self.rng.randint(0, 1))

    def install(self) -> None:
        self.term += 1
        index = self.witness.past.last_index + self.rng.randint(1, 5)
        self.witness.install(index, self.term, (self.data() or b"-",))
        self.settled = index

    def collect(self) -> None:
        job = self.witness.store.journal.collect()
        if job:
            job()

    def mark(self) -> None:
        self.witness.store.journal.mark()


def live(disk: VirtualDisk, seed: int, steps: int) -> Witness | None:
    """Open the store and live until the end or the cut; None if it was cut while opening."""
    try:
        witness = Witness(open_store(disk))
    except PowerCut:
        return None
    with suppress(PowerCut):
        Life(witness, seed).run(steps)
    return witness


def survive(disk: VirtualDisk, witness: Witness | None, loss: Loss) -> Store:
    """Cut the power, open again, and check what the witness knows."""
    disk.cut_power(loss)
    store = open_store(disk)
    if witness is not None:
        witness.check(store)
    return store
