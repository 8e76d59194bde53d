"""A log is written, damaged and read again: what comes back was written, or the file is refused.

The first byte chooses: a real log with damage, or records whose checksums are right and which say anything.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from raftq_cluster.backends.raft.storage.errors import CorruptError, ForeignError
from raftq_cluster.backends.raft.storage.records import (
    ENTRY,
    MARK,
    SEGMENT_HEADER_BYTES,
    Position,
    SegmentHeader,
    marks_after,
    pack_header,
    pack_record,
    segment_seed,
)
from tests.fuzz.source import Source, damaged
from tests.support.journal_node import DIRECTORY, SEGMENT_BYTES, JournalNode
from tests.support.virtual_disk import VirtualDisk

IDENTITY: Final = b"c1/n1"
STEPS_MAX: Final = 24
SIZES: Final = (0, 1, 7, 400, 480, 512, 1_100, 3_900, 5_000)
NUMBERS: Final = (0, 1, 2, 3, 5, 44, 2**31, 2**63 - 1, 2**63, 2**64 - 1)
REFUSED: Final = (CorruptError, ForeignError)


class History:
    """A journal with all that it has ever held."""

    def __init__(self) -> None:
        self.node = JournalNode()
        self.states: list[dict[int, tuple[int, bytes]]] = [{}]
        self.bases = [0]  # of each state: the index before its first entry
        self.dropped = 0  # entries up to this one may be gone
        self.synced: dict[Position, int] = {}  # where a sync ended -> the state that it covers

    def play(self, source: Source) -> None:
        """Do what the source says."""
        steps = (self._append, self._append, self._append, self._sync, self._sync, self._truncate,
                 self._drop, self._mark, self._reset)  # fmt: skip
        for _ in range(source.below(STEPS_MAX)):
            source.pick(steps)(source)
        self._sync(source)

    def _note(self, state: dict[int, tuple[int, bytes]], base: int) -> None:
        self.states.append(state)
        self.bases.append(base)

    def _append(self, source: Source) -> None:
        journal = self.node.journal
        term = max(journal.last_term, 1) + source.below(2)
        index = journal.last_index + 1
        data = (b"%d.%d." % (index, len(self.states))).ljust(source.pick(SIZES), b"x")
        journal.append(term, data)
        self._note(self.states[-1] | {index: (term, data)}, self.bases[-1])

    def _truncate(self, source: Source) -> None:
        journal = self.node.journal
        index = journal.first_index + source.below(len(journal) + 1)
        journal.truncate_from(index)
        kept = {at: entry for at, entry in self.states[-1].items() if at < index}
        self._note(kept, self.bases[-1])

    def _reset(self, source: Source) -> None:
        journal = self.node.journal
        index = journal.last_index + 1 + source.below(5)
        journal.reset_to(index, journal.last_term + 1)
        self._note({}, index)

    def _sync(self, source: Source) -> None:
        del source
        covered = len(self.states) - 1
        self.node.sync()
        self.synced[self.node.journal._writer.synced] = covered

    def _mark(self, source: Source) -> None:
        del source
        self.node.journal.mark()

    def _drop(self, source: Source) -> None:
        journal = self.node.journal
        index = journal.first_index + source.below(len(journal) + 1)
        if index <= journal.durable_index:
            journal.drop_before(index)
            self.dropped = max(self.dropped, index - 1)
        if (job := journal.collect()) is not None:
            job()

    def covered_by(self, disk: VirtualDisk) -> int:
        """The newest state that a MARK knows, undamaged on this disk, to be on disk."""
        covered = [0]
        for path in disk.paths():
            data, seed = disk.content(path), segment_seed(IDENTITY, int(path.stem))
            ends = (Position(mark.index, mark.term) for mark in marks_after(data, 0, seed))
            covered.extend(self.synced.get(end, 0) for end in ends)
        return max(covered)


def fuzz(data: bytes) -> None:
    """Play a script, damage the files, open them."""
    source = Source(data)
    if source.below(4) == 3:
        _crafted(source)
        return
    history = History()
    history.play(source)
    disk = history.node.disk
    disk.kill()
    written = {path: disk.content(path) for path in disk.paths()}
    for _ in range(source.below(3)):
        path = source.pick(disk.paths())
        if source.below(16) == 15:
            disk.remove(path)
        else:
            disk.replace(path, damaged(source, disk.content(path)))
        if not disk.paths():
            return
    covered = history.covered_by(disk)
    before = {path: disk.content(path) for path in disk.paths()}
    try:
        history.node.open()
    except REFUSED:
        assert {path: disk.content(path) for path in disk.paths()} == before, "refused, and changed"
        assert before != written, "refused, and undamaged"
        return
    _check(history, covered)


def _check(history: History, covered: int) -> None:
    journal = history.node.journal
    first, last = journal.first_index, journal.last_index
    held = dict(zip(range(first, last + 1), journal.entries(first, last + 1), strict=True))
    for number in range(covered, len(history.states)):
        state, base = history.states[number], history.bases[number]
        ends_there = last == max(state, default=base)
        if ends_there and all(state.get(index) == entry for index, entry in held.items()):
            missing = [index for index in state if index < first and index > history.dropped]
            if not missing:
                return
    raise AssertionError(f"entries {first} to {last} are no state from {covered} on: {held}")


def _crafted(source: Source) -> None:
    disk = VirtualDisk()
    disk.make_directory(DIRECTORY)
    for number in range(1, 2 + source.below(3)):
        disk.replace(DIRECTORY / f"{number:016d}.log", _segment(source, number))
    try:
        node = JournalNode(disk)
    except REFUSED:
        return
    journal = node.journal
    if journal.last_index < 2**64 - 1:
        journal.append(max(journal.last_term, 1), b"one more")
        node.sync()
        with suppress(*REFUSED):  # what no journal writes may be refused a write later
            node.restart()


def _segment(source: Source, number: int) -> bytes:
    seed = segment_seed(IDENTITY, number)
    fields = [source.pick(NUMBERS) for _ in range(3)] if source.below(3) else [0, 0, 0]
    if number > 1 and source.below(2):
        fields[2] = SEGMENT_HEADER_BYTES
    data = pack_header(SegmentHeader(number, *fields), seed)
    for index in range(1, 1 + source.below(6)):
        kind = source.pick((ENTRY, ENTRY, MARK, 3, 4, 0, 9, 255))
        is_next = source.below(3)
        body = source.pick((bytes(8), b"\1" + bytes(7))) if source.below(2) else source.blob(20)
        place = seed ^ len(data)
        fields = [index, 1] if is_next else [source.pick(NUMBERS), source.pick(NUMBERS)]
        data += pack_record(kind, fields[0], fields[1], body, place) + body
    return data.ljust(SEGMENT_BYTES, b"\0")


def seeds() -> Iterator[bytes]:
    """Logs of one and of several segments, and each kind of damage; records that fit."""
    appends = bytes((0, 0, 3))
    yield (
        bytes((0, 9)) + appends * 3 + bytes((3, 5, 0, 3)) + bytes((1, 0)) + bytes((1, 0, 60, 0, 3))
    )
    for what in range(6):
        damage = bytes((1, 0, 0, 0, 0, 120, what, 3, 1, 2, 3))
        yield (
            bytes((0, 12)) + bytes((0, 0, 7)) * 2 + bytes((3,)) + appends * 3 + bytes((4,)) + damage
        )
    yield (
        bytes((0, 20)) + bytes((0, 1, 8, 3, 7)) * 4 + bytes((6, 0, 2, 5, 0, 1, 3, 8, 1)) + bytes(3)
    )
    yield bytes((3, 0, 0, 4, 0, 1, 0, 0, 0, 1, 1, 1, 2, 1, 0, 0))
    yield bytes((3, 1, 1, 2, 2, 1, 5, 2, 1, 1, 0))
