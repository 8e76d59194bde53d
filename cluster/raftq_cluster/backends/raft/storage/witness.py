"""What other members have told of their logs, kept on disk: ``DIR/witness``.

Two slots written in turn, each with a CRC, so that a torn write leaves the older one. A file that cannot be
read is no damage to this node's own promises: it knows less of the others, and begins again. Knows
nothing of what the numbers mean.

    slot, 8 KiB:  RAFTQWT1 | sequence 8 | length 4 | CRC of what is before and behind 4 | {birth: (term, index)}
"""

import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from struct import Struct
from typing import Final, TypeAlias

import msgpack

from raftq_cluster.backends.raft.storage.files import File, Files

_log: Final = logging.getLogger(__name__)

FILE_NAME: Final = "witness"
# More than the members that a cluster can have: 64, at some 40 bytes each.
_SLOT_BYTES: Final = 8192
_SLOTS: Final = 2
_HEAD: Final = Struct("<8sQI")  # magic, sequence, bytes of the body
_CRC: Final = Struct("<I")
_BODY_START: Final = _HEAD.size + _CRC.size
_MAGIC: Final = b"RAFTQWT1"

Told: TypeAlias = Mapping[str, tuple[int, int]]
"""Birth -> (term, index)."""


class WitnessFile:
    """Made by ``open``. All methods block; one at a time."""

    def __init__(self, files: Files, directory: Path) -> None:
        self._files = files
        self._directory = directory
        self._file: File | None = None
        self._sequence = 0
        self.told: Told = {}
        """What was kept when the file was opened."""

    @classmethod
    def open(cls, files: Files, directory: Path) -> "WitnessFile":
        """Read the file, if there is one.

        Raises:
            StorageFailedError: the disk has failed.
        """
        witness = cls(files, directory)
        if FILE_NAME in files.names(directory):
            witness._file = file = files.open(directory / FILE_NAME)
            slots = [_parse(file.read(_SLOT_BYTES, slot * _SLOT_BYTES)) for slot in range(_SLOTS)]
            witness._sequence, witness.told = max(slots, key=_sequence_of)
            if not witness._sequence:
                _log.warning("%s holds nothing that can be read", file.path)
        return witness

    def write(self, told: Told) -> None:
        """Keep this, durable on return.

        Raises:
            StorageFullError: it is not kept; what was kept before is.
            StorageFailedError: the disk has failed.
        """
        body: bytes = msgpack.packb(dict(told))
        assert len(body) <= _SLOT_BYTES - _BODY_START, "more births than members"
        sequence = self._sequence + 1
        head = _HEAD.pack(_MAGIC, sequence, len(body))
        crc = _CRC.pack(zlib.crc32(body, zlib.crc32(head)))
        file = self._file or self._create()
        file.write(head + crc + body, sequence % _SLOTS * _SLOT_BYTES)
        file.sync_data()
        self._sequence = sequence

    def _create(self) -> File:
        path = self._directory / FILE_NAME
        file = self._files.create(path)
        try:
            file.allocate(_SLOTS * _SLOT_BYTES)
            file.sync()
            self._files.sync_directory(self._directory)
        except BaseException:
            file.close()
            self._files.unlink(path)
            raise
        self._file = file
        return file

    def close(self) -> None:
        """Give the file back. Idempotent."""
        if self._file is not None:
            self._file.close()


def _sequence_of(found: tuple[int, Told]) -> int:
    return found[0]


def _parse(slot: bytes) -> tuple[int, Told]:
    """Sequence and content; 0 and nothing if there is no good state."""
    if len(slot) < _BODY_START:
        return 0, {}
    magic, sequence, size = _HEAD.unpack_from(slot)
    body = slot[_BODY_START : _BODY_START + size]
    crc = _CRC.pack(zlib.crc32(body, zlib.crc32(slot[: _HEAD.size])))
    if magic != _MAGIC or slot[_HEAD.size : _BODY_START] != crc:
        return 0, {}
    return sequence, {
        birth: (term, index) for birth, (term, index) in msgpack.unpackb(body).items()
    }
