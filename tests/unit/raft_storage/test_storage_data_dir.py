"""The data directory: one node's, one format's, one process's."""

import errno
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.virtual_disk import Fault, Loss, PowerCut, VirtualDisk

from raftq_cluster.backends.raft.storage.data_dir import (
    IDENTITY_NAME,
    LOCK_NAME,
    REPORT_NAME,
    DataDir,
    Identity,
)
from raftq_cluster.backends.raft.storage.errors import (
    CorruptError,
    DivergedError,
    ForeignError,
    LockedError,
    StorageError,
    StorageFailedError,
    StorageFullError,
)
from raftq_cluster.backends.raft.storage.files import DiskFiles

DATA = Path("/data")
N1 = Identity(cluster_id="c1", node_id="n1")
BIRTH = "00112233445566ff"
NEW = Identity(cluster_id="", node_id="n1", birth=BIRTH)
FORMED = replace(NEW, cluster_id="c1", first_members=b"\x00members\xff", first_index=7)


def established(identity: Identity = N1) -> VirtualDisk:
    disk = VirtualDisk()
    DataDir.open(disk, DATA).establish(identity)
    disk.kill()
    return disk


def test_a_new_directory_is_nobodys_until_it_is_given_an_identity() -> None:
    disk = VirtualDisk()
    directory = DataDir.open(disk, DATA)
    assert directory.identity is None
    directory.establish(N1)
    assert directory.identity == N1


@pytest.mark.parametrize("loss", list(Loss))
def test_an_identity_survives_a_power_cut(loss: Loss) -> None:
    disk = VirtualDisk()
    DataDir.open(disk, DATA).establish(N1)
    disk.cut_power(loss)
    assert DataDir.open(disk, DATA).identity == N1


@pytest.mark.parametrize("loss", list(Loss))
def test_a_first_start_can_be_cut_off_anywhere(loss: Loss) -> None:
    for cut_at in range(1, 8):
        disk = VirtualDisk(cut_at)
        disk.cut_at = cut_at
        with suppress(PowerCut):
            DataDir.open(disk, DATA).establish(N1)
        disk.cut_power(loss)
        directory = DataDir.open(disk, DATA)
        assert directory.identity in {None, N1}
        directory.establish(N1)


def test_the_same_identity_is_welcome_again() -> None:
    DataDir.open(established(), DATA).establish(N1)


@pytest.mark.parametrize("other", [("c2", "n1"), ("c1", "n2")])
def test_another_nodes_directory_is_refused_in_one_sentence(other: tuple[str, str]) -> None:
    directory = DataDir.open(established(), DATA)
    with pytest.raises(ForeignError) as refused:
        directory.establish(Identity(cluster_id=other[0], node_id=other[1]))
    assert str(refused.value) == (
        f"/data: belongs to node n1 of cluster c1, not to node {other[1]} of cluster {other[0]}"
    )
    assert directory.identity == N1


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ü", "x" * 65, 'a"', "a\n"])
def test_an_id_has_a_length_and_an_alphabet(name: str) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        Identity(cluster_id="c1", node_id=name)
    if name:
        with pytest.raises(ValueError, match="is not an id"):
            Identity(cluster_id=name, node_id="n1")


@pytest.mark.parametrize("birth", ["1", "0" * 15, "0" * 17, "000000000000000G", '000000000000000"'])
def test_a_birth_is_sixteen_hexadecimal_digits(birth: str) -> None:
    with pytest.raises(ValueError, match="is not a birth"):
        Identity(cluster_id="c1", node_id="n1", birth=birth)


def test_nodes_have_different_checksum_seeds() -> None:
    assert N1.seed != Identity(cluster_id="c1", node_id="n2").seed


def test_two_nodes_cannot_share_a_directory() -> None:
    disk = established()
    first = DataDir.open(disk, DATA)
    with pytest.raises(LockedError, match="in use by another node"):
        DataDir.open(disk, DATA)
    first.close()
    DataDir.open(disk, DATA).close()


def test_a_real_directory_is_locked_and_private(tmp_path: Path) -> None:
    path = tmp_path / "node" / "data"
    first = DataDir.open(DiskFiles(), path)
    first.establish(N1)
    assert path.stat().st_mode & 0o777 == 0o700
    with pytest.raises(LockedError):
        DataDir.open(DiskFiles(), path)
    first.close()
    again = DataDir.open(DiskFiles(), path)
    assert again.identity == N1
    again.close()


def test_a_directory_with_other_things_in_it_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letter.txt").touch()
    with pytest.raises(ForeignError, match=r"holds 'letter.txt' but no node.toml"):
        DataDir.open(DiskFiles(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_directory_whose_identity_is_gone_is_refused() -> None:
    disk = established()
    disk.make_directory(DATA / "journal")
    disk.remove(DATA / IDENTITY_NAME)
    with pytest.raises(ForeignError, match=r"holds 'journal' but no node\.toml"):
        DataDir.open(disk, DATA)


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(StorageError, match="data"):
        DataDir.open(DiskFiles(), tmp_path / "data")


def test_a_newer_format_is_refused_and_named() -> None:
    disk = established()
    data = disk.content(DATA / IDENTITY_NAME)
    disk.replace(DATA / IDENTITY_NAME, data.replace(b"format = 2", b"format = 3"))
    with pytest.raises(ForeignError, match="has format 3, this node uses format 2"):
        DataDir.open(disk, DATA)


def of_format_1() -> VirtualDisk:
    """A directory as nodes wrote it that ran alone."""
    disk = established()
    fields = (
        "# raftq data directory; never edit or copy\n"
        'format = 1\ncluster_id = "c1"\nnode_id = "n1"\n'
    )
    text = f"{fields}crc32 = {zlib.crc32(fields.encode())}\n"
    disk.replace(DATA / IDENTITY_NAME, text.encode())
    return disk


@pytest.mark.parametrize("loss", list(Loss))
def test_a_directory_of_format_1_gets_a_birth_and_stays_what_it_was(loss: Loss) -> None:
    disk = of_format_1()
    directory = DataDir.open(disk, DATA)
    assert directory.identity == N1
    born = replace(N1, birth=BIRTH)
    directory.establish(born)
    disk.cut_power(loss)
    again = DataDir.open(disk, DATA)
    assert again.identity == born
    assert born.seed == N1.seed


def test_a_directory_of_format_1_is_read_even_if_nothing_is_written() -> None:
    disk = of_format_1()
    before = disk.content(DATA / IDENTITY_NAME)
    DataDir.open(disk, DATA).establish(N1)
    assert disk.content(DATA / IDENTITY_NAME) == before


@pytest.mark.parametrize("loss", list(Loss))
def test_a_birth_comes_before_the_cluster_and_is_never_drawn_again(loss: Loss) -> None:
    disk = VirtualDisk()
    DataDir.open(disk, DATA).establish(NEW)
    disk.cut_power(loss)
    directory = DataDir.open(disk, DATA)
    assert directory.identity == NEW
    assert not NEW.is_formed
    with pytest.raises(ForeignError, match="belongs to node n1, not to node n1 of cluster c1"):
        directory.establish(replace(FORMED, birth="f" * 16))
    directory.establish(FORMED)
    disk.cut_power(loss)
    assert DataDir.open(disk, DATA).identity == FORMED


@pytest.mark.parametrize(
    "change",
    [
        {"cluster_id": "c2"},
        {"cluster_id": ""},
        {"node_id": "n2"},
        {"birth": "f" * 16},
        {"birth": ""},
        {"first_members": b"others"},
        {"first_index": 8},
    ],
)
def test_nothing_of_a_formed_nodes_identity_ever_changes(change: dict[str, Any]) -> None:
    directory = DataDir.open(established(FORMED), DATA)
    with pytest.raises(ForeignError):
        directory.establish(replace(FORMED, **change))
    assert directory.identity == FORMED


@pytest.mark.parametrize("loss", list(Loss))
def test_joining_can_be_cut_off_anywhere(loss: Loss) -> None:
    for cut_at in range(1, 8):
        disk = established(NEW)
        directory = DataDir.open(disk, DATA)
        disk.cut_at = disk.calls + cut_at
        with suppress(PowerCut):
            directory.establish(FORMED)
        disk.cut_power(loss)
        assert DataDir.open(disk, DATA).identity in {NEW, FORMED}


def test_no_byte_of_the_identity_can_change_unnoticed() -> None:
    disk = established()
    path = DATA / IDENTITY_NAME
    for offset in range(len(disk.content(path))):
        disk.flip(path, 8 * offset + offset % 7)
        with pytest.raises((CorruptError, ForeignError)):
            DataDir.open(disk, DATA)
        disk.flip(path, 8 * offset + offset % 7)
    assert DataDir.open(disk, DATA).identity == N1


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"format = 1", b"format = 1\ncluster_id = 3\nnode_id = 'n1'", b"x" * 10_000,
     b"format = " + b"[" * 30_000, b"a." * 30_000 + b"b = 1", b"format = " + b"9" * 5_000],
)  # fmt: skip
def test_an_identity_that_makes_no_sense_is_corruption(data: bytes) -> None:
    disk = established()
    disk.replace(DATA / IDENTITY_NAME, data)
    with pytest.raises(CorruptError, match=r"node\.toml"):
        DataDir.open(disk, DATA)


def test_a_directory_that_was_refused_is_not_kept_locked() -> None:
    disk = established()
    good = disk.content(DATA / IDENTITY_NAME)
    disk.replace(DATA / IDENTITY_NAME, b"")
    with pytest.raises(CorruptError):
        DataDir.open(disk, DATA)
    disk.replace(DATA / IDENTITY_NAME, good)
    DataDir.open(disk, DATA)


@pytest.mark.parametrize(
    ("call", "error", "refusal"),
    [
        ("write", errno.ENOSPC, StorageFullError),
        ("sync", errno.EIO, StorageFailedError),
        ("rename", errno.EIO, StorageFailedError),
    ],
)
def test_an_identity_that_cannot_be_written_leaves_the_directory_new(
    call: str, error: int, refusal: type[StorageError]
) -> None:
    disk = VirtualDisk()
    directory = DataDir.open(disk, DATA)
    disk.faults.append(Fault(call, error))
    with pytest.raises(refusal):
        directory.establish(N1)
    assert directory.identity is None
    directory.establish(N1)
    assert disk.names(DATA) == [LOCK_NAME, IDENTITY_NAME]


# --- a node whose state was not that of the others ------------------------------------------------


@pytest.mark.parametrize("loss", list(Loss))
def test_nobody_starts_on_a_condemned_directory_until_the_report_is_removed(loss: Loss) -> None:
    disk = established()
    assert DataDir.open(disk, DATA).condemn("why") == DATA / REPORT_NAME
    disk.cut_power(loss)
    for _ in range(2):  # and the refusal keeps no lock
        with pytest.raises(DivergedError, match=REPORT_NAME):
            DataDir.open(disk, DATA)
    assert disk.content(DATA / REPORT_NAME) == b"why"
    disk.unlink(DATA / REPORT_NAME)
    assert DataDir.open(disk, DATA).identity == N1


@pytest.mark.parametrize("loss", list(Loss))
def test_a_report_is_there_whole_or_not_at_all(loss: Loss) -> None:
    for cut_at in range(1, 8):
        disk = established()
        directory = DataDir.open(disk, DATA)
        disk.cut_at = disk.calls + cut_at
        with suppress(PowerCut):
            directory.condemn("why")
        disk.cut_power(loss)
        try:
            DataDir.open(disk, DATA).condemn("again")
        except DivergedError:
            assert disk.content(DATA / REPORT_NAME) == b"why"
        else:
            assert disk.content(DATA / REPORT_NAME) == b"again"
