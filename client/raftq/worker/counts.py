"""What a worker has done since it was made."""

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class Counts:
    """Counters; they only grow. Each claimed task ends in one of the six of the second group."""

    claimed: int = 0
    renewed: int = 0
    failed_claims: int = 0  # tries that met an error; the worker goes on
    failed_renewals: int = 0
    repeated_commits: int = (
        0  # tries again, with the same idempotency key if the outcome was unknown
    )

    done: int = 0  # deleted, or changed as the handler said
    retried: int = 0
    moved: int = 0  # quarantined ones included
    released: int = 0  # handed back with no attempt counted
    lost: int = 0  # the lease ended, or the task was changed by others, before the commit
    abandoned: int = (
        0  # left to the end of its lease: a fatal error, or a commit that cannot be made
    )
