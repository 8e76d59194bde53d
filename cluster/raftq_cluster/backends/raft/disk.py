"""The store of a node as the engine and the Raft core see it: one log, one vote, one sync at a time.

Translates only: every rule about files is in ``storage``, every rule about when to sync in ``engine``.
"""

from collections.abc import Callable

from raftq_cluster.backends.raft.storage.errors import StorageError
from raftq_cluster.backends.raft.storage.store import Store
from raftq_cluster.backends.raft.storage.syncer import Runner, Syncer


class StoreDisk:
    """Log, vote and syncs over a ``Store``; ``runner`` carries out the syncs."""

    def __init__(self, store: Store, runner: Runner) -> None:
        self._store = store
        self._journal = journal = store.journal
        self._syncer = Syncer(store, runner, self._on_durable, self._on_failed)
        self._vote_number = 0  # what was read back is durable
        self._done: Callable[[Exception | None], None] = _nobody
        self.append = journal.append
        self.entries = journal.entries
        self.term_at = journal.term_at
        self.reserve = journal.reserve
        self.reset_to = journal.reset_to
        self.truncate_from = journal.truncate_from

    @property
    def base_index(self) -> int:
        """Index of the entry before the first."""
        return self._journal.base_index

    @property
    def base_term(self) -> int:
        """Its term."""
        return self._journal.base_term

    @property
    def last_index(self) -> int:
        """Index of the last entry."""
        return self._journal.last_index

    @property
    def last_term(self) -> int:
        """Its term."""
        return self._journal.last_term

    @property
    def durable_index(self) -> int:
        """Index up to which the log is on disk."""
        return self._journal.durable_index

    def command_at(self, index: int) -> bytes:
        """Command of the entry at ``index``."""
        return self._journal.entry(index)[1]

    @property
    def term(self) -> int:
        """The current term."""
        return self._store.votes.term

    @property
    def voted_for(self) -> str | None:
        """The vote in it."""
        return self._store.votes.voted_for

    def set_vote(self, term: int, voted_for: str | None) -> None:
        """Enter a term with a vote."""
        self._vote_number = self._store.votes.set(term, voted_for)

    @property
    def vote_is_durable(self) -> bool:
        """Whether the vote that was set last is on disk."""
        return self._store.durable_number >= self._vote_number

    @property
    def is_dirty(self) -> bool:
        """Whether there is something to sync. Asked only while no sync runs."""
        return self._store.dirty

    def begin_sync(self, done: Callable[[Exception | None], None]) -> None:
        """Sync what was written so far. See ``engine.Disk``."""
        self._done = done
        self._syncer.request(self._store.last_number)

    def _on_durable(self, _number: int) -> None:
        self._done(None)

    def _on_failed(self, error: StorageError) -> None:
        self._done(error)


def _nobody(_error: Exception | None) -> None:
    """Nobody has asked for a sync."""
