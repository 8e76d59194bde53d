"""Snapshots: whole or absent, and no byte of them wrong."""

import errno
import json
from pathlib import Path

import pytest
from tests.support.virtual_disk import Fault, Loss, PowerCut, VirtualDisk

from raftq_cluster.backends.raft.storage.errors import (
    CorruptError,
    ForeignError,
    StorageFailedError,
    StorageFullError,
)
from raftq_cluster.backends.raft.storage.snapshots import (
    CHUNK_BYTES_MAX,
    CONFIG_BYTES_MAX,
    ROOM_FOR_LOG_BYTES,
    ReceivedSnapshot,
    SnapshotInfo,
    SnapshotReader,
    SnapshotStore,
    SnapshotWriter,
)

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "raft_storage.json").read_text("utf-8")
)
SNAPSHOTS = Path("/snapshots")
CHUNKS = [b"first chunk", b"x" * 5000, b"last"]


def new_disk() -> VirtualDisk:
    disk = VirtualDisk()
    disk.make_directory(SNAPSHOTS)
    return disk


def begun(disk: VirtualDisk, index: int = 42) -> SnapshotWriter:
    writer = SnapshotStore(disk, SNAPSHOTS).begin(index, 3, b"members")
    for chunk in CHUNKS:
        writer.write(chunk)
    return writer


def taken(index: int = 42) -> VirtualDisk:
    disk = new_disk()
    begun(disk, index).finish()
    return disk


def latest(disk: VirtualDisk) -> SnapshotReader:
    reader = SnapshotStore(disk, SNAPSHOTS).latest()
    assert reader is not None
    return reader


def read(disk: VirtualDisk) -> list[bytes]:
    reader = latest(disk)
    try:
        return list(reader.chunks())
    finally:
        reader.close()


def test_a_directory_without_snapshots_has_none() -> None:
    assert SnapshotStore(new_disk(), SNAPSHOTS).latest() is None


def test_a_finished_snapshot_survives_a_power_cut_as_it_was_written() -> None:
    disk = taken()
    disk.cut_power(Loss.EVERYTHING)
    reader = latest(disk)
    assert (reader.info.index, reader.info.term, reader.config) == (42, 3, b"members")
    assert list(reader.chunks()) == CHUNKS
    assert list(reader.chunks()) == CHUNKS


def test_a_snapshot_may_be_empty() -> None:
    disk = new_disk()
    SnapshotStore(disk, SNAPSHOTS).begin(0, 0, b"").finish()
    assert (read(disk), latest(disk).config) == ([], b"")


@pytest.mark.parametrize("loss", list(Loss))
def test_an_unfinished_snapshot_does_not_exist(loss: Loss) -> None:
    disk = new_disk()
    begun(disk).sync()
    disk.cut_power(loss)
    assert SnapshotStore(disk, SNAPSHOTS).latest() is None
    assert disk.paths() == []


def test_the_newest_snapshot_is_the_one_of_the_highest_index() -> None:
    disk = taken(9)
    begun(disk, 100).finish()
    begun(disk, 20).finish()
    assert latest(disk).info.index == 100


def test_pruning_leaves_the_newest() -> None:
    disk = taken(9)
    begun(disk, 100).finish()
    reader = latest(disk)
    SnapshotStore(disk, SNAPSHOTS).prune()
    assert len(disk.paths()) == 1
    assert list(reader.chunks()) == CHUNKS


def test_a_snapshot_that_is_pruned_while_it_is_read_can_be_read_to_its_end() -> None:
    disk = taken(9)
    reader = latest(disk)
    begun(disk, 100).finish()
    SnapshotStore(disk, SNAPSHOTS).prune()
    assert list(reader.chunks()) == CHUNKS


def test_a_snapshot_may_be_taken_again() -> None:
    disk = taken()
    begun(disk).finish()
    assert read(disk) == CHUNKS


def test_an_aborted_snapshot_leaves_nothing() -> None:
    disk = new_disk()
    begun(disk).abort()
    assert (disk.paths(), disk.opened) == ([], [])


def test_the_bytes_of_a_snapshot_can_be_sent() -> None:
    disk = taken()
    reader = latest(disk)
    raw = b"".join(reader.read_at(offset, 1000) for offset in range(0, reader.size, 1000))
    assert raw == disk.content(disk.paths()[0])
    other = new_disk()
    other.replace(disk.paths()[0], raw)
    assert read(other) == CHUNKS


def test_a_writer_tells_how_much_it_has_written() -> None:
    disk = new_disk()
    writer = begun(disk)
    before = writer.size
    writer.write(b"x" * 1000)
    assert 1000 < writer.size - before < 1020


@pytest.mark.parametrize("size", [0, CHUNK_BYTES_MAX + 1])
def test_a_chunk_has_limits(size: int) -> None:
    with pytest.raises(ValueError, match="not within"):
        begun(new_disk()).write(bytes(size))


def test_a_config_has_a_limit() -> None:
    with pytest.raises(ValueError, match="passes"):
        SnapshotStore(new_disk(), SNAPSHOTS).begin(1, 1, bytes(CONFIG_BYTES_MAX + 1))


# --- damage ------------------------------------------------------------------------------------------


def test_no_byte_of_a_snapshot_can_change_unnoticed() -> None:
    disk = taken()
    disk.kill()
    path = disk.paths()[0]
    for offset in range(len(disk.content(path))):
        disk.flip(path, 8 * offset + offset % 8)
        with pytest.raises(CorruptError) as corrupt:
            read(disk)
        assert corrupt.value.path == path
        disk.flip(path, 8 * offset + offset % 8)
    assert disk.opened == []
    assert read(disk) == CHUNKS


def test_a_snapshot_cut_short_anywhere_is_corruption() -> None:
    disk = taken()
    path = disk.paths()[0]
    data = disk.content(path)
    for size in (*range(200), *range(5000, len(data))):
        disk.replace(path, data[:size])
        with pytest.raises(CorruptError):
            read(disk)


def test_a_snapshot_with_bytes_behind_its_end_is_corruption() -> None:
    disk = taken()
    path = disk.paths()[0]
    disk.replace(path, disk.content(path) + b"\0")
    with pytest.raises(CorruptError):
        read(disk)


def test_a_snapshot_that_lacks_bytes_in_the_middle_is_corruption() -> None:
    disk = taken()
    path = disk.paths()[0]
    data = disk.content(path)
    disk.replace(path, data[:100] + data[200:])
    with pytest.raises(CorruptError, match="the trailer is not where it belongs"):
        read(disk)


def test_chunks_that_changed_places_are_corruption() -> None:
    disk = new_disk()
    writer = SnapshotStore(disk, SNAPSHOTS).begin(1, 1, b"")
    start = writer.size
    writer.write(b"aaaa")
    stop = writer.size
    writer.write(b"bbbb")
    writer.finish()
    path = disk.paths()[0]
    data = disk.content(path)
    size = stop - start
    swapped = data[:start] + data[stop:][:size] + data[start:stop] + data[stop + size :]
    disk.replace(path, swapped)
    with pytest.raises(CorruptError, match="not those that were written"):
        read(disk)


def test_a_damaged_newest_snapshot_is_never_replaced_by_an_older_one() -> None:
    disk = taken(9)
    begun(disk, 100).finish()
    disk.kill()
    disk.flip(disk.paths()[1], 8 * 3)
    with pytest.raises(CorruptError):
        SnapshotStore(disk, SNAPSHOTS).latest()


def test_a_snapshot_under_another_ones_name_is_corruption() -> None:
    disk = taken(9)
    path = disk.paths()[0]
    other = path.with_name(path.name.replace("9", "8"))
    disk.rename(path, other)
    with pytest.raises(CorruptError, match="the head is damaged"):
        SnapshotStore(disk, SNAPSHOTS).latest()


def test_files_that_are_no_snapshots_are_left_alone() -> None:
    disk = new_disk()
    for name in ("1-1.snap", "notes.txt", "a-b.snap"):
        disk.replace(SNAPSHOTS / name, b"hello")
    store = SnapshotStore(disk, SNAPSHOTS)
    assert store.latest() is None
    store.prune()
    assert len(disk.paths()) == 3


def test_a_newer_versions_snapshot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftq_cluster.backends.raft.storage.snapshots.VERSION", 2)
    disk = taken()
    monkeypatch.undo()
    with pytest.raises(ForeignError, match="has format 2"):
        latest(disk)


def test_a_snapshot_of_the_first_version_can_be_read() -> None:
    disk = new_disk()
    writer = SnapshotStore(disk, SNAPSHOTS).begin(42, 3, b"members")
    writer.write(b"one")
    writer.write(b"two")
    writer.finish()
    (path,) = disk.paths()
    assert path.name == VECTORS["snapshot"]["name"]
    assert disk.content(path).hex() == VECTORS["snapshot"]["hex"]


# --- a bad disk --------------------------------------------------------------------------------------


def test_a_full_disk_refuses_a_snapshot_and_keeps_the_last() -> None:
    disk = taken(9)
    disk.faults.append(Fault("write", errno.ENOSPC))
    with pytest.raises(StorageFullError):
        begun(disk, 100)
    assert (len(disk.paths()), len(disk.opened)) == (1, 0)
    assert latest(disk).info.index == 9


def test_a_snapshot_that_runs_out_of_space_can_be_aborted() -> None:
    disk = new_disk()
    writer = begun(disk)
    disk.faults.append(Fault("write", errno.ENOSPC))
    with pytest.raises(StorageFullError):
        writer.write(b"more")
    writer.abort()
    assert disk.paths() == []


@pytest.mark.parametrize("call", ["sync", "rename", "sync_directory"])
def test_a_snapshot_that_cannot_be_sealed_is_a_failure(call: str) -> None:
    disk = new_disk()
    writer = begun(disk)
    disk.faults.append(Fault(call, errno.EIO))
    with pytest.raises(StorageFailedError):
        writer.finish()


def test_aborting_behind_a_failure_to_seal_keeps_what_has_its_name() -> None:
    disk = new_disk()
    writer = begun(disk)
    disk.faults.append(Fault("sync_directory", errno.EIO))
    with pytest.raises(StorageFailedError):
        writer.finish()
    writer.abort()
    assert read(disk) == CHUNKS


# --- from another node -------------------------------------------------------------------------------


def sent(index: int = 42) -> bytes:
    disk = taken(index)
    return disk.content(disk.paths()[0])


def received(disk: VirtualDisk, raw: bytes, info: SnapshotInfo | None = None) -> ReceivedSnapshot:
    store = SnapshotStore(disk, SNAPSHOTS)
    snapshot = store.receive(info or SnapshotInfo(42, 3), len(raw))
    for offset in range(0, len(raw), 700):
        snapshot.write(raw[offset : offset + 700])
    return snapshot


def test_what_another_node_sent_is_a_snapshot_once_it_is_published() -> None:
    disk = new_disk()
    snapshot = received(disk, sent())
    reader = snapshot.open()
    assert list(reader.chunks()) == CHUNKS
    reader.close()
    assert SnapshotStore(new_disk(), SNAPSHOTS).latest() is None
    snapshot.publish()
    disk.cut_power(Loss.EVERYTHING)
    assert read(disk) == CHUNKS


@pytest.mark.parametrize("loss", list(Loss))
def test_a_received_snapshot_does_not_exist_before_it_is_published(loss: Loss) -> None:
    disk = new_disk()
    received(disk, sent()).sync()
    disk.cut_power(loss)
    assert SnapshotStore(disk, SNAPSHOTS).latest() is None
    assert disk.paths() == []


@pytest.mark.parametrize("loss", list(Loss))
def test_a_power_cut_while_a_received_snapshot_is_published_leaves_all_of_it_or_nothing(
    loss: Loss,
) -> None:
    for cut in range(1, 20):
        disk = taken(9)
        snapshot = received(disk, sent())
        disk.cut_at = disk.calls + cut
        try:
            snapshot.publish()
        except PowerCut:
            pass
        else:
            assert cut > 3
            return
        disk.cut_power(loss)
        assert latest(disk).info.index in {9, 42}
        assert read(disk) == CHUNKS
    raise AssertionError("publishing never ends")


def test_a_damaged_byte_on_the_way_is_found() -> None:
    raw = sent()
    for place in range(0, len(raw), 13):
        disk = new_disk()
        snapshot = received(disk, raw[:place] + bytes((raw[place] ^ 1,)) + raw[place + 1 :])
        with pytest.raises(CorruptError):
            list(snapshot.open().chunks())


def test_damaged_heads_leave_no_file_open() -> None:
    disk = new_disk()
    snapshot = received(disk, b"no snapshot at all")
    for _ in range(3):
        with pytest.raises(CorruptError):
            snapshot.open()
    snapshot.abort()
    assert (disk.opened, disk.paths()) == ([], [])


def test_a_received_snapshot_must_be_the_one_that_was_announced() -> None:
    snapshot = received(new_disk(), sent(), SnapshotInfo(43, 3))
    with pytest.raises(CorruptError, match="the head is damaged"):
        snapshot.open()


def test_a_received_snapshot_takes_no_more_than_was_announced() -> None:
    snapshot = received(new_disk(), sent())
    with pytest.raises(ValueError, match="behind its end"):
        snapshot.write(b"x")


def test_a_snapshot_that_would_take_the_room_of_the_log_is_not_received() -> None:
    disk = new_disk()
    disk.room_bytes = ROOM_FOR_LOG_BYTES + 1_000
    store = SnapshotStore(disk, SNAPSHOTS)
    store.receive(SnapshotInfo(42, 3), 1_000).abort()
    with pytest.raises(StorageFullError, match="no room for 1001 bytes"):
        store.receive(SnapshotInfo(42, 3), 1_001)
    assert (disk.opened, disk.paths()) == ([], [])


def test_a_received_snapshot_and_an_own_one_of_the_same_entry_do_not_meet() -> None:
    disk = new_disk()
    store = SnapshotStore(disk, SNAPSHOTS)
    own = store.begin(42, 3, b"members")
    one, other = (store.receive(SnapshotInfo(42, 3), 100) for _ in range(2))
    one.abort()
    other.abort()
    own.finish()
    one.abort()
    assert read(disk) == []
