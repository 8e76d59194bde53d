"""The handler of the sample worker that ``raftqd dev`` starts: it pretends to send mail."""

from typing import Any

from raftq.tasks import Task
from raftq.worker import MoveError


def send(task: Task) -> None:
    """Send to whoever has an address.

    Raises:
        MoveError: the task has none; it ends in quarantine, with this error.
    """
    value: Any = task.value
    to = value.get("to") if isinstance(value, dict) else None
    if not isinstance(to, str) or "@" not in to:
        print(f"sample worker: {to!r} has no @, so the task goes to {task.queue}/err", flush=True)
        raise MoveError(f"{to!r} is no address")
    print(f"sample worker: sent to {to!r}", flush=True)
