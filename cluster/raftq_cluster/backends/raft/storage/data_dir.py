"""The data directory: whose it is, which format it has, and that only one node uses it.

A directory is born with a random number of its own, before anybody is told of it, and becomes that of a
cluster's member later. Knows nothing of what the subdirectories and a member list hold.
"""

import base64
import re
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftq_cluster.backends.raft.storage.errors import (
    CorruptError,
    DivergedError,
    ForeignError,
    OlderCopyError,
)
from raftq_cluster.backends.raft.storage.files import Files, Lock

FORMAT: Final = 2
"""Raised when an older version could not read, or would misread, what a newer one writes."""
OLD_FORMAT: Final = 1  # of nodes that ran alone: neither a birth nor a member list; still read
IDENTITY_NAME: Final = "node.toml"
LOCK_NAME: Final = "lock"
# While one of these is here, nobody starts on the directory.
REPORT_NAME: Final = "diverged.txt"
COPY_REPORT_NAME: Final = "older_copy.txt"
IDENTITY_BYTES_MAX: Final = 64 << 10  # the largest member list has a fifth of it

_TEMPORARY_NAME: Final = f"{IDENTITY_NAME}.new"
_UNCLAIMED: Final = frozenset({LOCK_NAME, _TEMPORARY_NAME, "lost+found"})
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BIRTH: Final = re.compile(r"[0-9a-f]{16}")
_FORMAT_LINE: Final = re.compile(rb"^format = ([0-9]{1,9})$", re.MULTILINE)
# All that we write; whatever else TOML has could take a reader very long.
_LINES: Final = re.compile(rb'(?:#[^\n]*\n|[a-z0-9_]{1,32} = (?:"[^"\n]*"|[0-9]{1,20})\n){1,64}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which node of which cluster a directory belongs to. Ids: 1 to 64 of ``A-Z a-z 0-9 . _ -``."""

    cluster_id: str  # "" while it belongs to none: it is forming or joining one
    node_id: str
    birth: str = ""  # 16 hexadecimal digits that no other directory has; "" in old directories
    first_members: bytes = b""  # the member list that the node started with, packed
    first_index: int = 0  # of that list's entry in the cluster's log

    def __post_init__(self) -> None:
        ids = (self.cluster_id, self.node_id) if self.cluster_id else (self.node_id,)
        for name in ids:
            if not _ID.fullmatch(name):
                raise ValueError(f"{name!r} is not an id: 1 to 64 letters, digits, '.', '_' or '-'")
        if self.birth and not _BIRTH.fullmatch(self.birth):
            raise ValueError(f"{self.birth!r} is not a birth: 16 hexadecimal digits")

    @property
    def is_formed(self) -> bool:
        """Whether the node is a member of a cluster."""
        return bool(self.cluster_id)

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
            DivergedError: its node has stopped because its state was not that of the others.
            OlderCopyError: it is an older copy of itself, as others have found out.
            CorruptError: the identity is damaged or gone.
            StorageFailedError: the operating system refuses.
        """
        _check_names(files, path)
        files.make_directory(path)
        lock = files.lock(path / LOCK_NAME)
        try:
            identity = _read(files, path) if _check_names(files, path) else None
            _check_not_condemned(files, path)
        except BaseException:
            lock.release()
            raise
        return cls(files, path, lock, identity)

    def establish(self, identity: Identity) -> None:
        """Make this the directory's identity, durable on return, if it is what it can become.

        A new directory can become anybody's, one that belongs to no cluster a member of one, and
        one of an old format gets a birth. Nothing else ever changes.

        Raises:
            ForeignError: it belongs to another node or another cluster.
            StorageFullError: there is no space; nothing has changed.
            StorageFailedError: the disk has failed.
        """
        kept = self.identity
        if kept is not None and not _can_become(kept, identity):
            raise ForeignError(self.path, f"belongs to {_whose(kept)}, not to {_whose(identity)}")
        if kept != identity:
            self._write(identity)
            self.identity = identity

    def condemn(self, report: str, name: str = REPORT_NAME) -> Path:
        """Leave a report because of which nobody starts here any more; durable on return.

        Raises:
            StorageError: it could not be written.
        """
        self._publish(name, report.encode())
        return self.path / name

    def _write(self, identity: Identity) -> None:
        self._publish(IDENTITY_NAME, _render(identity))

    def _publish(self, name: str, data: bytes) -> None:
        """Write a file aside, sync it, and give it its name."""
        temporary = self.path / f"{name}.new"
        if temporary.name in self.files.names(self.path):
            self.files.unlink(temporary)
        file = self.files.create(temporary)
        try:
            file.write(data, 0)
            file.sync()
        finally:
            file.close()
        self.files.rename(temporary, self.path / name)
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


def _check_not_condemned(files: Files, path: Path) -> None:
    names = files.names(path)
    if REPORT_NAME in names:
        raise DivergedError(path / REPORT_NAME)
    if COPY_REPORT_NAME in names:
        raise OlderCopyError(path / COPY_REPORT_NAME)


def _can_become(old: Identity, new: Identity) -> bool:
    if old.node_id != new.node_id or (old.birth and old.birth != new.birth):
        return False
    if not old.is_formed:
        return True
    return (old.cluster_id, old.first_members, old.first_index) == (
        new.cluster_id,
        new.first_members,
        new.first_index,
    )


def _whose(identity: Identity) -> str:
    cluster = f" of cluster {identity.cluster_id}" if identity.is_formed else ""
    return f"node {identity.node_id}{cluster}"


def _render(identity: Identity, number: int = FORMAT) -> bytes:
    fields = (
        f"# raftq data directory; never edit or copy\nformat = {number}\n"
        f'cluster_id = "{identity.cluster_id}"\nnode_id = "{identity.node_id}"\n'
    )
    if number > OLD_FORMAT:
        packed = base64.b64encode(identity.first_members).decode()
        fields += (
            f'birth = "{identity.birth}"\n'
            f'first_members = "{packed}"\nfirst_index = {identity.first_index}\n'
        )
    return f"{fields}crc32 = {zlib.crc32(fields.encode())}\n".encode()


def _format_of(data: bytes, path: Path) -> int:
    """The format of an identity, which is so simple that reading the rest takes no time worth mentioning."""
    found = _FORMAT_LINE.search(data)
    if found is not None and int(found[1]) not in (OLD_FORMAT, FORMAT):
        raise ForeignError(path, f"has format {int(found[1])}, this node uses format {FORMAT}")
    if found is None or not _LINES.fullmatch(data):
        raise CorruptError(path, 0, "the identity cannot be read")
    return int(found[1])


def _read(files: Files, directory: Path) -> Identity:
    path = directory / IDENTITY_NAME
    file = files.open(path)
    try:
        data = file.read(IDENTITY_BYTES_MAX, 0)
    finally:
        file.close()
    number = _format_of(data, path)
    try:
        document = tomllib.loads(data.decode())
        identity = Identity(
            cluster_id=document["cluster_id"],
            node_id=document["node_id"],
            birth=document.get("birth", ""),
            first_members=base64.b64decode(document.get("first_members", "")),
            first_index=document.get("first_index", 0),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(path, 0, "the identity cannot be read") from error
    if data != _render(identity, number):
        raise CorruptError(path, 0, "the identity is damaged")
    return identity
