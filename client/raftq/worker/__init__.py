"""Workers: claim tasks, keep their leases, run a handler, and commit what it says in one step."""

from raftq.worker.counts import Counts
from raftq.worker.handlers import Context
from raftq.worker.verdicts import FatalWorker, MoveError, RetryError, StopWorker
from raftq.worker.worker import Worker

__all__ = ["Context", "Counts", "FatalWorker", "MoveError", "RetryError", "StopWorker", "Worker"]
