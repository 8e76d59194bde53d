"""The follower's side of a snapshot on its way: bytes into a file, and the file into the state.

Bytes are kept in their order, whatever order chunks come in, and put on disk in portions. When all are here, another
thread checks every one of them, makes the state from them and gives the file its name; then the loop decides whether it
is still newer than what is here, and goes on from it. The leader is told of the last byte only after that. Bytes of
two leaders, or of one leader in two terms, are never mixed. Whatever is wrong with them, they are thrown
away and asked for again. Does not know who leads: it is given the chunks of the leader only.

Source: Raft, figure 13 (InstallSnapshot).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

from raftq_cluster.backends.raft.commands import FormatTooNewError, Member
from raftq_cluster.backends.raft.messages import Message, SnapshotAck, SnapshotChunk
from raftq_cluster.backends.raft.peer_api import PeerError
from raftq_cluster.backends.raft.recovery import collector_off, hide, read_base
from raftq_cluster.backends.raft.replica import Replica
from raftq_cluster.backends.raft.storage.errors import (
    CorruptError,
    ForeignError,
    StorageError,
    StorageFullError,
)
from raftq_cluster.backends.raft.storage.snapshots import (
    ReceivedSnapshot,
    SnapshotInfo,
    SnapshotStore,
)
from raftq_cluster.backends.raft.upkeep import SYNC_BYTES, InThread
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.formats import FIRST, Formats
from raftq_cluster.codec.record_shapes import check_snapshot
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.restoring import SnapshotVersionError, restore
from raftq_cluster.core.snapshot import Record
from raftq_cluster.core.state import MachineError

_log: Final = logging.getLogger(__name__)

# After a snapshot that found the disk full or was damaged, none is taken for this long: what is wrong must not keep disk and
# network busy, and once it is mended the node is not to lag for much longer.
PAUSE_S: Final = 5.0
# What has come of a snapshot is thrown away when nothing follows for this long.
SILENT_S: Final = 60.0


class Node(Protocol):
    """Where the state goes: the engine."""

    def holds(self, index: int, term: int) -> bool:
        """Whether the state or the log has this entry: a snapshot of it is no news."""
        ...

    def install(
        self,
        index: int,
        term: int,
        machine: Machine,
        members: tuple[Member, ...],
        log_format: int = FIRST,
    ) -> bool:
        """Go on from a durable snapshot; False if it is not newer than what is here."""
        ...

    def send(self, peer: str, message: Message) -> bool:
        """Send to a member, or not."""
        ...

    def fail(self, sentence: str) -> None:
        """Stop the node."""
        ...


class SnapshotTaker(Protocol):
    """Who takes this node's own snapshots: not while one is installed."""

    async def pause(self) -> None:
        """Take none until ``resume``."""
        ...

    def resume(self) -> None:
        """Take them again."""
        ...

    def note_installed(self, index: int, size: int) -> None:
        """State and log go on from a snapshot of another node."""
        ...


class _Source(NamedTuple):
    """Whose bytes of what."""

    peer: str
    term: int  # of the leadership
    info: SnapshotInfo
    size: int


class SnapshotReceiver:
    """Takes one snapshot at a time for one node, whose state ``replica`` has."""

    def __init__(
        self,
        snapshots: SnapshotStore,
        node: Node,
        taker: SnapshotTaker,
        replica: Replica,
        *,
        in_thread: InThread,
        monotonic: Callable[[], float],
    ) -> None:
        self._snapshots = snapshots
        self._node = node
        self._taker = taker
        self._replica = replica
        self._in_thread = in_thread
        self._monotonic = monotonic
        self._source: _Source | None = None
        self._partial: ReceivedSnapshot | None = None  # of ``_source``
        self._synced = 0  # bytes of it that are on disk
        self._task: asyncio.Task[None] | None = None  # syncs, installs or throws away
        self._is_installing = False
        self._is_closing = False
        self._heard_s = 0.0
        self._not_before_s = -float("inf")

    def on_chunk(self, peer: str, chunk: SnapshotChunk) -> None:
        """Take a chunk from the leader of the current term, and tell it where to go on.

        Raises:
            PeerError: no leader can have sent it.
            StorageError: the disk has failed.
        """
        if not chunk.data or chunk.offset + len(chunk.data) > chunk.size:
            raise PeerError("a chunk of a snapshot reaches beyond its end, or is empty")
        info = SnapshotInfo(chunk.snapshot_index, chunk.snapshot_term)
        source = _Source(peer, chunk.term, info, chunk.size)
        if self._node.holds(info.index, info.term):
            self._ack(source, source.size)
            if self._task is None:
                self._throw_away()
        elif not self._is_closing and self._is_time_for(source):
            self._take(source, chunk)

    def _is_time_for(self, source: _Source) -> bool:
        """Whether a chunk can be taken now. If not, nothing is said: it is sent again."""
        if self._monotonic() < self._not_before_s:
            return False
        if self._task is not None:
            return source == self._source and not self._is_installing
        if self._partial is not None and source != self._source:
            self._throw_away()  # and then the new one
            return False
        return True

    def _take(self, source: _Source, chunk: SnapshotChunk) -> None:
        self._heard_s = self._monotonic()
        try:
            if self._partial is None:
                self._partial = self._snapshots.receive(source.info, source.size)
                self._source, self._synced = source, 0
            known_bytes = self._partial.held - chunk.offset
            if 0 <= known_bytes < len(chunk.data):
                self._partial.write(chunk.data[known_bytes:])
        except StorageFullError as error:
            self._put_off(error)
        self._go_on()

    def _put_off(self, error: StorageFullError) -> None:
        self._not_before_s = self._monotonic() + PAUSE_S
        _log.warning("no space for the leader's snapshot; the next attempt is in %d s: %s",
                     PAUSE_S, error)  # fmt: skip

    def _go_on(self) -> None:
        """Acknowledge, sync or install: what the bytes that are here ask for."""
        partial, source = self._partial, self._source
        if partial is None or source is None or self._task is not None or self._is_closing:
            return
        if self._monotonic() < self._not_before_s:
            self._throw_away()
        elif partial.held == source.size:
            self._is_installing = True
            self._start(self._install(partial, source))
        elif partial.held - self._synced >= SYNC_BYTES:
            self._start(self._sync(partial))  # and then acknowledge: no faster than the disk
        else:
            self._ack(source, partial.held)

    def _ack(self, source: _Source, offset: int) -> None:
        index, term = source.info.index, source.info.term
        self._node.send(source.peer, SnapshotAck(source.term, index, term, offset))

    def each_second(self) -> None:
        """Throw away what nobody goes on sending."""
        is_silent = self._monotonic() - self._heard_s > SILENT_S
        if self._partial is not None and self._task is None and is_silent:
            self._throw_away()

    async def close(self) -> None:
        """Finish what is under way, and throw away what is not whole. Idempotent."""
        self._is_closing = True
        await self._finish()
        self._throw_away()
        await self._finish()

    async def _finish(self) -> None:
        while self._task is not None:
            await asyncio.wait([self._task])

    # --- what takes time ------------------------------------------------------------------------

    def _start(self, work: Awaitable[None]) -> None:
        self._task = asyncio.create_task(self._guard(work), name="raft snapshot receiver")

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except StorageFullError as error:
            self._put_off(error)
            await self._abort()
        except SnapshotVersionError as error:  # as a log in a format that is too new
            self._fail(f"the leader's snapshot cannot be read: {error}")
        except (CorruptError, ForeignError, CodecError, MachineError) as error:
            self._not_before_s = self._monotonic() + PAUSE_S
            _log.error("the leader's snapshot is refused, and asked for again: %s", error)
            await self._abort()
        except (StorageError, FormatTooNewError) as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - a state that is half replaced cannot be trusted
            _log.exception("installing a snapshot has failed")
            self._fail(f"the leader's snapshot cannot be installed: {error!r}")
        finally:
            self._task = None
            self._is_installing = False
        self._go_on()

    def _fail(self, sentence: str) -> None:
        self._is_closing = True  # nothing is tried again
        self._node.fail(sentence)

    async def _sync(self, partial: ReceivedSnapshot) -> None:
        written = partial.held
        await self._in_thread(partial.sync)
        self._synced = written

    def _throw_away(self) -> None:
        if self._partial is not None:
            self._start(self._abort())

    async def _abort(self) -> None:
        partial, self._partial, self._source = self._partial, None, None
        if partial is not None:
            try:
                await self._in_thread(partial.abort)
            except StorageError as error:
                self._fail(str(error))

    async def _install(self, partial: ReceivedSnapshot, source: _Source) -> None:
        info, before = source.info, self._replica.machine
        await self._taker.pause()
        try:
            formats = self._replica.formats
            machine, members, log_format = await self._in_thread(lambda: _load(partial, formats))
            self._partial = self._source = None
            if self._node.install(info.index, info.term, machine, members, log_format):
                self._taker.note_installed(info.index, source.size)
                self._ack(source, source.size)
                _log.info("installed the snapshot of entry %d of %s", info.index, source.peer)
                machine = before
            await self._in_thread(machine.dismantle)
            await self._in_thread(self._snapshots.prune)
        finally:
            self._taker.resume()


def _load(partial: ReceivedSnapshot, formats: Formats) -> tuple[Machine, tuple[Member, ...], int]:
    """Check all of it, make a state of it, put it on disk and give it its name. Blocks."""
    reader = partial.open()
    try:
        with collector_off():
            members, log_format = read_base(reader.config, formats)
            decode_chunk = formats[log_format].decode_chunk
            records = (_checked(decode_chunk(chunk)) for chunk in reader.chunks())
            machine = restore(records)
            hide(len(machine.tasks))
        if machine.index > partial.info.index:
            raise MachineError("the state is newer than the snapshot says")
    finally:
        reader.close()
    partial.publish()
    return machine, members, log_format


def _checked(records: list[Record]) -> list[Record]:
    """Records of the leader, of good shape: others could raise out of a later ``apply``, here alone."""
    check_snapshot(records)
    return records
