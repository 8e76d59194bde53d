"""What callers hold in their hands: tasks, and the parts of a modification.

Knows the documents of the wire, not who carries them. A :class:`Task` is a copy as of one version: it never
changes, and whatever changes the task in the cluster gives a new copy.
"""

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from raftq.docs import Doc, DocChange, DocInsert, DocSet, DocTarget
from raftq.errors import InvalidRequest
from raftq.values import decode_json
from raftq.wire import documents
from raftq.wire.documents import Lost

T = TypeVar("T")


class Target(NamedTuple):
    """One version of one task: what a delete or a depend names."""

    id: str
    version: int


class Task(Struct, frozen=True, kw_only=True, dict=True):
    """A task at one version. Times are milliseconds since the epoch, by the cluster's clock.

    ``at`` is its arrival time: while ``claimant`` holds it, the end of the lease. ``claims`` counts
    claims, ``attempt`` failed tries, ``err`` has the last error. Equal if all of it is, value included.
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
    value_json: Raw | UnsetType = msgspec.field(default=UNSET, name="value")
    value_bytes: bytes | UnsetType = msgspec.field(default=UNSET, name="value_b64")

    @cached_property
    def value(self) -> Any:
        """The value: decoded JSON, or bytes. None if it is null, or was left out of the listing."""
        if not isinstance(self.value_bytes, UnsetType):
            return self.value_bytes
        return None if isinstance(self.value_json, UnsetType) else decode_json(self.value_json)

    def value_as(self, type_: type[T]) -> T:
        """Give the value as a dataclass, msgspec struct, TypedDict or any other type msgspec reads.

        Raises:
            InvalidRequest: the value is not of that type.
        """
        try:
            if isinstance(self.value_json, UnsetType):
                return msgspec.convert(self.value, type_)
            return msgspec.json.decode(self.value_json, type=type_)
        except msgspec.MsgspecError as error:
            raise InvalidRequest(f"the value of task {self.id} is no {type_}: {error}") from error

    def delete(self) -> Target:
        """Give the part of a modification that deletes this task, at this version."""
        return Target(self.id, self.version)

    def depend(self) -> Target:
        """Give the part of a modification that holds only if this task has this version."""
        return Target(self.id, self.version)

    def change(  # noqa: PLR0913 - the fields of a task
        self,
        *,
        queue: str | None = None,
        at: int | None = None,
        delay_ms: int | None = None,
        lease_ms: int | None = None,
        value: object = UNSET,
        attempt: int | None = None,
        priority: int | None = None,
        err: str | None = None,
        reset_claims: bool = False,
    ) -> "Change":
        """Give the part of a modification that changes this task; what is left out stays.

        At most one of ``at``, ``delay_ms`` (both give the task back) and ``lease_ms`` (the
        caller holds it for that long from now). ``reset_claims`` has its claims counted from 0 again.
        """
        return Change(
            id=self.id,
            version=self.version,
            queue=queue,
            at=at,
            delay_ms=delay_ms,
            lease_ms=lease_ms,
            value=value,
            attempt=attempt,
            priority=priority,
            err=err,
            reset_claims=reset_claims,
            task=self,
        )

    def __repr__(self) -> str:
        return f"Task(id={self.id!r}, version={self.version}, queue={self.queue!r}, at={self.at})"


@dataclass(frozen=True, slots=True)
class Insert:
    """A new task. Without ``id`` the node makes one; without ``at`` and ``delay_ms`` it arrives now.

    ``value`` is anything that JSON can say, or bytes. ``at`` is milliseconds since the epoch.
    """

    queue: str
    value: object = None
    _: KW_ONLY
    id: str | None = None
    at: int | None = None
    delay_ms: int | None = None
    priority: int = 0
    attempt: int = 0
    err: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """New fields of one task; made by :meth:`Task.change`, which says what they mean."""

    id: str
    version: int
    queue: str | None = None
    at: int | None = None
    delay_ms: int | None = None
    lease_ms: int | None = None
    value: object = UNSET
    attempt: int | None = None
    priority: int | None = None
    err: str | None = None
    reset_claims: bool = False
    task: Task | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Modification:
    """One atomic set, as a value: what a worker's handler may return. See ``AsyncClient.modify``."""

    inserts: Sequence[Insert] = ()
    changes: Sequence[Change] = ()
    deletes: Sequence[Task | Target] = ()
    depends: Sequence[Task | Target] = ()
    doc_inserts: Sequence[DocInsert] = ()
    doc_changes: Sequence[DocChange] = ()
    doc_deletes: Sequence[Doc | DocTarget] = ()
    doc_depends: Sequence[Doc | DocTarget | documents.DocDepend] = ()
    doc_leases: Sequence[documents.DocLease] = ()


class Reflecting(Struct, kw_only=True):
    """Base of answers. ``index`` is the log index that the answer reflects; 0: not told."""

    index: int = 0


class Modified(Reflecting, kw_only=True):
    """The inserted and changed tasks and docs, in the order of the request; the sets of its leases."""

    inserted: list[Task]
    changed: list[Task]
    docs_inserted: list[Doc] = msgspec.field(default_factory=list)
    docs_changed: list[Doc] = msgspec.field(default_factory=list)
    doc_sets: list[DocSet] = msgspec.field(default_factory=list)


class Renewed(Reflecting, kw_only=True):
    """What is held for longer, as new versions, and what is held no more, and why."""

    renewed: list[Task]
    lost: list[Lost]


class TaskList(Reflecting, kw_only=True):
    """The answer of a listing."""

    tasks: list[Task]


class ClaimedTasks(TaskList, kw_only=True):
    """The answer of a claim. ``gone``: its key had got tasks before, and they are others' now, or done."""

    gone: bool = False


def with_value(task: Task, other: documents.Insert | documents.Change | Task) -> Task:
    """Give ``task`` with the value of what it came from, if that had one: answers do not repeat it."""
    if isinstance(other, Task):
        value_json, value_bytes = other.value_json, other.value_bytes
    else:
        value_json, value_bytes = other.value, other.value_b64
    if value_json is UNSET and value_bytes is UNSET:
        return task
    return msgspec.structs.replace(task, value_json=value_json, value_bytes=value_bytes)


def versions_of(tasks: Iterable[Task | Target]) -> list[documents.Target]:
    """Write the (id, version) pairs of tasks and targets."""
    return [documents.Target(id=task.id, version=task.version) for task in tasks]
