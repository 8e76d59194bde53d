"""One journal on a virtual disk, with the write numbers of its node."""

from pathlib import Path

from raftq_cluster.backends.raft.storage.journal import Journal
from raftq_cluster.backends.raft.storage.numbers import WriteNumbers
from raftq_cluster.backends.raft.storage.records import (
    MARK_BYTES,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
)
from raftq_cluster.backends.raft.storage.segments import Place
from tests.support.virtual_disk import Loss, VirtualDisk

DIRECTORY = Path("/journal")
SEGMENT_BYTES = 4096
SPARE_BYTES = MARK_BYTES
ROOM_BYTES = SEGMENT_BYTES - SEGMENT_HEADER_BYTES - MARK_BYTES - SPARE_BYTES
"""What one batch may take of an empty segment."""


class JournalNode:
    """A journal, its disk and its write numbers."""

    def __init__(self, disk: VirtualDisk | None = None) -> None:
        self.disk = disk or VirtualDisk()
        self.disk.make_directory(DIRECTORY)
        self.open()

    def open(self) -> None:
        self.numbers = WriteNumbers()
        self.journal = Journal.open(
            Place(self.disk, DIRECTORY, b"c1/n1"),
            self.numbers,
            may_start=True,
            segment_bytes=SEGMENT_BYTES,
        )

    def append(self, *entries: bytes, term: int = 1) -> None:
        for data in entries:
            self.journal.append(term, data)

    def fill_segment(self) -> None:
        """Leave no room in the segment for another record."""
        self.append(b"f" * (ROOM_BYTES - RECORD_HEADER_BYTES))

    def sync(self) -> None:
        number = self.numbers.last
        files, directories = self.journal.begin_sync()
        for file in files:
            file.sync_data()
        for directory in directories:
            self.disk.sync_directory(directory)
        self.journal.end_sync(number)

    def restart(self, loss: Loss | None = None) -> None:
        if loss is None:
            self.disk.kill()
        else:
            self.disk.cut_power(loss)
        self.open()

    def data(self) -> list[bytes]:
        journal = self.journal
        return [d for _, d in journal.entries(journal.first_index, journal.last_index + 1)]

    def segments(self) -> list[int]:
        return [int(path.stem) for path in self.disk.paths() if path.parent == DIRECTORY]


def record_bytes(*entries: bytes) -> int:
    return MARK_BYTES + sum(RECORD_HEADER_BYTES + len(entry) for entry in entries)


def filled(segments: int) -> JournalNode:
    """Entry n fills segment n; all is durable."""
    node = JournalNode()
    for _ in range(segments):
        node.fill_segment()
        node.sync()
    return node
