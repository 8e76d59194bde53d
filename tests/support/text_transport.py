"""A transport without a network: a peer that reads as much as the test says."""

import asyncio
import errno
from typing import Any


class Options:
    """Takes the place of a socket: remembers the options that are set."""

    def __init__(self) -> None:
        self.chosen: dict[tuple[int, int], int] = {}

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.chosen[level, option] = value


class FakeTransport(asyncio.Transport):
    """Keeps what is written until the peer reads it, and tells the protocol as a real one does."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_reading_paused = False
        self.has_ended = False  # write_eof was called
        self.peer_is_gone = False  # though nobody has told the protocol
        self.was_aborted = False
        self.knows_half_ends = True  # as all but TLS do
        self.options = Options()
        self._protocol = protocol
        self._is_closing = False
        self._high_bytes = 0
        self._unread_bytes = 0
        self._takes_all = True
        protocol.connection_made(self)

    @property
    def said(self) -> bytes:
        """Everything that was written."""
        return b"".join(self.writes)

    def stop_reading(self) -> None:
        """From now on the peer reads nothing."""
        self._takes_all = False

    def read_all_but(self, unread_bytes: int) -> None:
        """The peer reads, and leaves so much."""
        self._unread_bytes = unread_bytes
        if unread_bytes <= self._high_bytes:
            self._protocol.resume_writing()

    def end(self) -> None:
        """The peer sends no more."""
        if not self._protocol.eof_received():
            self.close()

    def lose(self) -> None:
        """The connection is lost."""
        self._is_closing = True
        self._protocol.connection_lost(None)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._is_closing, "uvloop raises here"
        assert not self.has_ended
        self.writes.append(bytes(data))
        if not self._takes_all:
            was_high = self._unread_bytes > self._high_bytes
            self._unread_bytes += len(data)
            if self._unread_bytes > self._high_bytes and not was_high:
                self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return self.knows_half_ends

    def write_eof(self) -> None:
        if self.peer_is_gone:
            raise OSError(errno.ENOTCONN, "as asyncio raises here")
        self.has_ended = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del low
        self._high_bytes = high or 0

    def get_write_buffer_size(self) -> int:
        return self._unread_bytes

    def pause_reading(self) -> None:
        assert not self.is_reading_paused
        assert not self._is_closing
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        assert self.is_reading_paused
        self.is_reading_paused = False

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True

    def abort(self) -> None:
        self.was_aborted = True
        self._is_closing = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.options if name == "socket" else default
