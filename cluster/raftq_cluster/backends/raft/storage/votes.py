"""Term and vote on disk: what a node must never forget, or it votes twice.

Two slots are written in turn, the one that does not hold the last durable state; each holds two copies
in blocks of their own. So a torn write costs at most the state that was being written, and one
damaged block costs nothing. Knows nothing of elections. Source: Raft, figure 2 ("persistent state").
"""

import zlib
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from raftq_cluster.backends.raft.storage.errors import CorruptError
from raftq_cluster.backends.raft.storage.files import File, Files
from raftq_cluster.backends.raft.storage.numbers import WriteNumbers

FILE_NAME: Final = "votes"
NAME_BYTES_MAX: Final = 64
"""Largest node name; a state fits a sector."""

_BLOCK_BYTES: Final = 4096
_COPIES: Final = 2
_SLOTS: Final = 2
_SLOT_BYTES: Final = _COPIES * _BLOCK_BYTES
_STATE: Final = Struct(
    f"<8sQQB{NAME_BYTES_MAX}s"
)  # magic, sequence, term, 1 + name bytes or 0, name
_CRC: Final = Struct("<I")
_MAGIC: Final = b"RAFTQVT1"


class _State(NamedTuple):
    sequence: int  # of writes of this file; a state's slot is its sequence modulo the slots
    term: int
    voted_for: str | None


class VoteFile:
    """The current term and this term's vote. Made by ``create`` or ``open``; one thread owns it.

    ``set`` changes memory only; ``begin_sync`` writes, because the slot that is written must not be
    one that an unfinished sync is about.
    """

    def __init__(self, file: File, identity: bytes, state: _State, numbers: WriteNumbers) -> None:
        self._file = file
        self._identity = identity
        self._durable = self._syncing = state
        self._numbers = numbers
        self._number = numbers.last
        self.term = state.term
        """The current term, durable or not."""
        self.voted_for = state.voted_for
        """Whom this node votes for in this term; None while it has not voted."""

    @classmethod
    def create(
        cls, files: Files, directory: Path, identity: bytes, numbers: WriteNumbers
    ) -> "VoteFile":
        """Start with term 0 and no vote, durable on return."""
        temporary = directory / f"{FILE_NAME}.new"
        if temporary.name in files.names(directory):
            files.unlink(temporary)
        state = _State(1, 0, None)
        file = files.create(temporary)
        for slot in range(_SLOTS):
            _write(file, slot, _pack(state, identity))
        file.sync()
        file.close()
        files.rename(temporary, directory / FILE_NAME)
        files.sync_directory(directory)
        return cls.open(files, directory, identity, numbers)

    @classmethod
    def open(
        cls, files: Files, directory: Path, identity: bytes, numbers: WriteNumbers
    ) -> "VoteFile":
        """Read the state, durable on return.

        It is written again, because a sync may have failed on it: see ``DESIGN.md``, "Reading back".

        Raises:
            CorruptError: a slot has no good copy, and what it held may be the last vote.
        """
        file = files.open(directory / FILE_NAME)
        slots = [_read(file, slot, identity) for slot in range(_SLOTS)]
        state = max((states[0] for states in slots), key=lambda state: state.sequence)
        _write(file, state.sequence % _SLOTS, _pack(state, identity))
        file.sync_data()
        return cls(file, identity, state, numbers)

    def set(self, term: int, voted_for: str | None) -> int:
        """Change the state; tells the write number that must be durable before it is acted on.

        Raises:
            ValueError: the term goes back, or the name passes ``NAME_BYTES_MAX``.
        """
        if term < self.term or len((voted_for or "").encode()) > NAME_BYTES_MAX:
            raise ValueError(f"no vote for {voted_for!r} in term {term} after term {self.term}")
        if (term, voted_for) != (self.term, self.voted_for):
            self.term, self.voted_for = term, voted_for
            self._number = self._numbers.take()
        return self._number

    def begin_sync(self) -> File | None:
        """Write the state if it is not durable, and tell the file to sync. One sync at a time.

        Raises:
            StorageFullError: it is not written; the next call tries again.
            StorageFailedError: the disk has failed.
        """
        durable = self._durable
        self._syncing = durable
        if (self.term, self.voted_for) == durable[1:]:
            return None
        state = _State(durable.sequence + 1, self.term, self.voted_for)
        _write(self._file, state.sequence % _SLOTS, _pack(state, self._identity))
        self._syncing = state
        return self._file

    def end_sync(self) -> None:
        """What ``begin_sync`` wrote has been synced."""
        self._durable = self._syncing

    def close(self) -> None:
        """Give the file back. Syncs nothing."""
        self._file.close()


def _pack(state: _State, identity: bytes) -> bytes:
    name = (state.voted_for or "").encode()
    size = 0 if state.voted_for is None else len(name) + 1
    fields = _STATE.pack(_MAGIC, state.sequence, state.term, size, name)
    return fields + _CRC.pack(zlib.crc32(fields, zlib.crc32(identity)))


def _parse(block: bytes, identity: bytes) -> _State | None:
    fields = block[: _STATE.size]
    crc = block[_STATE.size : _STATE.size + _CRC.size]
    if crc != _CRC.pack(zlib.crc32(fields, zlib.crc32(identity))):
        return None
    _, sequence, term, size, name = _STATE.unpack(fields)
    try:
        return _State(sequence, term, name[: size - 1].decode() if size else None)
    except UnicodeDecodeError:  # no state that was ever written
        return None


def _write(file: File, slot: int, state: bytes) -> None:
    file.write(state.ljust(_BLOCK_BYTES, b"\0") * _COPIES, slot * _SLOT_BYTES)


def _read(file: File, slot: int, identity: bytes) -> list[_State]:
    """Good copies of a slot, newest first."""
    states = []
    for copy in range(_COPIES):
        offset = slot * _SLOT_BYTES + copy * _BLOCK_BYTES
        if state := _parse(file.read(_BLOCK_BYTES, offset), identity):
            states.append(state)
    if not states:
        raise CorruptError(file.path, slot * _SLOT_BYTES, "the term and vote written here are lost")
    return sorted(states, key=lambda state: -state.sequence)
