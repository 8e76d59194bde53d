"""Documents about docs: claiming sets of them, and looking at them.

Their parts of a modification are in :mod:`raftq.wire.documents`.

A set is all docs of a namespace with one key. It has one lock: the version, claimant and end of the lease
that all its docs show. It can be held while no doc is in it.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from raftq.wire.documents import (
    ANONYMOUS,
    Answer,
    Claimant,
    Doc,
    DocKey,
    DocSet,
    Document,
    ExactNames,
    Id,
    IdempotencyKey,
    LeaseMs,
    Namespace,
    Prefixes,
    Reply,
    Target,
)


class SetClaim(Document):
    """A set to claim; ``omit_docs`` leaves its docs out of the answer."""

    namespace: Namespace
    key: DocKey
    omit_docs: bool = False


class ClaimDocsRequest(Document):
    """Hold sets of docs, all or none: for ``lease_ms``, or exactly as long as a task's lease lasts.

    With ``task``, which must have that version and be held, ``lease_ms`` counts for nothing.
    """

    sets: Annotated[list[SetClaim], Meta(min_length=1, max_length=64)]
    claimant: Claimant = ANONYMOUS
    lease_ms: LeaseMs = 30_000
    task: Target | UnsetType = UNSET
    idempotency_key: IdempotencyKey = ""


class ClaimDocsReply(Answer, kw_only=True):
    """The held sets in the order of the request, and their docs by set, secondary key and id.

    A repeat under the same idempotency key is answered with the sets that nobody wrote since.
    """

    sets: list[DocSet]
    docs: list[Doc]


class DocsRequest(Document):
    """Docs of a namespace: of ids, of one ``key``, or of keys from ``key_start`` to before ``key_end``.

    By ids they come in that order, absent ones left out; else by key, secondary key and id.
    """

    namespace: Namespace
    id: Annotated[list[Id], Meta(max_length=1_000)] = field(default_factory=list)
    key: DocKey | UnsetType = UNSET
    key_start: DocKey = ""
    key_end: DocKey = ""
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100
    omit_values: bool = False
    consistency: Literal["linearizable", "stale"] = "linearizable"


class DocsReply(Answer, kw_only=True):
    """The docs that match."""

    docs: list[Doc]


class NamespacesRequest(Document):
    """Namespaces by name: any of ``prefix``, any of ``exact``; neither means all. Sorted by name."""

    prefix: Prefixes = field(default_factory=list)
    exact: ExactNames = field(default_factory=list)
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    consistency: Literal["linearizable", "stale"] = "linearizable"


class NamespaceCounts(Reply):
    """What is in a namespace: docs, those of them in sets that are held, sets with docs."""

    name: str
    docs: int
    claimed: int
    sets: int


class NamespacesReply(Answer, kw_only=True):
    """The namespaces that hold a doc, sorted by name."""

    namespaces: list[NamespaceCounts]
