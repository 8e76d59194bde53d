"""What one operation does to docs: first every part is checked, then every part is done.

The rules of a set's lock: whoever writes a set that another holds is refused; each operation that writes
it moves its version by one, the first gives it version 0 (a claim of what was never written: 1), and it
ends held for the longest lease that a part asks for, or given back.
"""

from typing import Final, NamedTuple, TypeAlias
from zlib import crc32

from raftq_cluster.core import operations as op
from raftq_cluster.core.doc_store import Doc, DocSet, DocStore, Lock, doc_row
from raftq_cluster.core.outcomes import (
    CLAIMED,
    DOC_CHANGE,
    DOC_DELETE,
    DOC_DEPEND,
    DOC_INSERT,
    DOC_LEASE,
    EXISTS,
    MISSING,
    VERSION,
    DocRow,
    FailedDoc,
    SetRow,
)

SetName: TypeAlias = tuple[str, str]  # namespace and key

_GIVEN_BACK: Final = 0


class Plan(NamedTuple):
    """What will be in the sets that are written, and what the caller is told."""

    inserted: list[tuple[str, Doc]]
    changed: list[tuple[str, Doc]]
    deleted: list[op.DocTarget]
    locks: dict[SetName, Lock]
    leased: list[SetRow]

    def rows(self) -> tuple[tuple[DocRow, ...], tuple[DocRow, ...], tuple[SetRow, ...]]:
        """Write the docs as they will be, and the sets of the leases."""
        return self._rows(self.inserted), self._rows(self.changed), tuple(self.leased)

    def _rows(self, docs: list[tuple[str, Doc]]) -> tuple[DocRow, ...]:
        return tuple([doc_row(name, doc, self.locks[name, doc.key]) for name, doc in docs])


def are_distinct(parts: op.DocParts) -> bool:
    """Tell whether no doc stands in two parts, and no set in two leases or depends."""
    inserts, changes, deletes, depends, leases = parts
    docs = [(insert[0], insert[3]) for insert in inserts]
    docs += [(change[0], change[1]) for change in changes]
    docs += [(target[0], target[1]) for target in deletes]
    docs += [(target[0], target[1]) for target in depends if target[1]]
    sets = [(target[0], target[3]) for target in depends if not target[1]]
    sets += [(lease[0], lease[1]) for lease in leases]
    return len(set(docs)) == len(docs) and len(set(sets)) == len(sets)


def failures(store: DocStore, parts: op.DocParts, claimant: str, now_ms: int) -> list[FailedDoc]:
    """Check every part; an empty list means that all of them hold."""
    inserts, changes, deletes, depends, leases = parts
    check = _Check(store, claimant, now_ms)
    for position, insert in enumerate(inserts):
        check.insert(position, insert)
    for position, change in enumerate(changes):
        check.doc(DOC_CHANGE, position, op.DocTarget(*change[:3]))
    for position, target in enumerate(deletes):
        check.doc(DOC_DELETE, position, target)
    for position, target in enumerate(depends):
        if target[1]:
            check.doc(DOC_DEPEND, position, target)
        else:
            check.lock(DOC_DEPEND, position, target[0], target[3], target[2])
    for position, lease in enumerate(leases):
        check.lock(DOC_LEASE, position, lease[0], lease[1], lease[2])
    return check.failed


class _Check:
    """Collects what does not hold."""

    def __init__(self, store: DocStore, claimant: str, now_ms: int) -> None:
        self.failed: list[FailedDoc] = []
        self._store = store
        self._claimant = claimant
        self._now_ms = now_ms

    def insert(self, position: int, insert: op.DocInsert) -> None:
        """Check that the id is free, and the set too."""
        namespace, key, _, id_ = insert[:4]
        docs = self._store.set_of(namespace, key)
        if self._store.find(namespace, id_) is not None:
            self._fail(DOC_INSERT, position, (namespace, key), id_, EXISTS)
        elif docs is not None:
            self._held(DOC_INSERT, position, docs, id_)

    def doc(self, part: str, position: int, target: op.DocTarget) -> None:
        """Check that a doc is there, at its set's version."""
        namespace, id_, version = target[:3]
        doc = self._store.find(namespace, id_)
        if doc is None:
            self._fail(part, position, (namespace, ""), id_, MISSING)
            return
        docs = self._store.set_of(namespace, doc.key)
        assert docs is not None
        self._at_version(part, position, docs, (id_, version))

    def lock(self, part: str, position: int, namespace: str, key: str, version: int) -> None:
        """Check that a set is there, at a version."""
        docs = self._store.set_of(namespace, key)
        if docs is None:
            self._fail(part, position, (namespace, key), "", MISSING)
        else:
            self._at_version(part, position, docs, ("", version))

    def _at_version(self, part: str, position: int, docs: DocSet, target: tuple[str, int]) -> None:
        id_, version = target
        own = docs.lock.version
        if own != version:
            self._fail(part, position, (docs.namespace.name, docs.key), id_, VERSION, own)
        elif part != DOC_DEPEND:
            self._held(part, position, docs, id_)

    def _held(self, part: str, position: int, docs: DocSet, id_: str) -> None:
        if docs.lock.is_held_by_other(self._claimant, self._now_ms):
            self.failed.append(held_part(part, position, docs, id_))

    def _fail(
        self, part: str, position: int, name: SetName, id_: str, reason: str, version: int = -1
    ) -> None:
        self.failed.append(FailedDoc(part, position, id_, reason, version, "", 0, *name))


def held_part(part: str, position: int, docs: DocSet, id_: str) -> FailedDoc:
    """Say that another claimant holds a set."""
    version, claimant, at, _ = docs.lock
    name = docs.namespace.name
    return FailedDoc(part, position, id_, CLAIMED, version, claimant, at, name, docs.key)


def plan(store: DocStore, parts: op.DocParts, claimant: str, now_ms: int) -> Plan:
    """Work out what parts that all hold will do, and change nothing."""
    inserts, changes, deletes, _, leases = parts
    until: dict[SetName, int] = {}
    added: dict[SetName, int] = {}

    def write(name: SetName, arrival: int, ms: int, count: int = 0) -> None:
        until[name] = max(until.get(name, _GIVEN_BACK), _end(arrival, ms, now_ms))
        added[name] = added.get(name, 0) + count

    inserted = []
    for namespace, key, secondary_key, id_, arrival, ms, value, kind in inserts:
        inserted.append((namespace, Doc(id_, key, secondary_key, value, kind, now_ms, now_ms)))
        write((namespace, key), arrival, ms, 1)
    changed = []
    for namespace, id_, _, arrival, ms, new_value, kind in changes:
        doc = _there(store, namespace, id_)._replace(modified=now_ms)
        if new_value is not None:
            doc = doc._replace(value=new_value, kind=kind)
        changed.append((namespace, doc))
        write((namespace, doc.key), arrival, ms)
    for target in deletes:
        write((target[0], _there(store, target[0], target[1]).key), op.KEEP, 0, -1)
    for namespace, key, _, arrival, ms in leases:
        write((namespace, key), arrival, ms)
    locks = {
        name: _written(store.set_of(*name), claimant, end, now_ms) for name, end in until.items()
    }
    leased = []
    for namespace, key, *_ in leases:
        docs = store.set_of(namespace, key)
        assert docs is not None
        version, holder, at, _ = locks[namespace, key]
        count = docs.count() + added[namespace, key]
        leased.append(SetRow(namespace, key, version, holder, at, count))
    return Plan(inserted, changed, list(deletes), locks, leased)


def trail_of(planned: Plan) -> list[int]:
    """Say in numbers, 0 to 2**64 - 1, what was written: for the chain."""
    return [set_trail(*name, lock.version) for name, lock in planned.locks.items()] + [
        crc32(doc.value, crc32(doc.id.encode())) for _, doc in planned.inserted + planned.changed
    ]


def set_trail(namespace: str, key: str, version: int) -> int:
    """Say in a number that a set got this version."""
    return crc32(key.encode(), crc32(namespace.encode())) << 32 | version & 0xFFFF_FFFF


def carry_out(store: DocStore, planned: Plan) -> None:
    """Do what was planned."""
    for namespace, id_, *_ in planned.deleted:
        docs = store.set_of(namespace, _there(store, namespace, id_).key)
        assert docs is not None
        store.delete_doc(docs, id_)
    for namespace, doc in planned.changed + planned.inserted:
        docs = store.set_of(namespace, doc.key)
        if docs is None:
            docs = store.open_set(namespace, doc.key, planned.locks[namespace, doc.key])
        store.put_doc(docs, doc)
    for name, lock in planned.locks.items():
        store.put_lock(*name, lock)


def _there(store: DocStore, namespace: str, id_: str) -> Doc:
    doc = store.find(namespace, id_)
    assert doc is not None
    return doc


def _end(arrival: int, ms: int, now_ms: int) -> int:
    if arrival == op.LEASE:
        return now_ms + ms
    return ms if arrival == op.HOLD_UNTIL else _GIVEN_BACK


def _written(docs: DocSet | None, claimant: str, until: int, now_ms: int) -> Lock:
    version = 0 if docs is None else docs.lock.version + 1
    if until > now_ms:
        return Lock(version, claimant, until, now_ms)
    return Lock(version, "", now_ms, now_ms)
