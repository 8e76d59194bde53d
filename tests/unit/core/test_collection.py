"""What is collected of queues and namespaces that ask for it, and what stays."""

from random import Random

import pytest
from tests.support.doc_table import NS, DocTable, claim_docs, held
from tests.support.task_table import START_MS, claim, configure, modify, target

from raftq_cluster.core import operations as op
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.marked import LOOKED_AT_MAX
from raftq_cluster.core.outcomes import Collected
from raftq_cluster.core.queries import Collectable, Collectables
from raftq_cluster.core.restoring import restore
from raftq_cluster.core.snapshot import Record

DUE = "/t/gc=0"
LATER_MS = START_MS + 60_000
LATER = f"/t/gc={LATER_MS // 1_000}"
DOCS = "/docs/sess=1;gc=0"


def collected(table: DocTable, queue: str, limit: int = 100) -> int:
    outcome = table.do(op.Collect(op.COLLECT, queue, limit))
    assert isinstance(outcome, Collected)
    return outcome.ended


def docs_collected(table: DocTable, key: str, ids: str = "abcde", namespace: str = DOCS) -> int:
    outcome = table.do(op.CollectDocs(op.COLLECT_DOCS, namespace, key, tuple(ids)))
    assert isinstance(outcome, Collected)
    return outcome.ended


def collectable(table: DocTable, limit: int = 100, turn: int = 0) -> Collectables:
    found = table.ask(Collectable(limit, turn))
    assert isinstance(found, Collectables)
    return found


def test_a_due_queue_is_emptied_of_what_is_ready() -> None:
    table = DocTable()
    for _ in range(3):
        table.insert(DUE)
    assert collectable(table) == Collectables(((DUE, 3),), (), 0)
    assert collected(table, DUE) == 3
    assert table.queues() == []
    assert collectable(table) == Collectables((), (), 0)
    assert len(table.machine.marked) == 0


def test_claimed_and_delayed_tasks_stay_until_they_are_ready() -> None:
    table = DocTable()
    table.insert(DUE, "a", value=b"12")
    table.insert(DUE, "b", value=b"345", arrival=op.DELAY, ms=40_000)
    table.claim_one(DUE)
    assert collectable(table).queues == ()
    assert collected(table, DUE) == 0
    table.pass_ms(30_000)
    assert collectable(table).queues == ((DUE, 1),)
    assert collected(table, DUE) == 1
    table.pass_ms(10_000)
    assert [row.id for row in table.tasks(DUE)] == ["b"]
    assert collected(table, DUE) == 1
    assert table.machine.load()[:2] == (0, 0)


def test_a_queue_is_not_collected_before_its_time() -> None:
    table = DocTable()
    table.insert(LATER)
    table.pass_ms(LATER_MS - START_MS - 1)
    assert collectable(table).queues == ()
    assert collected(table, LATER) == 0
    table.now_ms += 1
    assert collectable(table).queues == ((LATER, 1),)
    assert collected(table, LATER) == 1


@pytest.mark.parametrize("queue", ["/plain", "/t/gc=whenever", "/nobody/gc=0"])
def test_other_queues_are_never_collected(queue: str) -> None:
    table = DocTable()
    if queue != "/nobody/gc=0":
        table.insert(queue)
    table.pass_ms(10**12)
    assert collectable(table).queues == ()
    assert collected(table, queue) == 0
    assert len(table.tasks(queue)) == (queue != "/nobody/gc=0")


def test_malformed_names_are_counted() -> None:
    table = DocTable()
    table.insert("/t/gc=whenever", "a")
    table.insert("/u/gc=2026-07-02", "b")
    table.put_doc("d", namespace="/docs/gc=x")
    assert collectable(table).malformed == 3
    table.delete(table.tasks("/t/gc=whenever")[0])
    assert collectable(table).malformed == 2


def test_a_paused_queue_is_not_collected() -> None:
    table = DocTable()
    table.insert(DUE)
    table.configure("/t*", paused=True)
    assert collectable(table).queues == ()
    assert collected(table, DUE) == 0
    table.configure("/t*")
    assert collected(table, DUE) == 1


@pytest.mark.parametrize("order", ["random", "fifo", "priority"])
def test_a_piece_has_its_limit(order: str) -> None:
    table = DocTable()
    table.configure("*", order=order)
    for number in range(5):
        table.insert(DUE, priority=number)
    assert collectable(table, limit=4).queues == ((DUE, 4),)
    assert collected(table, DUE, limit=4) == 4
    assert table.stats(DUE).tasks == 1
    assert table.claim_one(DUE).queue == DUE


def test_what_was_collected_leaves_nothing_behind() -> None:
    table = DocTable()
    row = table.enq(DUE, b"x")
    table.deq(DUE)
    table.pass_ms(60_000)
    assert collected(table, DUE) == 1
    assert table.machine.load()[:2] == (0, 0)
    assert table.enq(DUE, b"y").serial == row.serial + 1  # numbers do not repeat
    (refused,) = table.refused(modify(deletes=[target(row)]))
    assert refused.reason == "missing"


def test_the_limit_of_a_question_is_for_all_names() -> None:
    table = DocTable()
    for queue in ("/a/gc=", "/b/gc=", "/c/gc="):
        for _ in range(3):
            table.insert(queue)
    table.put_doc("d", namespace=DOCS)
    assert collectable(table, limit=7) == Collectables(
        (("/a/gc=", 3), ("/b/gc=", 3), ("/c/gc=", 1)), (), 0
    )
    assert collectable(table, limit=10).sets == ((DOCS, "k", ("d",)),)
    assert collectable(table, limit=9).sets == ()


def test_very_many_names_are_looked_at_in_turns() -> None:
    table = DocTable()
    names = [f"/q/gc=0/{number:06}" for number in range(2 * LOOKED_AT_MAX)]
    late = [op.Insert(name, name, op.DELAY, 10**6) for name in names]
    table.entry(
        *[modify(inserts=late[start : start + 1_000]) for start in range(0, len(late), 1_000)]
    )
    table.insert(names[-1], "ready")
    table.put_doc("d", namespace=DOCS)
    assert collectable(table, turn=0).queues == ()
    assert collectable(table, turn=1).queues == ((names[-1], 1),)
    assert (
        collectable(table, turn=0).sets == collectable(table, turn=1).sets == ((DOCS, "k", ("d",)),)
    )


# --- docs ---------------------------------------------------------------------------------------------


def test_a_set_goes_as_a_whole() -> None:
    table = DocTable()
    for id_ in ("a", "b"):
        row = table.put_doc(id_, "k", namespace=DOCS, value=b"123")
    table.put_doc("c", "other", namespace=DOCS)
    table.put_doc("d", "k")
    assert docs_collected(table, "k") == 2
    assert [doc.id for doc in table.docs(DOCS)] == ["c"]
    assert [doc.id for doc in table.docs(NS)] == ["d"]
    lock = table.machine.docs.set_of(DOCS, "k").lock  # type: ignore[union-attr] # it stays for a while
    assert (lock.version, lock.claimant) == (row.version + 1, "")


def test_a_held_set_stays_until_its_lease_ends() -> None:
    table = DocTable()
    table.put_doc("a", "k", namespace=DOCS)
    table.do(claim_docs(held("k", namespace=DOCS), lease_ms=20_000))
    assert collectable(table).sets == ()
    assert docs_collected(table, "k") == 0
    table.pass_ms(20_000)
    assert collectable(table).sets == ((DOCS, "k", ("a",)),)
    assert docs_collected(table, "k") == 1


def test_a_key_does_not_opt_in_and_a_namespace_waits_for_its_time() -> None:
    table = DocTable()
    later = f"/docs/gc={LATER_MS // 1_000}"
    table.put_doc("a", "/gc=0")
    table.put_doc("b", "k", namespace=later)
    table.put_doc("c", "k", namespace="/docs/gc=x")
    assert docs_collected(table, "/gc=0", namespace=NS) == 0
    assert docs_collected(table, "k", namespace=later) == 0
    assert docs_collected(table, "k", namespace="/docs/gc=x") == 0
    assert docs_collected(table, "absent", namespace=later) == 0
    table.pass_ms(60_000)
    assert collectable(table).sets == ((later, "k", ("b",)),)
    assert docs_collected(table, "k", namespace=later) == 1


def test_a_large_set_goes_in_pieces() -> None:
    table = DocTable()
    for id_ in "edcba":
        table.put_doc(id_, "k", namespace=DOCS)
    assert collectable(table, limit=3).sets == ((DOCS, "k", ("a", "b", "c")),)
    assert docs_collected(table, "k", "abcx") == 3
    assert [doc.id for doc in table.docs(DOCS)] == ["d", "e"]
    assert docs_collected(table, "k") == 2
    assert docs_collected(table, "k") == 0  # an empty set is left to be forgotten
    table.pass_ms(300_000)
    table.pass_ms(1)
    assert len(table.machine.docs.marked) == 0


# --- all nodes alike ----------------------------------------------------------------------------------


def marked_of(machine: Machine) -> tuple[list[str], int, int]:
    return (
        sorted(machine.marked.due(2 * START_MS, 0)[0]),
        len(machine.marked),
        machine.marked.malformed,
    )


def test_restored_machines_collect_alike() -> None:
    random = Random(5)
    table = DocTable()
    other = table.machine
    queues = ["/a/gc=0", "/b/gc=1700000030", "/c", "/d/gc=x"]
    ended = 0
    for step in range(600):
        if step % 50 == 0:
            other = restore(table.machine.snapshot())
        operation, seed = _chosen(random, queues, step), random.getrandbits(64)
        table.now_ms += random.randrange(300)
        told = [
            machine.apply(step + 1, table.now_ms, seed, [[operation]])
            for machine in (table.machine, other)
        ]
        assert told[0] == told[1]
        assert table.machine.chain == other.chain
        assert other.digest() == table.machine.digest()
        assert marked_of(other) == marked_of(table.machine)
        outcome = told[0].outcomes[0][0]
        ended += outcome.ended if isinstance(outcome, Collected) else 0
    assert ended > 50


def _chosen(random: Random, queues: list[str], step: int) -> object:
    queue = random.choice(queues)
    arrival = random.choice([(op.KEEP, 0), (op.DELAY, random.randrange(5_000))])
    kinds = [
        modify(inserts=[op.Insert(queue, f"t{step}", *arrival)]),
        claim(queue, lease_ms=random.randrange(1, 5_000)),
        op.Collect(op.COLLECT, queue, random.randrange(4)),
        configure(queue, order=random.choice(["random", "fifo", "priority"])),
    ]
    return random.choices(kinds, (6, 2, 3, 1))[0]


def records_of(table: DocTable) -> list[Record]:
    return [record for chunk in table.machine.snapshot() for record in chunk]


def test_a_running_snapshot_has_what_is_collected_meanwhile() -> None:
    table = DocTable()
    table.insert(DUE, "a")
    whole = records_of(table)
    snapshot = table.machine.snapshot(1)
    first = next(snapshot)
    assert collected(table, DUE) == 1
    assert first + [record for chunk in snapshot for record in chunk] == whole


def test_a_state_that_begins_anew_knows_no_names() -> None:
    table = DocTable()
    table.insert(DUE)
    table.put_doc("a", namespace=DOCS)
    table.machine.discard()
    assert collectable(table) == Collectables((), (), 0)
