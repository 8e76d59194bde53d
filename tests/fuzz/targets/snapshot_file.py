"""A snapshot file: with any byte changed it is refused; what checksums alone vouch for is read or refused."""

import zlib
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

from raftq_cluster.backends.raft.storage import snapshots
from raftq_cluster.backends.raft.storage.errors import CorruptError, ForeignError
from raftq_cluster.backends.raft.storage.snapshots import SnapshotInfo, SnapshotStore
from tests.fuzz.source import Source, damaged
from tests.support.virtual_disk import VirtualDisk

DIRECTORY: Final = Path("/snapshots")
INFO: Final = SnapshotInfo(50, 3)
PATH: Final = DIRECTORY / snapshots._name(INFO)
NUMBERS: Final = (0, 1, 2, 7, 2**20, 2**20 + 1, 2**31, 2**32 - 1)


def written(chunks: list[bytes], config: bytes) -> bytes:
    """The bytes of a snapshot."""
    disk = VirtualDisk()
    disk.make_directory(DIRECTORY)
    writer = SnapshotStore(disk, DIRECTORY).begin(INFO.index, INFO.term, config)
    for chunk in chunks:
        writer.write(chunk)
    writer.finish()
    return disk.content(PATH)


def read(content: bytes) -> tuple[bytes, list[bytes]] | None:
    """Config and chunks, None if it is refused."""
    disk = VirtualDisk()
    disk.make_directory(DIRECTORY)
    disk.replace(PATH, content)
    try:
        reader = SnapshotStore(disk, DIRECTORY).latest()
        assert reader is not None
        return reader.config, list(reader.chunks())
    except (CorruptError, ForeignError):
        return None


def fuzz(data: bytes) -> None:
    """Write, damage and read; or read what is made up with good checksums."""
    source = Source(data)
    if source.below(3) == 2:
        _crafted(source)
        return
    chunks = [source.blob(200) or b"c" for _ in range(source.below(5))]
    config = source.blob(20)
    genuine = written(chunks, config)
    assert read(genuine) == (config, chunks)
    content = damaged(source, genuine)
    assert read(content) == ((config, chunks) if content == genuine else None)


def _crafted(source: Source) -> None:
    config = source.blob(20)
    size = len(config) if source.below(3) else source.pick(NUMBERS)
    version = source.pick((1, 1, 1, 0, 2, 2**32 - 1))
    head = snapshots._HEAD.pack(b"RAFTQSNP", version, size, INFO.index, INFO.term) + config
    digest = blake2b(head, digest_size=16)
    body = head + zlib.crc32(head).to_bytes(4, "little")
    count = source.below(4)
    for _ in range(count):
        chunk = source.blob(50)
        length = len(chunk) if source.below(3) else source.pick(NUMBERS)
        frame = snapshots._FRAME.pack(length, zlib.crc32(chunk))
        digest.update(frame)
        body += frame + chunk
    end = len(body) if source.below(3) else source.pick((*NUMBERS, 2**64 - 1))
    told = count if source.below(3) else source.pick((*NUMBERS, 2**64 - 1))
    trailer = snapshots._TRAILER.pack(b"RAFTQEND", told, end, digest.digest())
    trailer += zlib.crc32(trailer).to_bytes(4, "little")
    found = read(body + snapshots._FRAME.pack(0, source.below(2)) + trailer)
    if found is not None:
        assert found[0] == config
        assert written(found[1], config) == body + bytes(8) + trailer


def seeds() -> Iterator[bytes]:
    """A snapshot with each kind of damage, and one that is made up."""
    for what in range(6):
        yield bytes((0, 2, 3, 65, 66, 67, 2, 70, 71, 1, 90, 0, 0, 60, what, 5, 1, 1))
    yield bytes((2, 2, 1, 1, 1, 0, 2, 3, 65, 66, 67, 1, 1, 70, 1, 1, 1, 0))
