"""Snapshot files: the state as of one log index, in verified chunks.

A snapshot appears under its name only when all of it is on disk. Reading checks every chunk, their
number and the sum over all of them. Knows neither what a chunk holds nor when to take a snapshot.
Layout in ``DESIGN.md``.
"""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

from raftq_cluster.backends.raft.storage.errors import (
    CorruptError,
    ForeignError,
    StorageError,
    StorageFullError,
)
from raftq_cluster.backends.raft.storage.files import File, Files

VERSION: Final = 1
CHUNK_BYTES_MAX: Final = 64 << 20
"""Largest chunk: a whole batch of records of the largest values; bounds what damage can ask for."""
CONFIG_BYTES_MAX: Final = 1 << 20
"""Largest member list."""
ROOM_FOR_LOG_BYTES: Final = 64 << 20
"""Free space that no received snapshot takes: some segments, so that what it replaces can go on."""

_SUFFIX: Final = ".snap"
_TEMPORARY: Final = ".new"
_HEAD: Final = Struct("<8sIIQQ")  # magic, version, config bytes, index, term
_CRC: Final = Struct("<I")
_FRAME: Final = Struct("<II")  # chunk bytes, CRC of the chunk
_TRAILER: Final = Struct("<8sQQ16s")  # magic, chunks, bytes before the trailer, digest
_MAGIC: Final = b"RAFTQSNP"
_END_MAGIC: Final = b"RAFTQEND"


@dataclass(frozen=True, slots=True, order=True)
class SnapshotInfo:
    """What a snapshot covers: the log up to ``index``, whose entry has ``term``. Ordered."""

    index: int
    term: int


def _name(info: SnapshotInfo) -> str:
    return f"{info.index:020d}-{info.term:020d}{_SUFFIX}"


def _info(name: str) -> SnapshotInfo | None:
    index, _, term = name.removesuffix(_SUFFIX).partition("-")
    info = SnapshotInfo(int(index), int(term)) if index.isdecimal() and term.isdecimal() else None
    return info if info and _name(info) == name else None


class SnapshotWriter:
    """One snapshot being written. ``write`` belongs to the loop; the rest may run in another thread.

    Every method raises ``StorageFullError`` or ``StorageFailedError``; ``abort`` it then.
    """

    def __init__(self, files: Files, directory: Path, info: SnapshotInfo, config: bytes) -> None:
        self.info = info
        self._files = files
        self._directory = directory
        self._file = files.create(directory / (_name(info) + _TEMPORARY))
        self._offset = 0
        self._chunks = 0
        self._digest = hashlib.blake2b(digest_size=16)
        head = _HEAD.pack(_MAGIC, VERSION, len(config), info.index, info.term) + config
        try:
            self._put(head + _CRC.pack(zlib.crc32(head)), head)
        except StorageError:
            self.abort()
            raise

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._offset

    def write(self, chunk: bytes) -> None:
        """Add a chunk (1 to ``CHUNK_BYTES_MAX`` bytes). Cheap; syncs nothing."""
        if not 0 < len(chunk) <= CHUNK_BYTES_MAX:
            raise ValueError(f"a chunk of {len(chunk)} bytes is not within 1..{CHUNK_BYTES_MAX}")
        frame = _FRAME.pack(len(chunk), zlib.crc32(chunk))
        self._put(frame + chunk, frame)
        self._chunks += 1

    def _put(self, data: bytes, digested: bytes) -> None:
        self._file.write(data, self._offset)
        self._digest.update(digested)
        self._offset += len(data)

    def sync(self) -> None:
        """Put what has been written on disk. Blocks. Now and then, so that ``finish`` is short."""
        self._file.sync_data()

    def finish(self) -> None:
        """Seal the snapshot, put it on disk and give it its name. Blocks; nothing may follow."""
        trailer = _TRAILER.pack(_END_MAGIC, self._chunks, self._offset, self._digest.digest())
        end = _FRAME.pack(0, 0)
        self._file.write(end + trailer + _CRC.pack(zlib.crc32(trailer)), self._offset)
        self._file.sync()
        self._file.close()
        self._files.rename(self._file.path, self._directory / _name(self.info))
        self._files.sync_directory(self._directory)

    def abort(self) -> None:
        """Remove what has been written. Changes nothing once the snapshot has its name."""
        self._file.close()
        if self._file.path.name in self._files.names(self._directory):
            self._files.unlink(self._file.path)


class SnapshotReader:
    """One finished snapshot, open for reading. Its head and its trailer are good."""

    def __init__(self, file: File, info: SnapshotInfo) -> None:
        self.info = info
        self.size = file.size()
        """Bytes of the file: what ``read_at`` can read."""
        self._file = file
        self._trailer_offset = self.size - _TRAILER.size - _CRC.size
        self._digest = hashlib.blake2b(digest_size=16)
        self.config = self._head()
        """The member list as of ``info``."""
        self._trailer()

    def _head(self) -> bytes:
        head = self._file.read(_HEAD.size, 0)
        if len(head) < _HEAD.size:
            raise self._corrupt(0, "the head is cut off")
        _, version, config_bytes, index, term = _HEAD.unpack(head)
        head += self._file.read(min(config_bytes, CONFIG_BYTES_MAX), _HEAD.size)
        crc = self._file.read(_CRC.size, len(head))
        if crc != _CRC.pack(zlib.crc32(head)) or SnapshotInfo(index, term) != self.info:
            raise self._corrupt(0, "the head is damaged")
        if version != VERSION:
            reason = f"has format {version}, this node reads format {VERSION}"
            raise ForeignError(self._file.path, reason)
        self._digest.update(head)
        self._first_frame = len(head) + _CRC.size
        return head[_HEAD.size :]

    def _trailer(self) -> None:
        data = self._file.read(_TRAILER.size + _CRC.size, max(self._trailer_offset, 0))
        trailer = data[: _TRAILER.size]
        if data[_TRAILER.size :] != _CRC.pack(zlib.crc32(trailer)):
            raise self._corrupt(self._trailer_offset, "the trailer is damaged")
        _, self._chunks, self._frames_end, self._sum = _TRAILER.unpack(trailer)
        if self._frames_end + _FRAME.size != self._trailer_offset:
            raise self._corrupt(self._trailer_offset, "the trailer is not where it belongs")

    def chunks(self) -> Iterator[bytes]:
        """The chunks in order, each checked; their sum is checked behind the last.

        Raises:
            CorruptError: bytes are damaged or missing. What was yielded before must not be used.
        """
        offset, digest = self._first_frame, self._digest.copy()
        for _ in range(self._chunks):
            frame = self._file.read(_FRAME.size, offset)
            chunk = self._chunk(frame, offset)
            digest.update(frame)
            offset += _FRAME.size + len(chunk)
            yield chunk
        end = self._file.read(_FRAME.size, offset)
        if offset != self._frames_end or any(end) or digest.digest() != self._sum:
            raise self._corrupt(offset, "the chunks are not those that were written")

    def _chunk(self, frame: bytes, offset: int) -> bytes:
        size, crc = _FRAME.unpack(frame) if len(frame) == _FRAME.size else (0, 0)
        chunk = b""
        if offset + _FRAME.size + size <= self._frames_end:
            chunk = self._file.read(size, offset + _FRAME.size)
        if not chunk or zlib.crc32(chunk) != crc:
            raise self._corrupt(offset, "a chunk is damaged")
        return chunk

    def _corrupt(self, offset: int, reason: str) -> CorruptError:
        return CorruptError(self._file.path, max(offset, 0), reason)

    def read_at(self, offset: int, size: int) -> bytes:
        """Raw bytes of the file, unchecked: for sending it to another node, which checks."""
        return self._file.read(size, offset)

    def close(self) -> None:
        """Give the file back. A snapshot that was pruned meanwhile is gone then."""
        self._file.close()


class ReceivedSnapshot:
    """A snapshot that comes from another node, byte by byte. ``write`` belongs to the loop.

    The rest blocks and may run in another thread: ``sync`` while more is written, then ``open`` and
    ``publish``. ``number`` keeps its name apart from all that were begun before.
    """

    def __init__(
        self, files: Files, directory: Path, info: SnapshotInfo, size: int, number: int
    ) -> None:
        self.info = info
        self.size = size
        self.held = 0
        """Bytes that have come."""
        self._files = files
        self._directory = directory
        self._path = directory / f"{_name(info)}.{number}{_TEMPORARY}"
        self._file = files.create(self._path)

    def write(self, data: bytes) -> None:
        """Add the bytes that follow. Syncs nothing.

        Raises:
            StorageFullError: ``abort`` it.
            StorageFailedError: the disk has failed.
        """
        if self.held + len(data) > self.size:
            raise ValueError(f"a snapshot of {self.size} bytes has bytes behind its end")
        self._file.write(data, self.held)
        self.held += len(data)

    def sync(self) -> None:
        """Put what has been written on disk. Now and then, so that the last time is short."""
        self._file.sync_data()

    def open(self) -> SnapshotReader:
        """Read what has come, all of it: only once its ``chunks`` were read is it known to be good.

        Raises:
            CorruptError: it is no snapshot, or not the one that was announced.
            ForeignError: a newer version has written it.
        """
        file = self._files.open(self._path)
        try:
            return SnapshotReader(file, self.info)
        except BaseException:
            file.close()
            raise

    def publish(self) -> None:
        """Put it on disk and give it its name. Only after all of it was checked; nothing may follow."""
        self._file.sync()
        self._file.close()
        self._files.rename(self._path, self._directory / _name(self.info))
        self._files.sync_directory(self._directory)

    def abort(self) -> None:
        """Remove what has come. Changes nothing once the snapshot has its name. Idempotent."""
        self._file.close()
        if self._path.name in self._files.names(self._directory):
            self._files.unlink(self._path)


class SnapshotStore:
    """The snapshots of one directory, which must exist. Leftovers of a crash are removed at once."""

    def __init__(self, files: Files, directory: Path) -> None:
        self._files = files
        self._directory = directory
        self._received = 0
        for name in files.names(directory):
            if name.endswith(_TEMPORARY):
                files.unlink(directory / name)
        files.sync_directory(directory)

    def begin(self, index: int, term: int, config: bytes) -> SnapshotWriter:
        """Start the snapshot of the state as of ``index``; one at a time per index and term.

        Raises:
            StorageFullError: there is no space; nothing has changed.
            StorageFailedError: the disk has failed.
        """
        if len(config) > CONFIG_BYTES_MAX:
            raise ValueError(f"a config of {len(config)} bytes passes {CONFIG_BYTES_MAX}")
        return SnapshotWriter(self._files, self._directory, SnapshotInfo(index, term), config)

    def receive(self, info: SnapshotInfo, size: int) -> ReceivedSnapshot:
        """Start to take a snapshot of ``size`` bytes from another node.

        Raises:
            StorageFullError: there is no space for it and the log; nothing has changed.
            StorageFailedError: the disk has failed.
        """
        room_bytes = self._files.free_bytes(self._directory) - ROOM_FOR_LOG_BYTES
        if size > room_bytes:
            raise StorageFullError(self._directory, f"there is no room for {size} bytes")
        self._received += 1
        return ReceivedSnapshot(self._files, self._directory, info, size, self._received)

    def latest(self) -> SnapshotReader | None:
        """Open the newest snapshot, None if there is none. Close it afterwards.

        Raises:
            CorruptError: it is damaged; an older one would be no substitute.
            ForeignError: it was written by a newer version.
        """
        infos = self._infos()
        if not infos:
            return None
        file = self._files.open(self._directory / _name(infos[-1]))
        try:
            return SnapshotReader(file, infos[-1])
        except BaseException:
            file.close()
            raise

    def prune(self) -> None:
        """Remove all but the newest. Blocks for as long as removing large files takes."""
        for info in self._infos()[:-1]:
            self._files.unlink(self._directory / _name(info))

    def _infos(self) -> list[SnapshotInfo]:
        infos = (_info(name) for name in self._files.names(self._directory))
        return sorted(info for info in infos if info)
