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
from typing import Any, Final, NamedTuple, TypeAlias

GUARD: Final = 0
CLAIM: Final = 1
MODIFY: Final = 2
RENEW: Final = 3
SETTLE: Final = 4
CONFIGURE: Final = 5
TICK: Final = 6
FORGET: Final = 7
TRANSACT: Final = 8
CLAIM_DOCS: Final = 9
VERIFY: Final = 10
IMPORT: Final = 11
COLLECT: Final = 12
COLLECT_DOCS: Final = 13
CONFIGURE_BOUNDED: Final = 14

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
# An insert of a :class:`Transact` that says LEASE or HOLD_UNTIL arrives as if it said DELAY or AT, and the task
# shows its inserter as claimant until it is claimed or changed (EntroQ's). Nobody holds it: its version is 0.
SIGNED: Final = frozenset({LEASE, HOLD_UNTIL})

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

    The queue's settings may bound ``lease_ms``; 0 takes the queue's own (TaskQ's ``deq``), and a number below 0 means
    as many ms, and at least a second where no setting says otherwise (EntroQ's). ``serial`` gives each taken task an
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

    ``None`` leaves a field to less specific patterns; all ``None`` removes the pattern. Leases have no bounds by this
    pattern then: see :class:`ConfigureBounded`.
    """

    kind: int
    key: str
    mark: bytes
    pattern: str
    order: str | None
    paused: bool | None
    lease_ms: int | None


class ConfigureBounded(NamedTuple):
    """A :class:`Configure` that bounds leases as well. Two kinds, since entries keep their shapes for ever."""

    kind: int
    key: str
    mark: bytes
    pattern: str
    order: str | None
    paused: bool | None
    lease_ms: int | None
    lease_ms_min: int | None
    lease_ms_max: int | None


class Tick(NamedTuple):
    """Let the entry's time pass: whatever is due by then arrives."""

    kind: int = TICK


class Forget(NamedTuple):
    """Drop idempotency records whose answers their caller has received."""

    kind: int
    keys: tuple[str, ...]


class DocInsert(NamedTuple):
    """A new doc. ``id`` is never empty, and of no other doc of the namespace; keys never change."""

    namespace: str
    key: str
    secondary_key: str
    id: str
    arrival: int = KEEP
    ms: int = 0
    value: bytes = b""
    kind: int = JSON


class DocChange(NamedTuple):
    """A doc's new value; None leaves it. ``version`` is its set's."""

    namespace: str
    id: str
    version: int
    arrival: int = KEEP
    ms: int = 0
    value: bytes | None = None
    kind: int = JSON


class DocTarget(NamedTuple):
    """A doc at its set's version; a set itself if ``id`` is "" (in ``depends`` only)."""

    namespace: str
    id: str
    version: int
    key: str = ""


class SetLease(NamedTuple):
    """Hold a set for longer, or give it back, whether docs are in it or not."""

    namespace: str
    key: str
    version: int
    arrival: int = KEEP
    ms: int = 0


class DocParts(NamedTuple):
    """What a transaction does to docs.

    Whatever is written moves its set's version by one, once. The set is then held by the
    caller until the latest time that a part gives with ``LEASE`` or ``HOLD_UNTIL``; if none does, or that
    is past, it is given back.
    """

    inserts: Sequence[DocInsert] = ()
    changes: Sequence[DocChange] = ()
    deletes: Sequence[DocTarget] = ()
    depends: Sequence[DocTarget] = ()
    leases: Sequence[SetLease] = ()


NO_DOCS: Final = DocParts()


class Transact(NamedTuple):
    """A modification that says more than :class:`Modify`: one atomic set as well.

    ``queues`` are ``(id, queue)``: a task that is not in that queue does not exist for this operation.
    The claims of the changed tasks ``resets`` begin at 0 again.
    """

    kind: int
    key: str
    mark: bytes
    claimant: str
    inserts: Sequence[Insert]
    changes: Sequence[Change]
    deletes: Sequence[Target]
    depends: Sequence[Target]
    queues: Sequence[tuple[str, str]]
    resets: Sequence[str]
    docs: DocParts


class SetClaim(NamedTuple):
    """A set to claim, with its docs or without."""

    namespace: str
    key: str
    omit_docs: bool = False


class ClaimDocs(NamedTuple):
    """Hold sets of docs, all or none: for ``lease_ms``, or as long as a task's lease lasts.

    Settings of the namespaces bound ``lease_ms``, below 0 too, as those of queues do for :class:`Claim`.

    ``task`` is ``(id, version, queue)``, "" for any queue; without one its id is "".
    """

    kind: int
    key: str
    mark: bytes
    claimant: str
    sets: Sequence[SetClaim]
    lease_ms: int
    task: tuple[str, int, str]


class Verify(NamedTuple):
    """Have every node digest its whole state as of this entry."""

    kind: int = VERIFY


class Import(NamedTuple):
    """A step of an import: ``begin``, ``part``, ``end`` or ``abandon`` (:mod:`raftq_cluster.core.importing`).

    ``id`` is the file's. ``number``: of a beginning the last insertion number of the store it comes from, of a part its
    own, from 0, of the end how many parts there are. ``records`` are those of a part, as a snapshot has them.
    """

    kind: int
    step: str
    id: str
    number: int = 0
    records: Sequence[tuple[Any, ...]] = ()


class Collect(NamedTuple):
    """End up to ``limit`` ready tasks of a queue whose name says that this may be done by now."""

    kind: int
    queue: str
    limit: int


class CollectDocs(NamedTuple):
    """End those of these docs that are in a set that nobody holds, if its namespace says that this may be done by now."""

    kind: int
    namespace: str
    key: str
    ids: Sequence[str]


class Guarded(NamedTuple):
    """What names tasks, asked by somebody who may not do everything everywhere.

    ``key`` and ``mark`` stand for those of ``operation``, whose own are not looked at. ``grants`` are
    ``(pattern, rights)``, see :mod:`raftq_cluster.core.rights`.
    """

    kind: int
    key: str
    mark: bytes
    grants: Sequence[tuple[str, int]]
    operation: Modify | Renew | Transact | ClaimDocs


Operation: TypeAlias = (
    Claim
    | Modify
    | Renew
    | Settle
    | Configure
    | ConfigureBounded
    | Tick
    | Forget
    | Transact
    | ClaimDocs
    | Verify
    | Import
    | Collect
    | CollectDocs
    | Guarded
)
