"""The queues of the demo job, and how long a task is held."""

from typing import Final

FILES: Final = "/demo/files"  # value: the path of a source file
PARTIALS: Final = "/demo/partials"  # value: a Partial
QUARANTINE: Final = f"{FILES}/err"  # where the worker moves what fails again and again

# Short, so that the audience need not wait long for the tasks of a worker that was killed: nobody
# else gets a task before its lease has run out. A file takes 0.2 s at most, and workers renew.
LEASE_MS: Final = 3_000
