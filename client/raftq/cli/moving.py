"""Files of ``raftq export`` and ``raftq import``: written under another name first, read a piece at a time.

Also where the nodes are, and what is said when it is done.
"""

import asyncio
import os
import secrets
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from raftq.cli.invocation import Invocation
from raftq.credentials import Credentials
from raftq.errors import RaftqError
from raftq.moving import BAD_FILE, PIECE_BYTES, http_addresses
from raftq.transport.urls import Address, split_secret

if TYPE_CHECKING:
    from raftq.wire.documents import ClusterReply
    from raftq.wire.export_file import Footer, ImportReply

STDIO: Final = "-"
_PRIVATE: Final = 0o600  # it holds all values
_SHOWN: Final = (
    ("tasks", "tasks"),
    ("docs", "docs"),
    ("doc_sets", "sets of docs"),
    ("queues", "queues"),
    ("settings", "settings"),
    ("keys", "idempotency keys"),
)


def nodes(invocation: Invocation) -> tuple[Credentials, list[Address]]:
    """Tell who asks, and where the HTTP ports of the nodes are."""
    url = invocation.resolved_url
    names = ("token_file", "ca", "cert", "key")
    files = {name: getattr(invocation, name) for name in names}
    credentials = Credentials(**files).completed(split_secret(url)[1])

    def cluster() -> "ClusterReply":
        with invocation.client() as client:
            return client.cluster()

    return credentials, http_addresses(url, cluster)


@contextmanager
def same_words_of(path: str) -> Iterator[None]:
    """Say what is wrong with a file as the system says it.

    Raises:
        RaftqError: ``bad_file``.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if isinstance(error, RaftqError):
            raise
        raise RaftqError(f"{path}: {error.strerror or error}", code=BAD_FILE) from error


@contextmanager
def opened_for_writing(path: str, *, force: bool) -> Iterator[Callable[[bytes], object]]:
    """Open a file that is there under its name once the block has ended well, whole and on disk.

    Raises:
        RaftqError: there is such a file, and ``force`` was not given.
    """
    if path == STDIO:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(target.stat().st_mode):  # a pipe, or /dev/null
            with target.open("wb") as device:
                yield device.write
            return
        if not force:
            raise RaftqError(f"{path} is there already: --force replaces it", code=BAD_FILE)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def pieces_of(path: str) -> Iterator[bytes]:
    """Read a file, or stdin."""
    with _opened(path) as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


async def sent(path: str) -> AsyncIterator[bytes]:
    """Read a file, or stdin, without holding up the connection."""
    with _opened(path) as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == STDIO:
        yield sys.stdin.buffer
        return
    with Path(path).open("rb") as file:
        yield file


def report(
    invocation: Invocation,
    done: str,
    id_: str,
    what: "Footer | ImportReply",
    *,
    to_stdout: bool = True,
) -> None:
    """Say what was moved: to people on stderr, to programs on stdout unless the file goes there."""
    counts: dict[str, Any] = msgspec.to_builtins(what.counts)
    printer = invocation.printer
    if printer.is_table or not to_stdout:
        words = ", ".join(f"{counts[name]} {text}" for name, text in _SHOWN if counts[name])
        invocation.say(f"{done} {words or 'an empty store'}; digest {what.digest}")
    else:
        printer.document({"id": id_, "digest": what.digest, **counts})
