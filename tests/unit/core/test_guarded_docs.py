"""Transactions and claims of docs by somebody with few rights: what cannot be read does not exist."""

from tests.support.doc_table import DocTable, claim_docs, doc, held, transact

from raftq_cluster.core import operations as op
from raftq_cluster.core import queries, rights
from raftq_cluster.core.outcomes import DocsClaimed, Refused, Transacted

GRANTS = (("/mine*", rights.ALL), ("/seen", rights.READ))


def guarded(operation: op.Transact | op.ClaimDocs) -> op.Guarded:
    return op.Guarded(op.GUARD, "", b"", GRANTS, operation)


def table() -> DocTable:
    filled = DocTable()
    for queue in ("/mine", "/seen", "/hidden"):
        filled.insert(queue, queue)
        filled.claim_one(queue)
    return filled


def test_a_transaction_over_tasks_that_may_be_changed_is_done() -> None:
    outcome = table().do(guarded(transact(deletes=[op.Target("/mine", 1)], doc_inserts=[doc("d")])))
    assert isinstance(outcome, Transacted)


def test_a_task_that_cannot_be_read_is_missing_for_a_transaction() -> None:
    tasks = table()
    operation = transact(deletes=[op.Target("/hidden", 1)], doc_inserts=[doc("d")])
    refused = tasks.refusal(guarded(operation))
    assert [(part.id, part.reason) for part in refused.failed] == [("/hidden", "missing")]
    foretold = tasks.ask(queries.DryRun(operation, GRANTS))
    assert foretold == refused


def test_a_task_that_can_only_be_read_forbids_the_transaction() -> None:
    tasks = table()
    operation = transact(deletes=[op.Target("/seen", 1)], doc_inserts=[doc("d")])
    assert tasks.refusal(guarded(operation)).code == "forbidden"
    assert tasks.ask(queries.DryRun(operation, GRANTS)).code == "forbidden"


def test_the_first_thing_that_is_forbidden_is_told() -> None:
    deletes = [op.Target("/seen", 1)]
    operation = transact(deletes=deletes, inserts=[op.Insert("/away", "t")])
    assert "insert on queue /away" in table().refusal(guarded(operation)).detail


def test_docs_are_claimed_for_a_task_that_can_be_read_and_no_other() -> None:
    tasks = table()
    assert isinstance(tasks.do(guarded(claim_docs(held("k"), task=("/seen", 1, "")))), DocsClaimed)
    for id_ in ("/hidden", "none"):
        outcome = tasks.do(guarded(claim_docs(held("k"), task=(id_, 1, ""))))
        assert isinstance(outcome, Refused)
        assert [(part.id, part.reason) for part in outcome.failed] == [(id_, "missing")]
