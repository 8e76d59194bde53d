"""The file of an export: whole, it is what was written; changed anywhere, refused, in whatever pieces it comes."""

from collections.abc import Iterator
from typing import Final

from raftq.wire.export_file import (
    MAGIC,
    Counts,
    ExportFileError,
    Footer,
    Frame,
    Header,
    Part,
    Reader,
    Writer,
    _encode,
    _framed,
)
from tests.fuzz.source import Source, damaged

HEADER: Final = Header(format=1, records=3, id="0" * 32, made_at=5, version="1", backend="raft")


def written(parts: list[bytes]) -> bytes:
    """The bytes of a file."""
    writer = Writer()
    pieces = [
        writer.header(HEADER),
        *map(writer.part, parts),
        writer.footer(Counts(tasks=2), "1" * 32),
    ]
    return b"".join(pieces)


def read(pieces: list[bytes]) -> list[Frame] | None:
    """All frames of a whole file; None if it is refused."""
    reader, frames = Reader(), list[Frame]()
    try:
        for piece in pieces:
            frames += reader.feed(piece)
        assert reader.end() == frames[-1]
    except ExportFileError as error:
        why = str(error)
    else:
        return frames
    assert why
    return None


def fuzz(data: bytes) -> None:
    """Write, damage and read; or read what is made up with good checksums, or any bytes."""
    source = Source(data)
    mode = source.below(4)
    if mode == 3:
        stream = source.rest()
        assert read(source.pieces(stream)) == read([stream])
        return
    if mode == 2:
        frames = [_framed(source.below(5), _payload(source)) for _ in range(source.below(5))]
        stream = MAGIC + b"".join(frames)
        assert read(source.pieces(stream)) == read([stream])
        return
    parts = [source.blob(60) for _ in range(source.below(4))]
    genuine = written(parts)
    whole = read(source.pieces(genuine))
    assert whole is not None
    assert [frame.payload for frame in whole if isinstance(frame, Part)] == parts
    assert whole[0] == HEADER
    changed = damaged(source, genuine)
    assert changed == genuine or read(source.pieces(changed)) is None


def _payload(source: Source) -> bytes:
    what = source.below(4)
    if what == 0:
        return _encode(HEADER)
    if what == 1:
        return _encode(
            Footer(parts=source.below(3), counts=Counts(), digest="", checksum=source.blob(16))
        )
    return source.blob(30)


def seeds() -> Iterator[bytes]:
    """A file with each kind of damage, frames that are made up, and a whole one as bytes."""
    for what in range(6):
        yield bytes((0, 2, 3, 65, 66, 67, 2, 70, 71, 0, 1, 90, 0, 60, what, 5, 1, 1, 2))
    yield bytes((2, 3, 1, 0, 2, 2, 4, 1, 2, 3, 4, 3, 1, 1, 0))
    yield b"\3" + written([b"\x90", b"\x91\xc0"])
    yield b"\3" + MAGIC + _framed(1, b"\x81\xa1a" * 1_300)
