"""Looking after the disk: when and how snapshots are taken, and what is then forgotten of the log.

A snapshot is begun when the log since the last one is as large as that snapshot was, and at least
``Bounds.bytes_between_min``: so taking snapshots at most doubles what is written, and a restart replays no more
than that. It is begun as well when values that the last one holds are gone, as many and at least half of it:
a state that was drained must give its room on the disk back. And it is begun early when the disk is nearly full, since
only a snapshot lets go of log. It is taken on the event loop in slices of some hundred records, between which requests have
their turn, and written to disk by another thread. Nothing waits for it. Afterwards the log is cut, but
for the newest entries, and for what peers that lag a little still need. A node that stops takes none: it starts the same way after a stop and after a crash.

Once a second, what the disk need not keep any more is removed, and an idle log notes how far it is
synced. Knows nothing of Raft's rounds.
"""

import asyncio
import gc
import logging
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeAlias

from raftq_cluster.backends.raft.commands import encode_base
from raftq_cluster.backends.raft.recovery import collector_off, hide
from raftq_cluster.backends.raft.replica import Replica
from raftq_cluster.backends.raft.storage.errors import StorageError, StorageFullError
from raftq_cluster.backends.raft.storage.snapshots import SnapshotWriter
from raftq_cluster.backends.raft.storage.store import Store
from raftq_cluster.core.snapshot import Record, Snapshot

_log: Final = logging.getLogger(__name__)

# Small entries cost memory of their own, some 200 bytes each: a snapshot is due after so many.
ENTRIES_BETWEEN_MAX: Final = 200_000
# Records are taken in slices that hold the loop for well under 5 ms: by count and by bytes.
SLICE_RECORDS: Final = 200
SLICE_BYTES: Final = 1 << 20
# Written bytes are put on disk in portions, so that the last sync does not delay those of the log.
SYNC_BYTES: Final = 8 << 20
# The collector counts new objects less those that went, so where old tasks go as new ones come it does not run, and when
# it does it looks through all that came meanwhile: 400 ms of work for a million. After so many new tasks it
# is made to: some 5 ms (million.py).
YOUNG_TASKS_MAX: Final = 10_000
# After a snapshot that found the disk full, the next one waits.
RETRY_S: Final = 30.0


EncodeChunk: TypeAlias = Callable[[Sequence[Record]], bytes]
InThread: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a job that blocks without stopping the loop."""


def _nothing() -> int | None:
    """Nobody lags."""
    return None


class Bounds(NamedTuple):
    """How much log there may be. Entries are kept so that a follower that was away needs no snapshot.

    The disk is nearly full when less is free than twice ``disk_free_bytes_min`` and the next snapshot.
    """

    bytes_between_min: int = 32 << 20  # some 600,000 small operations: they replay in 2 to 3 s
    entries_kept: int = 1_000
    bytes_kept: int = 8 << 20  # of these entries: they are held in memory
    bytes_lagging: int = 64 << 20  # of all that is kept while a peer needs it: likewise
    early_bytes_min: int = 16 << 20  # log that lets go of a segment, the least that gives room back
    disk_free_bytes_min: int = 64 << 20


class Upkeep:
    """Takes the snapshots of one replica, one at a time, and cuts its log.

    ``fail`` is told a sentence when the disk fails, or the state cannot be written: stop the node.
    ``needed_from`` gives the lowest index that a peer may still be sent, None if there is none.
    """

    def __init__(
        self,
        store: Store,
        replica: Replica,
        fail: Callable[[str], None],
        *,
        last_bytes: int,
        bounds: Bounds,
        in_thread: InThread = asyncio.to_thread,
        needed_from: Callable[[], int | None] = _nothing,
    ) -> None:
        self._store = store
        self._journal = store.journal
        self._replica = replica
        self._fail = fail
        self._last_bytes = last_bytes
        # What the last one holds in values is not known after a restart: at most all of it.
        self._last_value_bytes = last_bytes
        self._bounds = bounds
        self._needed_from = needed_from
        self._is_disk_low = False
        self._in_thread = in_thread
        self._swept_seq = replica.machine.seq
        self._kept_bytes = 0  # of entries that the last snapshot holds already
        self._seen_number = store.last_number
        self._last_index = replica.index
        self._not_before_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self._is_paused = False

    def consider(self) -> None:
        """Begin a snapshot if it is time. Cheap: called after every round that applied entries."""
        if not 0 <= self._replica.machine.seq - self._swept_seq < YOUNG_TASKS_MAX:
            self._swept_seq = self._replica.machine.seq
            gc.collect(1)  # what survives is old, and not looked through again
        if self._task is None and self._is_due():
            self._task = asyncio.create_task(self._guard(self._take), name="raft snapshot")

    def each_second(self, disk_free_bytes: int) -> None:
        """Remove what is not needed, and let an idle log note how far it is synced.

        A snapshot that found the disk full is tried again, also when nobody asks for anything.
        """
        room_bytes = 2 * self._bounds.disk_free_bytes_min + self._next_bytes()
        self._is_disk_low = disk_free_bytes < room_bytes
        self.consider()
        number = self._store.last_number
        if number == self._seen_number:
            self._journal.mark()
        self._seen_number = number
        if self._task is None and not self._is_closing:
            job = self._journal.collect()
            if job is not None:
                self._task = asyncio.create_task(self._guard(lambda: self._in_thread(job)))

    async def pause(self) -> None:
        """Take no snapshot until ``resume``; one that is being taken is given up at its next slice."""
        self._is_paused = True
        if self._task is not None:
            await asyncio.wait([self._task])

    def resume(self) -> None:
        """Take snapshots again."""
        self._is_paused = False

    def note_installed(self, index: int, size: int) -> None:
        """A snapshot of another node, which is durable, has taken the place of the state."""
        self._note(index, size, self._value_bytes())
        self._cut(index)

    async def close(self) -> None:
        """Finish; a snapshot that is being taken is given up at its next slice. Idempotent."""
        self._is_closing = True
        if self._task is not None:
            await self._task

    def _is_due(self) -> bool:
        is_new = self._replica.index > self._last_index
        if not is_new or self._is_given_up or _now_s() < self._not_before_s:
            return False
        return self._is_log_long() or self._is_state_drained() or self._is_room_needed()

    @property
    def _is_given_up(self) -> bool:
        return self._is_closing or self._is_paused

    def _is_log_long(self) -> bool:
        bound = max(self._bounds.bytes_between_min, self._last_bytes)
        return (
            self._replica.index - self._last_index >= ENTRIES_BETWEEN_MAX
            or self._log_bytes() >= bound
        )

    def _log_bytes(self) -> int:
        """Bytes of the log since the last snapshot."""
        return self._journal.data_bytes - self._kept_bytes

    def _next_bytes(self) -> int:
        """About what the next snapshot takes: what the last one did, and what has grown since."""
        return self._last_bytes + max(0, self._value_bytes() - self._last_value_bytes)

    def _is_room_needed(self) -> bool:
        """Whether log must go although it is not long: more than an eighth of what is written for it."""
        least_bytes = max(self._bounds.early_bytes_min, self._last_bytes // 8)
        return self._is_disk_low and self._log_bytes() >= least_bytes

    def _is_state_drained(self) -> bool:
        bound = max(self._bounds.bytes_between_min, self._last_bytes // 2)
        return self._last_value_bytes - self._value_bytes() >= bound

    def _value_bytes(self) -> int:
        _, value_bytes, _, _ = self._replica.machine.load()
        return value_bytes

    async def _guard(self, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            await work()
        except StorageFullError as error:
            self._not_before_s = _now_s() + RETRY_S
            _log.warning("no space for a snapshot; the next attempt is in %d s: %s", RETRY_S, error)
        except StorageError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - a state that cannot be written cannot be trusted either
            _log.exception("taking a snapshot has failed")
            self._fail(f"the state cannot be written to a snapshot: {error!r}")
        finally:
            self._task = None

    async def _take(self) -> None:
        replica, started_s = self._replica, _now_s()
        index, term = replica.index, self._journal.term_at(replica.index)
        value_bytes = self._value_bytes()
        config = encode_base(replica.members, replica.log_format)
        encode_chunk = replica.formats[replica.log_format].encode_chunk
        writer = self._store.snapshots.begin(index, term, config)
        with collector_off():
            records = replica.machine.snapshot(self._slice_records())
            hide(len(replica.machine.tasks))
        try:
            is_whole = await self._write(records, writer, encode_chunk)
        except BaseException:
            writer.abort()
            raise
        finally:
            records.close()
        if is_whole:
            self._note(index, writer.size, value_bytes)
            _log.info("snapshot of entry %d: %d bytes in %.1f s", index, writer.size,
                      _now_s() - started_s)  # fmt: skip
            await self._compact(index)

    async def _write(
        self, records: Snapshot, writer: SnapshotWriter, encode_chunk: EncodeChunk
    ) -> bool:
        """Write all slices and seal the snapshot, or abort it when the node stops."""
        synced_bytes = 0
        for slice_ in records:
            for chunk in _chunks(slice_, encode_chunk):
                writer.write(chunk)
            if self._is_given_up:
                writer.abort()
                return False
            if writer.size - synced_bytes > SYNC_BYTES:
                synced_bytes = writer.size
                await self._in_thread(writer.sync)
            await asyncio.sleep(0)
        await self._in_thread(writer.finish)
        return True

    def _slice_records(self) -> int:
        tasks, value_bytes, _, _ = self._replica.machine.load()
        average_bytes = value_bytes // (tasks + 1) + 1
        return max(1, min(SLICE_RECORDS, SLICE_BYTES // average_bytes))

    def _note(self, index: int, size: int, value_bytes: int) -> None:
        self._last_index = index
        self._last_bytes = size
        self._last_value_bytes = value_bytes

    async def _compact(self, index: int) -> None:
        self._cut(index)
        await self._in_thread(self._store.snapshots.prune)

    def _cut(self, index: int) -> None:
        """Cut the log behind the snapshot of ``index``, but for its newest entries, and what peers need."""
        journal, bounds = self._journal, self._bounds
        needed = self._needed_from()
        lagging = 0 if needed is None else max(0, index + 1 - needed)  # entries
        lowest = max(journal.first_index, index + 1 - max(bounds.entries_kept, lagging))
        # Backwards: bytes of the newest, of the newest two, and so on. There may be 200,000: no call for each.
        sizes = [len(data) for _term, data in reversed(journal.entries(lowest, index + 1))]
        totals = list(accumulate(sizes))
        kept = max(
            min(bounds.entries_kept, bisect_right(totals, bounds.bytes_kept)),
            min(lagging, bisect_right(totals, bounds.bytes_lagging)),
        )
        journal.drop_before(index + 1 - kept)
        self._kept_bytes = totals[kept - 1] if kept else 0


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _chunks(records: list[Record], encode_chunk: EncodeChunk) -> Iterator[bytes]:
    """Pack a slice; one whose records are far larger than usual becomes several chunks."""
    chunk = encode_chunk(records)
    if len(chunk) <= SLICE_BYTES or len(records) == 1:
        yield chunk
        return
    half = len(records) // 2
    yield from _chunks(records[:half], encode_chunk)
    yield from _chunks(records[half:], encode_chunk)
