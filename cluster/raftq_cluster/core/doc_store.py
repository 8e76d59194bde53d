"""Docs: values under keys, in sets that have one lock each, in the transaction space of tasks.

A set is all docs of a namespace with one key. Its lock has the only version, claimant and end of lease that
they have, and is there without docs as well. Docs are immutable and replaced, so that a snapshot only copies
references. Source of the semantics: EntroQ's protocol 2.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, MutableMapping
from heapq import heapify, heappop, heappush, nsmallest
from itertools import islice
from typing import Any, Final, NamedTuple

from raftq_cluster.core.gc_names import collected_from
from raftq_cluster.core.marked import Marked
from raftq_cluster.core.outcomes import DocRow, NamespaceStats, SetRow
from raftq_cluster.core.queries import Docs, Namespaces

# The lock of a set without docs that nobody holds is kept for a while: whoever held it before must not
# find another's at the version it knows. As long as idempotency keys, for the same reason.
EMPTY_WINDOW_MS: Final = 300_000
EMPTY_SETS_KEPT_MAX: Final = 100_000  # beyond, the oldest that nobody holds are dropped sooner
EMPTY_SETS_MAX: Final = 1_000_000  # claims of new sets are refused beyond
FORGOTTEN_SLACK: Final = 1_000  # outdated notes that may stand before all of them are cleared
DOC_BYTES: Final = 400  # of a doc without its value and names, about
SET_BYTES: Final = 400
ROW_BYTES: Final = 350  # of a doc in an answer beside its value, about


class Doc(NamedTuple):
    """What a doc has of its own."""

    id: str
    key: str
    secondary_key: str
    value: bytes
    kind: int
    created: int
    modified: int

    def size_bytes(self) -> int:
        """Tell about how much memory it takes."""
        return DOC_BYTES + len(self.value) + len(self.id) + len(self.secondary_key)


class Lock(NamedTuple):
    """Who holds a set, until when, and how often it was written."""

    version: int
    claimant: str
    at: int
    modified: int

    def is_held(self, now_ms: int) -> bool:
        """Tell whether a claimant holds it under a live lease."""
        return self.claimant != "" and self.at > now_ms

    def is_held_by_other(self, claimant: str, now_ms: int) -> bool:
        """Tell whether it is held by somebody else."""
        return self.claimant != claimant and self.is_held(now_ms)


class DocSet:
    """One set: its lock, and its docs by id."""

    __slots__ = ("docs", "key", "lock", "namespace")

    def __init__(self, namespace: "Namespace", key: str, lock: Lock) -> None:
        self.namespace = namespace
        self.key = key
        self.lock = lock
        self.docs: dict[str, Doc] = {}

    def count(self) -> int:
        """Tell how many docs are in it."""
        return len(self.docs)

    def answer_bytes(self) -> int:
        """Tell about how many bytes an answer has that gives all of its docs."""
        return sum([ROW_BYTES + len(doc.value) for doc in self.docs.values()])

    def row(self) -> SetRow:
        """Copy the lock as it is now."""
        lock = self.lock
        return SetRow(
            self.namespace.name, self.key, lock.version, lock.claimant, lock.at, self.count()
        )

    def doc_row(self, doc: Doc) -> DocRow:
        """Write a doc with the set's lock."""
        return doc_row(self.namespace.name, doc, self.lock)

    def sorted_docs(self) -> list[Doc]:
        """All docs by secondary key and id."""
        return sorted(self.docs.values(), key=lambda doc: (doc.secondary_key, doc.id))

    def forget_at(self) -> int:
        """Tell when its lock is no longer of use, should it stay without docs."""
        return max(self.lock.at, self.lock.modified) + EMPTY_WINDOW_MS


def doc_row(namespace: str, doc: Doc, lock: Lock) -> DocRow:
    """Write a doc with its set's lock."""
    return DocRow(
        namespace, doc.id, lock.version, doc.key, doc.secondary_key, lock.claimant, lock.at,
        doc.value, doc.kind, doc.created, doc.modified,
    )  # fmt: skip


class Namespace:
    """The docs and sets of one namespace."""

    __slots__ = ("_keys", "collected_from", "docs", "name", "sets")

    def __init__(self, name: str) -> None:
        self.name = name
        self.collected_from = collected_from(name)
        self.docs: dict[str, Doc] = {}
        self.sets: dict[str, DocSet] = {}
        self._keys: list[str] | None = None

    def keys(self) -> list[str]:
        """All keys, sorted: again only after sets have come or gone."""
        if self._keys is None:
            self._keys = sorted(self.sets)
        return self._keys

    def add(self, key: str, lock: Lock) -> DocSet:
        """Make a set."""
        self._keys = None
        self.sets[key] = docs = DocSet(self, key, lock)
        return docs

    def remove(self, key: str) -> None:
        """End a set."""
        self._keys = None
        del self.sets[key]


class DocStore:
    """All docs."""

    __slots__ = ("_empty", "_forgetting", "_namespaces", "marked", "size_bytes")

    def __init__(self) -> None:
        self._namespaces: dict[str, Namespace] = {}
        self._empty = 0  # sets without docs
        # (time, namespace, key) of each of those, and of former ones: what is no longer so is passed over
        self._forgetting: list[tuple[int, str, str]] = []
        self.marked = Marked()  # namespaces
        self.size_bytes = 0

    def find(self, namespace: str, id_: str) -> Doc | None:
        """Give a doc."""
        space = self._namespaces.get(namespace)
        return None if space is None else space.docs.get(id_)

    def doc_count(self) -> int:
        """Count all docs. As quick as there are few namespaces."""
        return sum([len(space.docs) for space in self._namespaces.values()])

    def set_of(self, namespace: str, key: str) -> DocSet | None:
        """Give a set."""
        space = self._namespaces.get(namespace)
        return None if space is None else space.sets.get(key)

    def has_room_for(self, empty_sets: int) -> bool:
        """Tell whether that many sets without docs may come to be."""
        return self._empty + empty_sets <= EMPTY_SETS_MAX

    # --- changes --------------------------------------------------------------------------------

    def open_set(self, namespace: str, key: str, lock: Lock) -> DocSet:
        """Give a set a lock, and bring it into being if it is not there; docs must follow."""
        found = self.set_of(namespace, key)
        if found is None:
            space = self._namespaces.get(namespace)
            if space is None:
                space = self._namespaces[namespace] = Namespace(namespace)
                if space.collected_from is not None:
                    self.marked.add(namespace, space.collected_from)
            found = space.add(key, lock)
            self.size_bytes += SET_BYTES + len(key)
            self._empty += 1
        found.lock = lock
        return found

    def put_lock(self, namespace: str, key: str, lock: Lock) -> DocSet:
        """Give a set a lock as it will stay, whether docs are in it or not."""
        found = self.open_set(namespace, key, lock)
        if not found.count():
            heappush(self._forgetting, (found.forget_at(), namespace, key))
        return found

    def put_doc(self, docs: DocSet, doc: Doc) -> None:
        """Add a doc to its set, or replace it."""
        old = docs.docs.get(doc.id)
        if old is not None:
            self.size_bytes -= old.size_bytes()
        elif not docs.count():
            self._empty -= 1
        docs.docs[doc.id] = docs.namespace.docs[doc.id] = doc
        self.size_bytes += doc.size_bytes()

    def delete_doc(self, docs: DocSet, id_: str) -> None:
        """Take a doc out of its set; whoever does gives the set its lock afterwards."""
        del docs.namespace.docs[id_]
        self.size_bytes -= docs.docs.pop(id_).size_bytes()
        if not docs.count():
            self._empty += 1

    def expire(self, now_ms: int) -> None:
        """Forget the locks of sets that are of no use any more."""
        forgetting = self._forgetting
        while forgetting:
            docs = self._forgotten(forgetting[0])
            if docs is not None:
                is_late = self._empty > EMPTY_SETS_KEPT_MAX and not docs.lock.is_held(now_ms)
                if forgetting[0][0] > now_ms and not is_late:
                    break
                self._remove(docs)
            heappop(forgetting)
        if len(forgetting) > 2 * self._empty + FORGOTTEN_SLACK:
            exact = dict.fromkeys(item for item in forgetting if self._forgotten(item))
            self._forgetting = list(exact)
            heapify(self._forgetting)

    def _forgotten(self, item: tuple[int, str, str]) -> DocSet | None:
        """Give the set that is to be forgotten then; None: it was written since."""
        at, namespace, key = item
        docs = self.set_of(namespace, key)
        return None if docs is None or docs.count() or docs.forget_at() != at else docs

    def _remove(self, docs: DocSet) -> None:
        space = docs.namespace
        space.remove(docs.key)
        self._empty -= 1
        self.size_bytes -= SET_BYTES + len(docs.key)
        if not space.sets:
            del self._namespaces[space.name]
            if space.collected_from is not None:
                self.marked.remove(space.name, space.collected_from)

    def tables(self) -> list[MutableMapping[str, Any]]:
        """What takes the memory. The end of this store."""
        spaces = self._namespaces.values()
        return [
            *self.marked.tables(),
            *[table for space in spaces for table in (space.sets, space.docs)],
        ]

    def dismantle(self) -> None:
        """Give the memory back, piece by piece. The end of this store."""
        for space in self._namespaces.values():
            while space.sets:
                space.sets.popitem()
            while space.docs:
                space.docs.popitem()

    # --- questions ------------------------------------------------------------------------------

    def sets(self) -> Iterator[DocSet]:
        """All sets, in no order that means anything."""
        for space in self._namespaces.values():
            yield from space.sets.values()

    def sets_of(self, namespace: str) -> Collection[DocSet]:
        """Give the sets of a namespace that exists."""
        return self._namespaces[namespace].sets.values()

    def list_docs(self, query: Docs) -> list[DocRow]:
        """Answer a query."""
        space = self._namespaces.get(query.namespace)
        if space is None:
            return []
        if query.ids:
            found: Iterable[Doc] = [space.docs[id_] for id_ in query.ids if id_ in space.docs]
        else:
            found = _in_order(space, query)
        rows = [space.sets[doc.key].doc_row(doc) for doc in islice(found, query.limit)]
        return [row._replace(value=b"") for row in rows] if query.omit_values else rows

    def statistics(self, query: Namespaces, now_ms: int) -> list[NamespaceStats]:
        """Answer a query; ``now_ms`` tells which leases live."""
        spaces = self._namespaces
        names: Iterable[str] = spaces
        if query.prefixes:
            exact = frozenset(query.names)
            names = [name for name in spaces if name in exact or name.startswith(query.prefixes)]
        elif query.names:
            names = [name for name in dict.fromkeys(query.names) if name in spaces]
        first = nsmallest(query.limit, (name for name in names if spaces[name].docs))
        return [_statistics(spaces[name], now_ms) for name in first]


def _in_order(space: Namespace, query: Docs) -> Iterator[Doc]:
    if query.key is not None:
        if query.key in space.sets:
            yield from space.sets[query.key].sorted_docs()
        return
    keys = space.keys()
    for key in islice(keys, bisect_left(keys, query.key_start), None):
        if query.key_end and key >= query.key_end:
            return
        yield from space.sets[key].sorted_docs()


def _statistics(space: Namespace, now_ms: int) -> NamespaceStats:
    held = sum(len(docs.docs) for docs in space.sets.values() if docs.lock.is_held(now_ms))
    filled = sum(1 for docs in space.sets.values() if docs.docs)
    return NamespaceStats(space.name, len(space.docs), held, filled)
