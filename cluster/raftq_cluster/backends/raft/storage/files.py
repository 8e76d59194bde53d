"""The file layer: every byte that storage reads or writes passes through here.

Small enough that a test can replace it by a disk that loses, tears and reorders what was not synced.
Knows nothing of formats. All methods block; ``sync`` and ``sync_data`` may run in another thread
while the owner goes on writing the same file.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

# ruff: noqa: D102  # the protocols document what the classes below them do
from raftq_cluster.backends.raft.storage.errors import LockedError, storage_error, sync_error

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600


class File(Protocol):
    """An open file. Every method raises ``StorageFullError`` or ``StorageFailedError``."""

    @property
    def path(self) -> Path:
        """Where the file was when it was opened."""
        ...

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``. After an error any part of it may be there."""
        ...

    def read(self, size: int, offset: int) -> bytes:
        """Read ``size`` bytes from ``offset``; fewer only at the end of the file."""
        ...

    def size(self) -> int:
        """Length of the file in bytes."""
        ...

    def allocate(self, size: int) -> None:
        """Make the file at least ``size`` bytes long, with space reserved for all of them.

        New bytes read as zeros. On file systems that copy on write a later ``write`` can still
        find the disk full.
        """
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        ...

    def sync_data(self) -> None:
        """Make the bytes written so far survive a power cut (``fdatasync``)."""
        ...

    def sync(self) -> None:
        """Make bytes and metadata survive a power cut (``fsync``)."""
        ...

    def close(self) -> None:
        """Give the descriptor back. Syncs nothing. Idempotent."""
        ...


class Lock(Protocol):
    """A held lock."""

    def release(self) -> None:
        """Let others have it. Idempotent. The end of the process releases it too."""
        ...


class Files(Protocol):
    """A file system. A name that was made, moved or removed survives only ``sync_directory``."""

    def make_directory(self, path: Path) -> None:
        """Make the directory unless it is there, and its parents; only the owner may enter it.

        Its name survives a power cut without more ado.
        """
        ...

    def names(self, directory: Path) -> list[str]:
        """Names in the directory, sorted; none if there is no such directory."""
        ...

    def create(self, path: Path) -> File:
        """Make a file that must not exist yet."""
        ...

    def open(self, path: Path) -> File:
        """Open a file that must exist, for reading and writing."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Move the name ``source`` to ``target`` in one step, replacing what is there."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a name that must exist. Open files stay usable."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Make the names in the directory survive a power cut."""
        ...

    def free_bytes(self, path: Path) -> int:
        """Bytes that can still be written below the directory, by whoever runs this process."""
        ...

    def lock(self, path: Path) -> Lock:
        """Lock the file, made if absent, against every other holder.

        Raises:
            LockedError: someone else holds it.
        """
        ...


class DiskFile:
    """A file of the operating system."""

    __slots__ = ("_fd", "_path")

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    @property
    def path(self) -> Path:
        return self._path

    def fileno(self) -> int:
        """The descriptor, -1 once it is closed."""
        return self._fd

    def write(self, data: bytes, offset: int) -> None:
        try:
            written = os.pwrite(self._fd, data, offset)
            while written < len(data):
                written += os.pwrite(self._fd, memoryview(data)[written:], offset + written)
        except OSError as error:
            raise storage_error(error, self._path, "writing") from error

    def read(self, size: int, offset: int) -> bytes:
        pieces = []
        try:
            while size > 0 and (piece := os.pread(self._fd, size, offset)):
                pieces.append(piece)
                size -= len(piece)
                offset += len(piece)
        except OSError as error:
            raise storage_error(error, self._path, "reading") from error
        return b"".join(pieces)

    def size(self) -> int:
        try:
            return os.fstat(self._fd).st_size
        except OSError as error:
            raise storage_error(error, self._path, "reading its size") from error

    def allocate(self, size: int) -> None:
        try:
            os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            raise storage_error(error, self._path, f"reserving {size} bytes") from error

    def truncate(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise storage_error(error, self._path, "truncating") from error

    def sync_data(self) -> None:
        self._sync(os.fdatasync)

    def sync(self) -> None:
        self._sync(os.fsync)

    def _sync(self, call: Callable[[int], None]) -> None:
        try:
            call(self._fd)
        except OSError as error:  # even for want of space: what is on disk is not known any more
            raise sync_error(error, self._path) from error

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class DiskLock:
    """An ``flock``; it dies with the process."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class DiskFiles:
    """The operating system's file system."""

    def make_directory(self, path: Path) -> None:
        try:
            if not path.exists():
                self._make(path)
            path.chmod(DIRECTORY_MODE)
        except OSError as error:
            raise storage_error(error, path, "making the directory") from error

    def _make(self, path: Path) -> None:
        if not path.parent.exists():
            self._make(path.parent)
        path.mkdir()
        self.sync_directory(path.parent)

    def names(self, directory: Path) -> list[str]:
        try:
            return sorted(path.name for path in directory.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage_error(error, directory, "listing") from error

    def create(self, path: Path) -> DiskFile:
        return self._open(path, os.O_CREAT | os.O_EXCL)

    def open(self, path: Path) -> DiskFile:
        return self._open(path, 0)

    def _open(self, path: Path, flags: int) -> DiskFile:
        try:
            return DiskFile(path, os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, FILE_MODE))
        except OSError as error:
            raise storage_error(error, path, "opening") from error

    def rename(self, source: Path, target: Path) -> None:
        try:
            source.rename(target)
        except OSError as error:
            raise storage_error(error, source, f"renaming to {target.name}") from error

    def unlink(self, path: Path) -> None:
        try:
            path.unlink()
        except OSError as error:
            raise storage_error(error, path, "removing") from error

    def sync_directory(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise sync_error(error, path) from error

    def free_bytes(self, path: Path) -> int:
        try:
            room = os.statvfs(path)
        except OSError as error:
            raise storage_error(error, path, "asking for free space") from error
        return room.f_bavail * room.f_frsize

    def lock(self, path: Path) -> DiskLock:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError as error:
            raise storage_error(error, path, "opening") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise LockedError(path, "the data directory is in use by another node") from error
        except OSError as error:
            os.close(fd)
            raise storage_error(error, path, "locking") from error
        return DiskLock(fd)
