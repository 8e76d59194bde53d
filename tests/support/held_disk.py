"""A log and a vote in memory whose syncs a test lets through by hand, or lets fail.

What was written is lost by ``power_cut`` unless a sync that began after it has completed.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from raftq_cluster.backends.raft.storage.entry_log import EntryLog
from raftq_cluster.backends.raft.storage.errors import StorageError


class LogEmptiedError(AssertionError):
    """Somebody empties the log for a snapshot, which nobody should here."""


class Image(NamedTuple):
    """All that is on disk once a sync is complete."""

    rows: tuple[tuple[int, bytes], ...]
    term: int
    voted_for: str | None
    writes: int


class HeldDisk:
    """Does what the engine asks of a disk; with ``automatic`` a sync is complete one turn later."""

    def __init__(self, *, automatic: bool = False) -> None:
        self.automatic = automatic
        self.syncs_begun = 0
        self.append_error: StorageError | None = None
        self.term = 0
        self.voted_for: str | None = None
        self._log = EntryLog()
        self._is_dirty = False
        self._writes = 0
        self._written: list[int] = []  # the number of the write of each entry
        self._durable = Image((), 0, None, 0)  # what a power cut leaves
        self._syncing: Image | None = None
        self._done: Callable[[Exception | None], None] | None = None

    # --- for the test -------------------------------------------------------------------------

    @property
    def is_syncing(self) -> bool:
        return self._syncing is not None

    def complete_sync(self) -> None:
        """The sync that is under way is done: what was written before it began is safe."""
        assert self._syncing is not None
        assert self._done is not None
        self._durable, self._syncing = self._syncing, None
        self._done(None)

    def fail_sync(self, error: Exception) -> None:
        assert self._done is not None
        self._syncing = None
        self._done(error)

    def power_cut(self) -> "HeldDisk":
        """The disk as a restarted node would find it."""
        after = HeldDisk(automatic=self.automatic)
        rows, after.term, after.voted_for, _ = self._durable
        for term, command in rows:
            after._log.append(term, command)
        after._written = [0] * len(rows)
        after._durable = Image(rows, after.term, after.voted_for, 0)
        return after

    def commands(self) -> list[bytes]:
        return [command for _, command in self._log.entries(1, self._log.last_index + 1)]

    # --- for the engine -----------------------------------------------------------------------

    @property
    def base_index(self) -> int:
        return self._log.base_index

    @property
    def base_term(self) -> int:
        return self._log.base_term

    @property
    def last_index(self) -> int:
        return self._log.last_index

    @property
    def last_term(self) -> int:
        return self._log.last_term

    @property
    def durable_index(self) -> int:
        return bisect_right(self._written, self._durable.writes)

    @property
    def vote_is_durable(self) -> bool:
        return (self._durable.term, self._durable.voted_for) == (self.term, self.voted_for)

    @property
    def is_dirty(self) -> bool:
        return self._is_dirty

    def entries(self, start: int, stop: int) -> list[tuple[int, bytes]]:
        return self._log.entries(start, stop)

    def term_at(self, index: int) -> int:
        return self._log.term_at(index)

    def command_at(self, index: int) -> bytes:
        return self._log.entry(index)[1]

    def reserve(self, data_bytes: int, entries: int) -> None:
        del data_bytes, entries

    def reset_to(self, index: int, term: int) -> None:
        raise LogEmptiedError(f"nobody installs ({index}, {term}) here")

    def append(self, term: int, command: bytes) -> int:
        if self.append_error is not None:
            raise self.append_error
        self._note_write()
        self._written.append(self._writes)
        return self._log.append(term, command)

    def truncate_from(self, index: int) -> None:
        self._log.cut_from(index)
        del self._written[index - 1 :]
        self._note_write()

    def set_vote(self, term: int, voted_for: str | None) -> None:
        self.term, self.voted_for = term, voted_for
        self._note_write()

    def _note_write(self) -> None:
        self._writes += 1
        self._is_dirty = True

    def begin_sync(self, done: Callable[[Exception | None], None]) -> None:
        assert self._syncing is None, "one sync at a time"
        self.syncs_begun += 1
        self._is_dirty = False
        rows = tuple(self._log.entries(1, self._log.last_index + 1))
        self._syncing = Image(rows, self.term, self.voted_for, self._writes)
        self._done = done
        if self.automatic:
            asyncio.get_running_loop().call_soon(self.complete_sync)
