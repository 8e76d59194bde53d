"""Large and hostile inputs: whoever reads them takes time and memory in proportion to their length.

Times are of this process' CPU, and bounds are far above what a slow machine takes and far below what anything
but linear would.
"""

import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
import pytest

from raftq.wire import documents
from raftq.wire.formats import MalformedError, decode, value_from_json, value_to_json
from raftq.wire.text import FramingError, ReplyParser
from raftq_cluster.backends.raft.messages import decode as decode_message
from raftq_cluster.backends.raft.peer_api import PeerError
from raftq_cluster.backends.raft.questions import decode_question
from raftq_cluster.backends.raft.transport.framing import FrameReader
from raftq_cluster.backends.raft.transport.hello import read_hello
from raftq_cluster.codec.entries import decode_segment
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.shapes import check_segment
from raftq_cluster.codec.snapshots import decode_chunk
from raftq_cluster.servers.http.entroq import messages
from raftq_cluster.servers.text.parser import RequestParser
from raftq_cluster.service.refusals import Refusal
from tests.fuzz.targets import identity, log_commands, text_requests

SIZE: Final = 1 << 18
SECONDS_MAX: Final = 2.0
BYTES_PER_BYTE_MAX: Final = 120  # a list of a million small things takes some fifty times its bytes
REFUSALS: Final = (MalformedError, FramingError, PeerError, CodecError, Refusal)
_NESTED_JSON: Final = (b"[", b'{"a":', b'[{"a":[')
_PACKED: Final = {
    "arrays in arrays": b"\x91" * SIZE,
    "maps in maps": b"\x81\xa1a" * (SIZE // 3),
    "an array of four thousand million": b"\xdd\xff\xff\xff\xff" + b"\xc0" * SIZE,
    "a map of four thousand million": b"\xdf\xff\xff\xff\xff" + b"\xa1a\xc0" * (SIZE // 3),
    "many nothings": b"\xdd" + SIZE.to_bytes(4, "big") + b"\xc0" * SIZE,
    "many empty lists": b"\xdd" + SIZE.to_bytes(4, "big") + b"\x90" * SIZE,
    "one long text": b"\xdb" + SIZE.to_bytes(4, "big") + b"a" * SIZE,
    "extensions": b"\x91\xc9\xff\xff\xff\xff\x05" + b"a" * SIZE,
    "many timestamps": b"\xdd" + (SIZE // 6).to_bytes(4, "big") + b"\xd6\xff\0\0\0\1" * (SIZE // 6),
}


def _text(data: bytes) -> None:
    text_requests.read([data[at : at + 60_000] for at in range(0, len(data), 60_000)], 4 << 20)


def _trickled(data: bytes) -> None:
    """What is held while a line comes in small pieces is looked at for each of them, up to its limit."""
    parser = RequestParser(4 << 20)
    for at in range(0, min(len(data), 1 << 16), 64):
        parser.feed(data[at : at + 64])


def _replies(data: bytes) -> None:
    parser = ReplyParser()
    for at in range(0, len(data), 60_000):
        parser.feed(data[at : at + 60_000])


def _modify(data: bytes) -> None:
    decode(data, documents.ModifyRequest, "json")


def _packed_modify(data: bytes) -> None:
    decode(data, documents.ModifyRequest, "msgpack")


def _value(data: bytes) -> None:
    text = value_to_json(decode(data, msgspec.Raw, "json"), "json")
    value_from_json(text, "msgpack")


def _packed_value(data: bytes) -> None:
    value_to_json(decode(data, msgspec.Raw, "msgpack"), "msgpack")


def _segment(data: bytes) -> None:
    check_segment(decode_segment(data))


def _identity(data: bytes) -> None:
    identity.fuzz(b"\2" + data)


def _commands(data: bytes) -> None:
    for kind in range(7):
        log_commands.fuzz(bytes((kind,)) + data[: SIZE // 8])


def _frames(data: bytes) -> None:
    for _ in FrameReader(1 << 24).feed(data):
        pass


def _entroq(data: bytes) -> None:
    messages.MODIFY.read(data)


_JSON: Final = {
    **{f"nested {text!r}": text * (SIZE // len(text)) for text in _NESTED_JSON},
    "a long number": b"9" * SIZE,
    "a long fraction": b"0." + b"1" * SIZE,
    "a long exponent": b"1e" + b"9" * SIZE,
    "backslashes": b'"' + b"\\\\" * (SIZE // 2) + b'"',
    "an endless text": b'"' + b"a" * SIZE,
    "quotes": b'["' + b'","' * (SIZE // 3) + b'"]',
    "spaces": b" " * SIZE,
    "one key many times": b"{" + b'"a":1,' * (SIZE // 6) + b'"a":1}',
    "many keys": b"{" + b",".join(b'"%d":1' % number for number in range(SIZE // 12)) + b"}",
    "many inserts": b'{"inserts":[' + b",".join([b'{"queue":"q"}'] * (SIZE // 14)) + b"]}",
    "brackets in a text": b'"' + b"[" * SIZE + b'"',
}
_LINES: Final = {
    "zeros for a length": b"1 enq q " + b"0" * SIZE,
    "digits": b"1" * SIZE,
    "spaces": b"1 enq" + b" " * SIZE,
    "nul bytes": b"\0" * SIZE,
    "line ends": b"\n" * SIZE,
    "small requests": b"1 ping\n" * (SIZE // 7),
    "small bodies": b"1 enq q 1 a\n" * (SIZE // 12),
    "bodies of line ends": b"1 enq q 100 " + b"\n" * SIZE,
    "carriage returns": b"1 deq q" + b"\r" * SIZE,
    "small replies": b"1 ok 0 \n" * (SIZE // 8),
    "one long error": b"1 error " + b"a" * SIZE,
}
READERS: Final[list[tuple[Callable[[bytes], None], dict[str, bytes]]]] = [
    (_text, _LINES),
    (_trickled, _LINES),
    (_replies, _LINES),
    (_modify, _JSON),
    (_value, _JSON),
    (_entroq, _JSON),
    (_packed_modify, _PACKED),
    (_packed_value, _PACKED),
    (_segment, _PACKED),
    (decode_chunk, _PACKED),  # type: ignore[list-item] # what it gives is not looked at
    (decode_message, _PACKED),  # type: ignore[list-item]
    (read_hello, _PACKED),  # type: ignore[list-item]
    (decode_question, _PACKED),  # type: ignore[list-item]
    (_commands, _PACKED),
    (_frames, {"frames of a byte": b"\0\0\0\1x" * (SIZE // 5), "one of 4 GiB": b"\xff" * SIZE}),
    (
        _identity,
        {
            "nested": b"a=" + b"[" * 60_000,
            "keys": b"a." * 30_000 + b"b=1",
            "tables": b"[a]\n" * 15_000,
        },
    ),
]
CASES: Final = [
    pytest.param(read, data, id=f"{read.__name__.strip('_')} {name}")
    for read, inputs in READERS
    for name, data in inputs.items()
]


@pytest.mark.parametrize(("read", "data"), CASES)
def test_a_large_input_takes_time_and_memory_in_proportion(
    read: Callable[[bytes], Any], data: bytes
) -> None:
    began_s = time.process_time()
    with suppress(*REFUSALS):
        read(data)
    assert time.process_time() - began_s < SECONDS_MAX


@pytest.mark.parametrize(("read", "data"), CASES)
def test_what_is_held_of_it_is_bounded(read: Callable[[bytes], Any], data: bytes) -> None:
    part = data[: SIZE // 8]
    tracemalloc.start()
    try:
        with suppress(*REFUSALS):
            read(part)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < BYTES_PER_BYTE_MAX * len(part) + SIZE
