"""What an engine asks of its disk and its owner, and what it raises."""

from collections.abc import Callable
from typing import Protocol

from raftq_cluster.backends.raft.core_api import Log


class Disk(Log, Protocol):
    """The log and the vote, and how they get on disk."""

    @property
    def is_dirty(self) -> bool:
        """Whether there is something to sync. Asked only while no sync runs."""
        ...

    def begin_sync(self, done: Callable[[Exception | None], None]) -> None:
        """Sync what was written so far, in another thread; then ``done`` is called by the loop.

        When it is called without an error, ``durable_index`` has moved. One at a time.

        Raises:
            StorageFullError: it could not be written; try again when there may be space.
            StorageFailedError: the disk has failed.
        """
        ...

    def reset_to(self, index: int, term: int) -> None:
        """Empty the log; it goes on behind ``(index, term)``, which a durable snapshot holds."""
        ...


class StoppedError(Exception):
    """The engine does not run (any more). The message says why."""


class MembersRefusedError(Exception):
    """The members cannot be changed now. The message says why; nothing has changed."""


class Owner(Protocol):
    """Who started the engine."""

    def applied(self) -> None:
        """Entries were applied in this round."""
        ...

    def members_changed(self) -> None:
        """The members in force have changed."""
        ...

    def failed(self, sentence: str) -> None:
        """The node must stop. Called once, after everyone who waited has been told."""
        ...
