"""Operations: what clients ask of the state machine, one tuple each.

An operation is a tuple of plain values (str, bytes, int, None, tuples) whose first item is its kind,
so that a log entry packs and unpacks without building an object per operation
(``scripts/bench``, codec). The named tuples below give the positions names where
operations are *made*; a decoded operation is a plain tuple with the same positions, and the machine
unpacks it by position. Adding a field is a new entry version in the codec.

``key`` is the caller's idempotency key or "", ``mark`` a fingerprint of the request that used it:
the same key with another mark is refused.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

GUARD: Final = 0
CLAIM: Final = 1
MODIFY: Final = 2
RENEW: Final = 3
SETTLE: Final = 4
CONFIGURE: Final = 5
TICK: Final = 6
FORGET: Final = 7

ANONYMOUS: Final = "anonymous"  # the claimant of operations that name none

# How a task's value is stored.
JSON: Final = 0  # the UTF-8 text of one JSON value; empty bytes mean that no value was given
BYTES: Final = 1

# What an insert or a change does to the arrival time; ``ms`` is the number that goes with it.
KEEP: Final = 0  # change: leave it (insert: arrive now)
AT: Final = 1  # arrive at the absolute time ``ms``; a change clears the claimant
DELAY: Final = 2  # arrive ``ms`` after the entry's time; a change clears the claimant
LEASE: Final = 3  # change: the caller holds the task for ``ms`` after the entry's time
HOLD_UNTIL: Final = (
    4  # change: the caller holds the task until ``ms``; a past time gives it back now
)

# What a settle operation does to a dequeued task.
ACK: Final = "ack"
TOUCH: Final = "touch"
NACK: Final = "nack"


class Insert(NamedTuple):
    """A new task. ``id`` is never empty: the service makes one where the caller gave none.

    ``serial`` asks for the queue's next integer id (TaskQ's): 1, 2, 3, …, never repeated.
    """

    queue: str
    id: str
    arrival: int = KEEP
    ms: int = 0
    value: bytes = b""
    kind: int = JSON
    attempt: int = 0
    priority: int = 0
    err: str = ""
    serial: bool = False


class Change(NamedTuple):
    """New fields of one task; None leaves a field as it is."""

    id: str
    version: int
    queue: str | None = None
    arrival: int = KEEP
    ms: int = 0
    value: bytes | None = None
    kind: int = JSON
    attempt: int | None = None
    priority: int | None = None
    err: str | None = None


class Target(NamedTuple):
    """One version of one task."""

    id: str
    version: int


class Claim(NamedTuple):
    """Take up to ``limit`` arrived tasks from any of ``queues``; fewer if their values are large.

    ``lease_ms`` 0 takes the queue's own (TaskQ's ``deq``). ``serial`` gives each taken task an
    integer id of its queue if it has none.
    """

    kind: int
    key: str
    mark: bytes
    claimant: str
    queues: tuple[str, ...]
    lease_ms: int
    limit: int
    serial: bool


class Modify(NamedTuple):
    """One atomic set."""

    kind: int
    key: str
    mark: bytes
    claimant: str
    inserts: Sequence[Insert]
    changes: Sequence[Change]
    deletes: Sequence[Target]
    depends: Sequence[Target]


class Renew(NamedTuple):
    """Hold tasks for ``lease_ms`` from the entry's time; each target stands or falls alone."""

    kind: int
    key: str
    mark: bytes
    claimant: str
    targets: Sequence[Target]
    lease_ms: int


class Settle(NamedTuple):
    """Ack, touch or nack a dequeued task by its queue and integer id, whoever holds it (TaskQ).

    ``ms`` is the delay of a nack; a touch takes the queue's lease. The task must have been claimed
    before; one whose lease ran out may still be settled until it is claimed again.
    """

    kind: int
    key: str
    mark: bytes
    action: str
    queue: str
    serial: int
    ms: int


class Configure(NamedTuple):
    """Replace the settings of a pattern (a name, or a prefix ending in ``*``).

    ``None`` leaves a field to less specific patterns; all ``None`` removes the pattern.
    """

    kind: int
    key: str
    mark: bytes
    pattern: str
    order: str | None
    paused: bool | None
    lease_ms: int | None


class Tick(NamedTuple):
    """Let the entry's time pass: whatever is due by then arrives."""

    kind: int = TICK


class Forget(NamedTuple):
    """Drop idempotency records whose answers their caller has received."""

    kind: int
    keys: tuple[str, ...]


class Guarded(NamedTuple):
    """A modification or a renewal of somebody who may not do everything everywhere.

    ``key`` and ``mark`` stand for those of ``operation``, whose own are not looked at. ``grants`` are
    ``(pattern, rights)``, see :mod:`raftq_cluster.core.rights`.
    """

    kind: int
    key: str
    mark: bytes
    grants: Sequence[tuple[str, int]]
    operation: Modify | Renew


Operation: TypeAlias = Claim | Modify | Renew | Settle | Configure | Tick | Forget | Guarded
