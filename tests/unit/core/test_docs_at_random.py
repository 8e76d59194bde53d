"""Docs under random operations: what must hold in every state, and of a machine that came from a snapshot."""

from random import Random

import pytest
from tests.support.doc_operations import STEPS_MS, Maker
from tests.support.task_table import START_MS

from raftq_cluster.core.doc_store import SET_BYTES
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.restoring import restore


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
