"""A mapper process: takes a file's task, puts the file's counts in its place.

usage: python -m demo.mapper NAME URL

The worker claims, renews the lease while ``count`` runs, and commits in one ``modify`` what it returns
together with the deletion of the task. If ``count`` raises, the task is tried again with growing pauses and in
the end moved to ``/demo/files/err`` with the error.
"""

import sys
from pathlib import Path
from typing import Final

from demo.counting import Partial, identifiers
from demo.queues import FILES, LEASE_MS, PARTIALS
from raftq import Client, Insert, Modification, Task, Worker

TRIES_MAX: Final = 3
RETRY_MS: Final = 100


def count(task: Task) -> Modification:
    """Count one file. The task's deletion is the worker's part."""
    partial = Partial(
        files=1,
        lost_leases=task.claims - 1 - task.attempt,  # claims that ended neither well nor badly
        counts=identifiers(Path(task.value)),
    )
    return Modification(inserts=[Insert(PARTIALS, partial)])


def main(name: str, url: str) -> None:
    """Work until SIGTERM."""
    Worker(
        Client(url, claimant=name),
        FILES,
        handler=count,
        lease_ms=LEASE_MS,
        max_attempts=TRIES_MAX,
        retry_ms=RETRY_MS,
    ).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
