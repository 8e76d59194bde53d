"""The export file: what was written comes back, whatever the pieces it comes in; anything else is noticed."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftq.wire import export_file
from raftq.wire.export_file import (
    Counts,
    ExportFileError,
    Footer,
    Frame,
    Header,
    Part,
    Reader,
    Writer,
)

HEADER = Header(format=1, records=3, id="ab" * 16, made_at=1_700_000_000_000, version="1.2", seq=7)
COUNTS = Counts(tasks=3, queues=1)
DIGEST = "0123456789abcdef" * 2


def written(parts: Sequence[bytes], header: Header = HEADER) -> bytes:
    writer = Writer()
    pieces = [writer.header(header), *map(writer.part, parts), writer.footer(COUNTS, DIGEST)]
    return b"".join(pieces)


def frames(data: bytes, cuts: Sequence[int] = ()) -> list[Frame]:
    reader, found = Reader(), []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        found += reader.feed(data[start:end])
    reader.end()
    return found


WHOLE = written([b"one", b"", b"three" * 20])


@given(parts=st.lists(st.binary(max_size=50), max_size=5), cuts=st.lists(st.integers(0, 400)))
def test_what_was_written_comes_back_in_whatever_pieces(
    parts: list[bytes], cuts: list[int]
) -> None:
    found = frames(written(parts), cuts)
    assert found[0] == HEADER
    assert found[1:-1] == [Part(number, payload) for number, payload in enumerate(parts)]
    footer = found[-1]
    assert isinstance(footer, Footer)
    assert (footer.parts, footer.counts, footer.digest) == (len(parts), COUNTS, DIGEST)


def test_a_file_that_ends_anywhere_too_early_is_noticed() -> None:
    for end in range(len(WHOLE)):
        with pytest.raises(ExportFileError):
            frames(WHOLE[:end])


def test_any_byte_that_is_another_one_is_noticed() -> None:
    for place in range(len(WHOLE)):
        for flip in (1, 0x80):
            damaged = bytearray(WHOLE)
            damaged[place] ^= flip
            with pytest.raises(ExportFileError):
                frames(bytes(damaged))


def test_something_behind_the_end_is_noticed() -> None:
    with pytest.raises(ExportFileError, match="behind the end"):
        frames(WHOLE + b"x")
    with pytest.raises(ExportFileError, match="behind the end"):
        frames(WHOLE + WHOLE)


def test_a_part_that_was_cut_out_or_comes_from_another_file_is_noticed() -> None:
    framed = [Writer().part(payload) for payload in (b"one", b"", b"three" * 20)]
    for piece in framed:
        with pytest.raises(ExportFileError, match="a part of the file is missing"):
            frames(WHOLE.replace(piece, b"", 1))
    with pytest.raises(ExportFileError, match="not of this file"):
        frames(WHOLE.replace(framed[0], Writer().part(b"two"), 1))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"hello", "no file of raftq export"),
        (b"PK\x03\x04" * 10, "no file of raftq export"),
        (export_file.MAGIC[:3], "no file of raftq export"),
        (export_file.MAGIC, "before its end"),
        (written([], Header(format=2, version="9.9")), "format 2 .written by raftq 9.9."),
        (written([], Header(format=2)), "written by raftq unknown"),
    ],
)
def test_what_is_no_file_that_can_be_read_is_said(data: bytes, says: str) -> None:
    with pytest.raises(ExportFileError, match=says):
        frames(data)


def test_a_frame_that_stands_where_it_cannot_is_damage() -> None:
    writer = Writer()
    part = writer.part(b"")
    with pytest.raises(ExportFileError, match="damaged, at byte 8"):
        frames(export_file.MAGIC + part)
    header = Writer().header(HEADER)
    with pytest.raises(ExportFileError, match="damaged"):
        frames(header + header.removeprefix(export_file.MAGIC))


def test_a_frame_with_a_payload_of_another_kind_is_damage() -> None:
    begun = Writer().header(HEADER)
    for kind in (3, 9):
        with pytest.raises(ExportFileError, match="damaged"):
            frames(begun + export_file._framed(kind, msgspec.msgpack.encode([1])))


def test_a_length_that_no_frame_has_is_refused_before_it_is_waited_for() -> None:
    reader = Reader()
    head = export_file._head.pack(2, export_file.PAYLOAD_BYTES_MAX + 1) + b"\0\0\0\0"
    with pytest.raises(ExportFileError, match="damaged"):
        list(reader.feed(Writer().header(HEADER) + head))


def test_fields_of_a_later_version_are_passed_over() -> None:
    fields = {"format": 1, "id": "x", "color": "blue"}
    framed = export_file._framed(1, msgspec.msgpack.encode(fields))
    (header,) = Reader().feed(export_file.MAGIC + framed)
    assert isinstance(header, Header)
    assert header.id == "x"
