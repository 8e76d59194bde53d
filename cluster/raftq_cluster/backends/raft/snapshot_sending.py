"""The leader's side of a snapshot on its way: chunks of the newest file, in order, within a window.

A peer is sent the file as it is, and checks it. Each stream reads a file of its own, which lives as long as it is
open, whatever is removed meanwhile. Nothing is remembered but how far the peer is: every answer of it says where to
go on. It acknowledges the last byte when it needs nothing of the snapshot any more; until then it is asked again
and again for that byte. Source: Raft, figure 13 (InstallSnapshot), with offsets that are checked.
"""

import logging
from collections.abc import Callable
from typing import Final

from raftq_cluster.backends.raft.messages import Message, SnapshotAck, SnapshotChunk
from raftq_cluster.backends.raft.storage.snapshots import SnapshotReader, SnapshotStore

_log: Final = logging.getLogger(__name__)

# Reading and sending one takes less than a millisecond of the loop.
CHUNK_BYTES: Final = 256 << 10
# On its way to one peer: heartbeats wait behind it, 80 ms where the network does 100 Mbit/s.
WINDOW_BYTES: Final = 4 * CHUNK_BYTES
RESEND_S: Final = 0.3
# A peer that has taken nothing for so long (its disk may be full) holds nothing back, and gets the newest
# snapshot when it does: that may be a smaller one.
STALLED_S: Final = 10.0


class _Stream:
    """One peer's file."""

    def __init__(self, reader: SnapshotReader, now_s: float) -> None:
        self.reader = reader
        self.held = 0  # bytes that the peer has
        self.sent = 0
        self.began_s = now_s
        self.moved_s = now_s  # when something was sent, or was acknowledged for the first time
        self.taken_s = now_s  # when something was acknowledged for the first time


class SnapshotSender:
    """Streams to any number of peers. ``send`` takes ``(peer, message)`` and may refuse it.

    ``base_index`` is that of the log: what a snapshot before it would need next is gone. ``arrived``
    is told ``(peer, index)`` when a peer needs nothing up to that index any more.
    """

    def __init__(
        self,
        snapshots: SnapshotStore,
        send: Callable[[str, Message], bool],
        monotonic: Callable[[], float],
        *,
        base_index: Callable[[], int],
        arrived: Callable[[str, int], None],
    ) -> None:
        self._snapshots = snapshots
        self._send = send
        self._monotonic = monotonic
        self._base_index = base_index
        self._arrived = arrived
        self._streams: dict[str, _Stream] = {}
        self.sent = 0  # whole snapshots, for the metrics

    def is_sending(self, peer: str) -> bool:
        """Whether a snapshot is on its way to this peer."""
        return peer in self._streams

    def oldest_index(self) -> int | None:
        """The lowest index of a snapshot that is being taken by a peer, None if none is.

        What follows will be needed.
        """
        since_s = self._monotonic() - STALLED_S
        indexes = [stream.reader.info.index for stream in self._streams.values()
                   if stream.taken_s >= since_s]  # fmt: skip
        return min(indexes, default=None)

    def begin_or_continue(self, peer: str, term: int) -> None:
        """See that a snapshot which the log goes on from is on its way. Cheap; call it often."""
        stream, now_s = self._streams.get(peer), self._monotonic()
        if stream is not None and stream.reader.info.index < self._base_index():
            _log.info("the log has gone on without %s: it is sent a newer snapshot", peer)
            self.forget(peer)
            stream = None
        if stream is None:
            stream = self._streams[peer] = _Stream(self._newest(), now_s)
            self._fill(peer, stream, term, WINDOW_BYTES)
        elif now_s - stream.moved_s >= RESEND_S:
            if now_s - stream.taken_s >= STALLED_S:
                stream = self._renewed(peer, stream)
            # A connection loses nothing, so the peer does not take it now: one chunk asks again.
            stream.sent = stream.held
            self._fill(peer, stream, term, CHUNK_BYTES)

    def _renewed(self, peer: str, stream: _Stream) -> _Stream:
        """The stream of the newest snapshot, this one if it is of that."""
        newest = self._newest()
        if newest.info == stream.reader.info:
            newest.close()
            return stream
        self.forget(peer)
        fresh = self._streams[peer] = _Stream(newest, self._monotonic())
        return fresh

    def _newest(self) -> SnapshotReader:
        reader = self._snapshots.latest()
        assert reader is not None, "a node has a snapshot from its first start on"
        assert reader.info.index >= self._base_index(), "a log goes on from its snapshot"
        return reader

    def on_ack(self, peer: str, ack: SnapshotAck, term: int) -> None:
        """Go on where the peer says. ``term`` is ours; an answer to another one does not count."""
        stream = self._streams.get(peer)
        if stream is None or ack.term != term:
            return
        info, size = stream.reader.info, stream.reader.size
        if (ack.snapshot_index, ack.snapshot_term) != (info.index, info.term):
            return
        if ack.offset >= size:
            self._finish(peer, stream)
            return
        if ack.offset == stream.held:
            return  # of a chunk that came twice; if one was lost, it is sent again in a while
        if ack.offset < stream.held:
            stream.sent = ack.offset  # it has thrown away what it had
        stream.held = ack.offset
        stream.sent = max(stream.sent, ack.offset)
        stream.moved_s = stream.taken_s = self._monotonic()
        self._fill(peer, stream, term, WINDOW_BYTES)

    def _finish(self, peer: str, stream: _Stream) -> None:
        info, seconds = stream.reader.info, self._monotonic() - stream.began_s
        self.forget(peer)
        self.sent += 1
        _log.info("%s has the snapshot of entry %d after %.1f s", peer, info.index, seconds)
        self._arrived(peer, info.index)

    def _fill(self, peer: str, stream: _Stream, term: int, window_bytes: int) -> None:
        reader, info = stream.reader, stream.reader.info
        while stream.sent < reader.size and stream.sent - stream.held < window_bytes:
            data = reader.read_at(stream.sent, min(CHUNK_BYTES, reader.size - stream.sent))
            chunk = SnapshotChunk(term, info.index, info.term, reader.size, stream.sent, data)
            stream.moved_s = self._monotonic()
            if not self._send(peer, chunk):
                return
            stream.sent += len(data)

    def forget(self, peer: str) -> None:
        """Stop sending to this peer."""
        stream = self._streams.pop(peer, None)
        if stream is not None:
            stream.reader.close()

    def close(self) -> None:
        """Stop sending to all. Idempotent."""
        for peer in list(self._streams):
            self.forget(peer)
