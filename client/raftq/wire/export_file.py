"""The file that ``raftq export`` writes and ``raftq import`` reads: frames, checksums, what comes first and last.

Bytes in, frames out, and back; no file and no socket is touched. What the records in a part mean is the
node's to know (``raftq_cluster.core``). Whoever reads a file through :class:`Reader` to its end knows that nothing of
it was lost, changed or added. Description for people: ``docs/moving.md``.

    file     MAGIC  frame(HEADER)  frame(PART)…  frame(FOOTER)
    frame    kind (1 byte)  length of the payload (4 bytes)  CRC-32 of these and the payload (4 bytes)  payload

Numbers are little-endian. Payloads are MessagePack: a :class:`Header`, an array of records, a :class:`Footer`, which
has a BLAKE2b of all that stands before its frame.
"""

from collections.abc import Iterator
from hashlib import blake2b
from struct import Struct as Packing
from typing import Final, NamedTuple, TypeAlias
from zlib import crc32

import msgspec

from raftq.wire.documents import Answer

MAGIC: Final = b"\x89raftq\r\n"  # what a transfer as text would spoil
FORMAT: Final = 1
MEDIA_TYPE: Final = "application/octet-stream"
PAYLOAD_BYTES_MAX: Final = 64 * 2**20  # of one frame: several times the largest operation
_CHECKSUM_BYTES: Final = 16
_HEADER, _PART, _FOOTER = 1, 2, 3
_head = Packing("<BI")
_HEAD_BYTES: Final = _head.size + 4
_encode = msgspec.msgpack.Encoder().encode


class ExportFileError(ValueError):
    """This is no export file, not a whole one, or one that this version cannot read."""


class Header(msgspec.Struct, kw_only=True):
    """Where and when a file was made. Readers pass over fields that they do not know."""

    format: int
    records: int = 0  # version of the records: that of the state machine's snapshots
    id: str = ""  # of this export; 32 hexadecimal digits
    made_at: int = 0  # time of the log it was taken from, ms since the epoch
    version: str = ""  # of the raftq that wrote it
    backend: str = ""
    cluster_id: str = ""
    index: int = 0  # log index that it reflects
    seq: int = 0  # insertion numbers up to here were given out


class Counts(msgspec.Struct, kw_only=True):
    """How many there are of what."""

    settings: int = 0
    queues: int = 0
    tasks: int = 0
    doc_sets: int = 0
    docs: int = 0
    keys: int = 0  # idempotency keys with their answers


class Footer(msgspec.Struct, kw_only=True):
    """What must be true of all that stands before it."""

    parts: int
    counts: Counts
    digest: str  # of the state, as the target must have it afterwards; 32 hexadecimal digits
    checksum: bytes  # BLAKE2b, 16 bytes, of the file up to this frame


class ImportReply(Answer, kw_only=True):
    """What was taken in: ``digest`` is that of the state, in the file as in the store now."""

    id: str
    digest: str
    counts: Counts


class AbandonReply(Answer, kw_only=True):
    """What an unfinished import had left is gone."""


class Part(NamedTuple):
    """Some records, packed. ``number`` counts from 0."""

    number: int
    payload: bytes


Frame: TypeAlias = Header | Part | Footer


class Writer:
    """Gives the bytes of a file, piece by piece."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=_CHECKSUM_BYTES)
        self.parts = 0

    def header(self, header: Header) -> bytes:
        """Begin the file."""
        return self._hashed(MAGIC + _framed(_HEADER, _encode(header)))

    def part(self, payload: bytes) -> bytes:
        """Write some records."""
        self.parts += 1
        return self._hashed(_framed(_PART, payload))

    def footer(self, counts: Counts, digest: str) -> bytes:
        """End the file."""
        footer = Footer(
            parts=self.parts, counts=counts, digest=digest, checksum=self._hash.digest()
        )
        return _framed(_FOOTER, _encode(footer))

    def _hashed(self, data: bytes) -> bytes:
        self._hash.update(data)
        return data


class Reader:
    """Takes the bytes of a file as they come, and checks everything that can be checked by itself.

    Holds one frame at most, and what was fed last.
    """

    def __init__(self) -> None:
        self.header: Header | None = None
        self.footer: Footer | None = None
        self._hash = blake2b(digest_size=_CHECKSUM_BYTES)
        self._buffer = bytearray()
        self._offset = 0  # of the buffer in the file
        self._has_magic = False
        self._parts = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Give the frames that are complete with these bytes. Use it up before feeding more.

        Raises:
            ExportFileError: the file is not what was written.
        """
        self._buffer += data
        if not self._has_magic:
            self._take_magic()
        while self._has_magic:
            frame = self._next()
            if frame is None:
                break
            yield frame

    def end(self) -> Footer:
        """Say that there is nothing more, and get the footer of the whole file.

        Raises:
            ExportFileError: something is missing.
        """
        if self.footer is None or self._buffer:
            size = self._offset + len(self._buffer)
            if not self._has_magic:
                raise ExportFileError(_not_one(size))
            raise ExportFileError(f"the file ends after {size} bytes, before its end")
        return self.footer

    def _take_magic(self) -> None:
        have = bytes(self._buffer[: len(MAGIC)])
        if not MAGIC.startswith(have):
            raise ExportFileError(_not_one(len(have)))
        if len(have) == len(MAGIC):
            self._has_magic = True
            self._consume(len(MAGIC))

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if buffer and self.footer is not None:
            raise ExportFileError(f"something stands behind the end, at byte {self._offset}")
        if len(buffer) < _HEAD_BYTES:
            return None
        kind, length = _head.unpack_from(buffer)
        if length > PAYLOAD_BYTES_MAX:
            raise self._damaged()
        if len(buffer) < _HEAD_BYTES + length:
            return None
        with memoryview(buffer) as view:
            check = crc32(view[_HEAD_BYTES : _HEAD_BYTES + length], crc32(view[: _head.size]))
        if check != int.from_bytes(buffer[_head.size : _HEAD_BYTES], "little"):
            raise self._damaged()
        payload = bytes(buffer[_HEAD_BYTES : _HEAD_BYTES + length])
        frame = self._frame(kind, payload)
        self._consume(_HEAD_BYTES + length)
        return frame

    def _frame(self, kind: int, payload: bytes) -> Frame:
        if (kind == _HEADER) != (self.header is None):
            raise self._damaged()
        if kind == _PART:
            self._parts += 1
            return Part(self._parts - 1, payload)
        try:
            if kind == _HEADER:
                self.header = _header_of(payload)
                return self.header
            if kind == _FOOTER:
                footer = msgspec.msgpack.decode(payload, type=Footer)
                if (footer.parts, footer.checksum) != (self._parts, self._hash.digest()):
                    raise ExportFileError("a part of the file is missing, or not of this file")
                self.footer = footer
                return footer
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._damaged() from error
        raise self._damaged()

    def _consume(self, size: int) -> None:
        self._hash.update(self._buffer[:size])
        del self._buffer[:size]
        self._offset += size

    def _damaged(self) -> ExportFileError:
        return ExportFileError(f"the file is damaged, at byte {self._offset} or a little behind it")


def _header_of(payload: bytes) -> Header:
    header = msgspec.msgpack.decode(payload, type=Header)
    if header.format != FORMAT:
        raise ExportFileError(
            f"the file has format {header.format} (written by raftq {header.version or 'unknown'}),"
            f" and this version of raftq reads format {FORMAT}"
        )
    return header


def _framed(kind: int, payload: bytes) -> bytes:
    head = _head.pack(kind, len(payload))
    check = crc32(payload, crc32(head)).to_bytes(4, "little")
    return b"".join((head, check, payload))


def _not_one(size: int) -> str:
    return "this is no file of raftq export" if size else "the file is empty"
