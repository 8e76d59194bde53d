"""What every Backend promises about docs, whatever keeps them."""

import asyncio
from typing import Any

import pytest
from tests.support.backend_subjects import START_MS, Subject
from tests.support.doc_table import NS, claim_docs, doc, held, transact
from tests.support.task_table import claim

from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import (
    DocRow,
    DocsClaimed,
    NamespaceStats,
    Refused,
    SetRow,
    Transacted,
)

pytestmark = pytest.mark.asyncio


ALL_DOCS = queries.Docs(NS, (), None, "", "", 1_000, False)


async def done(subject: Subject, operation: Any) -> Any:
    outcome = await subject.do(operation)
    assert not isinstance(outcome, Refused), outcome
    return outcome


async def test_docs_are_inserted_changed_and_deleted_beside_tasks(subject: Subject) -> None:
    made = await done(
        subject,
        transact(inserts=[op.Insert("/q", "t")], doc_inserts=[doc("d", "k", "s", value=b"1")]),
    )
    assert isinstance(made, Transacted)
    row = DocRow(NS, "d", 0, "k", "s", "", START_MS, b"1", op.JSON, START_MS, START_MS)
    assert made.docs_inserted == (row,)
    assert await subject.ask(ALL_DOCS) == [row]
    changed = await done(
        subject,
        transact(deletes=[op.Target("t", 0)], doc_changes=[op.DocChange(NS, "d", 0, value=b"2")]),
    )
    assert changed.docs_changed[0] == row._replace(version=1, value=b"2")
    await done(subject, transact(doc_deletes=[op.DocTarget(NS, "d", 1)]))
    assert await subject.ask(ALL_DOCS) == []


async def test_what_does_not_hold_is_told_for_tasks_and_docs_at_once_and_nothing_is_done(
    subject: Subject,
) -> None:
    await done(subject, transact(inserts=[op.Insert("/q", "t")], doc_inserts=[doc("d")]))
    await done(subject, claim_docs(held("k"), held("other"), claimant="w2"))
    refused = await subject.do(
        transact(
            deletes=[op.Target("t", 9)],
            queues=[("t", "/q")],
            doc_inserts=[doc("d"), doc("e", "other"), doc("f", "free")],
            doc_deletes=[op.DocTarget(NS, "none", 0)],
            doc_leases=[op.SetLease(NS, "k", 7, op.LEASE, 1)],
        )
    )
    assert isinstance(refused, Refused)
    assert [(part.part, part.position, part.reason) for part in refused.failed] == [
        ("delete", 0, "version"),
        ("doc_insert", 0, "exists"),
        ("doc_insert", 1, "claimed"),
        ("doc_delete", 0, "missing"),
        ("doc_lease", 0, "version"),
    ]
    assert [row.id for row in await subject.ask(ALL_DOCS)] == ["d"]


async def test_sets_are_held_together_for_as_long_as_a_task(subject: Subject) -> None:
    await done(subject, transact(inserts=[op.Insert("/q", "t")], doc_inserts=[doc("d")]))
    (task,) = (await done(subject, claim("/q", lease_ms=5_000))).tasks
    claimed = await done(
        subject, claim_docs(held("k"), held("empty"), task=("t", task.version, "/q"))
    )
    assert isinstance(claimed, DocsClaimed)
    assert claimed.sets == (
        SetRow(NS, "k", 1, "w1", task.at, 1),
        SetRow(NS, "empty", 1, "w1", task.at, 0),
    )
    assert [row.id for row in claimed.docs] == ["d"]
    stats = await subject.ask(queries.Namespaces((), (), 10))
    assert stats == [NamespaceStats(NS, 1, 1, 1)]
    assert isinstance(await subject.do(claim_docs(held("empty"), claimant="w2")), Refused)
    subject.pass_ms(5_000)
    assert isinstance(await subject.do(claim_docs(held("empty"), claimant="w2")), DocsClaimed)


async def test_a_repeated_transaction_is_done_once(subject: Subject) -> None:
    operation = transact(key="k", mark=b"m", doc_inserts=[doc("d")])
    first = await subject.do(operation)
    assert await subject.do(operation) == first
    assert isinstance(first, Transacted)


async def test_the_claims_of_a_task_can_begin_again(subject: Subject) -> None:
    await done(subject, transact(inserts=[op.Insert("/q", "t")]))
    await done(subject, claim("/q"))
    change = op.Change("t", 1, arrival=op.DELAY)
    changed = await done(subject, transact(changes=[change], resets=["t"], queues=[("t", "/q")]))
    assert changed.changed[0].claims == 0
    foretold = await subject.ask(
        queries.DryRun(transact(changes=[op.Change("t", 2)], queues=[("t", "/other")]))
    )
    assert isinstance(foretold, Refused)


@pytest.mark.parametrize(
    ("narrow", "ids"),
    [
        ({}, "zyxw"),
        ({"limit": 2}, "zy"),
        ({"key": "b"}, "yx"),
        ({"key_start": "aa", "key_end": "c"}, "yx"),
        ({"ids": ("w", "none", "x")}, "wx"),
    ],
)
async def test_docs_are_listed_in_order(subject: Subject, narrow: dict[str, Any], ids: str) -> None:
    keys = [("x", "b", "2"), ("y", "b", "1"), ("z", "a", ""), ("w", "c", "")]
    await done(subject, transact(doc_inserts=[doc(*names, value=b"1") for names in keys]))
    found = await subject.ask(ALL_DOCS._replace(omit_values=True, **narrow))
    assert "".join(row.id for row in found) == ids
    assert {row.value for row in found} == {b""}


async def test_counters_that_many_writers_increase_lose_nothing(subject: Subject) -> None:
    """20 writers, 50 increments each, on ten docs of ten sets."""
    await done(subject, transact(doc_inserts=[doc(str(n), str(n), value=b"0") for n in range(10)]))

    async def write(writer: int) -> None:
        for turn in range(50):
            id_ = str((writer + turn) % 10)
            while True:
                (row,) = await subject.ask(ALL_DOCS._replace(ids=(id_,)))
                value = b"%d" % (int(row.value) + 1)
                change = op.DocChange(NS, id_, row.version, value=value)
                if isinstance(await subject.do(transact(doc_changes=[change])), Transacted):
                    break

    await asyncio.gather(*(write(writer) for writer in range(20)))
    assert sum(int(row.value) for row in await subject.ask(ALL_DOCS)) == 1_000


async def test_acknowledged_docs_and_locks_survive_a_power_cut(durable: Subject) -> None:
    await done(durable, transact(doc_inserts=[doc("d", value=b"1")]))
    await done(durable, claim_docs(held("k"), held("empty")))
    before = await durable.ask(ALL_DOCS)
    digest = await durable.ask(queries.Digest())
    await durable.cut_power()
    assert await durable.ask(ALL_DOCS) == before
    await durable.restart()
    assert await durable.ask(ALL_DOCS) == before
    assert len(digest) == 32
    assert isinstance(await durable.do(claim_docs(held("empty"), claimant="w2")), Refused)
