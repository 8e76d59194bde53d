"""The disk that tests use fails as it says, and is otherwise like the real one."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.virtual_disk import Fault, Loss, PowerCut, VirtualDisk
from tests.support.virtual_inode import PAGE_BYTES

from raftq_cluster.backends.raft.storage.errors import (
    LockedError,
    StorageFailedError,
    StorageFullError,
)
from raftq_cluster.backends.raft.storage.files import DiskFiles, Files

DATA = Path("/data")
A = DATA / "a"


def new_disk(seed: int = 0, **limits: int) -> VirtualDisk:
    disk = VirtualDisk(seed, **limits)
    disk.make_directory(DATA)
    return disk


def settled_file(disk: VirtualDisk, data: bytes) -> None:
    file = disk.create(A)
    file.write(data, 0)
    file.sync()
    disk.sync_directory(DATA)


# --- what both file systems do ---------------------------------------------------------------------


@pytest.fixture(params=["real", "virtual"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Files, Path]:
    files: Files = DiskFiles() if request.param == "real" else VirtualDisk()
    directory = tmp_path / "some" / "where"
    files.make_directory(directory)
    return files, directory


def test_a_file_reads_back_what_was_written(place: tuple[Files, Path]) -> None:
    files, directory = place
    file = files.create(directory / "a")
    file.write(b"hello", 0)
    file.write(b"world", 4090)
    assert (file.read(3, 1), file.read(100, 4092), file.size()) == (b"ell", b"rld", 4095)
    assert file.read(10, 5000) == b""
    assert file.path == directory / "a"
    file.close()
    file.close()


def test_reserved_bytes_read_as_zeros_and_never_shorten_a_file(place: tuple[Files, Path]) -> None:
    files, directory = place
    file = files.create(directory / "a")
    file.allocate(6000)
    assert (file.size(), file.read(9000, 0)) == (6000, bytes(6000))
    file.allocate(100)
    assert file.size() == 6000
    file.close()


def test_what_was_cut_off_reads_as_zeros_when_reserved_again(place: tuple[Files, Path]) -> None:
    files, directory = place
    file = files.create(directory / "a")
    file.write(b"x" * 6000, 0)
    file.truncate(3)
    file.sync_data()
    assert file.read(100, 0) == b"xxx"
    file.allocate(5000)
    file.sync()
    assert file.read(5000, 0) == b"xxx" + bytes(4997)
    file.close()


def test_names_come_and_go(place: tuple[Files, Path]) -> None:
    files, directory = place
    files.create(directory / "b").close()
    files.create(directory / "a").close()
    files.make_directory(directory / "c")
    assert files.names(directory) == ["a", "b", "c"]
    files.rename(directory / "a", directory / "b")
    assert files.names(directory) == ["b", "c"]
    files.unlink(directory / "b")
    files.sync_directory(directory)
    assert files.names(directory) == ["c"]
    assert files.names(directory / "none") == []


def test_a_removed_file_stays_usable_while_it_is_open(place: tuple[Files, Path]) -> None:
    files, directory = place
    file = files.create(directory / "a")
    file.write(b"x", 0)
    files.unlink(directory / "a")
    assert file.read(1, 0) == b"x"
    file.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda files, directory: files.open(directory / "none"),
        lambda files, directory: files.create(directory / "there"),
        lambda files, directory: files.create(directory / "none" / "a"),
        lambda files, directory: files.unlink(directory / "none"),
    ],
)
def test_a_name_that_is_wrong_is_a_failure(
    place: tuple[Files, Path], call: Callable[[Files, Path], object]
) -> None:
    files, directory = place
    files.create(directory / "there").close()
    with pytest.raises(StorageFailedError, match=str(directory)):
        call(files, directory)


def test_a_lock_is_held_by_one_until_it_is_released(place: tuple[Files, Path]) -> None:
    files, directory = place
    lock = files.lock(directory / "lock")
    with pytest.raises(LockedError, match="in use by another node"):
        files.lock(directory / "lock")
    lock.release()
    lock.release()
    files.lock(directory / "lock").release()


# --- how the virtual one fails -----------------------------------------------------------------------


@pytest.mark.parametrize("loss", list(Loss))
def test_what_was_synced_survives_every_loss(loss: Loss) -> None:
    disk = new_disk()
    settled_file(disk, b"kept" * 3000)
    disk.cut_power(loss)
    assert disk.open(A).read(20_000, 0) == b"kept" * 3000


def test_unsynced_bytes_may_all_be_lost_or_all_survive() -> None:
    outcomes = {}
    for loss in (Loss.EVERYTHING, Loss.NOTHING):
        disk = new_disk()
        settled_file(disk, b"old")
        disk.open(A).write(b"new", 0)
        disk.cut_power(loss)
        outcomes[loss] = disk.content(A)
    assert outcomes == {Loss.EVERYTHING: b"old", Loss.NOTHING: b"new"}


@pytest.mark.parametrize(("loss", "unit"), [(Loss.PAGES, 4096), (Loss.SECTORS, 512)])
def test_a_later_write_can_survive_an_earlier_one(loss: Loss, unit: int) -> None:
    seen = set()
    for seed in range(30):
        disk = new_disk(seed)
        settled_file(disk, bytes(2 * unit))
        file = disk.open(A)
        file.write(b"1" * unit, 0)
        file.write(b"2" * unit, unit)
        disk.cut_power(loss)
        content = disk.content(A)
        assert content[:unit] in {bytes(unit), b"1" * unit}
        seen.add((content[0], content[unit]))
    assert seen == {(0, 0), (ord("1"), 0), (0, ord("2")), (ord("1"), ord("2"))}


def test_ordered_loss_keeps_a_prefix_and_tears_the_next_write() -> None:
    torn = 0
    for seed in range(30):
        disk = new_disk(seed)
        settled_file(disk, bytes(4096))
        file = disk.open(A)
        file.write(b"1" * 512, 0)
        file.truncate(2048)
        file.allocate(4096)
        file.write(b"2" * 1024, 1024)
        disk.cut_power(Loss.ORDERED)
        content = disk.content(A)
        assert content[0] or not content[1024]
        torn += content[1024] != content[1536]
    assert torn


def test_a_name_survives_only_the_sync_of_its_directory() -> None:
    disk = new_disk()
    file = disk.create(A)
    file.sync()
    disk.cut_power(Loss.EVERYTHING)
    assert disk.names(DATA) == []


def test_unsynced_names_survive_one_by_one() -> None:
    seen = set()
    for seed in range(40):
        disk = new_disk(seed)
        settled_file(disk, b"a")
        disk.create(DATA / "b")
        disk.rename(A, DATA / "c")
        disk.unlink(DATA / "b")
        disk.cut_power(Loss.SECTORS)
        seen.add(tuple(disk.names(DATA)))
    assert seen == {("a",), ("a", "b"), ("c",), ("b", "c")}


def test_a_killed_process_loses_its_files_and_locks_but_no_bytes() -> None:
    disk = new_disk()
    file = disk.create(A)
    file.write(b"x", 0)
    disk.lock(DATA / "lock")
    disk.kill()
    with pytest.raises(PowerCut):
        file.read(1, 0)
    file.close()
    assert disk.content(A) == b"x"
    disk.lock(DATA / "lock").release()


def test_the_power_fails_before_the_call_that_was_named() -> None:
    disk = new_disk()
    file = disk.create(A)
    disk.cut_at = disk.calls + 2
    file.write(b"1", 0)
    with pytest.raises(PowerCut):
        file.write(b"2", 1)
    with pytest.raises(PowerCut):
        disk.names(DATA)
    disk.cut_power(Loss.NOTHING)
    assert disk.names(DATA) == ["a"]
    assert disk.content(A) == b"1"


def test_the_same_seed_fails_in_the_same_way() -> None:
    contents = []
    for _ in range(2):
        disk = new_disk(7)
        settled_file(disk, bytes(40_000))
        disk.open(A).write(b"x" * 40_000, 0)
        disk.cut_power(Loss.SECTORS)
        contents.append(disk.content(A))
    assert contents[0] == contents[1]
    assert 0 < contents[0].count(b"x") < 40_000


CALLS: dict[str, Callable[[VirtualDisk], object]] = {
    "make_directory": lambda disk: disk.make_directory(DATA / "d"),
    "create": lambda disk: disk.create(DATA / "new"),
    "open": lambda disk: disk.open(A),
    "write": lambda disk: disk.open(A).write(b"x" * 5000, 0),
    "read": lambda disk: disk.open(A).read(1, 0),
    "allocate": lambda disk: disk.open(A).allocate(9000),
    "truncate": lambda disk: disk.open(A).truncate(0),
    "sync_data": lambda disk: disk.open(A).sync_data(),
    "sync": lambda disk: disk.open(A).sync(),
    "rename": lambda disk: disk.rename(A, DATA / "b"),
    "unlink": lambda disk: disk.unlink(A),
    "sync_directory": lambda disk: disk.sync_directory(DATA),
    "lock": lambda disk: disk.lock(DATA / "lock"),
}


@pytest.mark.parametrize("call", CALLS)
def test_any_call_can_fail_once_and_then_works(call: str) -> None:
    disk = new_disk()
    settled_file(disk, b"x")
    disk.faults.append(Fault(call, errno.EIO))
    with pytest.raises(StorageFailedError):
        CALLS[call](disk)
    CALLS[call](disk)


def test_a_fault_waits_for_its_file_and_its_turn() -> None:
    disk = new_disk()
    settled_file(disk, b"x")
    disk.faults.append(Fault("write", errno.EIO, name="/a", after=1))
    disk.create(DATA / "b").write(b"1", 0)
    disk.open(A).write(b"1", 0)
    with pytest.raises(StorageFailedError):
        disk.open(A).write(b"2", 0)


def test_a_full_disk_refuses_and_freed_space_is_given_again() -> None:
    disk = new_disk(capacity_bytes=8192)
    file = disk.create(A)
    file.allocate(8192)
    other = disk.create(DATA / "b")
    with pytest.raises(StorageFullError, match="No space left"):
        other.write(b"x", 0)
    with pytest.raises(StorageFullError):
        file.allocate(8193)
    disk.unlink(A)
    with pytest.raises(StorageFullError):
        other.allocate(1)
    file.close()
    other.write(b"x", 0)


def failed_sync() -> VirtualDisk:
    """``new`` was written over ``old``, and the sync has failed."""
    disk = new_disk()
    settled_file(disk, b"old")
    file = disk.open(A)
    file.write(b"new", 0)
    disk.faults.append(Fault("sync_data", errno.EIO))
    with pytest.raises(StorageFailedError):
        file.sync_data()
    file.close()
    return disk


@pytest.mark.parametrize("loss", list(Loss))
def test_a_sync_after_one_that_failed_succeeds_and_writes_nothing(loss: Loss) -> None:
    disk = failed_sync()
    assert disk.content(A) == b"new"
    disk.open(A).sync_data()
    disk.cut_power(loss)
    assert disk.content(A) == b"old"


def test_what_is_written_again_after_a_failed_sync_is_synced() -> None:
    disk = failed_sync()
    file = disk.open(A)
    file.write(b"n", 0)
    file.sync_data()
    disk.cut_power(Loss.EVERYTHING)
    assert disk.content(A) == b"new"


def test_a_failed_sync_may_have_written_some_of_the_pages() -> None:
    found = set()
    for seed in range(20):
        disk = VirtualDisk(seed)
        disk.make_directory(DATA)
        settled_file(disk, b"o" * 2 * PAGE_BYTES)
        file = disk.open(A)
        file.write(b"n" * 2 * PAGE_BYTES, 0)
        disk.faults.append(Fault("sync_data", errno.EIO))
        with pytest.raises(StorageFailedError):
            file.sync_data()
        disk.cut_power(Loss.NOTHING)
        content = disk.content(A)
        found.add((content[:1], content[-1:]))
    assert found == {(b"o", b"o"), (b"o", b"n"), (b"n", b"o")}


def test_the_cache_may_drop_what_a_failed_sync_has_not_written() -> None:
    found = set()
    for seed in range(20):
        disk = failed_sync()
        disk.rng.seed(seed)
        disk.kill()
        found.add(disk.content(A))
    assert found == {b"old", b"new"}


def test_what_is_on_disk_can_be_damaged_replaced_and_removed() -> None:
    disk = new_disk()
    settled_file(disk, b"\x00\x00")
    disk.flip(A, 9)
    disk.cut_power(Loss.EVERYTHING)
    assert disk.content(A) == b"\x00\x02"
    disk.replace(A, b"other")
    disk.cut_power(Loss.EVERYTHING)
    assert disk.content(A) == b"other"
    disk.remove(A)
    disk.cut_power(Loss.EVERYTHING)
    assert disk.paths() == []


def test_calls_are_counted_by_name() -> None:
    disk = new_disk()
    settled_file(disk, b"x" * 10)
    assert disk.seen["write"] == 1
    assert disk.seen["bytes written"] == 10
    assert disk.calls == 5
