"""Term and vote: never forgotten, never invented, never half written."""

import errno
import json
import struct
import zlib
from pathlib import Path

import pytest
from tests.support.virtual_disk import Fault, Loss, VirtualDisk

from raftq_cluster.backends.raft.storage.errors import (
    CorruptError,
    StorageFailedError,
    StorageFullError,
)
from raftq_cluster.backends.raft.storage.numbers import WriteNumbers
from raftq_cluster.backends.raft.storage.votes import FILE_NAME, NAME_BYTES_MAX, VoteFile

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "raft_storage.json").read_text("utf-8")
)
DATA = Path("/data")
PATH = DATA / FILE_NAME
BLOCK_BYTES = 4096
STATE_BYTES = 93


def created() -> tuple[VirtualDisk, VoteFile]:
    disk = VirtualDisk()
    disk.make_directory(DATA)
    return disk, VoteFile.create(disk, DATA, b"c1/n1", WriteNumbers())


def reopened(disk: VirtualDisk, identity: bytes = b"c1/n1") -> VoteFile:
    return VoteFile.open(disk, DATA, identity, WriteNumbers())


def sync(votes: VoteFile) -> None:
    file = votes.begin_sync()
    if file:
        file.sync_data()
    votes.end_sync()


def state(votes: VoteFile) -> tuple[int, str | None]:
    return votes.term, votes.voted_for


def test_a_new_node_has_term_0_and_no_vote() -> None:
    disk, votes = created()
    assert state(votes) == (0, None)
    disk.cut_power(Loss.EVERYTHING)
    assert state(reopened(disk)) == (0, None)


@pytest.mark.parametrize("voted_for", [None, "", "n1", "n" * NAME_BYTES_MAX, "knöten"])
def test_a_synced_vote_survives_a_power_cut(voted_for: str | None) -> None:
    disk, votes = created()
    votes.set(3, voted_for)
    assert state(votes) == (3, voted_for)
    sync(votes)
    disk.cut_power(Loss.EVERYTHING)
    assert state(reopened(disk)) == (3, voted_for)


def test_a_vote_is_written_only_when_a_sync_begins() -> None:
    disk, votes = created()
    votes.set(3, "n1")
    before = disk.calls
    votes.set(4, "n2")
    assert disk.calls == before
    disk.cut_power(Loss.NOTHING)
    assert state(reopened(disk)) == (0, None)


def test_every_change_takes_a_number_and_a_repetition_none() -> None:
    disk, _ = created()
    numbers = WriteNumbers()
    votes = VoteFile.open(disk, DATA, b"c1/n1", numbers)
    assert (votes.set(1, "n1"), votes.set(2, None), votes.set(2, None), votes.set(2, "n1")) == (
        1,
        2,
        2,
        3,
    )
    assert numbers.last == 3


def test_a_vote_that_did_not_change_is_not_written_again() -> None:
    _, votes = created()
    votes.set(1, "n1")
    sync(votes)
    assert votes.begin_sync() is None
    votes.set(2, "n1")
    votes.end_sync()
    assert votes.begin_sync() is not None


@pytest.mark.parametrize(("term", "name"), [(2, "n1"), (3, "n" * (NAME_BYTES_MAX + 1))])
def test_a_term_never_goes_back_and_a_name_has_a_limit(term: int, name: str) -> None:
    _, votes = created()
    votes.set(3, "n2")
    with pytest.raises(ValueError, match="no vote for"):
        votes.set(term, name)
    assert state(votes) == (3, "n2")


@pytest.mark.parametrize("loss", list(Loss))
def test_a_vote_being_written_costs_none_that_was_durable(loss: Loss) -> None:
    for seed in range(10):
        disk, votes = created()
        disk.rng.seed(seed)
        for term in (1, 2, 3):
            votes.set(term, "n1")
            sync(votes)
        votes.set(4, "n2")
        votes.begin_sync()
        disk.cut_power(loss)
        assert state(reopened(disk)) in {(3, "n1"), (4, "n2")}


def test_a_vote_read_back_after_a_kill_is_durable() -> None:
    disk, votes = created()
    votes.set(1, "n2")
    votes.begin_sync()
    disk.kill()
    assert state(reopened(disk)) == (1, "n2")
    disk.cut_power(Loss.EVERYTHING)
    assert state(reopened(disk)) == (1, "n2")


@pytest.mark.parametrize("block", range(4))
def test_one_damaged_block_costs_nothing(block: int) -> None:
    for states in range(1, 4):
        disk, votes = created()
        for term in range(1, states + 1):
            votes.set(term, f"n{term}")
            sync(votes)
        data = bytearray(disk.content(PATH))
        data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES] = bytes(BLOCK_BYTES)
        disk.kill()
        disk.replace(PATH, bytes(data))
        assert state(reopened(disk)) == (states, f"n{states}")


def test_a_damaged_copy_is_repaired_at_once() -> None:
    disk, votes = created()
    votes.set(1, "n1")
    sync(votes)
    disk.kill()
    slot = 0  # the second write
    disk.flip(PATH, 8 * (slot * 2 * BLOCK_BYTES + 20))
    reopened(disk)
    disk.cut_power(Loss.EVERYTHING)
    disk.flip(PATH, 8 * (slot * 2 * BLOCK_BYTES + BLOCK_BYTES + 20))
    assert state(reopened(disk)) == (1, "n1")


@pytest.mark.parametrize("slot", [0, 1])
def test_a_slot_without_a_good_copy_is_corruption(slot: int) -> None:
    disk, votes = created()
    votes.set(1, "n1")
    sync(votes)
    disk.kill()
    for copy in (0, 1):
        disk.flip(PATH, 8 * ((slot * 2 + copy) * BLOCK_BYTES + 20))
    with pytest.raises(CorruptError, match="the term and vote written here are lost") as corrupt:
        reopened(disk)
    assert (corrupt.value.path, corrupt.value.offset) == (PATH, slot * 2 * BLOCK_BYTES)


def test_no_bit_of_a_state_can_change_unnoticed() -> None:
    disk, votes = created()
    votes.set(1, "n1")
    sync(votes)
    disk.kill()
    for bit in range(8 * STATE_BYTES):
        for copy in (0, 1):
            disk.flip(PATH, 8 * copy * BLOCK_BYTES + bit)
        with pytest.raises(CorruptError):
            reopened(disk)
        for copy in (0, 1):
            disk.flip(PATH, 8 * copy * BLOCK_BYTES + bit)
    assert state(reopened(disk)) == (1, "n1")


@pytest.mark.parametrize("size", [0, 50, BLOCK_BYTES])
def test_a_vote_file_cut_short_is_corruption(size: int) -> None:
    disk, _ = created()
    disk.kill()
    disk.replace(PATH, disk.content(PATH)[:size])
    with pytest.raises(CorruptError):
        reopened(disk)


def test_another_nodes_vote_file_is_corruption() -> None:
    disk, _ = created()
    disk.kill()
    with pytest.raises(CorruptError):
        reopened(disk, b"c1/n2")


def test_a_vote_file_of_the_first_version_can_be_read() -> None:
    disk, votes = created()
    votes.set(5, "n1")
    sync(votes)
    states = [disk.content(PATH)[block * BLOCK_BYTES :][:STATE_BYTES].hex() for block in (0, 2)]
    assert states == VECTORS["votes"]["hex"]


def test_a_creation_that_was_cut_off_is_repeated() -> None:
    disk = VirtualDisk()
    disk.make_directory(DATA)
    disk.replace(DATA / f"{FILE_NAME}.new", b"half")
    votes = VoteFile.create(disk, DATA, b"c1/n1", WriteNumbers())
    assert state(votes) == (0, None)
    assert disk.names(DATA) == [FILE_NAME]


def test_a_vote_that_finds_the_disk_full_is_written_later() -> None:
    disk, votes = created()
    votes.set(1, "n1")
    disk.faults.append(Fault("write", errno.ENOSPC))
    with pytest.raises(StorageFullError):
        votes.begin_sync()
    sync(votes)
    disk.cut_power(Loss.EVERYTHING)
    assert state(reopened(disk)) == (1, "n1")


def test_a_failing_disk_is_told() -> None:
    disk, votes = created()
    votes.set(1, "n1")
    disk.faults.append(Fault("write", errno.EIO))
    with pytest.raises(StorageFailedError):
        votes.begin_sync()


def test_a_closed_vote_file_gives_its_descriptor_back() -> None:
    disk, votes = created()
    votes.close()
    assert disk.opened == []


def test_a_name_that_nobody_has_written_is_damage_whatever_its_checksum_says() -> None:
    disk, _ = created()
    fields = struct.pack("<8sQQB64s", b"RAFTQVT1", 1, 3, 3, b"\xff\xfe")
    crc = zlib.crc32(fields, zlib.crc32(b"c1/n1")).to_bytes(4, "little")
    disk.kill()
    disk.replace(PATH, (fields + crc).ljust(4096, b"\0") * 4)
    with pytest.raises(CorruptError):
        reopened(disk)
