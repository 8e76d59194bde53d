"""The data directory: whose it is, which format it has, and that only one node uses it.

Knows nothing of what the subdirectories hold.
"""

import re
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftq_cluster.backends.raft.storage.errors import CorruptError, ForeignError
from raftq_cluster.backends.raft.storage.files import Files, Lock

FORMAT: Final = 1
"""Raised when an older version could not read, or would misread, what a newer one writes."""
IDENTITY_NAME: Final = "node.toml"
LOCK_NAME: Final = "lock"
IDENTITY_BYTES_MAX: Final = 4096

_TEMPORARY_NAME: Final = f"{IDENTITY_NAME}.new"
_UNCLAIMED: Final = frozenset({LOCK_NAME, _TEMPORARY_NAME, "lost+found"})
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which node of which cluster a directory belongs to. Ids: 1 to 64 of ``A-Z a-z 0-9 . _ -``."""

    cluster_id: str
    node_id: str

    def __post_init__(self) -> None:
        for name in (self.cluster_id, self.node_id):
            if not _ID.fullmatch(name):
                raise ValueError(f"{name!r} is not an id: 1 to 64 letters, digits, '.', '_' or '-'")

    @property
    def seed(self) -> bytes:
        """What the checksums of this node's files start from."""
        return f"{self.cluster_id}/{self.node_id}".encode()


class DataDir:
    """A locked data directory. Made by ``open``."""

    def __init__(self, files: Files, path: Path, lock: Lock, identity: Identity | None) -> None:
        self.files = files
        self.path = path
        self.identity = identity
        """Whose it is; None while it is new."""
        self._lock = lock

    @classmethod
    def open(cls, files: Files, path: Path) -> "DataDir":
        """Lock the directory, made if absent and closed to all but its owner, and read whose it is.

        Raises:
            LockedError: another running node uses it.
            ForeignError: it has files but is no data directory, or a newer version's.
            CorruptError: the identity is damaged or gone.
            StorageFailedError: the operating system refuses.
        """
        _check_names(files, path)
        files.make_directory(path)
        lock = files.lock(path / LOCK_NAME)
        try:
            identity = _read(files, path) if _check_names(files, path) else None
        except BaseException:
            lock.release()
            raise
        return cls(files, path, lock, identity)

    def establish(self, identity: Identity) -> None:
        """Give a new directory its identity, durable on return; check that of an old one.

        Raises:
            ForeignError: it belongs to another node or another cluster.
            StorageFullError: there is no space; nothing has changed.
            StorageFailedError: the disk has failed.
        """
        if self.identity is None:
            self._write(identity)
            self.identity = identity
        elif self.identity != identity:
            ours = f"node {self.identity.node_id} of cluster {self.identity.cluster_id}"
            theirs = f"node {identity.node_id} of cluster {identity.cluster_id}"
            raise ForeignError(self.path, f"belongs to {ours}, not to {theirs}")

    def _write(self, identity: Identity) -> None:
        temporary = self.path / _TEMPORARY_NAME
        if temporary.name in self.files.names(self.path):
            self.files.unlink(temporary)
        file = self.files.create(temporary)
        try:
            file.write(_render(identity), 0)
            file.sync()
        finally:
            file.close()
        self.files.rename(temporary, self.path / IDENTITY_NAME)
        self.files.sync_directory(self.path)

    def close(self) -> None:
        """Let another node use the directory. Idempotent."""
        self._lock.release()


def _check_names(files: Files, path: Path) -> bool:
    """Whether the directory has an identity; refuses one that is not ours to use."""
    names = files.names(path)
    if IDENTITY_NAME in names:
        return True
    others = [name for name in names if name not in _UNCLAIMED]
    if others:
        raise ForeignError(path, f"holds {others[0]!r} but no {IDENTITY_NAME}: no data directory")
    return False


def _render(identity: Identity) -> bytes:
    fields = (
        f"# raftq data directory; never edit or copy\nformat = {FORMAT}\n"
        f'cluster_id = "{identity.cluster_id}"\nnode_id = "{identity.node_id}"\n'
    )
    return f"{fields}crc32 = {zlib.crc32(fields.encode())}\n".encode()


def _read(files: Files, directory: Path) -> Identity:
    path = directory / IDENTITY_NAME
    file = files.open(path)
    try:
        data = file.read(IDENTITY_BYTES_MAX, 0)
    finally:
        file.close()
    try:
        document = tomllib.loads(data.decode())
        if document["format"] != FORMAT:
            raise ForeignError(
                path, f"has format {document['format']}, this node uses format {FORMAT}"
            )
        identity = Identity(cluster_id=document["cluster_id"], node_id=document["node_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(path, 0, "the identity cannot be read") from error
    if data != _render(identity):
        raise CorruptError(path, 0, "the identity is damaged")
    return identity
