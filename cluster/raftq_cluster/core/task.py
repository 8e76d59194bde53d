"""A task as the state machine holds it: one slotted, mutable object each.

Not a frozen dataclass: a million of them are held and changed in place on the hot path, where
that would be ten times dearer (``scripts/bench``, core). Whatever leaves the machine
is a :class:`TaskRow`, an immutable copy.
"""

from typing import TYPE_CHECKING, Final

from raftq_cluster.core.outcomes import TaskRow

if TYPE_CHECKING:
    from raftq_cluster.core.queue_state import QueueState

WAITING: Final = -1  # not arrived: in a bucket of the calendar
GONE: Final = -2  # deleted: whoever still refers to it must pass it over

_row = tuple.__new__


class Task:
    """The fields of :class:`TaskRow`, plus where the task stands.

    ``claimant`` holds the task while it waits, unless its version is 0: then it names who inserted it.
    ``pos`` is the index in its queue's list of ready tasks (any number >= 0 in an ordered queue),
    or ``WAITING`` or ``GONE``. ``seq`` numbers insertions from 1 and never repeats. ``epoch`` tells
    which snapshots have already taken it.
    """

    __slots__ = (
        "at",
        "attempt",
        "claimant",
        "claims",
        "created",
        "epoch",
        "err",
        "id",
        "kind",
        "modified",
        "pos",
        "priority",
        "queue",
        "seq",
        "serial",
        "value",
        "version",
    )

    queue: "QueueState"
    id: str
    version: int
    at: int
    value: bytes
    kind: int
    claimant: str
    claims: int
    attempt: int
    priority: int
    err: str
    created: int
    modified: int
    serial: int
    pos: int
    seq: int
    epoch: int

    def row(self) -> TaskRow:
        """Copy the fields as they are now."""
        return _row(
            TaskRow,
            (
                self.id,
                self.version,
                self.queue.name,
                self.at,
                self.value,
                self.kind,
                self.claimant,
                self.claims,
                self.attempt,
                self.priority,
                self.err,
                self.created,
                self.modified,
                self.serial,
            ),
        )

    def is_held(self) -> bool:
        """Tell whether a claimant holds it under a live lease."""
        return self.pos == WAITING and self.claimant != "" and self.version > 0


def task_of(row: TaskRow, queue: "QueueState", seq: int, epoch: int) -> Task:
    """Make the task that a row describes; the caller places it."""
    task = Task()
    task.queue = queue
    task.id = row[0]
    task.version = row[1]
    task.at = row[3]
    task.value = row[4]
    task.kind = row[5]
    task.claimant = row[6]
    task.claims = row[7]
    task.attempt = row[8]
    task.priority = row[9]
    task.err = row[10]
    task.created = row[11]
    task.modified = row[12]
    task.serial = row[13]
    task.seq = seq
    task.epoch = epoch
    return task
