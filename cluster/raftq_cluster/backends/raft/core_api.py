"""What a Raft core asks of its owner, in our words: a log, a shell around it, and times.

The seam at which the core could be exchanged. ``core_pysyncobj`` is the one behind it; ``disk`` and ``engine``
are in front of it. Knows nothing of any library.
"""

from typing import Final, NamedTuple, Protocol

FOLLOWER: Final = "follower"
CANDIDATE: Final = "candidate"
LEADER: Final = "leader"


class Log(Protocol):
    """The log and the vote, as the core writes and reads them. Writes are not durable at once.

    Entries have consecutive indexes behind a base ``(index, term)``, which is committed by
    definition: it is in a snapshot, or it is 0 of term 0, the empty past.
    """

    @property
    def base_index(self) -> int:
        """Index of the base."""
        ...

    @property
    def base_term(self) -> int:
        """Term of the base."""
        ...

    @property
    def last_index(self) -> int:
        """Index of the last entry, or of the base."""
        ...

    @property
    def last_term(self) -> int:
        """Term of the last entry, or of the base."""
        ...

    @property
    def durable_index(self) -> int:
        """Index up to which the log is known to be on disk."""
        ...

    @property
    def term(self) -> int:
        """The term entered last."""
        ...

    @property
    def voted_for(self) -> str | None:
        """The vote in that term."""
        ...

    @property
    def vote_is_durable(self) -> bool:
        """Whether that term and vote are on disk."""
        ...

    def entries(self, start: int, stop: int) -> list[tuple[int, bytes]]:
        """``(term, command)`` of ``start <= index < stop``; those beyond the end are left out."""
        ...

    def term_at(self, index: int) -> int:
        """Term of the entry at ``index``, or of the base; ``IndexError`` outside."""
        ...

    def command_at(self, index: int) -> bytes:
        """Command of the entry at ``index``; ``IndexError`` outside."""
        ...

    def reserve(self, data_bytes: int, entries: int) -> None:
        """See that a truncation, and so many entries of so many bytes together, have room.

        Raises:
            StorageFullError: they have not; nothing has changed.
        """
        ...

    def append(self, term: int, command: bytes) -> int:
        """Append an entry and give its index."""
        ...

    def truncate_from(self, index: int) -> None:
        """Drop the entries from this index on."""
        ...

    def set_vote(self, term: int, voted_for: str | None) -> None:
        """Enter a term, having voted for a node or nobody."""
        ...


class Shell(Protocol):
    """What the core asks of its owner, always from within one of its own methods."""

    def may_elect(self) -> bool:
        """Say whether to stand for election now that the deadline has passed."""
        ...

    def heartbeat(self) -> None:
        """Every peer must be sent what it lacks, or a sign of life."""
        ...

    def ask_vote(self, voter: str, term: int) -> None:
        """Ask for a vote. It may leave only when (term, vote) is on disk."""
        ...

    def grant_vote(self, candidate: str, term: int) -> None:
        """Send a vote. It may leave only when (term, vote) is on disk."""
        ...


class Timing(NamedTuple):
    """Seconds. ``election_min_s`` must be more than three heartbeats (the library's rule)."""

    election_min_s: float = 0.5
    election_max_s: float = 1.0
    heartbeat_s: float = 0.1
    step_down_s: float = 1.0  # a leader that no majority has answered for so long steps down
