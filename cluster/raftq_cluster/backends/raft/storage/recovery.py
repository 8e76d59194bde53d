"""Reading a log back: where it ends, and whether what is missing may be missing.

A tail that was never synced is cut; anything broken that some later record knows to be on disk, or
that no torn write explains, is corruption. Reads only; the journal carries out the verdict.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from raftq_cluster.backends.raft.storage.entry_log import EntryLog
from raftq_cluster.backends.raft.storage.errors import CorruptError, ForeignError
from raftq_cluster.backends.raft.storage.records import (
    END,
    ENTRY,
    FLOOR_BYTES,
    MARK,
    RESET,
    SEGMENT_HEADER_BYTES,
    VERSION,
    Broken,
    Position,
    Record,
    SegmentHeader,
    floor_of,
    is_torn,
    marks_after,
    parse_header,
    parse_record,
)
from raftq_cluster.backends.raft.storage.segments import Place, segment_numbers

FIRST_SEGMENT: Final = 1

Damage: TypeAlias = Literal["", "torn", "corrupt"]
"""What lies behind the end of a segment's good records."""


class Segment:
    """A segment of the log. ``top_index`` is the highest index that lives in it, 0 if none does."""

    __slots__ = ("number", "top_index")

    def __init__(self, number: int) -> None:
        self.number = number
        self.top_index = 0


class Replay:
    """The log and its segments while records are replayed, and afterwards."""

    def __init__(self) -> None:
        self.log = EntryLog()
        self.segments: list[Segment] = []

    def begin_segment(self, number: int) -> None:
        """Further entries live in segment ``number``."""
        self.segments.append(Segment(number))

    def append(self, term: int, data: bytes) -> int:
        """Add an entry and tell its index."""
        index = self.segments[-1].top_index = self.log.append(term, data)
        return index

    def end_at(self, index: int, term: int) -> None:
        """Let the log end with the entry ``(index, term)``."""
        if index < self.log.base_index:
            self.log.reset(index, term)
        else:
            self.log.cut_from(index + 1)
        self._lower_tops(index)

    def reset(self, index: int, term: int) -> None:
        """Empty the log; it continues behind ``(index, term)``."""
        self.log.reset(index, term)
        self._lower_tops(0)

    def _lower_tops(self, index: int) -> None:
        for segment in self.segments:
            segment.top_index = min(segment.top_index, index)


class Scan(NamedTuple):
    """One segment as its bytes tell it, whatever the others say."""

    number: int
    path: Path
    header: SegmentHeader | None
    records: list[Record]
    end: int  # behind the last good record
    damage: Damage
    stray: list[Record]  # good MARKs behind the end


class Stretch(NamedTuple):
    """Bytes of a segment, ``start <= offset < stop``."""

    number: int
    start: int
    stop: int


class Recovered(NamedTuple):
    """A log read back."""

    replay: Replay
    end: Position | None  # behind the last record; None: there is no log
    content_end: Position  # behind the last record that is not a MARK
    synced: Position  # how far the log is known to be on disk
    unproven: list[Stretch]  # what lies behind that, by segments
    floor: int
    garbage: list[int]  # numbers of segments that are not part of the log


def recover(place: Place) -> Recovered:
    """Read the log.

    Raises:
        CorruptError: bytes that were on disk are damaged or gone.
        ForeignError: it was written by a newer version.
    """
    scans = [_scan(place, n) for n in segment_numbers(place.files.names(place.directory))]
    marks = [mark for scan in scans for mark in (*_marks(scan), *scan.stray)]
    synced = max((Position(mark.index, mark.term) for mark in marks), default=Position(0, 0))
    floor, kept = _newest_log(scans, {floor_of(mark) for mark in marks})
    current = [scan for scan in scans if scan.number >= floor]
    for scan in current:
        if scan.damage == "corrupt":
            raise CorruptError(scan.path, scan.end, "damaged, and no torn write explains it")
    end = Position(kept[-1].number, kept[-1].end) if kept else None
    if synced > (end or Position(floor, 0)):
        raise _lost(place, current, kept, floor)
    replay = Replay()
    for scan in kept:
        _replay(scan, replay)
    numbers = {scan.number for scan in kept}
    garbage = [scan.number for scan in scans if scan.number not in numbers]
    unproven = list(_behind(synced, kept))
    return Recovered(replay, end, _content_end(kept), synced, unproven, floor, garbage)


def _scan(place: Place, number: int) -> Scan:
    path, seed = place.path(number), place.seed(number)
    file = place.files.open(path)
    try:
        data = file.read(file.size(), 0)
    finally:
        file.close()
    header = _header(data, seed, path)
    records, broken = _records(data, seed) if header else ([], Broken(0, SEGMENT_HEADER_BYTES))
    end = _end(records) if header else 0
    damage: Damage = ""
    if header is None or data[end:] != bytes(len(data) - end):
        damage = "torn" if is_torn(data, broken) else "corrupt"
    return Scan(number, path, header, records, end, damage, list(marks_after(data, end, seed)))


def _marks(scan: Scan) -> Iterator[Record]:
    """MARKs of the log, without those behind its end."""
    return (record for record in scan.records if record.kind == MARK and _is_mark(record))


def _is_mark(record: Record) -> bool:
    """Whether a MARK tells a floor; none that was ever written does not."""
    return len(record.body) == FLOOR_BYTES


def _header(data: bytes, seed: int, path: Path) -> SegmentHeader | None:
    parsed = parse_header(data, seed)
    if parsed is None:
        return None
    version, header = parsed
    if version != VERSION:
        raise ForeignError(path, f"has format {version}, this node reads format {VERSION}")
    return header


def _records(data: bytes, seed: int) -> tuple[list[Record], Broken]:
    records: list[Record] = []
    offset = SEGMENT_HEADER_BYTES
    while isinstance(record := parse_record(data, offset, seed), Record):
        records.append(record)
        offset = record.end
    return records, record


def _end(records: list[Record]) -> int:
    return records[-1].end if records else SEGMENT_HEADER_BYTES


def _newest_log(scans: list[Scan], floors: set[int]) -> tuple[int, list[Scan]]:
    """The highest floor that a log starting there tells itself, and that log.

    A MARK beyond the end of the log may have raised the floor: it was never synced, so nothing below
    it has been removed, and it counts for nothing.
    """
    for floor in sorted(floors, reverse=True):
        kept = _connected(scans, floor)
        if any(floor_of(mark) == floor for scan in kept for mark in _marks(scan)):
            return floor, kept
    floor = max(floors, default=FIRST_SEGMENT)
    return floor, _connected(scans, floor)


def _connected(scans: list[Scan], floor: int) -> list[Scan]:
    """The segments from ``floor`` on that continue each other, up to the first broken one."""
    kept: list[Scan] = []
    current = [scan for scan in scans if scan.number >= floor]
    for number, scan in enumerate(current, floor):
        if scan.number != number or scan.header is None:
            break
        if kept and scan.header.previous_end < kept[-1].end:
            raise CorruptError(kept[-1].path, scan.header.previous_end, "records behind the end")
        if kept and scan.header.previous_end > kept[-1].end:
            break
        kept.append(scan)
        if scan.damage:
            break
    return kept


def _behind(synced: Position, kept: list[Scan]) -> Iterator[Stretch]:
    for scan in kept:
        start = synced.offset if scan.number == synced.segment else 0
        if scan.number >= synced.segment and start < scan.end:
            yield Stretch(scan.number, start, scan.end)


def _content_end(kept: list[Scan]) -> Position:
    for scan in reversed(kept):
        for record in reversed(scan.records):
            if record.kind != MARK:
                return Position(scan.number, record.end)
    return Position(0, 0)


def _lost(place: Place, current: list[Scan], kept: list[Scan], floor: int) -> CorruptError:
    """Which bytes are gone although a MARK knows them to be on disk."""
    number = floor + len(kept)
    following = [scan for scan in current if scan.number == number]
    if kept and (kept[-1].damage or any(scan.header for scan in following)):
        return CorruptError(kept[-1].path, kept[-1].end, "records that were on disk are gone")
    reason = "the segment's header is gone" if following else "the segment is missing"
    return CorruptError(place.path(number), 0, reason)


def _replay(scan: Scan, replay: Replay) -> None:
    assert scan.header is not None
    log = replay.log
    base = (scan.header.base_index, scan.header.base_term)
    if not replay.segments:
        log.reset(*base)
    elif base != (log.last_index, log.last_term):
        raise CorruptError(scan.path, 0, "the segment does not continue the one before")
    replay.begin_segment(scan.number)
    for record in scan.records:
        step = _STEPS.get(record.kind)
        if step is None or not step(replay, record):
            reason = f"record {record.kind} of index {record.index} does not fit the log"
            raise CorruptError(scan.path, record.end, reason)


def _entry(replay: Replay, record: Record) -> bool:
    return replay.append(record.term, record.body) == record.index


def _ends(replay: Replay, record: Record) -> bool:
    log = replay.log
    if record.index > log.last_index:
        return False
    replay.end_at(record.index, record.term)
    return log.last_term == record.term


def _resets(replay: Replay, record: Record) -> bool:
    replay.reset(record.index, record.term)
    return True


_STEPS: Final[dict[int, Callable[[Replay, Record], bool]]] = {
    MARK: lambda _replay, record: _is_mark(record),
    ENTRY: _entry,
    END: _ends,
    RESET: _resets,
}
