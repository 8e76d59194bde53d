"""Outcomes: what became of an operation, as immutable data.

Rows are copies as of the operation: a later operation of the same entry may already have changed the
task when an outcome is rendered. Refusals are values too; only a broken invariant raises.
"""

from typing import Final, NamedTuple, TypeAlias

INSERT: Final = "insert"
CHANGE: Final = "change"
DELETE: Final = "delete"
DEPEND: Final = "depend"
DOC_INSERT: Final = "doc_insert"
DOC_CHANGE: Final = "doc_change"
DOC_DELETE: Final = "doc_delete"
DOC_DEPEND: Final = "doc_depend"
DOC_LEASE: Final = "doc_lease"
DOC_CLAIM: Final = "doc_claim"  # a set of a ClaimDocs
TASK: Final = "task"  # the task of a ClaimDocs

EXISTS: Final = "exists"
MISSING: Final = "missing"
VERSION: Final = "version"
CLAIMED: Final = "claimed"


class TaskRow(NamedTuple):
    """All fields of a task at one version. ``serial`` 0 means that it has no integer id."""

    id: str
    version: int
    queue: str
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


class DocRow(NamedTuple):
    """All fields of a doc; version, claimant and end of the lease are those of its set."""

    namespace: str
    id: str
    version: int
    key: str
    secondary_key: str
    claimant: str
    at: int
    value: bytes
    kind: int
    created: int
    modified: int


class SetRow(NamedTuple):
    """The lock of a set, and how many docs are in it."""

    namespace: str
    key: str
    version: int
    claimant: str
    at: int
    docs: int


class Claimed(NamedTuple):
    """The taken tasks, each at its new version; empty when none had arrived."""

    tasks: tuple[TaskRow, ...]


class ClaimedBefore(Claimed):
    """The answer to a repeated claim: those of its tasks that nobody has changed since.

    Nothing was taken now, and as long as the key is remembered nothing will be. Never kept: no record, no snapshot has it.
    """

    __slots__ = ()


class Modified(NamedTuple):
    """The new rows, in the order of the request; without their values when it is a repeated answer."""

    inserted: tuple[TaskRow, ...]
    changed: tuple[TaskRow, ...]


class Transacted(NamedTuple):
    """The new rows, each list in the order of the request; ``sets`` are those of its leases."""

    inserted: tuple[TaskRow, ...]
    changed: tuple[TaskRow, ...]
    docs_inserted: tuple[DocRow, ...]
    docs_changed: tuple[DocRow, ...]
    sets: tuple[SetRow, ...]


class DocsClaimed(NamedTuple):
    """The held sets in the order of the request, and their docs by set, secondary key and id.

    A repeated answer has the sets that nobody has written since.
    """

    sets: tuple[SetRow, ...]
    docs: tuple[DocRow, ...]


class LostTask(NamedTuple):
    """A task that could not be renewed: ``missing``, ``version`` or ``claimed``."""

    id: str
    reason: str


class Renewed(NamedTuple):
    """What is held for longer, and what is held no more; without values in a repeated answer."""

    renewed: tuple[TaskRow, ...]
    lost: tuple[LostTask, ...]


class Settled(NamedTuple):
    """The task is settled. ``row`` is its last state."""

    row: TaskRow


class Imported(NamedTuple):
    """A step of an import is done; so many of its parts were taken by then."""

    parts: int


class Done(NamedTuple):
    """Configure, tick, forget and verify have nothing more to say."""


class Collected(NamedTuple):
    """So many tasks or docs ended."""

    ended: int


class FailedPart(NamedTuple):
    """Why one part of a modification does not hold.

    ``version`` is the task's own (-1: there is none), ``claimant`` and ``until`` are set for
    ``claimed``.
    """

    part: str
    position: int  # in that list of the modification, from 0
    id: str
    reason: str
    version: int = -1
    claimant: str = ""
    until: int = 0


class FailedDoc(NamedTuple):
    """Why a part about docs does not hold.

    ``id`` is "" where a set is meant, ``key`` is "" where the set of a missing doc is not known;
    the rest is as in :class:`FailedPart`, with the set's version and holder.
    """

    part: str
    position: int
    id: str
    reason: str
    version: int
    claimant: str
    until: int
    namespace: str
    key: str


Failed: TypeAlias = FailedPart | FailedDoc


class Refused(NamedTuple):
    """The operation changed nothing.

    ``code`` is a stable name of ``raftq.wire.codes``: ``dependency`` (every failing part is in
    ``failed``), ``idempotency_key_reused``, ``store_full``, ``task_not_found``, ``invalid``.
    ``limit_name`` and ``limit`` tell the limit that was met, "" if it was none.
    """

    code: str
    detail: str = ""
    failed: tuple[Failed, ...] = ()
    limit_name: str = ""
    limit: int = 0


class Unfinished(NamedTuple):
    """The operation was not, or not certainly, done: said by a backend, never by the machine.

    ``code`` is ``unavailable`` (certainly not done) or ``outcome_unknown``.
    """

    code: str
    detail: str = ""


Outcome: TypeAlias = (
    Claimed
    | Modified
    | Renewed
    | Settled
    | Done
    | Imported
    | Transacted
    | DocsClaimed
    | Collected
    | Refused
    | Unfinished
)


class QueueStats(NamedTuple):
    """What is in one queue. ``tasks`` = ``ready`` + ``claimed`` + ``delayed``."""

    name: str
    tasks: int
    ready: int
    claimed: int
    delayed: int
    max_claims: int
    oldest_ready_at: int | None
    order: str
    paused: bool


class SettingsRow(NamedTuple):
    """Settings of a pattern; None where a less specific pattern decides."""

    pattern: str
    order: str | None
    paused: bool | None
    lease_ms: int | None
    lease_ms_min: int | None = None
    lease_ms_max: int | None = None


class NamespaceStats(NamedTuple):
    """How many docs are in a namespace, in how many sets, and how many of them are held."""

    name: str
    docs: int
    claimed: int
    sets: int
