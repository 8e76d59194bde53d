"""Each target notices a bug: with a line of the code under test broken, an input that is kept breaks a property."""

import re
import zlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest

from raftq import client, values
from raftq.transport import failover, http
from raftq.wire import export_file, formats
from raftq_cluster.backends.raft import commands, messages, snapshot_receiving
from raftq_cluster.backends.raft.peer_api import PeerError
from raftq_cluster.backends.raft.storage import data_dir, recovery, snapshots, votes
from raftq_cluster.backends.raft.storage.records import Broken, Record
from raftq_cluster.backends.raft.transport import accepting, hello
from raftq_cluster.servers.http import application, reading
from raftq_cluster.servers.text import parser, replies
from raftq_cluster.service.refusals import Refusal
from tests.fuzz.corpus import NAMES, kept, target
from tests.fuzz.targets import operations


def _unchecked_record(data: bytes, offset: int, seed: int) -> Record | Broken:
    fields = data[offset + 4 : offset + 32]
    if len(fields) < 28 or data[offset : offset + 4] != zlib.crc32(fields, seed ^ offset).to_bytes(
        4, "little"
    ):
        return Broken(offset, offset + 32)
    kind, size = fields[3], int.from_bytes(fields[4:8], "little")
    index, term = int.from_bytes(fields[8:16], "little"), int.from_bytes(fields[16:24], "little")
    return Record(kind, index, term, data[offset + 32 : offset + 32 + size], offset + 32 + size)


def _unchecked_state(block: bytes, _identity: bytes) -> votes._State:
    _, sequence, term, size, name = votes._STATE.unpack(block[: votes._STATE.size])
    return votes._State(sequence, term, name[: size - 1].decode(errors="replace") if size else None)


def _unchecked_chunk(reader: Any, frame: bytes, offset: int) -> bytes:
    size, _ = snapshots._FRAME.unpack(frame)
    return bytes(reader._file.read(size, offset + snapshots._FRAME.size))


class _AnyBytes(bytes):
    """Equal to all others."""

    def __ne__(self, other: object) -> bool:
        return False


_render = data_dir._render


def _rendered(identity: data_dir.Identity, number: int = data_dir.FORMAT) -> bytes:
    return _AnyBytes(_render(identity, number))


def _raising(function: Callable[..., Any], refused: type[Exception]) -> Callable[..., Any]:
    """The function, but what it refuses is an error that nobody expects."""

    def raises(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except refused as error:
            raise KeyError("a bug") from error

    return raises


PLANTED: Final[dict[str, tuple[Any, str, Any]]] = {
    "journal": (recovery, "parse_record", _unchecked_record),
    "votes": (votes, "_parse", _unchecked_state),
    "identity": (data_dir, "_render", _rendered),
    "snapshot_file": (snapshots.SnapshotReader, "_chunk", _unchecked_chunk),
    "snapshot_install": (snapshot_receiving, "check_snapshot", lambda records: None),
    "operations": (operations, "check_segment", lambda segment: None),
    "log_commands": (
        commands,
        "_members_of",
        lambda rows: tuple(commands.Member(*row) for row in rows),
    ),
    "peer_messages": (
        messages,
        "_SHAPES",
        {kind: (shape[0], 0, []) for kind, shape in messages._SHAPES.items()},
    ),
    "peer_questions": (msgspec, "DecodeError", ZeroDivisionError),
    "peer_streams": (accepting, "read_hello", _raising(hello.read_hello, PeerError)),
    "text_requests": (
        parser,
        "_COUNTED_HEAD",
        re.compile(rb"(\d+) (?:(enq) |(call) )([^ ]*) (\+?)(\d+) "),
    ),
    "text_session": (replies, "ok", None),
    "documents": (values, "_number", int),
    "export_file": (export_file.Reader, "end", lambda reader: reader.footer or reader.header),
    "http_requests": (application, "read_document", _raising(reading.read_document, Refusal)),
    "client_text": (client, "_fits", lambda modified, request: True),
    "client_http": (http, "_INDEX", re.compile("[0-9]+")),
}
OTHERS: Final[list[tuple[str, Any, str, Any]]] = [
    ("client_text", failover, "_read", lambda answer, type_: formats.decode(answer, type_, "json")),
    ("documents", formats, "_check_sayable", lambda value: None),
]


def _is_noticed(name: str) -> bool:
    for data in kept(name).values():
        try:
            target(name).fuzz(data)
        except Exception:  # noqa: BLE001 - whatever it is
            return True
    return False


def test_a_bug_is_planted_for_each_target() -> None:
    assert sorted(PLANTED) == sorted(NAMES)


@pytest.mark.parametrize(
    ("name", "place", "word", "bug"),
    [*((name, *planted) for name, planted in PLANTED.items()), *OTHERS],
)
def test_a_planted_bug_is_noticed(
    monkeypatch: pytest.MonkeyPatch, name: str, place: Any, word: str, bug: Any
) -> None:
    monkeypatch.setattr(place, word, bug)
    assert _is_noticed(name)
