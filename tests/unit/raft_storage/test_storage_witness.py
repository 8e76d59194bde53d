"""What others told, on a disk that fails as disks fail."""

import errno
from pathlib import Path

import pytest
from tests.support.virtual_disk import Fault, Loss, PowerCut, VirtualDisk

from raftq_cluster.backends.raft.storage.errors import StorageFailedError, StorageFullError
from raftq_cluster.backends.raft.storage.witness import FILE_NAME, WitnessFile

DIRECTORY = Path("/node")
FIRST = {"a" * 16: (1, 10)}
SECOND = {"a" * 16: (1, 10), "b" * 16: (2, 2**63)}
THIRD = {"a" * 16: (7, 3)}


@pytest.fixture
def disk():
    disk = VirtualDisk()
    disk.make_directory(DIRECTORY)
    return disk


def told(disk):
    witness = WitnessFile.open(disk, DIRECTORY)
    witness.close()
    return dict(witness.told)


def write(disk, *states):
    witness = WitnessFile.open(disk, DIRECTORY)
    for state in states:
        witness.write(state)
    witness.close()


def test_nothing_is_kept_and_nothing_is_made_at_first(disk):
    assert told(disk) == {}
    assert disk.names(DIRECTORY) == []


def test_the_last_that_was_written_is_read_back(disk):
    write(disk, FIRST, SECOND)
    assert told(disk) == SECOND
    write(disk, THIRD)
    assert told(disk) == THIRD


@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("seed", range(5))
def test_a_power_cut_at_any_call_leaves_the_old_state_or_the_new_one(loss, seed):
    for cut_at in range(1, 1_000):
        disk = VirtualDisk(seed=seed)
        disk.make_directory(DIRECTORY)
        write(disk, FIRST, SECOND)
        disk.cut_at = disk.calls + cut_at
        try:
            write(disk, THIRD)
        except PowerCut:
            disk.cut_power(loss)
            assert told(disk) in (SECOND, THIRD)
        else:
            break
    assert cut_at > 2


@pytest.mark.parametrize("loss", list(Loss))
def test_a_power_cut_at_any_call_of_the_first_write_leaves_nothing_or_all(loss):
    for cut_at in range(1, 1_000):
        disk = VirtualDisk(seed=cut_at)
        disk.make_directory(DIRECTORY)
        disk.cut_at = disk.calls + cut_at
        try:
            write(disk, FIRST)
        except PowerCut:
            disk.cut_power(loss)
            assert told(disk) in ({}, FIRST)
            write(disk, SECOND)
            assert told(disk) == SECOND
        else:
            break
    assert cut_at > 4


def test_a_damaged_state_gives_way_to_the_one_before(disk):
    write(disk, FIRST, SECOND)
    disk.flip(DIRECTORY / FILE_NAME, 8 * 30)
    assert told(disk) == FIRST


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 16_384, b"\0" * 16_384])
def test_a_file_that_holds_nothing_to_be_read_is_begun_again(disk, content):
    write(disk, FIRST)
    disk.replace(DIRECTORY / FILE_NAME, content)
    assert told(disk) == {}
    write(disk, SECOND)
    assert told(disk) == SECOND


def test_a_full_disk_keeps_what_was_kept_and_the_next_write_succeeds(disk):
    disk.faults.append(Fault("allocate", errno.ENOSPC))
    witness = WitnessFile.open(disk, DIRECTORY)
    with pytest.raises(StorageFullError):
        witness.write(FIRST)
    assert disk.names(DIRECTORY) == []
    witness.write(SECOND)
    witness.close()
    assert told(disk) == SECOND


def test_a_disk_that_fails_is_told(disk):
    disk.faults.append(Fault("sync_data", errno.EIO))
    with pytest.raises(StorageFailedError):
        write(disk, FIRST)
