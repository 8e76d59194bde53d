"""Term and vote, and what is known of other nodes' logs: damaged, they are the last state or refused."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from raftq_cluster.backends.raft.storage import votes
from raftq_cluster.backends.raft.storage.errors import CorruptError
from raftq_cluster.backends.raft.storage.numbers import WriteNumbers
from raftq_cluster.backends.raft.storage.votes import VoteFile
from raftq_cluster.backends.raft.storage.witness import WitnessFile
from tests.fuzz.source import Source, damaged
from tests.support.virtual_disk import VirtualDisk

DIRECTORY: Final = Path("/node")
IDENTITY: Final = b"c1/n1"
NAMES: Final = (None, "n1", "n2", "n" * 64, "\u00e9" * 32)
WITNESS: Final = DIRECTORY / "witness"
VOTES: Final = DIRECTORY / votes.FILE_NAME


def fuzz(data: bytes) -> None:
    """Vote some times, damage the file, open it; or open what a checksum alone vouches for."""
    source = Source(data)
    disk = VirtualDisk()
    disk.make_directory(DIRECTORY)
    (_votes, _votes, _crafted, _witness)[source.below(4)](source, disk)


def _opened(disk: VirtualDisk) -> VoteFile:
    return VoteFile.open(disk, DIRECTORY, IDENTITY, WriteNumbers())


def _votes(source: Source, disk: VirtualDisk) -> None:
    kept = VoteFile.create(disk, DIRECTORY, IDENTITY, WriteNumbers())
    for _ in range(source.below(5)):
        kept.set(kept.term + source.below(3), source.pick(NAMES))
        if (file := kept.begin_sync()) is not None:
            file.sync_data()
        kept.end_sync()
    last = (kept.term, kept.voted_for)
    written = disk.content(VOTES)
    disk.replace(VOTES, damaged(source, written))
    try:
        found = _opened(disk)
    except CorruptError:
        assert disk.content(VOTES) != written, "refused, and undamaged"
        return
    assert (found.term, found.voted_for) == last
    again = _opened(disk)  # what it has repaired
    assert (again.term, again.voted_for) == last


def _crafted(source: Source, disk: VirtualDisk) -> None:
    content = b""
    for slot in range(4):
        if source.below(3):
            fields = votes._STATE.pack(
                source.pick((b"RAFTQVT1", b"RAFTQVT2")),
                source.pick((slot, 1, 2**64 - 1)),
                source.pick((0, 5, 2**64 - 1)),
                source.pick((0, 1, 3, 65, 66, 255)),
                source.blob(64),
            )
            crc = zlib.crc32(fields, zlib.crc32(IDENTITY))
            content += (fields + votes._CRC.pack(crc)).ljust(4096, b"\0")
        else:
            content += source.blob(100).ljust(4096, b"\0")
    disk.replace(VOTES, content)
    try:
        found = _opened(disk)
    except CorruptError:
        return
    assert 0 <= found.term < 2**64
    assert len((found.voted_for or "").encode()) <= votes.NAME_BYTES_MAX


def _witness(source: Source, disk: VirtualDisk) -> None:
    kept = WitnessFile.open(disk, DIRECTORY)
    told: list[dict[str, tuple[int, int]]] = [{}]
    told += [{f"b{source.below(3)}": (source.below(99), number)} for number in range(4)]
    count = 1 + source.below(4)
    for state in told[1 : 1 + count]:
        kept.write(state)
    disk.replace(WITNESS, damaged(source, disk.content(WITNESS)))
    found = WitnessFile.open(disk, DIRECTORY)
    assert found.told in told[: 1 + count]


def seeds() -> Iterator[bytes]:
    """One of each kind, with each kind of damage to it."""
    for mode in (0, 3):
        for what in range(6):
            yield bytes((mode, 3, 1, 1, 2, 2, 1, 3, 0, 0, 40, what, 2, 1, 9, 9))
    yield bytes((2, *((1, 0, 0, 1, 2, 3, 2, 0x6E, 0x31) * 4)))
