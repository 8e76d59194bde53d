"""The leader's side of a snapshot on its way: chunks of the newest file, in order, within a window.

A peer is sent the file as it is, and checks it. Each stream reads a file of its own, which lives as long as it is
open, whatever is removed meanwhile. Nothing is remembered but how far the peer is: on any doubt it says where to
go on. Source: Raft, figure 13 (InstallSnapshot), with offsets that are checked.
"""

from collections.abc import Callable
from typing import Final

from raftq_cluster.backends.raft.messages import Message, SnapshotAck, SnapshotChunk
from raftq_cluster.backends.raft.storage.snapshots import SnapshotReader, SnapshotStore

# Reading and sending one takes less than a millisecond of the loop.
CHUNK_BYTES: Final = 256 << 10
WINDOW_BYTES: Final = 4 * CHUNK_BYTES
RESEND_S: Final = 0.3
# A peer that has the whole file verifies and loads it: two seconds for a million tasks.
INSTALL_S: Final = 60.0


class _Stream:
    """One peer's file."""

    def __init__(self, reader: SnapshotReader) -> None:
        self.reader = reader
        self.held = 0  # bytes that the peer has
        self.sent = 0
        self.moved_s = 0.0  # when something was sent or acknowledged last


class SnapshotSender:
    """Streams to any number of peers. ``send`` takes ``(peer, message)`` and may refuse it."""

    def __init__(
        self,
        snapshots: SnapshotStore,
        send: Callable[[str, Message], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._snapshots = snapshots
        self._send = send
        self._monotonic = monotonic
        self._streams: dict[str, _Stream] = {}
        self.sent = 0  # whole snapshots, for the metrics

    def begin_or_continue(self, peer: str, term: int) -> None:
        """See that the newest snapshot is on its way to the peer."""
        stream = self._streams.get(peer)
        now_s = self._monotonic()
        if stream is None:
            reader = self._snapshots.latest()
            assert reader is not None, "a log that does not begin at 1 has a snapshot before it"
            stream = self._streams[peer] = _Stream(reader)
        elif stream.held == stream.reader.size:
            if now_s - stream.moved_s < INSTALL_S:
                return
            self.forget(peer)
            return
        elif now_s - stream.moved_s < RESEND_S:
            return
        stream.sent = stream.held
        self._fill(peer, stream, term)

    def on_ack(self, peer: str, ack: SnapshotAck, term: int) -> None:
        """The peer holds the bytes before ``ack.offset``, which may be fewer than were sent."""
        stream = self._streams.get(peer)
        if stream is None or ack.term != term:
            return
        info = stream.reader.info
        if (ack.snapshot_index, ack.snapshot_term) != (info.index, info.term):
            return
        if ack.offset > stream.reader.size:
            self.forget(peer)
            return
        if ack.offset < stream.held:
            stream.sent = ack.offset  # it has lost what it had
        if ack.offset == stream.reader.size and stream.held < ack.offset:
            self.sent += 1
        stream.held = ack.offset
        stream.sent = max(stream.sent, ack.offset)
        stream.moved_s = self._monotonic()
        self._fill(peer, stream, term)

    def _fill(self, peer: str, stream: _Stream, term: int) -> None:
        reader = stream.reader
        while stream.sent < reader.size and stream.sent - stream.held < WINDOW_BYTES:
            data = reader.read_at(stream.sent, min(CHUNK_BYTES, reader.size - stream.sent))
            chunk = SnapshotChunk(
                term, reader.info.index, reader.info.term, reader.size, stream.sent, data
            )
            if not self._send(peer, chunk):
                break
            stream.sent += len(data)
            stream.moved_s = self._monotonic()

    def forget(self, peer: str) -> None:
        """Stop sending to this peer."""
        stream = self._streams.pop(peer, None)
        if stream is not None:
            stream.reader.close()

    def close(self) -> None:
        """Stop sending to all."""
        for peer in list(self._streams):
            self.forget(peer)
