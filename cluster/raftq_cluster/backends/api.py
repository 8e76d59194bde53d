"""The Backend protocol: all that the service asks of whatever keeps the tasks.

One event loop thread owns a backend; every method is called from it. Declared here, at the seam,
because three backends and two consumers (service, node) share it.
"""

import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Outcome
from raftq_cluster.core.queries import Query
from raftq_cluster.core.snapshot import Record

Sink: TypeAlias = Callable[[int, Sequence[Outcome]], None]
"""Takes ``(log index, one outcome per operation in order)``, exactly once. Must not raise."""

Ready: TypeAlias = Mapping[str, int]
"""Queue -> how many of its tasks became claimable."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's answer and the log index that it reflects. The type of ``value`` is the query's."""

    index: int
    value: Any


class Load(NamedTuple):
    """How full the state is; cheap to ask for."""

    tasks: int
    value_bytes: int  # of values and error texts
    keys: int  # idempotency records held
    key_bytes: int
    disk_free_bytes: int = sys.maxsize  # as of a second ago; where nothing is written: no end


class MemberStatus(NamedTuple):
    """One member of the cluster as this node sees it."""

    id: str
    role: str  # leader, follower, candidate, learner
    peer: str
    http: str
    text: str
    applied: int
    lag: int
    last_contact_ms: int  # since it was heard of; -1: never
    version: str
    clock: str = "unknown"  # ok; off: it does not lead; split: no majority agrees on the time
    clock_offset_ms: int | None = None  # from the median of the voters' clocks
    verified: int = (
        0  # up to this entry its state is ours (of this node: another member's); 0: not known
    )


@dataclass(frozen=True, slots=True)
class Status:
    """The cluster as this node sees it."""

    cluster_id: str
    node: str
    backend: str
    durability: str
    term: int
    leader: str  # "" while none is known
    index: int  # applied here
    ready: bool  # can serve: a leader is known and this node has caught up with it
    members: tuple[MemberStatus, ...]
    log_format: int = 1  # in which entries and snapshots are written
    comparisons: int = 0  # of this node's state with another member's, since it started


# What a verification says of a member.
SAME: Final = "same"
DIFFERENT: Final = "different"  # from the majority, or without one from the leader
PENDING: Final = "pending"  # it is at it
SILENT: Final = "silent"  # it cannot be heard
NONE: Final = "none"  # it has no digest of this entry and will have none


class MemberDigest(NamedTuple):
    """One member's digest of its whole state: 32 hexadecimal digits, "" while there is none."""

    id: str
    state: str  # one of those above
    digest: str


class Verification(NamedTuple):
    """Digests of all members' states as of one log entry."""

    entry: int
    members: tuple[MemberDigest, ...]


class AddMember(NamedTuple):
    """Make the node that waits at ``peer`` (``HOST:PORT``) a member; it votes later, or does not."""

    peer: str
    voter: bool


class RemoveMember(NamedTuple):
    """Let a member go."""

    id: str


class PromoteMember(NamedTuple):
    """Let a learner vote."""

    id: str


class ReplaceMember(NamedTuple):
    """Let ``by``, a member's id or the address of a node that waits, take a member's place."""

    id: str
    by: str


class TransferLeadership(NamedTuple):
    """Move the leadership to a voter, "" for the most fitting one."""

    to: str


MemberChange: TypeAlias = (
    AddMember | RemoveMember | PromoteMember | ReplaceMember | TransferLeadership
)


class BackendError(Exception):
    """A query could not be answered, or a change of the members not be made. ``code`` is a stable name of ``raftq.wire.codes``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Incoming(Protocol):
    """The whole state of another store, on its way into this one."""

    id: str  # of the file
    seq: int  # insertion numbers up to here were given out

    def parts(self) -> AsyncIterator[list[Record]]:
        """Give the records, cut as ``core.moving`` does; to be asked for once.

        Raises:
            Exception: whatever is wrong with them. It ends the import and goes through to the caller.
        """
        ...

    def digest(self) -> str:
        """Tell the digest (``core.moving``) of what came; known after the last part."""
        ...


class Backend(Protocol):
    """Keeps the tasks. Methods raise nothing unless they say so."""

    async def start(self) -> None:
        """Open whatever holds the state and serve.

        Raises:
            StartError: of ``raftq_cluster.config``: one sentence that tells the operator why.
        """
        ...

    async def stop(self) -> None:
        """Finish what was submitted, close everything. Idempotent."""
        ...

    def submit(self, operations: Sequence[Operation], sink: Sink) -> None:
        """Have operations applied in this order, and their outcomes told to ``sink``.

        Returns at once; ``sink`` may be called before it returns. Operations of earlier calls are
        applied before those of later ones. An outcome is told only when it is durable. A
        claim that finds nothing may be answered without being logged.
        """
        ...

    async def read(self, query: Query, *, stale: bool = False) -> Answer:
        """Answer a query: linearizable, or from what this node has applied if ``stale``.

        Raises:
            BackendError: ``unavailable``: no leader could confirm that the answer is fresh.
        """
        ...

    def next_due_ms(self) -> int | None:
        """Log time at which the next waiting task arrives (at the earliest), None if none waits."""
        ...

    def now_ms(self) -> int:
        """The time that the next entry would carry."""
        ...

    def on_ready(self, listener: Callable[[Ready], None]) -> None:
        """Call ``listener`` after each applied entry with what became claimable by it.

        The mapping may be empty: the entry may still have changed when the next task is due. There
        is one listener, and it does not raise.
        """
        ...

    def load(self) -> Load:
        """Tell how full the state is."""
        ...

    def advertise(self, http: str, text: str) -> None:
        """Tell other members where this node's servers listen, as ``HOST:PORT`` each."""
        ...

    def status(self) -> Status:
        """Tell about the cluster."""
        ...

    async def change_members(self, change: MemberChange) -> None:
        """Change who is a member or who leads; done on return. May be repeated.

        Raises:
            BackendError: ``member_not_found``; ``change_refused``: not like this; ``unavailable``:
                not now; ``outcome_unknown``.
        """
        ...

    async def verify(self, entry: int) -> Verification:
        """Have every node digest its whole state as of one entry, and compare.

        ``entry`` 0 logs one; another number asks how far the verification of that entry is. Takes about
        a second if not all have said what they have; ask again then. A node that is odd stops itself.

        Raises:
            BackendError: ``unavailable``; ``outcome_unknown``: an entry may have been logged; ask anew.
        """
        ...

    def export(self) -> AsyncIterator[Sequence[Record]]:
        """Give the whole state as of one moment, not before this call, as records of ``core.snapshot``.

        Some at a time, the head first. Nothing waits for whoever reads it slowly; close it if it is not used up.

        Raises:
            BackendError: ``unavailable``.
        """
        ...

    async def take_in(self, incoming: Incoming) -> None:
        """Become what another store was; done on return, with its digest compared.

        Refused where there is anything already. If it does not come to its end, the store either stays empty, or says
        of everything that is asked of it that an import is unfinished: the same file goes on where it stopped.

        Raises:
            BackendError: ``import_refused``; ``unavailable``; ``outcome_unknown``.
        """
        ...

    async def abandon_import(self) -> None:
        """Drop what an unfinished import has left.

        Raises:
            BackendError: ``import_refused``: there is none; ``unavailable``; ``outcome_unknown``.
        """
        ...
