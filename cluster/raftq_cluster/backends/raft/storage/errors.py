"""What can go wrong with storage, by what the node must do about it.

Foreign ``OSError``s are mapped here and nowhere else. Every message is one sentence that names the file.
"""

import errno
from pathlib import Path
from typing import ClassVar

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorageError(Exception):
    """Storage cannot do what was asked."""

    code: ClassVar[str] = "storage"
    retryable: ClassVar[bool] = False

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class StorageFullError(StorageError):
    """There is no space. Nothing has changed; the same call may succeed once there is."""

    code = "store_full"
    retryable = True


class StorageFailedError(StorageError):
    """The operating system refused a read, a write or a sync. The node must stop.

    After a failed sync nobody knows which of the written bytes are on disk, and a second sync that
    succeeds does not tell, so a sync is never tried again.
    """


class CorruptError(StorageError):
    """Bytes that were safely written are damaged or gone. The node must not start on them."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(path, f"corrupt at byte {offset}: {reason}")
        self.offset = offset


class LockedError(StorageError):
    """Another running node uses the data directory."""


class DivergedError(StorageError):
    """The state in the directory is not that of the cluster. ``path`` is the report of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            "this node stopped because its state differed from that of the others, and does not"
            " start again while this report is here, which says what to do",
        )


class OlderCopyError(StorageError):
    """The directory is an older copy of itself. ``path`` is the report of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            "other members have found that this data directory is an older copy of itself, and the node"
            " does not start again while this report is here, which says what to do",
        )


class ForeignError(StorageError):
    """The directory or file belongs to another node, to a newer version, or is not ours at all."""


def storage_error(error: OSError, path: Path, doing: str) -> StorageError:
    """Name an operating system's error: no space, or a failure."""
    kind = StorageFullError if error.errno in _NO_SPACE else StorageFailedError
    return kind(path, f"{doing} failed: {error.strerror}")


def sync_error(error: OSError, path: Path) -> StorageFailedError:
    """Name a failed sync: always a failure, even where the reason was want of space."""
    return StorageFailedError(path, f"syncing failed: {error.strerror}")
