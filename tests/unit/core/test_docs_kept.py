"""What is asked of docs, and what of them is kept: listings, idempotency keys, snapshots, digests."""

import gc

import pytest
from tests.support.doc_table import NS, DocTable, claim_docs, doc, held, transact

from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.doc_store import DocSet, Namespace
from raftq_cluster.core.outcomes import DocRow, DocsClaimed, NamespaceStats
from raftq_cluster.core.restoring import restore
from raftq_cluster.core.snapshot import DOC, DOC_SET
from raftq_cluster.core.state import MachineError


def target(row: DocRow) -> op.DocTarget:
    return op.DocTarget(row.namespace, row.id, row.version)


# --- listings ------------------------------------------------------------------------------------------------------


def filled() -> DocTable:
    table = DocTable()
    keys = [("x", "b", "2"), ("y", "b", "1"), ("z", "a", ""), ("w", "c", "")]
    table.transact(doc_inserts=[doc(*names, value=b"1") for names in keys])
    table.put_doc("other", namespace="/ns/2")
    return table


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, "zyxw"),
        ({"limit": 2}, "zy"),
        ({"key": "b"}, "yx"),
        ({"key": "none"}, ""),
        ({"key_start": "b"}, "yxw"),
        ({"key_end": "b"}, "z"),
        ({"key_start": "aa", "key_end": "c"}, "yx"),
        ({"ids": ("w", "none", "x")}, "wx"),
        ({"namespace": "/none"}, ""),
    ],
)
def test_docs_are_listed_by_range_key_and_id(query: dict[str, object], ids: str) -> None:
    assert "".join(row.id for row in filled().docs(**query)) == ids  # type: ignore[arg-type]


def test_a_listing_without_values_has_everything_else() -> None:
    table = filled()
    bare = [row._replace(value=b"") for row in table.docs()]
    assert table.docs(omit_values=True) == bare


def test_a_listing_shows_sets_that_came_and_went() -> None:
    table = filled()
    table.docs()
    table.put_doc("v", "aa")
    assert "".join(row.id for row in table.docs()) == "zvyxw"


def test_namespaces_are_counted() -> None:
    table = filled()
    table.hold("b", "empty")
    everything = [NamespaceStats(NS, 4, 2, 3), NamespaceStats("/ns/2", 1, 0, 1)]
    ask = table.ask
    assert ask(queries.Namespaces((), (), 9)) == everything
    assert ask(queries.Namespaces((), (), 1)) == everything[:1]
    assert ask(queries.Namespaces(("/ns/",), (), 9)) == everything[1:]
    assert ask(queries.Namespaces(("/ns/",), (NS,), 9)) == everything
    assert ask(queries.Namespaces((), (NS, NS, "/none"), 9)) == everything[:1]
    table.pass_ms(30_000)
    assert ask(queries.Namespaces((), (NS,), 9))[0].claimed == 0


# --- keys, snapshots --------------------------------------------------------------------------------------------------


def test_a_repeated_transaction_is_told_again_and_not_done_again() -> None:
    table = DocTable()
    operation = transact(
        key="k", mark=b"m", inserts=[op.Insert("/q", "t")], doc_inserts=[doc("d", value=b"1")]
    )
    first = table.do(operation)
    again = table.do(operation)
    assert again == first._replace(
        docs_inserted=tuple(row._replace(value=b"") for row in first.docs_inserted)
    )
    assert table.refusal(operation._replace(mark=b"n")).code == "idempotency_key_reused"
    assert table.machine.load()[3] > 700


def test_a_repeated_claim_is_answered_with_the_sets_that_nobody_wrote_since() -> None:
    table = DocTable()
    table.transact(doc_inserts=[doc("a", "a", value=b"1"), doc("b", "b")])
    operation = claim_docs(held("a"), held("b", omit_docs=True), held("e"), key="k")
    first = table.do(operation)
    assert isinstance(first, DocsClaimed)
    assert table.do(operation) == first
    table.lease(first.sets[2], 60_000)
    table.lease(first.sets[1], 0)
    assert table.do(operation) == DocsClaimed(first.sets[:1], first.docs)
    table.pass_ms(200_000)
    table.hold("a", claimant="w2")
    assert table.do(operation) == DocsClaimed((), ())


def everything() -> DocTable:
    table = filled()
    table.hold("b", "empty", key="k1")
    table.refusal(transact(doc_deletes=[op.DocTarget(NS, "none", 0)], key="k2"))
    table.transact(
        inserts=[op.Insert("/q", "t")], doc_leases=[op.SetLease(NS, "b", 1, op.LEASE, 9)], key="k3"
    )
    return table


def test_a_restored_machine_has_the_same_docs_locks_and_answers() -> None:
    table = everything()
    restored = restore([[tuple(record) for record in chunk] for chunk in table.machine.snapshot(2)])
    assert restored.digest() == table.machine.digest()
    assert restored.load() == table.machine.load()
    operations = [
        transact(doc_deletes=[op.DocTarget(NS, "none", 0)], key="k2"),
        claim_docs(held("b"), held("empty"), key="k1"),
        transact(inserts=[op.Insert("/q", "t")],
                 doc_leases=[op.SetLease(NS, "b", 1, op.LEASE, 9)], key="k3"),
        op.Tick(),
    ]  # fmt: skip
    for later_ms in (0, 400_000, 800_000):
        index, now_ms = table.machine.index + 1, table.now_ms + later_ms
        there = restored.apply(index, now_ms, 1, [operations])
        assert table.machine.apply(index, now_ms, 1, [operations]) == there
        assert restored.digest() == table.machine.digest()


RECORDS = [record for chunk in everything().machine.snapshot() for record in chunk]
DOC_RECORDS = [n for n, record in enumerate(RECORDS) if record[0] in (DOC_SET, DOC)]


@pytest.mark.parametrize("position", DOC_RECORDS)
def test_a_snapshot_with_a_set_or_a_doc_twice_is_refused(position: int) -> None:
    with pytest.raises(MachineError):
        restore([[*RECORDS[: position + 1], *RECORDS[position:]]])


def test_a_snapshot_with_a_doc_in_no_set_is_refused() -> None:
    first = DOC_RECORDS[0]
    with pytest.raises(MachineError):
        restore([[*RECORDS[:first], *RECORDS[first + 1 :]]])


def test_a_snapshot_shows_docs_as_they_were_whatever_happens_while_it_is_read() -> None:
    table = everything()
    then = table.machine.digest()
    snapshot = table.machine.snapshot(1)
    chunks = [next(snapshot)]
    for row in table.docs(key="a"):
        table.change_doc(row, value=b"changed")
    table.transact(doc_deletes=[target(row) for row in table.docs(key="c")])
    table.put_doc("new")
    assert restore([*chunks, *snapshot]).digest() == then


def test_a_digest_tells_docs_and_locks_apart() -> None:
    tables = [DocTable() for _ in range(4)]
    tables[0].put_doc("a")
    tables[1].put_doc("a", value=b"1")
    tables[2].put_doc("a", "other")
    tables[3].hold("k")
    assert len({table.machine.digest() for table in tables}) == 4


def test_the_chain_tells_what_was_written_to_docs() -> None:
    chains = set()
    for operation in (
        transact(doc_inserts=[doc("a")]),
        transact(doc_inserts=[doc("b")]),
        transact(doc_inserts=[doc("a", value=b"1")]),
        transact(doc_inserts=[doc("a", "other")]),
        claim_docs(held("k")),
        claim_docs(held("other")),
    ):
        table = DocTable()
        table.do(operation)
        chains.add(table.machine.chain)
    assert len(chains) == 6


def test_a_dismantled_machine_gives_its_docs_back_without_the_collector() -> None:
    def sets() -> int:
        return sum(isinstance(item, DocSet | Namespace) for item in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = sets()
        machine = everything().machine
        assert sets() > before
        machine.dismantle()
        assert sets() == before
        assert (machine.docs.size_bytes, len(machine.keys)) == (0, 0)
    finally:
        gc.enable()
