"""A snapshot that comes in chunks from a leader: installed as it was sent, or refused with nothing changed.

Records are those of a real state, some of their fields replaced; checksums are right, or bytes are damaged on the way.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from raftq_cluster.backends.raft.commands import encode_members
from raftq_cluster.backends.raft.messages import SnapshotChunk
from raftq_cluster.backends.raft.peer_api import PeerError
from raftq_cluster.backends.raft.storage.snapshots import SnapshotStore
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.snapshots import decode_chunk, encode_chunk
from raftq_cluster.core import operations as op
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.restoring import restore
from raftq_cluster.core.state import MachineError
from tests.fuzz.source import Source, damaged
from tests.support.snapshot_pair import DIRECTORY, MEMBERS, TERM, Follower
from tests.support.virtual_disk import VirtualDisk

INDEX: Final = 50
VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    0,
    1,
    2,
    3,
    7,
    2**53,
    2**63,
    "",
    "/q",
    "a",
    b"",
    b"\xff",
    (),
    (1,),
    ((),),
    {},
    1.5,
)
NUMBERS: Final = (0, 1, 5, 50, 51, 2**63, 2**64 - 1)


def _records() -> list[tuple[Any, ...]]:
    machine = Machine()
    inserts = [op.Insert("/q", id_, value=b"1", serial=id_ == "b") for id_ in "abc"]
    inserts.append(op.Insert("/later", "d", op.DELAY, 60_000))
    docs = op.DocParts(inserts=(op.DocInsert("n", "k", "", "doc", value=b"{}"),))
    machine.apply(
        INDEX, 1_800_000_000_000, 1,
        [[
            op.Configure(op.CONFIGURE, "", b"", "/q*", "fifo", None, 1_000),
            op.Modify(op.MODIFY, "key", b"m", "w", inserts, (), (), ()),
            op.Transact(op.TRANSACT, "key2", b"m", "w", (), (), (), (), (), (), docs),
            op.Claim(op.CLAIM, "key3", b"m", "w", ("/q",), 1_000, 2, False),
            op.Modify(op.MODIFY, "key4", b"m", "w", (), (), (op.Target("none", 1),), ()),
        ]],
    )  # fmt: skip
    return [record for chunk in machine.snapshot(100) for record in chunk]


RECORDS: Final = tuple(_records())


def file_of(chunks: list[bytes], config: bytes) -> bytes:
    """The bytes of a snapshot with these chunks."""
    disk = VirtualDisk()
    disk.make_directory(DIRECTORY)
    writer = SnapshotStore(disk, DIRECTORY).begin(INDEX, 3, config)
    for chunk in chunks:
        writer.write(chunk)
    writer.finish()
    return disk.content(disk.paths()[0])


def changed(source: Source) -> list[bytes]:
    """Chunks of records, some of which say something else."""
    records: list[Any] = [list(record) for record in RECORDS]
    for _ in range(source.below(4)):
        at = source.below(len(records))
        what = source.below(8)
        if what == 6:
            records.insert(at, records[source.below(len(records))])
        elif what == 7:
            del records[at : at + 1]
            if not records:
                break
        else:
            _put(source, records[at])
    step = 1 + source.below(20)
    chunks = [encode_chunk(records[start : start + step]) for start in range(0, len(records), step)]
    if source.below(8) == 7:
        chunks.append(source.blob(30) or b"\xc1")
    return chunks


def _put(source: Source, record: list[Any]) -> None:
    place = source.below(len(record) + 1)
    value = source.pick(VALUES)
    if place == len(record):
        record.append(value)
    elif type(record[place]) in (tuple, list) and source.below(3):
        record[place] = list(record[place])
        if record[place]:
            _put(source, record[place])
    else:
        record[place] = value


def fuzz(data: bytes) -> None:
    """Send a changed snapshot."""
    asyncio.run(_install(Source(data)))


async def _install(source: Source) -> None:
    chunks, config = changed(source), encode_members(MEMBERS)
    if source.below(8) == 7:
        config = source.blob(30)
    genuine = raw = file_of(chunks, config)
    if source.below(3) == 2:
        raw = damaged(source, raw)
    follower = Follower(VirtualDisk())
    before, names = follower.replica.machine.digest(), follower.names()
    await _send(source, follower, raw)
    is_installed = follower.commit == INDEX
    assert not [sentence for sentence in follower.failures if "cannot be read" not in sentence], (
        follower.failures
    )
    machine = _restored(chunks)
    if is_installed:
        assert raw == genuine
        assert machine is not None
        assert follower.replica.machine.digest() == machine.digest()
        if len({task.seq for task in machine.tasks.values()}) < len(machine.tasks):
            return  # one number for two tasks: of good shape, and a lie
        later_ms = min(machine.now_ms + 10**9, 2**53)
        claim = op.Claim(op.CLAIM, "key3", b"m", "w", ("/q", "/later"), 1, 9, True)
        machine.apply(machine.index + 1, later_ms, 1, [[op.Tick(), claim]])  # it can go on
        machine.digest()
    else:
        assert follower.replica.machine.digest() == before
        assert set(follower.names()) <= {*names, *_partial(follower)}
    await follower.receiver.close()


async def _send(source: Source, follower: Follower, raw: bytes) -> None:
    step = source.pick((1_000_000, 700, 300))
    offsets = list(range(0, len(raw), step))
    for _ in range(source.below(3)):
        offsets.insert(source.below(len(offsets) + 1), source.pick((0, 1, step, len(raw) - 1)))
    for offset in (*offsets, *range(0, len(raw), step)):
        size = len(raw) if source.below(16) != 15 else source.pick(NUMBERS)
        piece = raw[offset : offset + step]
        chunk = SnapshotChunk(TERM, INDEX, 3, size, offset, piece)
        try:
            follower.receiver.on_chunk("n1", chunk)
        except PeerError:
            assert not piece or offset + len(piece) > size
        await follower.rest()
        if follower.failures:
            return


def _partial(follower: Follower) -> list[str]:
    return [name for name in follower.names() if name.endswith(".new")]


def _restored(chunks: list[bytes]) -> Machine | None:
    try:
        return restore(decode_chunk(chunk) for chunk in chunks)
    except (MachineError, CodecError):
        return None


def seeds() -> Iterator[bytes]:
    """As it is, damaged, and with a field of each record replaced."""
    yield bytes((0, 5))
    yield bytes((0, 5, 0, 0, 2, 0, 0, 99, 0, 3, 1))
    yield bytes((0, 5, 0, 0, 0, 1, 2, 1, 1, 0, 3))
    for at in range(len(RECORDS)):
        for place in (1, 3):
            yield bytes((1, at, 0, place, 1, 4 + place, 2, 0, 0, 0))
            yield bytes((1, at, 0, place, 0, 16, 2, 0, 0, 0))
