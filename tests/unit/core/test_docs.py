"""Docs and their sets: one lock per set, one transaction space with tasks."""

import pytest
from tests.support.doc_table import NS, DocTable, claim_docs, doc, held, transact
from tests.support.task_table import START_MS

from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.doc_store import EMPTY_WINDOW_MS
from raftq_cluster.core.outcomes import (
    DocRow,
    FailedDoc,
    Refused,
    SetRow,
)


def target(row: DocRow) -> op.DocTarget:
    return op.DocTarget(row.namespace, row.id, row.version)


# --- a set's lock ------------------------------------------------------------------------------------


def test_a_new_doc_has_all_its_fields_and_version_0() -> None:
    row = DocTable().put_doc("d", "k", "s", value=b"1", kind=op.BYTES)
    assert row == DocRow(NS, "d", 0, "k", "s", "", START_MS, b"1", op.BYTES, START_MS, START_MS)


def test_docs_of_one_insertion_share_their_sets_first_version() -> None:
    table = DocTable()
    rows = table.transact(doc_inserts=[doc("a"), doc("b"), doc("c", "other")]).docs_inserted
    assert [(row.id, row.version) for row in rows] == [("a", 0), ("b", 0), ("c", 0)]


def test_every_write_moves_the_version_of_the_set_for_all_its_docs() -> None:
    table = DocTable()
    first = table.put_doc("a")
    assert table.put_doc("b").version == 1
    changed = table.change_doc(first._replace(version=1), value=b"2")
    assert (changed.version, changed.value) == (2, b"2")
    assert [(row.id, row.version, row.value) for row in table.docs()] == [
        ("a", 2, b"2"),
        ("b", 2, b""),
    ]


def test_several_writes_of_one_transaction_move_the_version_once() -> None:
    table = DocTable()
    a, b = table.transact(doc_inserts=[doc("a"), doc("b")]).docs_inserted
    done = table.transact(
        doc_inserts=[doc("c")],
        doc_changes=[op.DocChange(NS, "a", a.version, value=b"1")],
        doc_deletes=[target(b)],
    )
    assert done.docs_inserted[0].version == done.docs_changed[0].version == 1
    assert [row.id for row in table.docs()] == ["a", "c"]


def test_a_change_without_a_value_keeps_it() -> None:
    table = DocTable()
    row = table.put_doc("a", value=b"1", kind=op.BYTES)
    table.pass_ms(10)
    changed = table.change_doc(row)
    assert (changed.value, changed.kind) == (b"1", op.BYTES)
    assert (changed.created, changed.modified) == (START_MS, START_MS + 10)


@pytest.mark.parametrize(("arrival", "ms"), [(op.LEASE, 500), (op.HOLD_UNTIL, START_MS + 500)])
def test_a_write_with_a_lease_leaves_the_set_held_by_the_writer(arrival: int, ms: int) -> None:
    table = DocTable()
    row = table.put_doc("a", arrival=arrival, ms=ms)
    assert (row.claimant, row.at) == ("w1", START_MS + 500)
    assert table.reasons(claimant="w2", doc_changes=[op.DocChange(NS, "a", 0)]) == [
        ("doc_change", 0, "a", "claimed")
    ]


def test_a_write_without_a_lease_gives_the_set_back() -> None:
    table = DocTable()
    row = table.put_doc("a", arrival=op.LEASE, ms=500)
    changed = table.change_doc(row, arrival=op.HOLD_UNTIL, ms=START_MS - 5)
    assert (changed.claimant, changed.at) == ("", START_MS)


def test_the_longest_lease_of_the_parts_counts() -> None:
    table = DocTable()
    parts = [doc("a", arrival=op.LEASE, ms=5), doc("b", arrival=op.LEASE, ms=50), doc("c")]
    assert {row.at for row in table.transact(doc_inserts=parts).docs_inserted} == {START_MS + 50}


def test_a_lease_that_is_over_holds_nobody_off() -> None:
    table = DocTable()
    row = table.put_doc("a", arrival=op.LEASE, ms=500)
    table.pass_ms(500)
    assert table.change_doc(row, claimant="w2").version == 1


# --- what does not hold --------------------------------------------------------------------------------


def test_every_failing_part_is_told_and_nothing_is_done() -> None:
    table = DocTable()
    table.put_doc("old")
    table.hold("held", claimant="w2")
    before = table.machine.digest()
    refused = table.refusal(
        transact(
            inserts=[op.Insert("/q", "t")],
            deletes=[op.Target("none", 0)],
            doc_inserts=[doc("old"), doc("x", "held"), doc("fine", "free")],
            doc_changes=[op.DocChange(NS, "lost", 3)],
            doc_deletes=[op.DocTarget(NS, "gone", 0)],
            doc_depends=[
                op.DocTarget(NS, "away", 0),
                op.DocTarget(NS, "", 7, "k"),
                op.DocTarget(NS, "", 0, "no such key"),
            ],
            doc_leases=[
                op.SetLease(NS, "held", 1, op.LEASE, 5),
                op.SetLease("/other", "k", 1, op.LEASE, 5),
            ],
        )
    )
    assert [tuple(part)[:5] for part in refused.failed] == [
        ("delete", 0, "none", "missing", -1),
        ("doc_insert", 0, "old", "exists", -1),
        ("doc_insert", 1, "x", "claimed", 1),
        ("doc_change", 0, "lost", "missing", -1),
        ("doc_delete", 0, "gone", "missing", -1),
        ("doc_depend", 0, "away", "missing", -1),
        ("doc_depend", 1, "", "version", 0),
        ("doc_depend", 2, "", "missing", -1),
        ("doc_lease", 0, "", "claimed", 1),
        ("doc_lease", 1, "", "missing", -1),
    ]
    assert refused.failed[2] == FailedDoc(
        "doc_insert", 1, "x", "claimed", 1, "w2", START_MS + 30_000, NS, "held"
    )
    assert refused.detail == "10 of 12 parts do not hold"
    table.machine.index -= 1
    assert table.machine.digest() == before


def test_a_stale_version_is_refused_and_told() -> None:
    table = DocTable()
    row = table.put_doc("a")
    table.change_doc(row)
    refused = table.refusal(transact(doc_deletes=[target(row)]))
    assert refused.failed[0].version == 1


def test_a_depend_holds_at_its_version_whoever_holds_the_set() -> None:
    table = DocTable()
    table.put_doc("a")
    table.hold("k", claimant="w2")
    depends = [op.DocTarget(NS, "a", 1), op.DocTarget(NS, "", 1, "k")]
    table.transact(inserts=[op.Insert("/q", "t")], doc_depends=depends)
    assert table.docs()[0].version == 1


def test_the_holder_of_a_set_may_write_it() -> None:
    table = DocTable()
    table.hold("k")
    assert table.put_doc("a").version == 2


@pytest.mark.parametrize(
    "parts",
    [
        {"doc_inserts": [doc("a"), doc("a", "other")]},
        {
            "doc_changes": [op.DocChange(NS, "a", 0)],
            "doc_deletes": [op.DocTarget(NS, "a", 0)],
        },
        {
            "doc_leases": [op.SetLease(NS, "k", 0)],
            "doc_depends": [op.DocTarget(NS, "", 0, "k")],
        },
        {"inserts": [op.Insert("/q", "t")], "deletes": [op.Target("t", 0)]},
        {"changes": [op.Change("t", 0)], "resets": ["u"]},
    ],
)
def test_what_contradicts_itself_is_invalid(parts: dict[str, list[object]]) -> None:
    assert DocTable().refusal(transact(**parts)).code == "invalid"  # type: ignore[arg-type]


# --- claims ------------------------------------------------------------------------------------------------


def test_sets_are_claimed_together_with_their_docs_and_empty_ones_too() -> None:
    table = DocTable()
    table.transact(doc_inserts=[doc("b2", "b", "2"), doc("b1", "b", "1"), doc("a", "a")])
    claimed = table.hold("b", "empty", "a")
    at = START_MS + 30_000
    assert claimed.sets == (
        SetRow(NS, "b", 1, "w1", at, 2),
        SetRow(NS, "empty", 1, "w1", at, 0),
        SetRow(NS, "a", 1, "w1", at, 1),
    )
    assert [row.id for row in claimed.docs] == ["b1", "b2", "a"]
    assert {(row.version, row.claimant, row.at) for row in claimed.docs} == {(1, "w1", at)}


def test_docs_can_be_left_out_of_a_claims_answer() -> None:
    table = DocTable()
    table.put_doc("a")
    claimed = table.do(claim_docs(held("k", omit_docs=True)))
    assert (claimed.sets[0].docs, claimed.docs) == (1, ())


def test_all_sets_are_claimed_or_none() -> None:
    table = DocTable()
    table.put_doc("a")
    table.hold("taken", claimant="w2")
    refused = table.refusal(claim_docs(held("k"), held("taken")))
    assert [tuple(part)[:4] for part in refused.failed] == [("doc_claim", 1, "", "claimed")]
    assert table.docs()[0].claimant == ""
    table.pass_ms(30_000)
    assert [row.version for row in table.hold("k", "taken").sets] == [1, 2]


def test_a_claim_can_last_as_long_as_a_tasks_lease() -> None:
    table = DocTable()
    table.insert("/q", "t")
    task = table.claim_one("/q", lease_ms=7_777)
    for queue in ("", "/q"):
        claimed = table.hold("k", lease_ms=0, task=("t", task.version, queue))
        assert claimed.sets[0].at == task.at


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (("none", 1, ""), "missing"),
        (("t", 0, ""), "version"),
        (("t", 1, "/other"), "missing"),
    ],
)
def test_a_claim_for_a_task_that_is_not_as_named_is_refused(
    task: tuple[str, int, str], reason: str
) -> None:
    table = DocTable()
    table.insert("/q", "t")
    table.claim_one("/q")
    table.hold("k", claimant="w2")
    refused = table.refusal(claim_docs(held("k"), task=task))
    assert [tuple(part)[:4] for part in refused.failed] == [
        ("task", 0, task[0], reason),
        ("doc_claim", 0, "", "claimed"),
    ]


def test_a_claim_for_a_task_whose_lease_is_over_is_refused() -> None:
    table = DocTable()
    table.insert("/q", "t")
    table.claim_one("/q", lease_ms=1_000)
    table.pass_ms(1_000)
    assert table.refusal(claim_docs(held("k"), task=("t", 1, ""))).failed[0].reason == "version"


@pytest.mark.parametrize(
    "operation", [claim_docs(held("k"), held("k")), claim_docs(held("k"), lease_ms=0)]
)
def test_a_claim_that_makes_no_sense_is_invalid(operation: op.ClaimDocs) -> None:
    assert DocTable().refusal(operation).code == "invalid"


def test_a_set_without_docs_can_be_renewed_and_given_back() -> None:
    table = DocTable()
    (claimed,) = table.hold("empty").sets
    renewed = table.lease(claimed, 60_000)
    assert (renewed.version, renewed.claimant, renewed.at) == (2, "w1", START_MS + 60_000)
    released = table.lease(renewed, 0)
    assert (released.version, released.claimant, released.at) == (3, "", START_MS)
    assert table.hold("empty", claimant="w2").sets[0].version == 4


def test_a_lease_of_a_set_counts_the_docs_that_are_then_in_it() -> None:
    table = DocTable()
    table.put_doc("a")
    done = table.transact(doc_inserts=[doc("b")], doc_leases=[op.SetLease(NS, "k", 0, op.LEASE, 9)])
    assert done.sets == (SetRow(NS, "k", 1, "w1", START_MS + 9, 2),)


# --- sets that nobody needs ------------------------------------------------------------------------------------


def test_the_lock_of_an_emptied_set_is_kept_for_a_while_and_then_forgotten() -> None:
    table = DocTable()
    row = table.put_doc("a")
    table.transact(doc_deletes=[target(row)])
    table.pass_ms(EMPTY_WINDOW_MS - 1)
    assert table.put_doc("a").version == 2
    (row,) = table.docs()
    table.transact(doc_deletes=[target(row)])
    table.pass_ms(EMPTY_WINDOW_MS)
    assert table.machine.load()[1] == 0
    assert table.put_doc("a").version == 0


def test_a_held_set_without_docs_is_kept_as_long_as_it_is_held() -> None:
    table = DocTable()
    table.hold("k", lease_ms=2 * EMPTY_WINDOW_MS)
    table.pass_ms(2 * EMPTY_WINDOW_MS)
    assert table.hold("k", claimant="w2").sets[0].version == 2


def test_too_many_locks_without_docs_are_forgotten_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raftq_cluster.core.doc_store.EMPTY_SETS_KEPT_MAX", 2)
    table = DocTable()
    for number in range(4):
        (row,) = table.hold(f"k{number}", lease_ms=10).sets
        if number != 3:
            table.lease(row, 0)
        table.pass_ms(1)
    assert {docs.key for docs in table.machine.docs.sets()} == {"k2", "k3"}


def test_held_sets_are_never_forgotten_for_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftq_cluster.core.doc_store.EMPTY_SETS_KEPT_MAX", 1)
    table = DocTable()
    table.hold("a", "b", "c")
    table.pass_ms(1)
    assert len(list(table.machine.docs.sets())) == 3


def test_claims_of_too_many_new_sets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftq_cluster.core.doc_store.EMPTY_SETS_MAX", 2)
    table = DocTable()
    table.put_doc("a", "with docs")
    refused = table.refusal(claim_docs(held("a"), held("b"), held("c")))
    assert (refused.code, refused.limit_name) == ("store_full", "empty_sets_max")
    assert len(table.hold("with docs", "a", "b").sets) == 3


def test_notes_of_what_is_to_be_forgotten_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftq_cluster.core.doc_store.FORGOTTEN_SLACK", 3)
    table = DocTable()
    (row,) = table.hold("k").sets
    for number in range(20):
        row = table.lease(table.lease(row, 1_000_000 - 9 * number), 0)
        table.pass_ms(1)
    assert len(table.machine.docs._forgetting) < 8
    table.pass_ms(EMPTY_WINDOW_MS)
    assert list(table.machine.docs.sets()) == []


def test_a_claim_whose_docs_are_too_large_for_an_answer_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raftq_cluster.core.transaction.CLAIM_BYTES_MAX", 1_000)
    table = DocTable()
    table.put_doc("a", value=bytes(700))
    refused = table.refusal(claim_docs(held("k")))
    assert (refused.code, refused.limit_name) == ("too_large", "claim_bytes_max")
    assert table.do(claim_docs(held("k", omit_docs=True))).sets[0].version == 1


# --- with tasks ----------------------------------------------------------------------------------------------------


def test_tasks_and_docs_are_changed_together_or_not_at_all() -> None:
    table = DocTable()
    made = table.transact(inserts=[op.Insert("/q", "t")], doc_inserts=[doc("d")])
    assert (made.inserted[0].id, made.docs_inserted[0].id) == ("t", "d")
    change = op.Change("t", 0, "/done")
    assert table.reasons(changes=[change], doc_changes=[op.DocChange(NS, "d", 5)]) == [
        ("doc_change", 0, "d", "version")
    ]
    done = table.transact(changes=[change], doc_changes=[op.DocChange(NS, "d", 0, value=b"1")])
    assert (done.changed[0].queue, done.docs_changed[0].value) == ("/done", b"1")


def test_a_task_that_is_not_in_the_named_queue_does_not_exist() -> None:
    table = DocTable()
    for id_ in "abcd":
        table.insert("/q", id_)
    parts = {
        "changes": [op.Change("a", 0), op.Change("d", 0)],
        "deletes": [op.Target("b", 0)],
        "depends": [op.Target("c", 0)],
    }
    wrong = [("a", "/x"), ("b", "/x"), ("c", "/x"), ("d", "/q"), ("none", "/q")]
    assert table.reasons(queues=wrong, **parts) == [
        ("change", 0, "a", "missing"),
        ("delete", 0, "b", "missing"),
        ("depend", 0, "c", "missing"),
    ]
    table.transact(queues=[(id_, "/q") for id_ in "abcd"], **parts)


def test_claims_can_begin_at_0_again() -> None:
    table = DocTable()
    table.insert("/q", "t")
    row = table.claim_one("/q")
    done = table.transact(changes=[op.Change("t", row.version, arrival=op.DELAY)], resets=["t"])
    assert done.changed[0].claims == 0
    stats = table.ask(queries.Queues((), (), 10))[0]
    assert (stats.max_claims, stats.ready) == (0, 1)
    table.transact(changes=[op.Change("t", 2)], resets=["t"])
    assert table.claim_one("/q").claims == 1


def test_a_preview_tells_what_would_be_answered_and_does_nothing() -> None:
    table = DocTable()
    table.insert("/q", "t")
    table.put_doc("d")
    row = table.claim_one("/q")
    before = table.machine.digest()
    operation = transact(
        inserts=[op.Insert("/q", "u")],
        changes=[op.Change("t", row.version, value=b"2")],
        resets=["t"],
        doc_inserts=[doc("e")],
        doc_changes=[op.DocChange(NS, "d", 0, op.LEASE, 5)],
        doc_leases=[op.SetLease(NS, "k", 0, op.LEASE, 50)],
    )
    foretold = table.ask(queries.DryRun(operation))
    assert table.machine.digest() == before
    assert table.do(operation) == foretold
    assert table.ask(queries.DryRun(operation)).code == "dependency"


def test_a_refusal_names_what_another_task_holds() -> None:
    table = DocTable()
    table.insert("/q", "t")
    table.claim_one("/q", claimant="w2")
    refused = table.do(transact(deletes=[op.Target("t", 1)], doc_inserts=[doc("d")]))
    assert isinstance(refused, Refused)
    assert refused.failed[0].claimant == "w2"
