"""Docs under random operations: what must hold in every state, and of a machine that came from a snapshot."""

from random import Random
from typing import Any

import pytest
from tests.support.doc_table import NS, claim_docs, held, transact
from tests.support.task_table import START_MS

from raftq_cluster.core import operations as op
from raftq_cluster.core.doc_store import SET_BYTES
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.restoring import restore

KEYS = ("a", "b", "c", "d", "e", "f")
IDS = tuple("0123456789")
CLAIMANTS = ("w1", "w2")
STEPS_MS = (0, 0, 1, 5, 40, 100_000, 300_000)


class Maker:
    """Makes operations that mostly fit what a machine holds."""

    def __init__(self, machine: Machine, random: Random) -> None:
        self.machine = machine
        self.random = random

    def operation(self) -> Any:
        pick = self.random.choice
        if self.random.random() < 0.3:
            keys = self.random.sample(KEYS, self.random.randrange(1, 4))
            lease_ms = pick((1, 50, 200_000))
            return claim_docs(
                *[held(key) for key in keys], claimant=pick(CLAIMANTS), lease_ms=lease_ms
            )
        parts: dict[str, list[Any]] = {}
        for id_ in self.random.sample(IDS, self.random.randrange(1, 4)):
            doc = self.machine.docs.find(NS, id_)
            if doc is None:
                insert = op.DocInsert(NS, pick(KEYS), "", id_, *self.lease(), pick((b"", b"12")))
                parts.setdefault("doc_inserts", []).append(insert)
                continue
            version = self.version(doc.key)
            if self.random.random() < 0.5:
                parts.setdefault("doc_deletes", []).append(op.DocTarget(NS, id_, version))
            else:
                change = op.DocChange(NS, id_, version, *self.lease(), pick((None, b"new")))
                parts.setdefault("doc_changes", []).append(change)
        if self.random.random() < 0.3:
            key = pick(KEYS)
            parts["doc_leases"] = [op.SetLease(NS, key, self.version(key), *self.lease())]
        return transact(claimant=pick(CLAIMANTS), key=pick(("", "", "k1", "k2")), **parts)

    def lease(self) -> tuple[int, int]:
        return self.random.choice(((op.KEEP, 0), (op.LEASE, 30), (op.LEASE, 500_000)))

    def version(self, key: str) -> int:
        docs = self.machine.docs.set_of(NS, key)
        known = 0 if docs is None else docs.lock.version
        return known + self.random.choice((0, 0, 0, 0, 1))


def check(machine: Machine) -> None:
    """Compare what the store counts with what is in it."""
    store = machine.docs
    sets = list(store.sets())
    size = sum(SET_BYTES + len(docs.key) for docs in sets)
    size += sum(doc.size_bytes() for docs in sets for doc in docs.docs.values())
    assert store.size_bytes == size
    assert store._empty == sum(not docs.docs for docs in sets)
    for docs in sets:
        for id_, doc in docs.docs.items():
            assert (doc.id, doc.key) == (id_, docs.key)
            assert docs.namespace.docs[id_] is doc
    due = {item for item in store._forgetting if store._forgotten(item)}
    assert len(due) == store._empty


@pytest.mark.parametrize("seed", range(12))
def test_a_restored_machine_goes_on_as_the_one_it_came_from(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftq_cluster.core.doc_store.EMPTY_SETS_KEPT_MAX", 2)
    monkeypatch.setattr("raftq_cluster.core.doc_store.FORGOTTEN_SLACK", 2)
    random = Random(seed)
    machine, now_ms = Machine(), START_MS
    twin: Machine | None = None
    maker = Maker(machine, random)
    for index in range(1, 400):
        now_ms += random.choice(STEPS_MS)
        operations = [maker.operation() for _ in range(random.randrange(1, 3))]
        applied = machine.apply(index, now_ms, index, [operations])
        if twin is not None:
            assert twin.apply(index, now_ms, index, [operations]) == applied
            assert twin.digest() == machine.digest()
        check(machine)
        if index % 40 == 0:
            snapshot = machine.snapshot(3)
            twin = restore(list(snapshot))
            assert twin.digest() == machine.digest()
            check(twin)
