"""Frames in a stream of bytes: four bytes of length, big-endian, then as many bytes. Sans IO.

A length beyond the limit is refused before a byte of the frame is kept.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final

from raftq_cluster.backends.raft.peer_api import FRAME_BYTES_MAX, PeerError

# Before it is known who is there, nobody may make us keep more than this.
HELLO_BYTES_MAX: Final = 4 << 10
_LENGTH: Final = Struct(">I")
LENGTH_BYTES: Final = _LENGTH.size


def length_of(frame: bytes) -> bytes:
    """What goes before a frame."""
    return _LENGTH.pack(len(frame))


class FrameReader:
    """Cuts what arrives into frames. ``limit`` may be raised at any time, for frames that follow."""

    def __init__(self, limit: int = HELLO_BYTES_MAX) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._wanted = LENGTH_BYTES  # bytes without which there is no next frame

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add what arrived and give the frames that are complete.

        Raises:
            PeerError: a frame is too large, or empty. Nothing may be fed after that.
        """
        buffer = self._buffer
        buffer += data
        if len(buffer) < self._wanted:
            return
        start = 0
        while len(buffer) - start >= LENGTH_BYTES:
            (size,) = _LENGTH.unpack_from(buffer, start)
            if not 0 < size <= min(self.limit, FRAME_BYTES_MAX):
                raise PeerError(f"a frame of {size} bytes; at most {self.limit} are taken")
            end = start + LENGTH_BYTES + size
            if end > len(buffer):
                break
            frame = bytes(memoryview(buffer)[start + LENGTH_BYTES : end])
            start = end
            yield frame
        del buffer[:start]
        self._wanted = LENGTH_BYTES
        if len(buffer) >= LENGTH_BYTES:
            self._wanted += _LENGTH.unpack_from(buffer)[0]
