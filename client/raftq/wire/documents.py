"""Documents of the v1 dialect: what HTTP bodies and text ``call`` bodies hold.

Times are integer milliseconds since the epoch; names ending in ``_ms`` without being a time are
durations. Unknown fields are refused, so that a misspelt one is not silently ignored. A task's value
is either JSON (``value``) or bytes (``value_b64``: base64 in JSON, ``bin`` in MessagePack), never both;
which of the two is stored with the task.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Id = Annotated[str, Meta(min_length=1, max_length=64)]
QueueName = Annotated[str, Meta(min_length=1, max_length=256)]
Claimant = Annotated[str, Meta(min_length=1, max_length=64)]
ANONYMOUS = "anonymous"  # the claimant of those who name none
Version = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TimeMs = Annotated[int, Meta(ge=0, le=2**53)]
DurationMs = Annotated[int, Meta(ge=0, le=10 * 365 * 86_400_000)]
LeaseMs = Annotated[int, Meta(ge=1, le=7 * 86_400_000)]
WaitMs = Annotated[int, Meta(ge=0, le=300_000)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Attempt = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Namespace = Annotated[str, Meta(min_length=1, max_length=1_024)]
DocKey = Annotated[str, Meta(max_length=256, pattern=r"^[^\x00]*$")]
GiveBackMs = Annotated[int, Meta(ge=0, le=7 * 86_400_000)]  # 0 gives back, else a lease
IdempotencyKey = Annotated[str, Meta(max_length=128)]
Prefixes = Annotated[list[str], Meta(max_length=100)]  # every name is compared with each
ExactNames = Annotated[list[str], Meta(max_length=1_000)]
Order = Literal["random", "fifo", "priority"]
Part = Literal[
    "insert",
    "change",
    "delete",
    "depend",
    "doc_insert",
    "doc_change",
    "doc_delete",
    "doc_depend",
    "doc_lease",
    "doc_claim",
    "task",
]


class Document(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of everything a caller sends; a field that has its default need not be written."""


class Reply(Struct, kw_only=True):
    """Base of everything a node answers; readers ignore fields that they do not know."""


class Answer(Reply):
    """Base of what a request is answered.

    ``index`` is the log index that the answer reflects. It is given where the protocol has no other
    place for it: the text protocol has none, HTTP has ``X-Raftq-Index``.
    """

    index: int | UnsetType = UNSET


class Task(Answer, kw_only=True):
    """A task as of the answer's log index. Values are left out where they were not asked for.

    ``claimant`` holds it until ``at``; at version 0 nobody does, and it is who inserted it (EntroQ's clients).
    """

    id: str
    version: int
    queue: str
    at: int
    claimant: str = ""
    claims: int = 0
    attempt: int = 0
    priority: int = 0
    err: str = ""
    created: int = 0
    modified: int = 0
    value: Raw | UnsetType = UNSET
    value_b64: bytes | UnsetType = UNSET


# --- claim -------------------------------------------------------------------------------------


class ClaimRequest(Document):
    """Take up to ``limit`` arrived tasks from any of ``queues`` under a lease.

    No further task is taken once the values of those taken have 8 MiB.
    """

    queues: Annotated[list[QueueName], Meta(min_length=1, max_length=64)]
    claimant: Claimant = ANONYMOUS
    lease_ms: LeaseMs = 30_000
    wait_ms: WaitMs = 0
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 1
    idempotency_key: IdempotencyKey = ""


class ClaimReply(Answer, kw_only=True):
    """The claimed tasks with their values; empty when none had arrived within ``wait_ms``.

    A repeat under the same idempotency key is answered with those of them that nobody changed since.
    Where that is none of them, ``gone`` says so, at once: go on with another key.
    """

    tasks: list[Task]
    gone: bool | UnsetType = UNSET


# --- modify ------------------------------------------------------------------------------------


class Insert(Document):
    """A new task. Without ``id`` the node makes one; without ``at`` and ``delay_ms`` it arrives now."""

    queue: QueueName
    id: Id | UnsetType = UNSET
    at: TimeMs | UnsetType = UNSET
    delay_ms: DurationMs | UnsetType = UNSET
    value: Raw | UnsetType = UNSET
    value_b64: bytes | UnsetType = UNSET
    attempt: Attempt = 0
    priority: Priority = 0
    err: str = ""


class Change(Document):
    """New fields for one task; what is left out stays as it is.

    At most one of ``at``, ``delay_ms`` (both give the task back: its claimant is cleared) and
    ``lease_ms`` (the caller holds it for that long from now) may be given. ``reset_claims`` lets the
    count of claims begin at 0 again.
    """

    id: Id
    version: Version
    queue: QueueName | UnsetType = UNSET
    at: TimeMs | UnsetType = UNSET
    delay_ms: DurationMs | UnsetType = UNSET
    lease_ms: LeaseMs | UnsetType = UNSET
    value: Raw | UnsetType = UNSET
    value_b64: bytes | UnsetType = UNSET
    attempt: Attempt | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    err: str | UnsetType = UNSET
    reset_claims: bool = False


class Target(Document):
    """One version of one task."""

    id: Id
    version: Version


class DocInsert(Document):
    """A new doc. Without ``id`` the node makes one; ids are of one doc in a namespace, keys of many."""

    namespace: Namespace
    key: DocKey
    secondary_key: DocKey = ""
    id: Id | UnsetType = UNSET
    value: Raw | UnsetType = UNSET
    value_b64: bytes | UnsetType = UNSET
    lease_ms: GiveBackMs = 0


class DocChange(Document):
    """A new value for a doc; what is left out stays. ``version`` is that of the doc's set."""

    namespace: Namespace
    id: Id
    version: Version
    value: Raw | UnsetType = UNSET
    value_b64: bytes | UnsetType = UNSET
    lease_ms: GiveBackMs = 0


class DocTarget(Document):
    """A doc at its set's version."""

    namespace: Namespace
    id: Id
    version: Version


class DocDepend(Document):
    """A doc (by ``id``) or a whole set (by ``key``) at the set's version."""

    namespace: Namespace
    version: Version
    id: Id | UnsetType = UNSET
    key: DocKey | UnsetType = UNSET


class DocLease(Document):
    """Hold a set for ``lease_ms`` from now, with docs in it or without; 0 gives it back."""

    namespace: Namespace
    key: DocKey
    version: Version
    lease_ms: GiveBackMs


class Doc(Reply):
    """A doc. ``version``, ``claimant`` and ``at`` (the end of the lease) are those of its set."""

    namespace: str
    id: str
    version: int
    key: str
    secondary_key: str = ""
    claimant: str = ""
    at: int = 0
    created: int = 0
    modified: int = 0
    value: Raw | UnsetType = UNSET
    value_b64: bytes | UnsetType = UNSET


class DocSet(Reply):
    """The lock of a set, and how many docs are in it."""

    namespace: str
    key: str
    version: int
    claimant: str
    at: int
    docs: int


class ModifyRequest(Document):
    """One atomic set of inserts, changes, deletes and depends: all of it happens or none of it.

    An id may stand in one of the lists only, and once. ``dry_run`` answers what would happen, writes
    nothing, and costs no log entry. A set of docs that the modification writes moves its version by one;
    it ends held by the caller for the longest ``lease_ms`` among its parts, or given back.
    """

    claimant: Claimant = ANONYMOUS
    inserts: list[Insert] = []
    changes: list[Change] = []
    deletes: list[Target] = []
    depends: list[Target] = []
    doc_inserts: list[DocInsert] = []
    doc_changes: list[DocChange] = []
    doc_deletes: list[DocTarget] = []
    doc_depends: list[DocDepend] = []
    doc_leases: list[DocLease] = []
    dry_run: bool = False
    idempotency_key: IdempotencyKey = ""


class ModifyReply(Answer, kw_only=True):
    """The inserted and changed tasks in the order of the request, without their values.

    Docs too, and the sets of ``doc_leases``, if the request named any.
    """

    inserted: list[Task]
    changed: list[Task]
    docs_inserted: list[Doc] | UnsetType = UNSET
    docs_changed: list[Doc] | UnsetType = UNSET
    doc_sets: list[DocSet] | UnsetType = UNSET


class FailedPart(Reply):
    """One part of a modification that does not hold.

    ``reason`` is ``exists`` (an insert's id is taken), ``missing``, ``version`` (``version`` has the
    task's own) or ``claimed`` (``claimant`` holds it until ``until``). Parts about docs have
    ``namespace``, and ``key`` if the set is known; ``id`` is empty where a set is meant.
    """

    part: Part
    index: int  # position in that list of the request, from 0
    id: str
    reason: Literal["exists", "missing", "version", "claimed"]
    version: int | UnsetType = UNSET
    claimant: str | UnsetType = UNSET
    until: int | UnsetType = UNSET
    namespace: str | UnsetType = UNSET
    key: str | UnsetType = UNSET


# --- renew -------------------------------------------------------------------------------------


class RenewRequest(Document):
    """Hold claimed tasks for ``lease_ms`` from now. Each task stands or falls alone."""

    tasks: Annotated[list[Target], Meta(min_length=1, max_length=1_000)]
    claimant: Claimant = ANONYMOUS
    lease_ms: LeaseMs = 30_000
    idempotency_key: IdempotencyKey = ""


class Lost(Reply):
    """A task that the caller holds no longer, and why: ``missing``, ``version`` or ``claimed``."""

    id: str
    reason: Literal["missing", "version", "claimed"]


class RenewReply(Answer, kw_only=True):
    """Renewed tasks with their new versions, and the lost ones, each in the order of the request."""

    renewed: list[Task]
    lost: list[Lost]


# --- queues, tasks, settings -------------------------------------------------------------------


class QueuesRequest(Document):
    """Queues by name: any of ``prefix``, any of ``exact``; neither means all. Sorted by name."""

    prefix: Prefixes = []
    exact: ExactNames = []
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    consistency: Literal["linearizable", "stale"] = "linearizable"


class Queue(Answer, kw_only=True):
    """What is in one queue. ``tasks`` = ``ready`` + ``claimed`` + ``delayed``."""

    name: str
    tasks: int
    ready: int  # arrived, can be claimed
    claimed: int  # under a live lease
    delayed: int  # not arrived yet, held by nobody
    max_claims: int  # the largest claim count of any task in it
    oldest_ready_at: int | None  # arrival time of the oldest ready task, to about a second
    order: Order
    paused: bool


class QueuesReply(Answer, kw_only=True):
    """The queues that hold a task, sorted by name."""

    queues: list[Queue]


class TasksRequest(Document):
    """Tasks by queue, claimant and ids; at least one of ``queue`` and ``id`` must be given.

    With ``id`` the answer has the tasks in the order asked for, absent ones left out. With
    ``claimant`` it has only tasks which that claimant holds under a live lease. ``limit`` bounds
    what matches.
    """

    queue: str = ""
    claimant: str = ""
    id: Annotated[list[Id], Meta(max_length=1_000)] = []
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100
    omit_values: bool = False
    consistency: Literal["linearizable", "stale"] = "linearizable"


class TasksReply(Answer, kw_only=True):
    """The tasks that match."""

    tasks: list[Task]


class TaskRequest(Document):
    """One task by its id."""

    id: Id
    consistency: Literal["linearizable", "stale"] = "linearizable"


class Settings(Document):
    """Settings of the queues whose name matches ``pattern``: a name, or a prefix ending in ``*``.

    A field that is left out is decided by the next less specific pattern (exact, then the longest
    prefix), in the end by the default: random, not paused, a lease of 60 seconds for protocols that
    name none. A lease that a claim or renewal asks for (of docs by namespace) is raised to ``lease_ms_min``
    and cut to ``lease_ms_max``, which holds where they contradict each other.
    """

    pattern: QueueName
    order: Order | UnsetType = UNSET
    paused: bool | UnsetType = UNSET
    lease_ms: LeaseMs | UnsetType = UNSET
    lease_ms_min: LeaseMs | UnsetType = UNSET
    lease_ms_max: LeaseMs | UnsetType = UNSET


class ConfigureRequest(Settings):
    """Replace the settings of a pattern; one without any field removes them."""

    idempotency_key: IdempotencyKey = ""


class ConfigureReply(Answer, kw_only=True):
    """The settings are in force."""


class SettingsRequest(Document):
    """All settings, sorted by pattern."""

    consistency: Literal["linearizable", "stale"] = "linearizable"


class SettingsReply(Answer, kw_only=True):
    """All settings, sorted by pattern."""

    settings: list[Settings]


# --- idempotency keys ---------------------------------------------------------------------------


class ForgetRequest(Document):
    """Drop the answers of idempotency keys whose callers have received them.

    Nobody has to: a key is forgotten five minutes after its use. A caller that makes thousands of
    keyed requests a second does, since a node remembers a million keys at most.
    """

    keys: Annotated[list[IdempotencyKey], Meta(min_length=1, max_length=1_000)]


class ForgetReply(Answer, kw_only=True):
    """The keys are forgotten."""


# --- the node ----------------------------------------------------------------------------------


class TimeRequest(Document):
    """Ask for the log's time."""


class TimeReply(Answer, kw_only=True):
    """The time of the log: what arrival times and leases are measured by."""

    now: int


class ClusterRequest(Document):
    """Ask for the members."""


class Member(Reply):
    """One node as the answering node sees it. ``lag`` is in log entries.

    A node whose ``clock`` is ``off`` does not lead; ``split`` says that no majority of the voters agrees on
    the time. ``clock_offset_ms`` is from the median of their clocks, null while it is not known.
    ``verified``: up to this log entry its state was seen to be the answering node's (of that node itself: another
    one's); 0: not known.
    """

    id: str
    role: Literal["leader", "follower", "candidate", "learner"]
    peer: str
    http: str
    text: str
    applied: int
    lag: int
    last_contact_ms: int
    version: str
    clock: Literal["ok", "off", "split", "unknown"] = "unknown"
    clock_offset_ms: int | None = None
    verified: int = 0


class ClusterReply(Reply):
    """The cluster: ``leader`` is empty while none is known."""

    cluster_id: str
    node: str
    backend: str
    durability: str  # "fdatasync" or "memory"
    term: int
    leader: str
    index: int
    members: list[Member]
    log_format: int = 1  # rises once all members read a higher one


class Problem(Reply):
    """An RFC 9457 problem document. ``code`` is one of :data:`raftq.wire.codes.CODES`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    index: int | UnsetType = UNSET  # log index that the refusal reflects
    failed: list[FailedPart] | UnsetType = UNSET  # code ``dependency``
    field: str | UnsetType = UNSET  # code ``invalid``: path of the field
    limit: int | UnsetType = UNSET  # codes ``too_large``, ``store_full``, ``too_busy``
    limit_name: str | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET
