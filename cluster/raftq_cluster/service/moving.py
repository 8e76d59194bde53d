"""Export and import: the state as a file of ``raftq.wire.export_file``, made and taken in piece by piece.

Holds a part or two at a time, whatever the state's size. Knows what names may be, not how a backend moves.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

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
from raftq_cluster.backends.api import Backend, BackendError
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.record_shapes import check_records
from raftq_cluster.codec.snapshots import VERSION, decode_chunk, encode_chunk
from raftq_cluster.core import snapshot
from raftq_cluster.core.moving import Parts
from raftq_cluster.core.snapshot import Record
from raftq_cluster.service.names import (
    check_claimant,
    check_doc_key,
    check_id,
    check_key,
    check_namespace,
    check_queue,
)
from raftq_cluster.service.refusals import Refusal
from raftq_cluster.version import VERSION as PROGRAM

_ID_BYTES: Final = 16
_IDS: Final = re.compile(r"[0-9a-f]{32}")
# Of versions, claims and numbers that are counted on from what a file says: half of what the records of snapshots may
# hold, so that none ever comes to where other nodes would refuse the snapshot.
COUNT_MAX: Final = 2**52
RECORDS_MAX: Final = 4_096  # of a part: they are applied in one go; exports make parts of 256


async def export_file(backend: Backend) -> AsyncIterator[bytes]:
    """Give the bytes of a file with the whole state as of now. Close it if it is not used up.

    Raises:
        Refusal: ``unavailable``.
    """
    writer, parts = Writer(), Parts()
    records = backend.export()
    try:
        async for some in records:
            for record in some:
                if record[0] == snapshot.HEAD:
                    yield writer.header(_header(backend, record))
                elif part := parts.add(record):
                    yield writer.part(encode_chunk(part))
                    await asyncio.sleep(0)  # a quick reader would have the loop to itself
        if part := parts.rest():
            yield writer.part(encode_chunk(part))
        yield writer.footer(Counts(**parts.counts), parts.digest)
    except BackendError as error:
        raise Refusal(error.code, error.detail) from error
    finally:
        await records.aclose()  # type: ignore[attr-defined] # they are generators


def _header(backend: Backend, head: Record) -> Header:
    _, version, index, now_ms, seq, _ = head
    status = backend.status()
    return Header(
        format=1,
        records=version,
        id=secrets.token_hex(_ID_BYTES),
        made_at=now_ms,
        version=PROGRAM,
        backend=status.backend,
        cluster_id=status.cluster_id,
        index=index,
        seq=seq,
    )


class IncomingFile:
    """An :class:`~raftq_cluster.backends.api.Incoming` over the bytes of a file.

    Args:
        chunks: the bytes, as they come.
        check_room: refuses when nothing more can be held.
    """

    def __init__(self, chunks: AsyncIterator[bytes], check_room: Callable[[], None]) -> None:
        self._chunks = chunks
        self._check_room = check_room
        self._reader = Reader()
        self._frames: list[Frame] = []
        self.id = ""
        self.seq = 0

    async def open(self) -> Header:
        """Read the header.

        Raises:
            Refusal: ``bad_request``: this is no file that can be read here.
        """
        frame = await self._next()
        if frame is None:
            self._end()
        assert isinstance(frame, Header), "a file begins with its header"
        if frame.records != VERSION:
            raise _bad(
                f"the file holds records of version {frame.records} (written by raftq"
                f" {frame.version}), and this version of raftq reads version {VERSION}"
            )
        if not _IDS.fullmatch(frame.id):
            raise _bad("the file has an id that no export has")
        if not 0 <= frame.seq <= COUNT_MAX:
            raise _bad(f"the file's last insertion number {frame.seq} cannot be")
        self.id, self.seq = frame.id, frame.seq
        return frame

    async def parts(self) -> AsyncIterator[list[Record]]:
        """Give the records of each part, of good shape.

        Raises:
            Refusal: ``bad_request``: the file is damaged, or not whole; ``invalid``: it says what
                cannot be; ``store_full``.
        """
        while isinstance(frame := await self._next(), Part):
            self._check_room()
            yield _records(frame)
        self._end()

    def digest(self) -> str:
        """Tell what the file says that the digest is."""
        return self.footer().digest

    def footer(self) -> Footer:
        """Give the end of a file that was read to its end."""
        return self._reader.end()

    def _end(self) -> None:
        try:
            self._reader.end()
        except ExportFileError as error:
            raise _bad(str(error)) from error

    async def _next(self) -> Frame | None:
        """Give the next frame; None: there is no more."""
        try:
            while not self._frames:
                chunk = await anext(self._chunks, None)
                if chunk is None:
                    return None
                self._frames = list(self._reader.feed(chunk))
        except ExportFileError as error:
            raise _bad(str(error)) from error
        return self._frames.pop(0)


def _records(part: Part) -> list[Record]:
    try:
        records = decode_chunk(part.payload)
        _check_length(records)
        check_records(records)
        for record in records:
            _check_names(record)
            _check_counts(record)
    except CodecError as error:
        raise Refusal("invalid", f"part {part.number} of the file: {error}") from error
    except Refusal as error:
        raise Refusal("invalid", f"part {part.number} of the file: {error.detail}") from error
    return records


def _check_length(records: Sequence[Any]) -> None:
    if len(records) > RECORDS_MAX:
        raise Refusal("invalid", f"{len(records)} records are too many for one part")


def _check_counts(record: Sequence[Any]) -> None:
    """Refuse what could not be counted on from."""
    kind = record[0]
    counts: tuple[int, ...] = ()
    if kind in (snapshot.READY, snapshot.WAITING):
        row = record[2]
        counts = (record[1], row[1], row[7])
    elif kind == snapshot.QUEUE:
        counts = (record[2],)
    elif kind == snapshot.DOC_SET:
        counts = (record[3],)
    if max(counts, default=0) > COUNT_MAX:
        raise Refusal("invalid", "a count is too large to go on")


def _check_names(record: Sequence[Any]) -> None:
    """Refuse names that no request could have given."""
    kind = record[0]
    if kind in (snapshot.READY, snapshot.WAITING):
        row = record[2]
        check_id(row[0])
        if row[6]:
            check_claimant(row[6])
    elif kind == snapshot.QUEUE:
        check_queue(record[1])
    elif kind == snapshot.DOC_SET:
        check_namespace(record[1])
        check_doc_key(record[2])
        if record[4]:
            check_claimant(record[4])
    elif kind == snapshot.DOC:
        check_id(record[1])
        check_doc_key(record[2], "secondary_key")
    elif kind == snapshot.KEY:
        check_key(record[1])


def _bad(detail: str) -> Refusal:
    return Refusal("bad_request", detail)
