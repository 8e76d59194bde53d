"""Whose a data directory is: any bytes are an identity as it was written, or refused in one sentence."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from raftq_cluster.backends.raft.storage.data_dir import IDENTITY_NAME, DataDir, Identity
from raftq_cluster.backends.raft.storage.errors import CorruptError, ForeignError
from tests.fuzz.source import Source, damaged
from tests.support.virtual_disk import VirtualDisk

DIRECTORY: Final = Path("/node")
PATH: Final = DIRECTORY / IDENTITY_NAME
BIRTH: Final = "0123456789abcdef"
IDENTITIES: Final = (
    Identity(cluster_id="", node_id="n1", birth=BIRTH),
    Identity(cluster_id="c1", node_id="n1", birth=BIRTH, first_members=b"\x92\1\2", first_index=7),
)


def written(identity: Identity) -> bytes:
    """The bytes of an identity's file."""
    disk = VirtualDisk()
    directory = DataDir.open(disk, DIRECTORY)
    directory.establish(identity)
    return disk.content(PATH)


def fuzz(data: bytes) -> None:
    """Open what a damaged identity says, or these bytes, with their checksum set right or not."""
    source = Source(data)
    mode = source.below(4)
    if mode < 2:
        genuine = IDENTITIES[mode]
        content = damaged(source, written(genuine))
    else:
        content = source.rest()
        if mode == 3:
            content += b"crc32 = %d\n" % zlib.crc32(content)
    disk = VirtualDisk()
    disk.make_directory(DIRECTORY)
    disk.replace(PATH, content)
    try:
        found = DataDir.open(disk, DIRECTORY).identity
    except (CorruptError, ForeignError):
        assert mode > 1 or content != written(genuine), "refused, and undamaged"
        return
    assert found is not None
    if mode < 2:
        assert found == genuine
        assert content == written(genuine)
    assert found.first_index is not True
    assert DataDir.open(_with(content), DIRECTORY).identity == found


def _with(content: bytes) -> VirtualDisk:
    disk = VirtualDisk()
    disk.make_directory(DIRECTORY)
    disk.replace(PATH, content)
    return disk


def seeds() -> Iterator[bytes]:
    """Both kinds of identities, damaged and as they are."""
    for number, identity in enumerate(IDENTITIES):
        yield bytes((number, 0, 0, 70, 0, 3))
        yield bytes((2,)) + written(identity)
        head, _, _ = written(identity).partition(b"crc32")
        yield bytes((3,)) + head
    yield b"\3format = 1\ncluster_id = 'c'\nnode_id = 'n'\n"
    yield b"\2format = 9\n"
