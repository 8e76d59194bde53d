"""The follower's side of a snapshot on its way: bytes into a file, and the file into the state.

Chunks are kept in order and acknowledged. When all are here, another thread puts them on disk, checks every
byte of them, loads the state and gives the file its name; then the loop decides whether it is still newer than what
is here, and goes on from it. Whatever is wrong with it, it is thrown away and asked for again.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from raftq_cluster.backends.raft.commands import Member, decode_members
from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.messages import SnapshotAck, SnapshotChunk
from raftq_cluster.backends.raft.recovery import collector_off
from raftq_cluster.backends.raft.storage.errors import (
    StorageError,
    StorageFailedError,
    StorageFullError,
)
from raftq_cluster.backends.raft.storage.snapshots import (
    ReceivedSnapshot,
    SnapshotInfo,
    SnapshotStore,
)
from raftq_cluster.backends.raft.upkeep import InThread
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.snapshots import decode_chunk
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.restoring import restore
from raftq_cluster.core.state import MachineError

_log: Final = logging.getLogger(__name__)


class SnapshotReceiver:
    """Takes snapshots for one engine. ``installed`` is told (index, bytes) of each that is in use."""

    def __init__(
        self,
        snapshots: SnapshotStore,
        engine: Engine,
        in_thread: InThread,
        installed: Callable[[int, int], None],
    ) -> None:
        self._snapshots = snapshots
        self._engine = engine
        self._in_thread = in_thread
        self._installed = installed
        self._partial: ReceivedSnapshot | None = None
        self._held = 0
        self._task: asyncio.Task[None] | None = None
        engine.on(SnapshotChunk, self._on_chunk)

    def _on_chunk(self, peer: str, chunk: SnapshotChunk) -> None:
        """Take a chunk, if it is from the leader of our term."""
        consensus = self._engine.consensus
        if chunk.term != consensus.term or peer != consensus.core.leader or consensus.is_leader:
            return
        info = SnapshotInfo(chunk.snapshot_index, chunk.snapshot_term)
        if self._engine.holds(info.index, info.term):
            self._ack(peer, chunk, chunk.size)
        elif self._task is not None:
            is_this = self._partial is not None and self._partial.info == info
            self._ack(peer, chunk, chunk.size if is_this else 0)
        else:
            self._take(peer, chunk, info)

    def _take(self, peer: str, chunk: SnapshotChunk, info: SnapshotInfo) -> None:
        try:
            if self._partial is None or (self._partial.info, self._partial.size) != (
                info,
                chunk.size,
            ):
                self._give_up()
                self._partial = self._snapshots.receive(info, chunk.size)
            if chunk.offset == self._held and self._held + len(chunk.data) <= chunk.size:
                self._partial.write(chunk.data, chunk.offset)
                self._held += len(chunk.data)
        except StorageFullError as error:
            _log.warning("no space for the leader's snapshot: %s", error)
            self._give_up()
            return
        if self._held == chunk.size:
            self._task = asyncio.create_task(self._finish(self._partial), name="raft install")
        self._ack(peer, chunk, self._held)

    def _ack(self, peer: str, chunk: SnapshotChunk, offset: int) -> None:
        self._engine.send(
            peer, SnapshotAck(chunk.term, chunk.snapshot_index, chunk.snapshot_term, offset)
        )

    async def _finish(self, partial: ReceivedSnapshot) -> None:
        try:
            machine, members = await self._in_thread(lambda: _load(partial))
            if self._engine.install(partial.info.index, partial.info.term, machine, members):
                _log.info("installed the leader's snapshot of entry %d", partial.info.index)
                self._installed(partial.info.index, partial.size)
            self._partial, self._held = None, 0
        except StorageFailedError as error:
            self._engine.fail(str(error))
        except (StorageError, CodecError, MachineError) as error:
            _log.error("the leader's snapshot cannot be used, and is asked for again: %s", error)
            self._give_up()
        finally:
            self._task = None

    def _give_up(self) -> None:
        partial, self._partial, self._held = self._partial, None, 0
        if partial is not None:
            partial.abort()

    async def close(self) -> None:
        """Finish an install that is under way; throw a part away. Idempotent."""
        if self._task is not None:
            await asyncio.wait([self._task])
        self._give_up()


def _load(partial: ReceivedSnapshot) -> tuple[Machine, tuple[Member, ...]]:
    """Put it on disk, check all of it, make a state of it, and give it its name. Blocks."""
    reader = partial.seal()
    try:
        with collector_off():
            chunks: Any = (decode_chunk(chunk) for chunk in reader.chunks())
            machine = restore(chunks)
        members = decode_members(reader.config)
        if machine.index > partial.info.index:
            raise CodecError("the state is newer than the snapshot says")
        partial.publish()
    finally:
        reader.close()
    return machine, members
