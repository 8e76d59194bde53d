"""Inserts that show who made them, as EntroQ's do: nobody holds the task for that."""

import pytest
from tests.support.doc_table import DocTable, claim_docs, held, transact
from tests.support.task_table import modify, renew, target

from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import CLAIMED, Modified
from raftq_cluster.core.queries import DryRun
from raftq_cluster.core.restoring import restore

SOON_MS = 5_000


def signed(id_: str, arrival: int = op.LEASE, ms: int = 0) -> op.Insert:
    return op.Insert("/q", id_, arrival, ms)


def put(table: DocTable, id_: str, arrival: int = op.LEASE, ms: int = 0) -> None:
    table.transact(claimant="maker", inserts=[signed(id_, arrival, ms)])


@pytest.mark.parametrize(
    ("arrival", "ms", "after_ms"),
    [(op.LEASE, 0, 0), (op.LEASE, SOON_MS, SOON_MS), (op.HOLD_UNTIL, 0, 0)],
)
def test_the_inserter_is_shown_until_somebody_claims(arrival: int, ms: int, after_ms: int) -> None:
    table = DocTable()
    done = table.transact(claimant="maker", inserts=[signed("a", arrival, ms)])
    assert [(row.claimant, row.at - table.now_ms) for row in done.inserted] == [("maker", after_ms)]
    assert [row.claimant for row in table.tasks("/q")] == ["maker"]
    table.pass_ms(SOON_MS)
    assert [row.claimant for row in table.tasks("/q")] == ["maker"]
    assert table.claim_one("/q", claimant="taker").claimant == "taker"


def test_an_instant_to_come_is_kept() -> None:
    table = DocTable()
    put(table, "a", op.HOLD_UNTIL, table.now_ms + SOON_MS)
    assert table.tasks("/q")[0].at == table.now_ms + SOON_MS


def test_nobody_holds_it() -> None:
    table = DocTable()
    put(table, "a", ms=SOON_MS)
    stats = table.stats("/q")
    assert (stats.claimed, stats.delayed) == (0, 1)
    assert table.tasks("/q", claimant="maker") == []
    row = table.tasks("/q")[0]
    (lost,) = table.do(renew(target(row), claimant="maker")).lost
    assert lost.reason == CLAIMED
    (failed,) = table.refusal(claim_docs(held("k"), task=("a", 0, ""))).failed
    assert failed.part == "task"
    table.delete(row, claimant="somebody else")
    assert table.queues() == []


@pytest.mark.parametrize("claimant", ["maker", "somebody else"])
def test_whoever_changes_it_ends_the_signature(claimant: str) -> None:
    table = DocTable()
    put(table, "a", ms=SOON_MS)
    changed = table.change(table.tasks("/q")[0], claimant=claimant, err="why")
    assert (changed.claimant, changed.at) == ("", table.now_ms + SOON_MS)
    assert table.stats("/q").claimed == 0


def test_it_arrives_and_leaves_no_count_behind() -> None:
    table = DocTable()
    put(table, "a", ms=SOON_MS)
    put(table, "b", ms=SOON_MS)
    table.pass_ms(SOON_MS)
    assert (table.stats("/q").ready, table.stats("/q").claimed) == (2, 0)
    depends = modify(changes=[op.Change("a", 0, None, op.LEASE, 9)], depends=[op.Target("b", 0)])
    assert isinstance(table.do(depends), Modified)
    assert table.stats("/q").claimed == 1


def test_signed_and_plain_inserts_stand_side_by_side() -> None:
    table = DocTable()
    table.pass_ms(0)
    inserts = [signed("a"), op.Insert("/q", "b"), signed("c")]
    query = DryRun(transact(claimant="", inserts=inserts))
    foretold = table.ask(query).inserted
    done = table.transact(claimant="", inserts=inserts).inserted
    assert [row.claimant for row in done] == [op.ANONYMOUS, "", op.ANONYMOUS]
    assert done == foretold


def test_a_restored_machine_knows_who_holds_what() -> None:
    table = DocTable()
    put(table, "a", ms=SOON_MS)
    put(table, "b")
    table.claim_one("/q", claimant="taker", lease_ms=9_000)
    restored = restore(table.machine.snapshot())
    assert restored.digest() == table.machine.digest()
    stats = restored.queues["/q"].stats()
    assert (stats.claimed, stats.delayed) == (1, 1)
