"""The files of the log: their names, and the one that is being written.

Puts records into the active segment's buffer, writes a buffer with one ``pwrite``, rolls to a new
preallocated segment, and knows what has been synced. Space is reserved before a record is accepted, so
a full disk refuses the record and changes nothing. Knows records, not what they mean to Raft.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from raftq_cluster.backends.raft.storage.errors import (
    StorageError,
    StorageFailedError,
    StorageFullError,
)
from raftq_cluster.backends.raft.storage.files import File, Files
from raftq_cluster.backends.raft.storage.records import (
    MARK_BYTES,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    Position,
    SegmentHeader,
    pack_header,
    pack_mark,
    pack_record,
    segment_seed,
)

SEGMENT_BYTES: Final = 16 << 20
"""Preallocated size of a segment: rolling costs about 0.1 ms on the loop, once in so many bytes."""
_SUFFIX: Final = ".log"
_DIGITS: Final = 16
_SPARE_BYTES: Final = MARK_BYTES
"""Kept free at the end of a segment, so that the floor can be raised on a full disk."""


def segment_name(number: int) -> str:
    """File name of a segment; names sort as numbers do."""
    return f"{number:0{_DIGITS}d}{_SUFFIX}"


def segment_numbers(names: list[str]) -> list[int]:
    """Numbers of the segments among sorted file names; other names are none of ours."""
    stems = (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
    return [int(stem) for stem in stems if len(stem) == _DIGITS and stem.isdecimal()]


class Place(NamedTuple):
    """Where a log lives and whose it is."""

    files: Files
    directory: Path
    identity: bytes
    """Of the node: seeds every CRC, so that no other node's segment is taken for one of ours."""

    def path(self, number: int) -> Path:
        """Path of a segment."""
        return self.directory / segment_name(number)

    def seed(self, number: int) -> int:
        """Seed of a segment's CRCs."""
        return segment_seed(self.identity, number)


def create_segment(place: Place, header: SegmentHeader, size: int) -> File:
    """Make a segment of ``size`` bytes. If there is no space for it, nothing is left behind."""
    file = place.files.create(place.path(header.number))
    try:
        file.allocate(size)
        file.write(pack_header(header, place.seed(header.number)), 0)
    except StorageError:
        file.close()
        place.files.unlink(file.path)
        raise
    return file


class Active(NamedTuple):
    """The segment to go on writing."""

    file: File
    end: Position  # behind its last record; all before it is on disk
    size: int  # bytes reserved
    marked: Position = Position(0, 0)  # how far the log's MARKs know it to be on disk
    content_end: Position = Position(0, 0)  # behind the log's last record that is not a MARK


class SegmentWriter:
    """Writes the newest segment.

    ``base`` tells ``(index, term)`` of the log's last entry, for a new segment's header; ``on_roll``
    is told the number of a new segment before anything is put into it.
    ``synced`` is the position up to which the log is known to be on disk, ``durable_floor`` the floor
    that is. One sync may be in flight, between ``begin_sync`` and ``end_sync``.
    """

    def __init__(
        self,
        place: Place,
        active: Active,
        base: Callable[[], tuple[int, int]],
        on_roll: Callable[[int], None],
        *,
        floor: int,
        segment_bytes: int,
    ) -> None:
        self._place = place
        self._base = base
        self._on_roll = on_roll
        self._segment_bytes = segment_bytes
        self._rolled: list[File] = []
        self._names_changed = False
        self._refusal: StorageError | None = None
        self._parts: list[bytes] = []
        self._in_batch = False  # room for the batch's MARK has been taken
        self._unwritten: bytes | None = None
        self.synced = active.end
        self._marked, self._content_end = active.marked, active.content_end
        self._written_floor = self.durable_floor = self.floor = floor
        self._syncing = (self.synced, floor)
        self._activate(active)

    def _activate(self, active: Active) -> None:
        self._file = active.file
        self._number = active.end.segment
        self._seed = self._place.seed(self._number)
        self._written = self._end = active.end.offset
        self._size = active.size

    @property
    def end(self) -> Position:
        """Behind the last record, written or not."""
        return Position(self._number, self._end)

    @property
    def dirty(self) -> bool:
        """Whether there is anything that no completed sync covers."""
        floor_is_written = self._written_floor == self.durable_floor
        return self.end != self.synced or not floor_is_written or self._can_write_floor()

    def _can_write_floor(self) -> bool:
        return self.floor != self._written_floor and self._end + MARK_BYTES <= self._size

    def add(self, kind: int, index: int, term: int, body: bytes) -> None:
        """Buffer a record.

        Raises:
            StorageFullError: there is no space for it; nothing has changed.
            StorageFailedError: the disk has failed, now or before.
        """
        size = RECORD_HEADER_BYTES + len(body)
        self.reserve(size)
        self._begin_batch()
        self._parts += (pack_record(kind, index, term, body, self._seed ^ self._end), body)
        self._end += size

    def reserve(self, size: int) -> None:
        """Make sure that ``size`` bytes of records and MARKs fit. Raises as ``add`` does."""
        if self._refusal is not None:
            raise self._refusal
        if self._end + MARK_BYTES + size > self._size - _SPARE_BYTES:
            self._roll(size)

    def _roll(self, size: int) -> None:
        self.flush()
        least = SEGMENT_HEADER_BYTES + MARK_BYTES + size + _SPARE_BYTES
        size = max(self._segment_bytes, least)
        header = SegmentHeader(self._number + 1, *self._base(), self._end)
        file = create_segment(self._place, header, size)
        self._rolled.append(self._file)
        self._names_changed = True
        self._activate(Active(file, Position(header.number, SEGMENT_HEADER_BYTES), size))
        self._on_roll(header.number)

    def _begin_batch(self) -> None:
        if not self._in_batch:
            self._in_batch = True
            self._end += MARK_BYTES

    def mark(self) -> None:
        """Have the next ``flush`` note what has been synced, unless that is noted already.

        Between a sync and its note, damage to what was synced can be mistaken for a torn write.
        """
        noted = not self._marked < self._content_end <= self.synced
        if not noted and self._end + MARK_BYTES <= self._size - _SPARE_BYTES:
            self._begin_batch()

    def raise_floor(self, floor: int) -> None:
        """Have the next ``flush`` note that segments below ``floor`` are not part of the log."""
        self.floor = floor

    def flush(self) -> None:
        """Write what is buffered, with one ``pwrite``.

        Raises:
            StorageFullError: it stays buffered, ``add`` refuses, and the next ``flush`` tries again.
            StorageFailedError: the disk has failed, now or before.
        """
        if isinstance(self._refusal, StorageFailedError):
            raise self._refusal
        if self._can_write_floor():
            self._begin_batch()
        if self._in_batch:
            self._write_batch()

    def _write_batch(self) -> None:
        if self._unwritten is None:
            self._unwritten = self._batch()
        try:
            self._file.write(self._unwritten, self._written)
        except (StorageFullError, StorageFailedError) as error:
            # The same bytes go to the same place next time: a sector that mixed two versions could
            # not be told from a damaged one.
            self._refusal = error
            raise
        if self._parts:
            self._content_end = self.end
        self._refusal = self._unwritten = None
        self._in_batch = False
        self._parts.clear()
        self._written = self._end

    def _batch(self) -> bytes:
        self._marked, self._written_floor = self.synced, self.floor
        mark = pack_mark(self.synced, self.floor, self._seed ^ self._written)
        return mark + b"".join(self._parts)

    def begin_sync(self) -> tuple[tuple[File, ...], tuple[Path, ...]]:
        """Flush, and tell the files and directories to sync. Raises as ``flush`` does."""
        self.flush()
        self._syncing = (self.end, self._written_floor)
        names_changed, self._names_changed = self._names_changed, False
        directories = (self._place.directory,) if names_changed else ()
        return (*self._rolled, self._file), directories

    def end_sync(self) -> None:
        """What ``begin_sync`` told has been synced."""
        self.synced, self.durable_floor = self._syncing
        covered = self.synced.segment - (self._number - len(self._rolled))
        for file in self._rolled[:covered]:
            file.close()
        del self._rolled[:covered]

    def fail(self, error: StorageFailedError) -> None:
        """Refuse everything from now on: a sync has failed."""
        self._refusal = error

    def close(self) -> None:
        """Give the files back. Syncs nothing."""
        for file in (*self._rolled, self._file):
            file.close()
