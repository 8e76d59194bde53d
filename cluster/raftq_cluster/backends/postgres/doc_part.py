"""The docs that one batch looks at, as a part of the core's store of docs, and what the batch did to them.

As with tasks, the core decides on exactly what ``gather_docs`` gave. A set's row says how many docs are in
it, and how large they are, so that of a large set no more is read than the docs that are named.
"""

from collections.abc import Sequence
from heapq import heappush
from typing import Any, Final

from raftq_cluster.backends.postgres.needs import Needs
from raftq_cluster.core.doc_store import (
    EMPTY_SETS_KEPT_MAX,
    EMPTY_SETS_MAX,
    ROW_BYTES,
    SET_BYTES,
    Doc,
    DocSet,
    DocStore,
    Lock,
    Namespace,
)
from raftq_cluster.core.transaction import CLAIM_BYTES_MAX

GATHER_ARGUMENTS: Final = 13
STORE_ARGUMENTS: Final = 25
ALL_BYTES_MAX: Final = 64 * 2**20  # of the docs of all sets that one batch claims
_SET_COLUMNS: Final = 10
_DOC_COLUMNS: Final = 9


def gather_arguments(needs: Needs, session: int, clock_ms: int | None, known_ms: int) -> list[Any]:
    """Give the arguments of ``gather_docs``, in its order."""
    docs, sets = list(needs.docs), list(needs.sets)
    return [
        session,
        clock_ms,
        known_ms,
        [namespace for namespace, _ in docs],
        [id_ for _, id_ in docs],
        [namespace for namespace, _ in sets],
        [key for _, key in sets],
        list(needs.sets.values()),
        ROW_BYTES,
        CLAIM_BYTES_MAX,
        ALL_BYTES_MAX,
        SET_BYTES,
        EMPTY_SETS_KEPT_MAX,
    ]


class _PartOfSet(DocSet):
    """A set of which only some docs were read."""

    __slots__ = ("other_bytes", "others")

    def __init__(self, namespace: Namespace, key: str, lock: Lock) -> None:
        super().__init__(namespace, key, lock)
        self.others = 0
        self.other_bytes = 0  # of their values

    def count(self) -> int:
        """Tell how many docs are in it, read or not."""
        return len(self.docs) + self.others

    def answer_bytes(self) -> int:
        """Tell about how many bytes an answer has that gives all of its docs, read or not."""
        return super().answer_bytes() + ROW_BYTES * self.others + self.other_bytes


class PartOfDocs(DocStore):
    """The sets and docs that a batch names, in a store that is as full as the whole."""

    __slots__ = ("before", "docs_before", "empty_before", "is_dirty", "others_empty", "size_before")

    def __init__(self, sets: Sequence[Any], docs: Sequence[Any], head: Any) -> None:
        super().__init__()
        self.before: dict[tuple[str, str], Lock] = {}  # by namespace and key
        self.docs_before: dict[tuple[str, str], Doc] = {}  # by namespace and id
        for row in sets:
            self._load_set(row)
        for row in docs:
            self._load_doc(row)
        self._plan_forgetting()
        empty_sets, is_dirty = head[3]
        self.is_dirty = bool(is_dirty)
        self.others_empty: int = empty_sets - self._empty
        self.empty_before = self._empty
        self.size_before = self.size_bytes

    def has_room_for(self, empty_sets: int) -> bool:
        """Tell whether that many sets without docs may come to be, in the whole."""
        return self._empty + self.others_empty + empty_sets <= EMPTY_SETS_MAX

    def more_empty(self) -> int:
        """Tell how many more sets have no docs than before."""
        return self._empty - self.empty_before

    def _load_set(self, row: Any) -> None:
        namespace, key, claimant = row[6], row[4], row[10]
        space = self._namespaces.get(namespace)
        if space is None:
            space = self._namespaces[namespace] = Namespace(namespace)
        lock = self.before[namespace, key] = Lock(row[1], claimant, row[7], row[16])
        part = space.sets[key] = _PartOfSet(space, key, lock)
        part.others, part.other_bytes = row[15], row[17]

    def _load_doc(self, row: Any) -> None:
        namespace, id_, key, value = row[6], row[4], row[10], row[8]
        docs = self.set_of(namespace, key)
        if docs is None or (namespace, id_) in self.docs_before:
            return  # it came to be after the sets were read: it is not there yet; or it was given twice
        assert isinstance(docs, _PartOfSet)
        doc = Doc(id_, key, row[14].decode(), value, row[9], row[15], row[16])
        self.docs_before[namespace, id_] = docs.docs[id_] = docs.namespace.docs[id_] = doc
        docs.others -= 1
        docs.other_bytes -= len(value)

    def _plan_forgetting(self) -> None:
        for docs in self.sets():
            if not docs.count():
                self._empty += 1
                heappush(self._forgetting, (docs.forget_at(), docs.namespace.name, docs.key))
            self.size_bytes += SET_BYTES + len(docs.key)


class DocChanges:
    """The difference between a part of the docs before and after its batch, as the columns of ``store_docs``."""

    def __init__(self, part: PartOfDocs) -> None:
        self.size_bytes = part.size_bytes - part.size_before
        self._more_empty = part.more_empty()
        self._sets_gone = [name for name in part.before if part.set_of(*name) is None]
        self._docs_gone = [name for name in part.docs_before if part.find(*name) is None]
        self._sets: list[tuple[Any, ...]] = []
        self._docs: list[tuple[Any, ...]] = []
        for docs in part.sets():
            name = (docs.namespace.name, docs.key)
            if docs.lock is not part.before.get(name):
                self._sets.append(_set_row(docs, is_new=name not in part.before))
                self._put_docs(part, docs)
        # In one order on all nodes, so that two that insert the same wait for each other in one direction.
        self._sets.sort(key=lambda row: row[1:3])
        self._docs.sort(key=lambda row: row[1:3])

    def is_nothing(self) -> bool:
        """Tell whether there is nothing to write."""
        return not (self._sets or self._sets_gone)

    def arguments(self, session: int) -> list[Any]:
        """Give the arguments of ``store_docs``, in its order."""
        return [
            session,
            self._more_empty,
            *_columns(self._sets_gone, 2),
            *_columns(self._docs_gone, 2),
            *_columns(self._sets, _SET_COLUMNS),
            *_columns(self._docs, _DOC_COLUMNS),
        ]

    def _put_docs(self, part: PartOfDocs, docs: DocSet) -> None:
        namespace, before = docs.namespace.name, part.docs_before
        for doc in docs.docs.values():
            old = before.get((namespace, doc.id))
            if old is not doc:
                id_, key, secondary_key, value, kind, created, modified = doc
                self._docs.append(
                    (
                        old is None,
                        namespace,
                        id_,
                        key,
                        secondary_key,
                        value,
                        kind,
                        created,
                        modified,
                    )
                )


def _set_row(docs: DocSet, *, is_new: bool) -> tuple[Any, ...]:
    version, claimant, at, modified = docs.lock
    value_bytes = sum([len(doc.value) for doc in docs.docs.values()])
    if isinstance(docs, _PartOfSet):
        value_bytes += docs.other_bytes
    count = docs.count()
    return (
        is_new, docs.namespace.name, docs.key, version, claimant, at, modified, count, value_bytes,
        None if count else docs.forget_at(),
    )  # fmt: skip


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * count
