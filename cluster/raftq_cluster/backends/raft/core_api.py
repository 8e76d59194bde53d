"""What a Raft core asks of its owner, in our words: a log, a shell around it, and times.

The seam at which the core could be exchanged. ``core_pysyncobj`` is the one behind it; ``disk`` and ``engine``
are in front of it. Knows nothing of any library.
"""

from typing import Any, Final, NamedTuple, Protocol

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
    """What the core asks of its owner, always from within ``tick`` or ``finish_election``."""

    def may_elect(self) -> bool:
        """Say whether to stand for election now that the deadline has passed."""
        ...

    def replicate(self) -> None:
        """Send to every peer what it lacks, or a heartbeat."""
        ...

    def send(self, peer: str, message: dict[str, Any]) -> None:
        """Send a message of the core's own."""
        ...

    def apply(self, applied: int, commit: int) -> int:
        """Apply entries after ``applied``, at most to ``commit``; gives the last applied.

        Must not raise.
        """
        ...

    def propose(self) -> None:
        """Append what waits to be proposed, if this node leads."""
        ...


class Timing(NamedTuple):
    """Seconds. ``election_min_s`` must be more than three heartbeats (the library's rule)."""

    election_min_s: float = 0.5
    election_max_s: float = 1.0
    heartbeat_s: float = 0.1
    step_down_s: float = 1.0  # a leader that no majority has answered for so long steps down
