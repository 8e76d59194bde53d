"""A file system in memory that fails as disks fail, and repeats itself exactly for the same seed.

It implements the storage layer's ``Files``. It keeps two images: the live one that the process reads, and
the durable one that a power cut leaves. What was not synced survives a cut in the worst ways that a
``Loss`` allows; a name survives only after its directory was synced. No threads, no clock.

It assumes what the storage assumes: a sector (512 bytes) is written whole or not at all, and bytes that
were reserved but never written read as zeros.
"""

import enum
import errno
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from raftq_cluster.backends.raft.storage.errors import (
    LockedError,
    StorageFailedError,
    storage_error,
    sync_error,
)
from tests.support.virtual_inode import (
    PAGE_BYTES,
    SECTOR_BYTES,
    ZEROS,
    Inode,
    cut,
    get,
    put,
    redo,
    sectors,
)


class PowerCut(BaseException):  # an event, not an error: nothing may catch it as one
    """The process is gone. Raised by every call from the cut on."""


class Loss(enum.Enum):
    """What a power cut does to bytes and names that were not synced."""

    EVERYTHING = "everything unsynced is lost"
    NOTHING = "everything unsynced survives"
    ORDERED = "writes survive in their order up to one that is torn, names likewise"
    PAGES = "any pages and names survive, others do not"
    SECTORS = "any sectors and names survive, others do not"


@dataclass
class Fault:
    """A call that fails. ``call`` is a method of ``File`` or ``Files``; ``name`` a part of the path."""

    call: str
    error: int
    name: str = ""
    times: int = 1
    after: int = 0  # matching calls that still succeed


@dataclass
class Directory:
    live: dict[str, Inode] = field(default_factory=dict)
    durable: dict[str, Inode] = field(default_factory=dict)
    unsynced: list[tuple[str, str, Inode]] = field(default_factory=list)


class VirtualFile:
    """An open file. Usable until it is closed or its process is gone."""

    def __init__(self, disk: "VirtualDisk", path: Path, inode: Inode) -> None:
        self.path = path
        self._disk = disk
        self._inode = inode
        self._life = disk.life
        self._open = True
        disk.opened.append(inode)

    def _check(self) -> None:
        if self._life != self._disk.life:
            raise PowerCut
        assert self._open, f"{self.path} is used after it was closed"

    def write(self, data: bytes, offset: int) -> None:
        self._check()
        fault = self._disk.call("write", self.path, sized=len(data))
        if fault:  # any first part of it may be there
            pieces = [piece for _, piece in sectors(offset, data)]
            data = b"".join(pieces[: self._disk.rng.randrange(len(pieces) + 1)])
        try:
            self._disk.charge(self._inode, offset, len(data))
        except OSError as error:
            raise storage_error(error, self.path, "writing") from error
        self._inode.write(offset, bytes(data))
        if fault:
            raise storage_error(fault, self.path, "writing") from fault

    def read(self, size: int, offset: int) -> bytes:
        self._check()
        if fault := self._disk.call("read", self.path):
            raise storage_error(fault, self.path, "reading") from fault
        return get(self._inode.live, offset, min(size, max(self._inode.live_size - offset, 0)))

    def size(self) -> int:
        self._check()
        return self._inode.live_size

    def allocate(self, size: int) -> None:
        self._check()
        fault = self._disk.call("allocate", self.path)
        try:
            if fault:
                raise fault
            self._disk.charge(self._inode, 0, size)
        except OSError as error:
            raise storage_error(error, self.path, f"reserving {size} bytes") from error
        self._inode.live_size = max(self._inode.live_size, size)
        self._inode.unsynced.append(("extend", size, b""))

    def truncate(self, size: int) -> None:
        self._check()
        if fault := self._disk.call("truncate", self.path):
            raise storage_error(fault, self.path, "truncating") from fault
        cut(self._inode.live, size)
        self._inode.live_size = size
        self._inode.reserved = {p for p in self._inode.reserved if p * PAGE_BYTES < size}
        self._inode.unsynced.append(("truncate", size, b""))

    def sync_data(self) -> None:
        self._sync("sync_data")

    def sync(self) -> None:
        self._sync("sync")

    def _sync(self, call: str) -> None:
        self._check()
        if fault := self._disk.call(call, self.path):
            self._inode.fail_sync(self._disk.rng)
            raise sync_error(fault, self.path) from fault
        self._inode.sync()

    def close(self) -> None:
        if self._life == self._disk.life and self._open:
            self._open = False
            self._disk.opened.remove(self._inode)


class VirtualLock:
    def __init__(self, disk: "VirtualDisk", path: Path) -> None:
        self._disk = disk
        self._path = path

    def release(self) -> None:
        self._disk.locked.discard(self._path)


class VirtualDisk:
    """The disk of one node. ``calls`` counts calls that change it, ``seen`` all calls by name.

    ``cut_at``: the power fails just before the call of that number (from 1); then ``restart``.
    """

    def __init__(self, seed: int = 0, *, capacity_bytes: int | None = None) -> None:
        self.rng = random.Random(seed)
        self.capacity_bytes = capacity_bytes
        self.room_bytes = sys.maxsize  # what it says is free; ``capacity_bytes`` is what is
        self.cut_at: int | None = None
        self.calls = 0
        self.seen: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.life = 0
        self.locked: set[Path] = set()
        self.opened: list[Inode] = []
        self.before_call: Callable[[str, Path], None] = lambda _call, _path: None
        self._directories: dict[Path, Directory] = {}
        self._dead = False

    # --- what the storage calls ----------------------------------------------------------------

    def make_directory(self, path: Path) -> None:
        if fault := self.call("make_directory", path):
            raise storage_error(fault, path, "making the directory") from fault
        for directory in (*reversed(path.parents), path):
            self._directories.setdefault(directory, Directory())

    def names(self, directory: Path) -> list[str]:
        self.call("names", directory)
        names = set(self._directories[directory].live) if directory in self._directories else set()
        names |= {path.name for path in self._directories if path.parent == directory != path}
        return sorted(names)

    def create(self, path: Path) -> VirtualFile:
        directory = self._directory(path)
        fault = self.call("create", path)
        if not fault and path.name in directory.live:
            fault = FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if fault:
            raise storage_error(fault, path, "opening") from fault
        inode = directory.live[path.name] = Inode()
        directory.unsynced.append(("set", path.name, inode))
        return VirtualFile(self, path, inode)

    def open(self, path: Path) -> VirtualFile:
        fault = self.call("open", path)
        inode = self._directory(path).live.get(path.name)
        if fault or inode is None:
            error = fault or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            raise storage_error(error, path, "opening") from error
        return VirtualFile(self, path, inode)

    def rename(self, source: Path, target: Path) -> None:
        assert source.parent == target.parent
        directory = self._directory(source)
        if fault := self.call("rename", source):
            raise storage_error(fault, source, f"renaming to {target.name}") from fault
        inode = directory.live[target.name] = directory.live.pop(source.name)
        directory.unsynced.append((f"rename {source.name}", target.name, inode))

    def free_bytes(self, path: Path) -> int:
        del path
        return self.room_bytes

    def unlink(self, path: Path) -> None:
        directory = self._directory(path)
        fault = self.call("unlink", path)
        if not fault and path.name not in directory.live:
            fault = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if fault:
            raise storage_error(fault, path, "removing") from fault
        directory.unsynced.append(("remove", path.name, directory.live.pop(path.name)))

    def sync_directory(self, path: Path) -> None:
        if fault := self.call("sync_directory", path):
            raise sync_error(fault, path) from fault
        directory = self._directories[path]
        directory.durable = dict(directory.live)
        directory.unsynced.clear()

    def lock(self, path: Path) -> VirtualLock:
        if fault := self.call("lock", path):
            raise storage_error(fault, path, "locking") from fault
        if path in self.locked:
            raise LockedError(path, "the data directory is in use by another node")
        self._directory(path).live.setdefault(path.name, Inode())
        self.locked.add(path)
        return VirtualLock(self, path)

    def _directory(self, path: Path) -> Directory:
        if path.parent not in self._directories:
            raise StorageFailedError(path, "there is no such directory")
        return self._directories[path.parent]

    # --- accounting ------------------------------------------------------------------------------

    _READING = frozenset({"names", "open", "read", "lock"})

    def call(self, call: str, path: Path, *, sized: int = 0) -> OSError | None:
        """Count a call; cut the power if it is its turn; tell the error that it shall have."""
        if self._dead:
            raise PowerCut
        if call not in self._READING:
            self.calls += 1
            if self.calls == self.cut_at:
                self._dead = True
                raise PowerCut
        self.before_call(call, path)
        self.seen[call] += 1
        if sized:
            self.seen["bytes written"] += sized
        for fault in self.faults:
            if fault.call == call and fault.name in str(path) and fault.times > 0:
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return OSError(fault.error, os.strerror(fault.error))
        return None

    def charge(self, inode: Inode, offset: int, size: int) -> None:
        """Take space for a part of a file."""
        wanted = range(offset // PAGE_BYTES, -(-(offset + size) // PAGE_BYTES))
        if inode.reserved.issuperset(wanted):
            return
        new = set(wanted) - inode.reserved
        capacity_bytes = self.capacity_bytes
        if capacity_bytes is not None:
            self._refuse_above(capacity_bytes - len(new) * PAGE_BYTES)
        inode.reserved |= new

    def _refuse_above(self, limit_bytes: int) -> None:
        if self.used_bytes() > limit_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def used_bytes(self) -> int:
        """Space taken by files that have a name or are open."""
        inodes = {id(inode): inode for _, inode in self._named()}
        inodes |= {id(inode): inode for inode in self.opened}
        return sum(len(inode.reserved) for inode in inodes.values()) * PAGE_BYTES

    def _named(self) -> Iterator[tuple[Path, Inode]]:
        for path, directory in self._directories.items():
            for name, inode in sorted(directory.live.items()):
                yield path / name, inode

    # --- what tests do -----------------------------------------------------------------------------

    def kill(self) -> None:
        """End the process. The system's cache stays: the next life reads what this one wrote.

        It may have dropped pages that it takes for written, though no sync has written them.
        """
        self._end_life()
        for _, inode in self._named():
            inode.evict({page for page in sorted(inode.lost) if self.rng.random() < 0.5})

    def cut_power(self, loss: Loss) -> None:
        """Cut the power (or carry out a cut that ``cut_at`` began), and let it come back."""
        self._end_life()
        for path in sorted(self._directories):
            self._lose_names(self._directories[path], loss)
        for _, inode in sorted(self._named(), key=lambda named: named[0]):
            self._lose_bytes(inode, loss)

    def _end_life(self) -> None:
        self.life += 1
        self._dead = False
        self.cut_at = None
        self.locked.clear()
        self.opened.clear()
        self.faults.clear()

    def _lose_names(self, directory: Directory, loss: Loss) -> None:
        names = dict(directory.durable)
        for kind, name, inode in self._survivors(directory.unsynced, loss):
            if kind == "remove":
                names.pop(name, None)
                continue
            names.pop(kind.removeprefix("rename "), None)
            names[name] = inode
        directory.live, directory.durable = names, dict(names)
        directory.unsynced.clear()

    def _survivors(
        self, unsynced: list[tuple[str, str, Inode]], loss: Loss
    ) -> list[tuple[str, str, Inode]]:
        if loss is Loss.EVERYTHING:
            return []
        if loss is Loss.NOTHING:
            return unsynced
        if loss is Loss.ORDERED:
            return unsynced[: self.rng.randint(0, len(unsynced))]
        return [change for change in unsynced if self.rng.random() < 0.5]

    def _lose_bytes(self, inode: Inode, loss: Loss) -> None:
        inode.evict(set(inode.lost))
        if loss is Loss.ORDERED:
            self._replay_some(inode)
        elif loss is not Loss.NOTHING:
            unit = {Loss.EVERYTHING: 0, Loss.PAGES: PAGE_BYTES, Loss.SECTORS: SECTOR_BYTES}[loss]
            self._mix(inode, unit)
        inode.sync()

    def _replay_some(self, inode: Inode) -> None:
        pages, size = dict(inode.durable), inode.durable_size
        kept = self.rng.randint(0, len(inode.unsynced))
        for kind, offset, data in inode.unsynced[:kept]:
            size = redo(pages, size, kind, offset, data)
        for kind, offset, data in inode.unsynced[kept : kept + 1]:
            if kind == "write":
                for start, piece in sectors(offset, data):
                    if self.rng.random() < 0.5:
                        size = redo(pages, size, kind, start, piece)
        inode.live, inode.live_size = pages, size

    def _mix(self, inode: Inode, unit: int) -> None:
        """Let each unit be old or new, and the size too. Unit 0: all is old."""
        old, new = inode.durable, inode.live
        sizes = (inode.durable_size, inode.live_size)
        inode.live_size = self.rng.choice(sizes) if unit else inode.durable_size
        inode.live = dict(old)
        for page in sorted(old.keys() | new.keys()) if unit else ():
            if old.get(page) == new.get(page):
                continue
            for start in range(0, PAGE_BYTES, unit):
                if self.rng.random() < 0.5:
                    piece = new.get(page, ZEROS)[start : start + unit]
                    put(inode.live, page * PAGE_BYTES + start, piece)
        cut(inode.live, inode.live_size)

    def flip(self, path: Path, bit: int) -> None:
        """Damage one bit of what is on disk."""
        inode = self._directory(path).live[path.name]
        page, start = divmod(bit // 8, PAGE_BYTES)
        for pages in (inode.live, inode.durable):
            data = bytearray(pages.get(page, ZEROS))
            data[start] ^= 1 << bit % 8
            pages[page] = bytes(data)

    def content(self, path: Path) -> bytes:
        """All bytes of a file as the process reads them."""
        inode = self._directory(path).live[path.name]
        return get(inode.live, 0, inode.live_size)

    def replace(self, path: Path, data: bytes) -> None:
        """Put another content on disk under a name, as an operator would."""
        inode = Inode()
        put(inode.live, 0, data)
        inode.live_size = inode.durable_size = len(data)
        inode.durable = dict(inode.live)
        inode.reserved = set(inode.live)
        directory = self._directory(path)
        directory.live[path.name] = directory.durable[path.name] = inode

    def remove(self, path: Path) -> None:
        """Remove a name from the disk, as an operator would."""
        directory = self._directory(path)
        del directory.live[path.name]
        directory.durable.pop(path.name, None)

    def paths(self) -> list[Path]:
        """All files, sorted."""
        return sorted(path for path, _ in self._named())
