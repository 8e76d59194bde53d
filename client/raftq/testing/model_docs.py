"""What a cluster does with docs, said in the fewest words: the other half of :mod:`raftq.testing.model`.

Docs and the locks of their sets are values that are replaced, so that a copy of two dictionaries is a copy
of everything. Source: ``docs/http.md``; ``tests/conformance`` compares it with the nodes' own state machine.
"""

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace

from raftq.errors import DependencyError, InvalidRequest
from raftq.wire import documents as wire
from raftq.wire.docs import (
    ClaimDocsReply,
    ClaimDocsRequest,
    DocsReply,
    DocsRequest,
    NamespaceCounts,
    NamespacesReply,
    NamespacesRequest,
    SetClaim,
)

FORGET_MS: Final = 300_000  # how long the lock of a set without docs is kept
_NO_LOCK: Final = -1

Name: TypeAlias = tuple[str, str]  # a namespace, and a key or an id
DocPart = Literal["doc_insert", "doc_change", "doc_delete", "doc_depend", "doc_lease"]


class _Lock(NamedTuple):
    version: int
    claimant: str
    at: int
    modified: int


Saved: TypeAlias = tuple[dict[Name, wire.Doc], dict[Name, _Lock]]


class Written(NamedTuple):
    """What a modification did to docs, as its answer says it."""

    inserted: list[wire.Doc]
    changed: list[wire.Doc]
    sets: list[wire.DocSet]


class DocModel:
    """All docs, and the locks of their sets."""

    def __init__(self) -> None:
        self.now = 0
        self._docs: dict[Name, wire.Doc] = {}  # without what they have of their sets
        self._locks: dict[Name, _Lock] = {}

    def pass_time(self, now_ms: int) -> None:
        """Let time pass: locks that are of no use any more are forgotten."""
        self.now = now_ms
        filled = {(doc.namespace, doc.key) for doc in self._docs.values()}
        for name, lock in list(self._locks.items()):
            if name not in filled and max(lock.at, lock.modified) + FORGET_MS <= now_ms:
                del self._locks[name]

    def saved(self) -> Saved:
        """Copy everything, for :meth:`restore`."""
        return dict(self._docs), dict(self._locks)

    def restore(self, saved: Saved) -> None:
        """Be again as things were."""
        self._docs, self._locks = saved

    # --- modify -------------------------------------------------------------------------------

    def failed_parts(self, document: wire.ModifyRequest) -> Iterator[wire.FailedPart]:
        """Give the parts that do not hold, in the order of the request."""
        claimant = document.claimant
        for index, insert in enumerate(document.doc_inserts):
            yield from self._failed_insert(index, insert, claimant)
        for index, change in enumerate(document.doc_changes):
            yield from self._failed_doc("doc_change", index, change, claimant)
        for index, target in enumerate(document.doc_deletes):
            yield from self._failed_doc("doc_delete", index, target, claimant)
        for index, depend in enumerate(document.doc_depends):
            if isinstance(depend.key, UnsetType):
                target = wire.DocTarget(
                    namespace=depend.namespace, id=str(depend.id), version=depend.version
                )
                yield from self._failed_doc("doc_depend", index, target, claimant)
            else:
                name = (depend.namespace, depend.key)
                yield from self._failed_set("doc_depend", index, name, depend.version, claimant)
        for index, lease in enumerate(document.doc_leases):
            name = (lease.namespace, lease.key)
            yield from self._failed_set("doc_lease", index, name, lease.version, claimant)

    def _failed_insert(
        self, index: int, insert: wire.DocInsert, claimant: str
    ) -> Iterator[wire.FailedPart]:
        name = (insert.namespace, insert.key)
        id_ = "" if isinstance(insert.id, UnsetType) else insert.id
        if id_ and (insert.namespace, id_) in self._docs:
            yield _failed("doc_insert", index, name, id_, "exists")
        elif self._is_held_by_other(name, claimant):
            yield self._held(name, "doc_insert", index, id_)

    def _failed_doc(
        self, part: DocPart, index: int, target: wire.DocTarget | wire.DocChange, claimant: str
    ) -> Iterator[wire.FailedPart]:
        doc = self._docs.get((target.namespace, target.id))
        if doc is None:
            yield _failed(part, index, (target.namespace, ""), target.id, "missing")
        else:
            name = (doc.namespace, doc.key)
            yield from self._failed_set(part, index, name, target.version, claimant, doc.id)

    def _failed_set(
        self, part: DocPart, index: int, name: Name, version: int, claimant: str, id_: str = ""
    ) -> Iterator[wire.FailedPart]:
        own = self._locks[name].version if name in self._locks else _NO_LOCK
        if own == _NO_LOCK:
            yield _failed(part, index, name, id_, "missing")
        elif own != version:
            failed = _failed(part, index, name, id_, "version")
            failed.version = own
            yield failed
        elif part != "doc_depend" and self._is_held_by_other(name, claimant):
            yield self._held(name, part, index, id_)

    def _held(
        self, name: Name, part: DocPart | Literal["doc_claim"], index: int, id_: str
    ) -> wire.FailedPart:
        lock = self._locks[name]
        failed = _failed(part, index, name, id_, "claimed")
        failed.version, failed.claimant, failed.until = lock.version, lock.claimant, lock.at
        return failed

    def write(self, document: wire.ModifyRequest, new_id: Callable[[], str]) -> Written:
        """Do the parts of a modification about docs, which all hold."""
        until: dict[Name, int] = {}

        def touch(namespace: str, key: str, lease_ms: int) -> None:
            end = self.now + lease_ms if lease_ms else 0
            until[namespace, key] = max(until.get((namespace, key), 0), end)

        for target in document.doc_deletes:
            doc = self._docs.pop((target.namespace, target.id))
            touch(doc.namespace, doc.key, 0)
        changed = [self._changed(change) for change in document.doc_changes]
        inserted = [self._inserted(insert, new_id) for insert in document.doc_inserts]
        parts: list[wire.DocChange | wire.DocInsert]
        parts = [*document.doc_changes, *document.doc_inserts]
        for part, doc in zip(parts, (*changed, *inserted), strict=True):
            touch(doc.namespace, doc.key, part.lease_ms)
        for lease in document.doc_leases:
            touch(lease.namespace, lease.key, lease.lease_ms)
        for name, end in until.items():
            version = self._locks[name].version + 1 if name in self._locks else 0
            is_held = end > self.now
            at, claimant = (end, document.claimant) if is_held else (self.now, "")
            self._locks[name] = _Lock(version, claimant, at, self.now)
        return Written(
            [self._shown(doc, with_value=False) for doc in inserted],
            [self._shown(doc, with_value=False) for doc in changed],
            [self._set((lease.namespace, lease.key)) for lease in document.doc_leases],
        )

    def _changed(self, change: wire.DocChange) -> wire.Doc:
        name = (change.namespace, change.id)
        doc = replace(self._docs[name], modified=self.now)
        if change.value is not UNSET or change.value_b64 is not UNSET:
            doc = replace(doc, value=change.value, value_b64=change.value_b64)
        self._docs[name] = doc
        return doc

    def _inserted(self, insert: wire.DocInsert, new_id: Callable[[], str]) -> wire.Doc:
        no_value = insert.value is UNSET and insert.value_b64 is UNSET
        doc = wire.Doc(
            namespace=insert.namespace,
            id=new_id() if isinstance(insert.id, UnsetType) else insert.id,
            version=0,
            key=insert.key,
            secondary_key=insert.secondary_key,
            created=self.now,
            modified=self.now,
            value=Raw(b"null") if no_value else insert.value,
            value_b64=insert.value_b64,
        )
        self._docs[doc.namespace, doc.id] = doc
        return doc

    # --- claim --------------------------------------------------------------------------------

    def claim(
        self, document: ClaimDocsRequest, task: wire.Task | None, lease_ms: int
    ) -> ClaimDocsReply:
        """Hold sets, for ``lease_ms`` or as long as a task's lease.

        ``task`` is the one that the document names, if it names one and there is one.

        Raises:
            RaftqError: refused, as a node would.
        """
        names = [(item.namespace, item.key) for item in document.sets]
        if len(set(names)) != len(names):
            raise InvalidRequest("a set is claimed twice")
        until = self.now + lease_ms
        failed: list[wire.FailedPart] = []
        if not isinstance(document.task, UnsetType):
            failed += _failed_task(document.task, task, self.now)
            until = until if task is None else task.at
        for index, name in enumerate(names):
            if self._is_held_by_other(name, document.claimant):
                failed.append(self._held(name, "doc_claim", index, ""))
        if failed:
            raise DependencyError(f"{len(failed)} parts do not hold", failed=failed)
        for name in names:
            version = self._locks[name].version + 1 if name in self._locks else 1
            self._locks[name] = _Lock(version, document.claimant, until, self.now)
        return self._claimed(document.sets)

    def told_again(self, reply: ClaimDocsReply) -> ClaimDocsReply:
        """Give the answer of a claim again: the sets that nobody has written since."""
        with_docs = {(doc.namespace, doc.key) for doc in reply.docs}
        sets = [
            SetClaim(namespace=row.namespace, key=row.key, omit_docs=name not in with_docs)
            for row in reply.sets
            if (name := (row.namespace, row.key)) in self._locks and self._set(name) == row
        ]
        return self._claimed(sets)

    def _claimed(self, sets: list[SetClaim]) -> ClaimDocsReply:
        docs = [
            self._shown(doc, with_value=True)
            for item in sets
            if not item.omit_docs
            for doc in self._of_set((item.namespace, item.key))
        ]
        return ClaimDocsReply(
            sets=[self._set((item.namespace, item.key)) for item in sets], docs=docs
        )

    # --- questions ----------------------------------------------------------------------------

    def list_docs(self, document: DocsRequest) -> DocsReply:
        """List docs."""
        namespace = document.namespace
        if document.id:
            found = [
                self._docs[namespace, id_] for id_ in document.id if (namespace, id_) in self._docs
            ]
        else:
            found = sorted(
                (doc for doc in self._docs.values() if _matches(doc, document)),
                key=lambda doc: (doc.key, doc.secondary_key, doc.id),
            )
        with_values = not document.omit_values
        return DocsReply(
            docs=[self._shown(doc, with_value=with_values) for doc in found[: document.limit]]
        )

    def count(self, document: NamespacesRequest) -> NamespacesReply:
        """Count what is in namespaces."""
        every = not document.prefix and not document.exact
        names = sorted(
            name
            for name in {doc.namespace for doc in self._docs.values()}
            if every or name in document.exact or name.startswith(tuple(document.prefix))
        )
        counts = [self._counts(name) for name in names[: document.limit]]
        return NamespacesReply(namespaces=counts)

    def _counts(self, namespace: str) -> NamespaceCounts:
        keys = [doc.key for doc in self._docs.values() if doc.namespace == namespace]
        held = [key for key in keys if self._is_held((namespace, key))]
        return NamespaceCounts(
            name=namespace, docs=len(keys), claimed=len(held), sets=len(set(keys))
        )

    def _of_set(self, name: Name) -> list[wire.Doc]:
        docs = [doc for doc in self._docs.values() if (doc.namespace, doc.key) == name]
        return sorted(docs, key=lambda doc: (doc.secondary_key, doc.id))

    def _set(self, name: Name) -> wire.DocSet:
        version, claimant, at, _ = self._locks[name]
        docs = len(self._of_set(name))
        return wire.DocSet(
            namespace=name[0], key=name[1], version=version, claimant=claimant, at=at, docs=docs
        )

    def _shown(self, doc: wire.Doc, *, with_value: bool) -> wire.Doc:
        version, claimant, at, _ = self._locks[doc.namespace, doc.key]
        shown = replace(doc, version=version, claimant=claimant, at=at)
        return shown if with_value else replace(shown, value=UNSET, value_b64=UNSET)

    def _is_held(self, name: Name) -> bool:
        lock = self._locks.get(name)
        return lock is not None and lock.claimant != "" and lock.at > self.now

    def _is_held_by_other(self, name: Name, claimant: str) -> bool:
        return self._is_held(name) and self._locks[name].claimant != claimant


def check_docs(document: wire.ModifyRequest) -> None:
    """Refuse what a node refuses of parts about docs before it looks at the idempotency key.

    Raises:
        InvalidRequest: a part cannot be meant.
    """
    named: list[wire.DocInsert | wire.DocChange | wire.DocTarget | wire.DocDepend | wire.DocLease]
    named = [*document.doc_inserts, *document.doc_changes, *document.doc_deletes]
    named += [*document.doc_depends, *document.doc_leases]
    check_namespaces(part.namespace for part in named)
    for index, depend in enumerate(document.doc_depends):
        if (depend.id is UNSET) == (depend.key is UNSET):
            refusal = InvalidRequest("either id or key must be given")
            refusal.field = f"doc_depends[{index}]"
            raise refusal


def check_namespaces(names: Iterator[str]) -> None:
    """Refuse names that no namespace can have.

    Raises:
        InvalidRequest: one has a space or a control character.
    """
    for name in names:
        if not name.isprintable() or " " in name:
            raise InvalidRequest("a namespace has a space or a control character")


def count_docs(document: wire.ModifyRequest) -> int:
    """Count the parts about docs."""
    parts = len(document.doc_inserts) + len(document.doc_changes) + len(document.doc_deletes)
    return parts + len(document.doc_depends) + len(document.doc_leases)


def refuse_repeated_docs(document: wire.ModifyRequest) -> None:
    """Refuse a doc or a set that stands in two parts.

    Raises:
        InvalidRequest: one does.
    """
    parts: list[wire.DocInsert | wire.DocChange | wire.DocTarget | wire.DocDepend]
    parts = [*document.doc_inserts, *document.doc_changes, *document.doc_deletes]
    parts += document.doc_depends
    docs = [(part.namespace, part.id) for part in parts if not isinstance(part.id, UnsetType)]
    sets = [(lease.namespace, lease.key) for lease in document.doc_leases]
    sets += [
        (depend.namespace, depend.key)
        for depend in document.doc_depends
        if not isinstance(depend.key, UnsetType)
    ]
    if len(set(docs)) != len(docs) or len(set(sets)) != len(sets):
        raise InvalidRequest("a doc or a set stands in more than one part of the modification")


def _failed(
    part: DocPart | Literal["doc_claim"],
    index: int,
    name: Name,
    id_: str,
    reason: Literal["exists", "missing", "version", "claimed"],
) -> wire.FailedPart:
    namespace, key = name
    return wire.FailedPart(
        part=part,
        index=index,
        id=id_,
        reason=reason,
        namespace=namespace,
        key=key if key or not id_ else UNSET,
    )


def _failed_task(
    target: wire.Target, task: wire.Task | None, now: int
) -> Iterator[wire.FailedPart]:
    if task is None:
        yield wire.FailedPart(part="task", index=0, id=target.id, reason="missing")
    elif task.version != target.version or not task.claimant or task.at <= now:
        version = task.version
        yield wire.FailedPart(part="task", index=0, id=target.id, reason="version", version=version)


def _matches(doc: wire.Doc, document: DocsRequest) -> bool:
    if doc.namespace != document.namespace:
        return False
    if not isinstance(document.key, UnsetType):
        return doc.key == document.key
    return doc.key >= document.key_start and (not document.key_end or doc.key < document.key_end)
