"""Collection, bounds of leases and signed inserts over every backend."""

import pytest
from tests.support.backend_subjects import START_MS, Subject
from tests.support.doc_table import claim_docs, doc, held, transact
from tests.support.task_table import claim, configure, modify, target

from raftq_cluster.core import operations as op
from raftq_cluster.core.queries import AllSettings, Namespaces, Queues, Tasks
from raftq_cluster.service.collecting import PIECE, Collecting

pytestmark = pytest.mark.asyncio

DUE = "/t/sess=1;gc=0"
LATER = f"/t/gc={START_MS // 1_000 + 60}"
MALFORMED = "/t/gc=whenever"


async def tasks_in(subject: Subject, queue: str) -> list[str]:
    return [row.id for row in await subject.ask(Tasks(queue, "", (), 1_000, True))]


async def insert(
    subject: Subject, queue: str, *ids: str, arrival: int = op.KEEP, ms: int = 0
) -> None:
    await subject.do(modify(inserts=[op.Insert(queue, id_, arrival, ms, b"v") for id_ in ids]))


async def test_due_queues_are_emptied_and_all_others_kept(subject: Subject) -> None:
    await insert(subject, DUE, "a", "b", "c")
    await insert(subject, LATER, "later")
    await insert(subject, MALFORMED, "never")
    await insert(subject, "/plain", "plain")
    collecting = Collecting(subject.backend)
    await collecting.sweep()
    assert (collecting.tasks, collecting.malformed, collecting.sweeps) == (3, 1, 1)
    listed = await subject.ask(Queues((), (), 100))
    assert [(row.name, row.tasks) for row in listed] == [("/plain", 1), (LATER, 1), (MALFORMED, 1)]
    subject.pass_ms(60_000)
    await collecting.sweep()
    assert (collecting.tasks, await tasks_in(subject, LATER)) == (4, [])
    load = subject.backend.load()
    assert load.tasks == 2
    assert load.value_bytes == 2


async def test_claimed_and_delayed_tasks_are_collected_when_they_are_ready(
    subject: Subject,
) -> None:
    await insert(subject, DUE, "claimed")
    (row,) = (await subject.do(claim(DUE, lease_ms=20_000))).tasks
    await insert(subject, DUE, "delayed", arrival=op.DELAY, ms=40_000)
    collecting = Collecting(subject.backend)
    await collecting.sweep()
    assert collecting.tasks == 0
    done = await subject.do(
        modify(changes=[op.Change("claimed", row.version, None, op.LEASE, 10_000)])
    )
    assert done.changed[0].at == START_MS + 10_000
    subject.pass_ms(10_000)
    await collecting.sweep()
    assert await tasks_in(subject, DUE) == ["delayed"]
    subject.pass_ms(30_000)
    await collecting.sweep()
    assert await tasks_in(subject, DUE) == []


@pytest.mark.parametrize("order", ["random", "fifo", "priority"])
async def test_a_large_queue_is_emptied_piece_by_piece(subject: Subject, order: str) -> None:
    await subject.do(configure("*", order=order))
    count = 2 * PIECE + 50
    await insert(subject, DUE, *[f"t{number}" for number in range(count)])
    await insert(subject, "/u/gc=", "u")
    collecting = Collecting(subject.backend)
    await collecting.sweep()
    assert collecting.tasks == count + 1
    assert await subject.ask(Queues((), (), 100)) == []


async def test_a_paused_queue_is_kept(subject: Subject) -> None:
    await insert(subject, DUE, "a")
    await subject.do(configure("/t*", paused=True))
    collecting = Collecting(subject.backend)
    await collecting.sweep()
    assert await tasks_in(subject, DUE) == ["a"]
    await subject.do(configure("/t*"))
    await collecting.sweep()
    assert await tasks_in(subject, DUE) == []


async def test_numbers_do_not_repeat_after_a_collection(subject: Subject) -> None:
    enq = op.Insert(DUE, "a", serial=True)
    assert (await subject.do(modify(inserts=[enq]))).inserted[0].serial == 1
    await Collecting(subject.backend).sweep()
    assert (await subject.do(modify(inserts=[enq._replace(id="b")]))).inserted[0].serial == 2


async def test_what_was_collected_stays_so(durable: Subject) -> None:
    await insert(durable, DUE, "a")
    await insert(durable, LATER, "b")
    await Collecting(durable.backend).sweep()
    await durable.cut_power()
    assert (await tasks_in(durable, DUE), await tasks_in(durable, LATER)) == ([], ["b"])
    durable.pass_ms(60_000)
    await Collecting(durable.backend).sweep()
    assert await tasks_in(durable, LATER) == []


async def test_bounds_of_leases_hold_over_a_restart(durable: Subject) -> None:
    bounded = op.ConfigureBounded(
        op.CONFIGURE_BOUNDED, "k", b"m", "/q*", "fifo", None, None, 5_000, 9_000
    )
    await durable.do(bounded)
    await durable.restart()
    assert (await durable.ask(AllSettings()))[0] == ("/q*", "fifo", None, None, 5_000, 9_000)
    await insert(durable, "/q", "a", "b", "c")
    leases = []
    for lease_ms in (1, -10_000, 0):
        (row,) = (await durable.do(claim("/q", lease_ms=lease_ms))).tasks
        leases.append(row.at - row.modified)
    assert leases == [5_000, 9_000, 9_000]
    await durable.do(configure("/q*"))
    await insert(durable, "/q", "d")
    (row,) = (await durable.do(claim("/q", lease_ms=1))).tasks
    assert row.at - row.modified == 1


async def test_bounds_are_set_in_the_middle_of_a_batch(subject: Subject) -> None:
    await insert(subject, "/q", "a", "b")
    bounded = op.ConfigureBounded(
        op.CONFIGURE_BOUNDED, "", b"", "/q", None, None, None, 5_000, None
    )
    before, _, after = await subject.run(claim("/q", lease_ms=1), bounded, claim("/q", lease_ms=1))
    assert [row.at - row.modified for told in (before, after) for row in told.tasks] == [1, 5_000]


async def test_a_signed_insert_is_held_by_nobody(subject: Subject) -> None:
    inserts = [op.Insert("/q", "a", op.LEASE, 5_000), op.Insert("/q", "b", op.HOLD_UNTIL, 0)]
    done = await subject.do(transact(claimant="maker", inserts=inserts))
    assert [row.claimant for row in done.inserted] == ["maker", "maker"]
    rows = await subject.ask(Tasks("/q", "", ("a", "b"), 10, False))
    assert [(row.id, row.claimant) for row in rows] == [("a", "maker"), ("b", "maker")]
    (stats,) = await subject.ask(Queues((), ("/q",), 1))
    assert (stats.ready, stats.claimed, stats.delayed) == (1, 0, 1)
    assert await subject.ask(Tasks("/q", "maker", (), 10, False)) == []
    assert await subject.ask(Tasks("", "maker", ("a",), 10, False)) == []
    done = await subject.do(modify(deletes=[target(rows[0])], claimant="somebody else"))
    assert done.changed == ()
    (claimed,) = (await subject.do(claim("/q", claimant="taker"))).tasks
    assert (claimed.id, claimed.claimant) == ("b", "taker")


async def test_sets_of_docs_are_collected_as_a_whole(subject: Subject) -> None:
    due, later = "/d/sess=t;gc=0", f"/d/gc={START_MS // 1_000 + 60}"
    docs = [doc("a", "free", namespace=due), doc("b", "free", namespace=due), doc("c", "held", namespace=due),
            doc("d", "k", namespace=later), doc("e", "/gc=0", namespace="/plain")]  # fmt: skip
    await subject.do(transact(doc_inserts=docs))
    await subject.do(claim_docs(held("held", namespace=due), lease_ms=60_000))
    collecting = Collecting(subject.backend)
    await collecting.sweep()
    counts = await subject.ask(Namespaces((), (), 100))
    assert collecting.docs == 2
    assert [(row.name, row.docs) for row in counts] == [(later, 1), (due, 1), ("/plain", 1)]
    subject.pass_ms(60_000)
    await collecting.sweep()
    assert collecting.docs == 4


async def test_a_large_set_of_docs_is_collected_piece_by_piece(subject: Subject) -> None:
    due = "/d/gc="
    ids = [f"d{number}" for number in range(2 * PIECE + 3)]
    for start in range(0, len(ids), 100):
        docs = [doc(id_, "k", namespace=due) for id_ in ids[start : start + 100]]
        await subject.do(transact(doc_inserts=docs))
    collecting = Collecting(subject.backend)
    await collecting.sweep()
    assert collecting.docs == len(ids)
    assert await subject.ask(Namespaces((), (), 100)) == []


async def test_many_sets_of_docs_are_collected(subject: Subject) -> None:
    docs = [doc(f"d{number}", f"k{number}", namespace="/d/gc=") for number in range(PIECE + 5)]
    await subject.do(transact(doc_inserts=docs))
    await subject.do(transact(doc_inserts=[doc("bad", namespace="/d/gc=x")]))
    collecting = Collecting(subject.backend)
    await collecting.sweep()
    assert (collecting.docs, collecting.malformed) == (PIECE + 5, 1)
    (left,) = await subject.ask(Namespaces((), (), 100))
    assert left.name == "/d/gc=x"
