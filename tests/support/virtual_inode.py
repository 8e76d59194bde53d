"""One file of a virtual disk: what a process reads of it, and what a power cut leaves.

Pages are cached as Linux does it: a sync writes those that were touched, and one that fails forgets which.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

PAGE_BYTES = 4096
SECTOR_BYTES = 512
ZEROS = bytes(PAGE_BYTES)


@dataclass
class Inode:
    """One file: pages that were never written are absent and read as zeros."""

    live: dict[int, bytes] = field(default_factory=dict)
    durable: dict[int, bytes] = field(default_factory=dict)
    live_size: int = 0
    durable_size: int = 0
    reserved: set[int] = field(default_factory=set)
    unsynced: list[tuple[str, int, bytes]] = field(default_factory=list)
    dirty: set[int] = field(default_factory=set)  # pages that the next sync writes
    lost: set[int] = field(default_factory=set)  # pages that no sync writes: one has failed on them

    def write(self, offset: int, data: bytes) -> None:
        """Change the live image; every page that is touched is written by the next sync, whole."""
        put(self.live, offset, data)
        self.live_size = max(self.live_size, offset + len(data))
        self.unsynced.append(("write", offset, data))
        pages = range(offset // PAGE_BYTES, -(-(offset + len(data)) // PAGE_BYTES))
        self.dirty.update(pages)
        self.lost.difference_update(pages)

    def sync(self) -> None:
        """What the process reads is on disk, but for pages that are thought to be there already."""
        durable = dict(self.live)
        self._as_on_disk(durable, self.lost)
        self.durable, self.durable_size = durable, self.live_size
        self.unsynced.clear()
        self.dirty.clear()

    def fail_sync(self, rng: random.Random) -> None:
        """Some pages are not written, and all are clean: as Linux has it, no later sync writes them.

        Source: Rebello and others, "Can applications recover from fsync failures?", 2020, section 3.
        """
        lost = {page for page in sorted(self.dirty) if rng.random() < 0.5} or set(self.dirty)
        for page in self.dirty - lost:
            if page in self.live:
                self.durable[page] = self.live[page]
        self.lost |= lost
        self.unsynced.clear()
        self.dirty.clear()

    def evict(self, pages: set[int]) -> None:
        """Have lost pages read from the disk again, where something older is."""
        self._as_on_disk(self.live, pages)
        self.lost -= pages

    def _as_on_disk(self, image: dict[int, bytes], pages: set[int]) -> None:
        if not pages:
            return
        for page in pages:
            image.pop(page, None)
            if page in self.durable:
                image[page] = self.durable[page]
        cut(image, self.live_size)


def put(pages: dict[int, bytes], offset: int, data: bytes) -> None:
    while data:
        page, start = divmod(offset, PAGE_BYTES)
        piece = data[: PAGE_BYTES - start]
        old = pages.get(page, ZEROS)
        pages[page] = old[:start] + piece + old[start + len(piece) :]
        offset, data = offset + len(piece), data[len(piece) :]


def cut(pages: dict[int, bytes], size: int) -> None:
    last, kept = divmod(size, PAGE_BYTES)
    for page in [page for page in pages if page > last]:
        del pages[page]
    if last in pages:
        pages[last] = pages[last][:kept].ljust(PAGE_BYTES, b"\0")


def get(pages: dict[int, bytes], offset: int, size: int) -> bytes:
    pieces = []
    while size > 0:
        page, start = divmod(offset, PAGE_BYTES)
        piece = pages.get(page, ZEROS)[start : start + size]
        pieces.append(piece)
        offset, size = offset + len(piece), size - len(piece)
    return b"".join(pieces)


def redo(pages: dict[int, bytes], size: int, kind: str, offset: int, data: bytes) -> int:
    if kind == "write":
        put(pages, offset, data)
        return max(size, offset + len(data))
    if kind == "extend":
        return max(size, offset)
    cut(pages, offset)
    return offset


def sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        stop = SECTOR_BYTES - offset % SECTOR_BYTES
        yield offset, data[:stop]
        offset, data = offset + len(data[:stop]), data[stop:]
