"""A machine with docs that tests talk to in a line: see :mod:`tests.support.task_table`."""

from collections.abc import Sequence
from typing import Any

from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import DocRow, DocsClaimed, Refused, SetRow, Transacted
from tests.support.task_table import TaskTable

NS = "/ns"


def transact(
    *,
    claimant: str = "w1",
    key: str = "",
    mark: bytes = b"",
    inserts: Sequence[op.Insert] = (),
    changes: Sequence[op.Change] = (),
    deletes: Sequence[op.Target] = (),
    depends: Sequence[op.Target] = (),
    queues: Sequence[tuple[str, str]] = (),
    resets: Sequence[str] = (),
    **docs: Sequence[Any],
) -> op.Transact:
    """A transaction; what begins with ``doc_`` is a part about docs: ``doc_inserts``, ``doc_leases``, …"""
    parts = op.DocParts(**{name.removeprefix("doc_"): tuple(items) for name, items in docs.items()})
    return op.Transact(
        op.TRANSACT, key, mark, claimant, tuple(inserts), tuple(changes), tuple(deletes),
        tuple(depends), tuple(queues), tuple(resets), parts,
    )  # fmt: skip


def claim_docs(
    *sets: op.SetClaim,
    claimant: str = "w1",
    lease_ms: int = 30_000,
    task: tuple[str, int, str] = ("", 0, ""),
    key: str = "",
    mark: bytes = b"",
) -> op.ClaimDocs:
    return op.ClaimDocs(op.CLAIM_DOCS, key, mark, claimant, sets, lease_ms, task)


def held(key: str, *, omit_docs: bool = False, namespace: str = NS) -> op.SetClaim:
    return op.SetClaim(namespace, key, omit_docs)


def doc(id_: str, key: str = "k", secondary_key: str = "", **fields: Any) -> op.DocInsert:
    return op.DocInsert(fields.pop("namespace", NS), key, secondary_key, id_, **fields)


class DocTable(TaskTable):
    """A task table with docs in one namespace."""

    def transact(self, **parts: Any) -> Transacted:
        outcome = self.do(transact(**parts))
        assert isinstance(outcome, Transacted), outcome
        return outcome

    def refusal(self, operation: Any) -> Refused:
        outcome = self.do(operation)
        assert isinstance(outcome, Refused), outcome
        return outcome

    def reasons(self, **parts: Any) -> list[tuple[str, int, str, str]]:
        """Give part, position, id and reason of what does not hold."""
        refused = self.refusal(transact(**parts))
        assert refused.code == "dependency", refused
        return [(item.part, item.position, item.id, item.reason) for item in refused.failed]

    def put_doc(self, id_: str, key: str = "k", secondary_key: str = "", **fields: Any) -> DocRow:
        claimant = fields.pop("claimant", "w1")
        insert = doc(id_, key, secondary_key, **fields)
        return self.transact(claimant=claimant, doc_inserts=[insert]).docs_inserted[0]

    def change_doc(self, row: DocRow, *, claimant: str = "w1", **fields: Any) -> DocRow:
        change = op.DocChange(row.namespace, row.id, row.version, **fields)
        return self.transact(claimant=claimant, doc_changes=[change]).docs_changed[0]

    def hold(self, *keys: str, **fields: Any) -> DocsClaimed:
        outcome = self.do(claim_docs(*[held(key) for key in keys], **fields))
        assert isinstance(outcome, DocsClaimed), outcome
        return outcome

    def lease(self, row: SetRow, ms: int, *, claimant: str = "w1") -> SetRow:
        arrival = op.LEASE if ms else op.KEEP
        lease = op.SetLease(row.namespace, row.key, row.version, arrival, ms)
        return self.transact(claimant=claimant, doc_leases=[lease]).sets[0]

    def docs(self, namespace: str = NS, **fields: Any) -> list[DocRow]:
        query = queries.Docs(
            namespace, fields.pop("ids", ()), fields.pop("key", None), fields.pop("key_start", ""),
            fields.pop("key_end", ""), fields.pop("limit", 1_000), fields.pop("omit_values", False),
        )  # fmt: skip
        assert not fields
        rows: list[DocRow] = self.ask(query)
        return rows

    def ask(self, query: queries.Query) -> Any:
        return self.machine.query(query, self.now_ms)
