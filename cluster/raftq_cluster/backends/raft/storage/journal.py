"""The log on disk and in memory: what the Raft core appends to and reads from.

Every change takes a write number and is buffered; ``begin_sync`` writes the buffer and tells which files
to sync, ``end_sync`` learns that they are. Only what a completed sync covers counts as durable. Knows
terms and indexes, but neither elections nor what an entry holds. Source: Raft, section 5.3; DESIGN.md.
"""

from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

from raftq_cluster.backends.raft.storage.entry_log import Entry
from raftq_cluster.backends.raft.storage.errors import (
    CorruptError,
    StorageFailedError,
    StorageFullError,
)
from raftq_cluster.backends.raft.storage.files import File
from raftq_cluster.backends.raft.storage.numbers import WriteNumbers
from raftq_cluster.backends.raft.storage.records import (
    END,
    ENTRY,
    ENTRY_BYTES_MAX,
    MARK_BYTES,
    RECORD_HEADER_BYTES,
    RESET,
    SEGMENT_HEADER_BYTES,
    Position,
    SegmentHeader,
)
from raftq_cluster.backends.raft.storage.recovery import (
    FIRST_SEGMENT,
    Recovered,
    Replay,
    Stretch,
    recover,
)
from raftq_cluster.backends.raft.storage.segments import (
    SEGMENT_BYTES,
    Active,
    Place,
    SegmentWriter,
    create_segment,
)


class Journal:
    """The log. Made by ``open``; one thread owns it.

    Changing methods raise ``StorageFullError`` (nothing has changed; try again when there is space)
    and ``StorageFailedError`` (the node must stop). Indexes start at 1; 0 is the empty past.
    """

    def __init__(
        self, place: Place, replay: Replay, writer: SegmentWriter, numbers: WriteNumbers
    ) -> None:
        self._place = place
        self._replay = replay
        self._log = replay.log
        self._writer = writer
        self._numbers = numbers
        self._dropped: list[int] = []
        self._awaited: list[int] = []  # write numbers of the entries behind durable_index
        self.durable_index = self._log.last_index
        """Last entry that is on disk together with all before it (or in the snapshot below them)."""

    @classmethod
    def open(
        cls,
        place: Place,
        numbers: WriteNumbers,
        *,
        may_start: bool,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> "Journal":
        """Read the log of a directory, or start one. Everything read back is synced before it returns.

        ``may_start``: whether it may be that there is no log yet.

        Raises:
            CorruptError: bytes that were on disk are damaged or gone.
            ForeignError: it was written by a newer version.
            StorageFullError: there is no space to start a log.
            StorageFailedError: the disk has failed.
        """
        recovered = recover(place)
        if recovered.end is None and not may_start:
            raise CorruptError(place.directory, 0, "the log is gone, although the node has voted")
        active = _settle(place, recovered, segment_bytes)
        replay = recovered.replay
        if recovered.end is None:
            replay.begin_segment(FIRST_SEGMENT)
        writer = SegmentWriter(
            place,
            active,
            lambda: (replay.log.last_index, replay.log.last_term),
            replay.begin_segment,
            floor=recovered.floor,
            segment_bytes=segment_bytes,
        )
        return cls(place, replay, writer, numbers)

    # --- reading -----------------------------------------------------------------------------

    @property
    def base_index(self) -> int:
        """Index of the entry before the first: in the snapshot, or 0."""
        return self._log.base_index

    @property
    def base_term(self) -> int:
        """Term of the entry before the first."""
        return self._log.base_term

    @property
    def first_index(self) -> int:
        """Index of the first entry held, or of the next one if none is."""
        return self._log.first_index

    @property
    def last_index(self) -> int:
        """Index of the last entry; the base's if none is held."""
        return self._log.last_index

    @property
    def last_term(self) -> int:
        """Term of the last entry; the base's if none is held."""
        return self._log.last_term

    @property
    def data_bytes(self) -> int:
        """Bytes of entries held in memory."""
        return self._log.data_bytes

    def __len__(self) -> int:
        return len(self._log)

    def term_at(self, index: int) -> int:
        """Term of the entry at ``index`` or of the base; ``IndexError`` outside."""
        return self._log.term_at(index)

    def entry(self, index: int) -> Entry:
        """``(term, data)`` at ``index``; ``IndexError`` outside."""
        return self._log.entry(index)

    def entries(self, start: int, stop: int) -> list[Entry]:
        """Entries ``start <= index < stop``, as many as there are; ``IndexError`` below the first."""
        return self._log.entries(start, stop)

    # --- changing ----------------------------------------------------------------------------

    def reserve(self, data_bytes: int, entries: int) -> None:
        """Make sure that a truncation and so many entries of so many bytes together can follow.

        Until they have, nothing else may be appended. Call it before the core is told of anything
        that it will append, so that a full disk refuses the request and not the core.
        """
        records = entries + 1
        self._writer.reserve(data_bytes + records * (RECORD_HEADER_BYTES + MARK_BYTES))

    def append(self, term: int, data: bytes) -> int:
        """Add an entry at the end and tell its index. ``data``: at most ``ENTRY_BYTES_MAX`` bytes."""
        if len(data) > ENTRY_BYTES_MAX:
            raise ValueError(f"an entry of {len(data)} bytes passes {ENTRY_BYTES_MAX}")
        self._writer.add(ENTRY, self._log.last_index + 1, term, data)
        self._awaited.append(self._numbers.take())
        return self._replay.append(term, data)

    def truncate_from(self, index: int) -> None:
        """Remove the entries from ``index`` on (``first_index`` to ``last_index + 1``)."""
        term = self._log.term_at(index - 1)
        self._writer.add(END, index - 1, term, b"")
        self._numbers.take()
        self._replay.end_at(index - 1, term)
        self.durable_index = min(self.durable_index, index - 1)
        del self._awaited[index - 1 - self.durable_index :]

    def reset_to(self, index: int, term: int) -> None:
        """Empty the log and continue behind ``(index, term)``, which a durable snapshot must hold."""
        self._writer.add(RESET, index, term, b"")
        self._numbers.take()
        self._replay.reset(index, term)
        self.durable_index = index
        self._awaited.clear()

    def drop_before(self, index: int) -> None:
        """Forget the entries before ``index``, which a durable snapshot must hold.

        Memory forgets all of them, the disk whole segments: see ``collect``. ``index`` is at most
        ``last_index + 1``; one that is already forgotten changes nothing.
        """
        if index <= self._log.base_index:
            return
        self._log.cut_before(index)
        held = max(0, index - 1 - self.durable_index)  # by the snapshot, and not synced here yet
        self.durable_index += held
        del self._awaited[:held]
        segments = self._replay.segments
        clean = self._writer.synced.segment
        while segments[0].number < clean and segments[0].top_index < index:
            self._dropped.append(segments.pop(0).number)
        self._writer.raise_floor(segments[0].number)

    def collect(self) -> Callable[[], None] | None:
        """A job that removes segments of which the disk knows that they were dropped, if there are.

        Run it once, in any thread but the one that syncs: removing a segment takes about 5 ms.
        """
        ready = [number for number in self._dropped if number < self._writer.durable_floor]
        if not ready:
            return None
        self._dropped = self._dropped[len(ready) :]
        place = self._place

        def remove() -> None:
            for number in ready:
                place.files.unlink(place.path(number))

        return remove

    # --- making durable ----------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        """Whether there is anything that no completed sync covers."""
        return self._writer.dirty

    def mark(self) -> None:
        """Note on disk what has been synced, unless that is noted. Call it when idle for a second."""
        self._writer.mark()

    def flush(self) -> None:
        """Write what is buffered, with one ``pwrite``. After StorageFullError it stays buffered."""
        self._writer.flush()

    def begin_sync(self) -> tuple[tuple[File, ...], tuple[Path, ...]]:
        """Flush, and tell which files and directories to sync, in any thread. One at a time."""
        return self._writer.begin_sync()

    def end_sync(self, number: int) -> None:
        """The sync has completed; ``number`` is the last write number taken before it began."""
        self._writer.end_sync()
        covered = bisect_right(self._awaited, number)
        self.durable_index += covered
        del self._awaited[:covered]

    def fail(self, error: StorageFailedError) -> None:
        """Refuse every change from now on: a sync has failed."""
        self._writer.fail(error)

    def close(self) -> None:
        """Give the files back. Syncs nothing."""
        self._writer.close()


def _settle(place: Place, recovered: Recovered, segment_bytes: int) -> Active:
    """Carry out the verdict: sync the log, cut its tail, remove what is not part of it.

    In this order: what makes a segment superfluous is on disk before the segment is removed.
    """
    files = place.files
    active: Active | None = None
    if recovered.end is not None:
        for stretch in recovered.unproven:
            _write_again(place, stretch)
        active = _reopen(place, recovered.end, segment_bytes)
        active = active._replace(marked=recovered.synced, content_end=recovered.content_end)
        files.sync_directory(place.directory)
    for number in recovered.garbage:
        files.unlink(place.path(number))
    files.sync_directory(place.directory)
    return active or _start(place, segment_bytes)


def _write_again(place: Place, stretch: Stretch) -> None:
    """Have bytes on disk that were read back but perhaps never written.

    Syncing them is not enough: after a sync that failed the kernel takes its pages for written, and
    each later sync reports success. The same bytes at the same place leave nothing that is half new.
    """
    file = place.files.open(place.path(stretch.number))
    file.write(file.read(stretch.stop - stretch.start, stretch.start), stretch.start)
    file.sync_data()
    file.close()


def _start(place: Place, segment_bytes: int) -> Active:
    header = SegmentHeader(FIRST_SEGMENT, 0, 0, 0)
    file = create_segment(place, header, segment_bytes)
    file.sync()
    place.files.sync_directory(place.directory)
    return Active(file, Position(FIRST_SEGMENT, SEGMENT_HEADER_BYTES), segment_bytes)


def _reopen(place: Place, end: Position, segment_bytes: int) -> Active:
    """Go on in the last segment. Whatever lay behind its end is gone for good before it is used."""
    file = place.files.open(place.path(end.segment))
    file.truncate(end.offset)
    file.sync()
    size = max(segment_bytes, end.offset)
    try:
        file.allocate(size)
    except StorageFullError:
        size = end.offset  # the next record needs a new segment, and gets the same answer
    return Active(file, end, size)
