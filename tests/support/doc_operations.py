"""Makes operations about docs that mostly fit what a machine holds: right and wrong versions, ids, holders.

Chance is the caller's seeded ``random.Random``.
"""

from random import Random
from typing import Any, Final

from raftq_cluster.core import operations as op
from raftq_cluster.core.doc_store import Doc
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.task import Task
from tests.support.doc_table import NS, claim_docs, held, transact

NAMESPACES: Final = (NS, NS, "/other")
KEYS: Final = ("", "b", "c", "d", "e", "f")
SECONDARY_KEYS: Final = ("", "é", "\U0001f600")  # in the order of their bytes, not of UTF-16
IDS: Final = tuple("0123456789")
CLAIMANTS: Final = ("w1", "w2")
STEPS_MS: Final = (0, 0, 1, 5, 40, 100_000, 300_000)
RIGHTS: Final = 63


class Maker:
    """Makes operations against what ``machine`` holds."""

    def __init__(self, machine: Machine, random: Random) -> None:
        self.machine = machine
        self.random = random

    def operation(self) -> Any:
        chance = self.random.random()
        made = self.claim() if chance < 0.3 else self.transact()
        if chance < 0.05 or chance > 0.95:
            return op.Guarded(op.GUARD, made[1], made[2], [("/*", RIGHTS)], made)
        return made

    def claim(self) -> op.ClaimDocs:
        pick = self.random.choice
        keys = self.random.sample(KEYS, self.random.randrange(1, 4))
        namespace = pick(NAMESPACES)
        sets = [held(key, omit_docs=pick((True, False)), namespace=namespace) for key in keys]
        task = self.task()
        return claim_docs(
            *sets, claimant=pick(CLAIMANTS), lease_ms=pick((1, 50, 200_000)), key=self.key(), mark=pick((b"1", b"2")),
            task=("", 0, "") if task is None else (task.id, task.version, pick(("", "/a"))),
        )  # fmt: skip

    def transact(self) -> op.Transact:
        pick = self.random.choice
        parts: dict[str, Any] = {}
        for id_ in self.random.sample(IDS, self.random.randrange(1, 4)):
            namespace = pick(NAMESPACES)
            name, part = self.part(namespace, id_, self.machine.docs.find(namespace, id_))
            parts.setdefault(name, []).append(part)
        if self.random.random() < 0.3:
            namespace, key = pick(NAMESPACES), pick(KEYS)
            lease = op.SetLease(namespace, key, self.version(namespace, key), *self.lease())
            parts["doc_leases"] = [lease]
        if self.random.random() < 0.2:
            namespace, key = pick(NAMESPACES), pick(KEYS)
            depend = op.DocTarget(namespace, "", self.version(namespace, key), key)
            parts.setdefault("doc_depends", []).append(depend)
        task = self.task()
        if task is not None:
            parts["changes"] = [
                op.Change(task.id, task.version, arrival=op.DELAY, ms=pick((0, 900)))
            ]
        return transact(claimant=pick(CLAIMANTS), key=self.key(), **parts)

    def part(self, namespace: str, id_: str, doc: Doc | None) -> tuple[str, Any]:
        pick = self.random.choice
        if doc is None or self.random.random() < 0.05:
            names = (namespace, pick(KEYS), pick(SECONDARY_KEYS), id_)
            value, kind = pick((b"", b"12")), pick((op.JSON, op.BYTES))
            return "doc_inserts", op.DocInsert(*names, *self.lease(), value, kind)
        version = self.version(namespace, doc.key)
        chance = self.random.random()
        if chance < 0.4:
            return "doc_deletes", op.DocTarget(namespace, id_, version)
        if chance < 0.5:
            return "doc_depends", op.DocTarget(namespace, id_, version)
        change = op.DocChange(namespace, id_, version, *self.lease(), pick((None, b"new")))
        return "doc_changes", change

    def lease(self) -> tuple[int, int]:
        ends = ((op.KEEP, 0), (op.LEASE, 30), (op.LEASE, 500_000))
        return self.random.choice((*ends, (op.HOLD_UNTIL, self.machine.now_ms + 20)))

    def version(self, namespace: str, key: str) -> int:
        docs = self.machine.docs.set_of(namespace, key)
        known = 0 if docs is None else docs.lock.version
        return known + self.random.choice((0, 0, 0, 0, 1))

    def key(self) -> str:
        return self.random.choice(("", "", "k1", "k2"))

    def task(self) -> Task | None:
        """Choose a task, mostly none."""
        tasks = list(self.machine.tasks.values())
        return self.random.choice(tasks) if tasks and self.random.random() < 0.2 else None
