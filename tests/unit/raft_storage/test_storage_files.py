"""The real file layer: permissions, short writes, and what the operating system's errors become."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from raftq_cluster.backends.raft.storage.errors import (
    StorageError,
    StorageFailedError,
    StorageFullError,
)
from raftq_cluster.backends.raft.storage.files import DiskFiles


def failing(error: int) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(error, os.strerror(error))

    return fail


def test_directories_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    files = DiskFiles()
    directory = tmp_path / "data"
    files.make_directory(directory)
    files.create(directory / "a").close()
    files.lock(directory / "lock").release()
    modes = [
        path.stat().st_mode & 0o777 for path in (directory, directory / "a", directory / "lock")
    ]
    assert modes == [0o700, 0o600, 0o600]


def test_a_directory_that_was_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(0o755)
    DiskFiles().make_directory(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_write_that_the_system_cuts_short_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, data[:3], offset))
    file = DiskFiles().create(tmp_path / "a")
    file.write(b"0123456789", 5)
    assert file.read(100, 5) == b"0123456789"
    file.close()


def test_a_read_that_the_system_cuts_short_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = DiskFiles().create(tmp_path / "a")
    file.write(b"0123456789", 0)
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: whole(fd, min(size, 3), offset))
    assert file.read(8, 1) == b"12345678"
    file.close()


FILE_CALLS = {
    "pwrite": lambda file: file.write(b"x", 0),
    "pread": lambda file: file.read(1, 0),
    "fstat": lambda file: file.size(),
    "posix_fallocate": lambda file: file.allocate(10),
    "ftruncate": lambda file: file.truncate(0),
    "fdatasync": lambda file: file.sync_data(),
    "fsync": lambda file: file.sync(),
}


@pytest.mark.parametrize("call", FILE_CALLS)
def test_an_error_of_a_file_names_the_file(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = DiskFiles().create(tmp_path / "a")
    monkeypatch.setattr(os, call, failing(errno.EIO))
    with pytest.raises(StorageFailedError, match=f"{tmp_path}/a: .* failed: Input/output error"):
        FILE_CALLS[call](file)
    monkeypatch.undo()
    file.close()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_want_of_space_is_told_from_failure(
    error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = DiskFiles().create(tmp_path / "a")
    monkeypatch.setattr(os, "posix_fallocate", failing(error))
    with pytest.raises(StorageFullError) as full:
        file.allocate(10)
    assert (full.value.code, full.value.retryable, full.value.path) == (
        "store_full",
        True,
        tmp_path / "a",
    )
    file.close()


def test_a_sync_that_finds_no_space_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = DiskFiles().create(tmp_path / "a")
    monkeypatch.setattr(os, "fdatasync", failing(errno.ENOSPC))
    with pytest.raises(StorageFailedError) as failed:
        file.sync_data()
    assert not failed.value.retryable
    file.close()


def test_an_error_of_a_directory_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = DiskFiles()
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    for call in (
        lambda: files.make_directory(file / "below"),
        lambda: files.names(file),
        lambda: files.sync_directory(file),
        lambda: files.rename(tmp_path / "none", tmp_path / "b"),
        lambda: files.lock(tmp_path / "none" / "lock"),
        lambda: files.lock(tmp_path / "lock"),
    ):
        with pytest.raises(StorageError, match=str(tmp_path)):
            call()


def test_free_space_is_told_where_there_is_a_directory_and_refused_where_there_is_none(
    tmp_path: Path,
) -> None:
    assert DiskFiles().free_bytes(tmp_path) > 0
    with pytest.raises(StorageError, match="free space"):
        DiskFiles().free_bytes(tmp_path / "none")
