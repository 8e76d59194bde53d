"""Import: a whole state, part by part; nothing else meanwhile, and nothing that looks whole before it is."""

from random import Random
from typing import Any

import msgspec
import pytest
from tests.support import golden_export, moves
from tests.support.doc_table import NS, DocTable, doc, transact
from tests.support.machine_pair import ALL_QUEUES, Pair
from tests.support.moves import Cut, cut
from tests.support.task_table import START_MS, TaskTable, claim, configure, modify

from raftq.wire.export_file import Header, Part, Reader
from raftq_cluster.codec.snapshots import decode_chunk
from raftq_cluster.core import importing, queries
from raftq_cluster.core import operations as op
from raftq_cluster.core.keys import EXPIRED_MAX
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.moving import MovingDigest
from raftq_cluster.core.outcomes import Claimed, Done, Imported, Refused
from raftq_cluster.core.restoring import restore
from raftq_cluster.core.snapshot import KEY, QUEUE, READY, Record
from raftq_cluster.core.state import FREED_MAX

UNFINISHED = importing.UNFINISHED
EVERY_TASK = queries.Tasks("", "", tuple(f"t{number}" for number in range(10)), 1_000, False)


def full() -> DocTable:
    """A state with something of everything."""
    table = DocTable()
    table.configure("/fifo*", order="fifo")
    table.configure("/paused", paused=True, lease_ms=5_000)
    bounds = op.ConfigureBounded(
        op.CONFIGURE_BOUNDED, "", b"", "/bounded", None, None, None, 1_000, 90_000
    )
    assert table.do(bounds) == Done()
    for number in range(5):
        table.insert("/a", f"a{number}", value=b"%d" % number, priority=number)
        table.insert("/fifo/x", f"f{number}")
    table.insert("/later", "later", arrival=op.DELAY, ms=60_000)
    table.insert("/paused", "paused")
    table.insert("/a/err", "quarantined", err="boom", attempt=3)
    table.enq("/taskq")
    table.enq("/taskq")
    table.settle(op.ACK, "/taskq", table.deq("/taskq").serial)
    table.enq("/drained")
    table.settle(op.ACK, "/drained", table.deq("/drained").serial)
    table.claim_one("/a", claimant="w2", lease_ms=90_000)
    table.do(modify(inserts=[op.Insert("/a", "keyed")], key="k1", mark=b"m"))
    table.do(claim("/a", key="k2", mark=b"m"))
    table.do(modify(deletes=[op.Target("nothing", 0)], key="k3", mark=b"m"))
    table.put_doc("d1", "config", value=b"1")
    table.put_doc("d2", "config", "second", value=b"2")
    table.hold("empty", lease_ms=90_000)
    table.do(transact(doc_inserts=[doc("d3")], key="k4", mark=b"m"))
    return table


def fresh(now_ms: int = START_MS) -> DocTable:
    table = DocTable(seed=2)
    table.now_ms = now_ms
    return table


def moved(state: Cut, now_ms: int = START_MS) -> DocTable:
    """A new store into which a state was imported."""
    table = fresh(now_ms)
    for step in state.steps():
        assert isinstance(table.do(step), Imported)
    return table


def refused(outcome: Any) -> str:
    assert isinstance(outcome, Refused), outcome
    assert outcome.code == importing.REFUSED
    return outcome.detail


def test_everything_is_carried() -> None:
    source = full()
    state = cut(source.machine)
    target = moved(state)
    assert cut(target.machine).said == state.said
    assert cut(target.machine).counts == state.counts
    assert target.queues() == source.queues()
    assert sorted(target.tasks(ids=list(source.machine.tasks))) == sorted(
        source.tasks(ids=list(source.machine.tasks))
    )
    assert target.docs() == source.docs()
    assert target.ask(queries.AllSettings()) == source.ask(queries.AllSettings())
    assert target.machine.load() == source.machine.load()


def test_the_order_of_queues_and_integer_ids_go_on() -> None:
    target = moved(cut(full().machine))
    assert [target.claim_one("/fifo/x").id for _ in range(5)] == [f"f{n}" for n in range(5)]
    target.insert("/fifo/x", "new")
    target.insert("/fifo/x", "newer")
    assert target.claim_one("/fifo/x").id == "new"
    assert target.enq("/taskq").serial == 3
    assert target.enq("/drained").serial == 2
    assert target.deq("/taskq").serial == 2


def test_leases_and_delays_end_when_they_would_have() -> None:
    target = moved(cut(full().machine), START_MS + 1_000)
    assert not target.claim("/later")
    target.pass_ms(58_999)
    assert not target.claim("/later")
    target.pass_ms(1)
    assert target.claim_one("/later").id == "later"
    held = target.stats("/a").claimed
    target.pass_ms(30_000)
    assert target.stats("/a").claimed == held - 1


def test_a_lease_that_ended_on_the_way_is_over_at_the_target() -> None:
    target = moved(cut(full().machine), START_MS + 90_001)
    assert target.stats("/a").claimed == 0
    assert target.claim_one("/later").id == "later"


def test_a_repeated_request_is_answered_as_it_was_before_the_move() -> None:
    source = full()
    target = moved(cut(source.machine))
    repeats = [
        modify(inserts=[op.Insert("/a", "keyed")], key="k1", mark=b"m"),
        claim("/a", key="k2", mark=b"m"),
        modify(deletes=[op.Target("nothing", 0)], key="k3", mark=b"m"),
        transact(doc_inserts=[doc("d3")], key="k4", mark=b"m"),
    ]
    for repeat in repeats:
        assert target.do(repeat) == source.do(repeat)
    again = target.do(modify(inserts=[op.Insert("/b", "other")], key="k1", mark=b"other"))
    assert again.code == "idempotency_key_reused"


def test_a_key_whose_window_passed_on_the_way_is_free_again() -> None:
    target = moved(cut(full().machine), START_MS + 400_000)
    done = target.do(modify(inserts=[op.Insert("/a", "new")], key="k1", mark=b"other"))
    assert done.inserted[0].id == "new"


def test_very_many_keys_that_are_due_together_are_forgotten_bit_by_bit() -> None:
    source = TaskTable()
    count = 2 * EXPIRED_MAX + 10
    source.entry(*[modify(key=f"k{number}") for number in range(count)])
    target = moved(cut(source.machine), START_MS + 400_000)
    left = [len(target.machine.keys)]
    while left[-1]:
        target.pass_ms(0)
        left.append(len(target.machine.keys))
    assert left == [count, count - EXPIRED_MAX, 10, 0]


def test_a_key_that_is_over_and_not_forgotten_yet_is_free_again() -> None:
    source = TaskTable()
    source.entry(*[modify(key=f"k{number}") for number in range(2 * EXPIRED_MAX)])
    target = moved(cut(source.machine), START_MS + 400_000)
    last = f"k{2 * EXPIRED_MAX - 1}"
    done = target.do(modify(inserts=[op.Insert("/a", "new")], key=last, mark=b"other"))
    assert done.inserted[0].id == "new"
    assert target.do(modify(inserts=[], key=last, mark=b"other")) == done
    target.pass_ms(0)
    assert len(target.machine.keys) == 1


def test_nothing_else_is_done_before_the_end() -> None:
    state = cut(full().machine)
    target = fresh()
    for step in state.steps()[:-1]:
        assert isinstance(target.do(step), Imported)
        assert target.ready == {}
        for operation in (
            claim("/a"), modify(inserts=[op.Insert("/a", "x")], key="k1"), configure("/x", paused=True),
            transact(doc_inserts=[doc("dx")]), op.Forget(op.FORGET, ("k1",)), (99,),
        ):  # fmt: skip
            assert target.do(operation) == UNFINISHED
        assert target.machine.claimable(("/nowhere",), target.now_ms)
        target.pass_ms(0)
    assert target.do(state.steps()[-1]) == Imported(len(state.cut))
    assert target.ready == {
        queue.name: queue.ready for queue in target.queues() if queue.ready and not queue.paused
    }
    assert isinstance(target.do(claim("/a")), Claimed)


def test_nothing_is_forgotten_before_the_end() -> None:
    state = cut(full().machine)
    target = fresh(START_MS + 400_000)
    for step in state.steps()[:-1]:
        target.do(step)
        target.pass_ms(1)
    assert cut(target.machine).said == state.said


def test_steps_can_be_said_again() -> None:
    state = cut(full().machine)
    target = fresh()
    count = len(state.cut)
    for number, step in enumerate(state.steps()):
        assert target.do(step) == target.do(step) == Imported(min(number, count))
    assert target.do(moves.end(state)) == Imported(count)
    assert cut(target.machine).said == state.said


def test_a_part_that_comes_too_early_waits_for_its_turn() -> None:
    state = cut(many().machine)
    target = fresh()
    target.do(moves.begin(state))
    early = target.do(moves.part(state, 1))
    assert early.code == "unavailable"
    assert target.do(moves.part(state, 0)) == Imported(1)
    assert target.do(moves.part(state, 1)) == Imported(2)


def many(tasks: int = 600) -> TaskTable:
    """A state of several parts."""
    table = TaskTable()
    table.entry(modify(inserts=[op.Insert("/a", f"t{number}") for number in range(tasks)]))
    return table


def test_an_end_that_comes_too_early_is_refused() -> None:
    state = cut(many().machine)
    target = fresh()
    target.do(moves.begin(state))
    target.do(moves.part(state, 0))
    assert "1 parts came" in refused(target.do(moves.end(state)))
    assert target.do(claim("/a")) == UNFINISHED


def test_a_store_that_is_not_empty_takes_nothing() -> None:
    state = cut(full().machine)
    target = full()
    said = refused(target.do(moves.begin(state)))
    assert said.startswith("this store is not empty: it has 15 tasks, 3 sets of docs, 7 queues")
    assert (
        refused(target.do(moves.part(state, 0))) == "this import is not under way here (any more)"
    )
    assert refused(target.do(moves.end(state))) == "this import is not under way here (any more)"
    assert cut(target.machine).said == cut(full().machine).said


def test_a_second_import_of_the_same_file_is_told_so() -> None:
    state = cut(full().machine)
    assert "imported here already" in refused(moved(state).do(moves.begin(state)))


def test_the_import_of_another_file_waits_for_the_unfinished_one() -> None:
    state = cut(full().machine)
    other = cut(full().machine, "0" * 32)
    target = fresh()
    target.do(moves.begin(state))
    assert state.id in refused(target.do(moves.begin(other)))
    refused(target.do(moves.part(other, 0)))
    refused(target.do(moves.end(other)))


def test_an_abandoned_import_leaves_nothing_and_another_one_may_come() -> None:
    state = cut(full().machine)
    target = fresh()
    for step in state.steps()[:-1]:
        target.do(step)
    assert target.do(moves.abandon()) == Imported(len(state.cut))
    assert target.machine.load() == (0, 0, 0, 0)
    assert (target.queues(), target.docs(), target.ask(queries.AllSettings())) == ([], [], [])
    assert not target.claim("/a")
    for step in state.steps():
        assert isinstance(target.do(step), Imported)
    assert cut(target.machine).said == state.said


def test_there_may_be_nothing_to_abandon() -> None:
    assert "no import is unfinished" in refused(full().do(moves.abandon()))
    assert "no import is unfinished" in refused(moved(cut(full().machine)).do(moves.abandon()))


def test_what_is_abandoned_is_given_back_bit_by_bit() -> None:
    state = cut(many(2 * FREED_MAX + 10).machine)
    target = fresh()
    for step in state.steps()[:-1]:
        target.do(step)
    tasks = target.machine.tasks
    target.do(moves.abandon())
    left = []
    while target.machine._freeing is not None:
        target.pass_ms(0)
        left.append(len(tasks))
    assert left[:4] == [2 * FREED_MAX + 10, FREED_MAX + 10, 10, 0]


def test_a_snapshot_in_the_middle_goes_on() -> None:
    state = cut(many().machine)
    target = fresh()
    for step in state.steps()[:-2]:
        target.do(step)
    restored = restore([list(chunk) for chunk in target.machine.snapshot(7)])
    assert restored.digest() == target.machine.digest()
    before, target.machine = target.machine, restored
    assert target.do(claim("/a")) == UNFINISHED
    assert restored.importing is not None
    assert before.importing is not None
    assert restored.importing.seqs == before.importing.seqs
    for step in state.steps()[-2:]:
        assert isinstance(target.do(step), Imported)
    assert cut(target.machine).said == state.said


def test_a_snapshot_after_the_end_knows_which_file_it_was() -> None:
    state = cut(full().machine)
    target = moved(state)
    restored = restore([list(chunk) for chunk in target.machine.snapshot(7)])
    assert restored.digest() == target.machine.digest()
    target.machine = restored
    assert "already" in refused(target.do(moves.begin(state)))
    assert target.do(moves.end(state)) == Imported(len(state.cut))


def test_a_snapshot_of_a_failed_import_has_failed_too() -> None:
    state = cut(full().machine)
    target = failing(state, [(QUEUE, "/q")])
    target.machine = restore([list(chunk) for chunk in target.machine.snapshot(7)])
    assert refused(target.do(moves.begin(state))).startswith("part 0: record 0 is malformed")


def failing(state: Cut, records: list[Record]) -> DocTable:
    target = fresh()
    target.do(moves.begin(state))
    refused(target.do(moves.part(state, 0, records)))
    return target


ROW = ("x", 0, "/q", START_MS, b"", 0, "", 0, 0, 0, "", START_MS, START_MS, 0)
Q: Record = (QUEUE, "/q", 1, False)


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([(READY, 1, ROW)], "task 'x' stands where it cannot"),
        ([(QUEUE, "/other", 1, False), (READY, 1, ROW)], "task 'x' stands where it cannot"),
        ([Q, (READY, 1, ROW), (READY, 2, ROW)], "task 'x' stands where it cannot"),
        ([Q, (READY, 1, ROW), (READY, 1, ("y", *ROW[1:]))], "has the insertion number 1"),
        ([Q, (READY, 10**9, ROW)], "has the insertion number 1000000000"),
        ([Q, (READY, 0, ROW)], "has the insertion number 0"),
        ([Q, (READY, 1, (*ROW[:-1], 1))], "an integer id that it cannot have"),
        (
            [(QUEUE, "/q", 3, True), (READY, 1, (*ROW[:-1], 2)), (READY, 2, ("y", *ROW[1:-1], 2))],
            "an integer id that it cannot have",
        ),
        ([Q, (QUEUE, "/q", 2, False)], "the queue '/q' stands where it cannot"),
        ([(7, NS, "k", 1, "", 0, 0), (7, NS, "k", 2, "", 0, 0)], "the set 'k' stands where"),
        ([(8, "d", "", b"", 0, 0, 0)], "doc 'd' stands where it cannot"),
        ([(KEY, "k", b"", 1, 1, "Done", ())] * 2, "key 'k' stands where it cannot"),
        ([(KEY, "k", b"", 1, 1, "Nothing", ())], "malformed"),
        ([(99,)], "malformed"),
        (
            [(QUEUE, "/é\U0001fae9", 1, False)] * 2 + [(QUEUE, "/é\U0001fae9", 2, False)],
            r"'/\xe9\U0001fae9' stands",
        ),
        ([(1, f"/p{number}", "fifo", None, None) for number in range(1_001)], "too many settings"),
    ],
)
def test_parts_that_cannot_be_make_it_an_import_that_can_only_be_abandoned(
    records: list[Record], says: str
) -> None:
    state = cut(full().machine)
    target = failing(state, records)
    assert says in refused(target.do(moves.begin(state)))
    assert says in refused(target.do(moves.part(state, 0)))
    assert says in refused(target.do(moves.end(state)))
    assert target.do(claim("/q")) == UNFINISHED
    assert isinstance(target.do(moves.abandon()), Imported)
    assert target.machine.load() == (0, 0, 0, 0)


def test_a_step_that_is_none_is_refused() -> None:
    assert fresh().do(op.Import(op.IMPORT, "dance", "")).code == "invalid"


def test_a_large_record_goes_alone() -> None:
    source = TaskTable()
    source.configure("/a", order="fifo")
    sizes = (10, 300_000, 10, 200_000, 100_000)
    for number, size in enumerate(sizes):
        source.insert("/a", f"t{number}", value=b"x" * size)
    state = cut(source.machine)
    assert [[record[0] for record in part] for part in state.cut] == [
        [1, QUEUE, READY], [QUEUE, READY], [QUEUE, READY, READY], [QUEUE, READY],
    ]  # fmt: skip
    assert cut(moved(state).machine).said == state.said


def test_a_large_set_of_docs_goes_on_in_the_next_part() -> None:
    source = DocTable()
    docs = [doc(f"d{number}", value=b"x" * 1_000) for number in range(400)]
    source.transact(doc_inserts=docs)
    state = cut(source.machine)
    assert [part[0][0] for part in state.cut] == [7, 7]
    assert moved(state).docs() == source.docs()


def test_what_a_store_has_of_its_own_is_not_in_the_digest() -> None:
    digest = MovingDigest()
    for record in full().machine.snapshot(1):
        digest.take(record[0])
    assert digest.result == cut(full().machine).said


def test_the_state_of_nothing_is_no_part() -> None:
    state = cut(Machine())
    assert (state.cut, state.said) == ([], "0" * 32)
    target = moved(state)
    assert target.do(moves.end(state)) == Imported(0)


def test_a_file_that_was_written_once_can_be_read_for_ever() -> None:
    reader, target = Reader(), fresh()
    target.do(moves.begin(Cut([], golden_export.EXPORT_ID)))
    for frame in reader.feed(golden_export.EXPORT.read_bytes()):
        if isinstance(frame, Header):
            target.machine.seq = frame.seq
        elif isinstance(frame, Part):
            step = op.Import(
                op.IMPORT,
                "part",
                golden_export.EXPORT_ID,
                frame.number,
                decode_chunk(frame.payload),
            )
            assert target.do(step) == Imported(frame.number + 1)
    footer = reader.end()
    assert cut(target.machine).said == footer.digest
    assert cut(target.machine).counts == msgspec.to_builtins(footer.counts)


def test_a_state_is_written_as_it_was_once() -> None:
    assert golden_export.export_file() == golden_export.EXPORT.read_bytes()


def test_what_differs_has_another_digest() -> None:
    digests = {cut(full().machine).said}
    for change_it in (
        lambda table: table.insert("/a", "one more"),
        lambda table: table.configure("/zzz", order="fifo"),
        lambda table: table.put_doc("d9"),
        lambda table: table.do(modify(key="k9")),
        lambda table: table.claim("/a"),
        lambda table: table.settle(op.ACK, "/taskq", table.deq("/taskq").serial),
    ):
        table = full()
        change_it(table)
        digests.add(cut(table.machine).said)
    assert len(digests) == 7


def test_of_docs_with_one_id_the_namespace_and_the_key_count() -> None:
    digests = set()
    for namespace in ("/n1", "/n2"):
        for key in ("a", "b"):
            table = DocTable()
            table.put_doc("d", key, namespace=namespace)
            digests.add(cut(table.machine).said)
    assert len(digests) == 4


@pytest.mark.parametrize("seed", range(30))
def test_whatever_state_there_is_arrives(seed: int) -> None:
    random = Random(seed)
    pair = Pair(random.choice, EVERY_TASK.ids)
    for _ in range(60):
        pair.entry(random.getrandbits(64))
    state = cut(pair.machine)
    target = moved(state, pair.machine.now_ms)
    twin = restore([list(chunk) for chunk in pair.machine.snapshot(9)])
    for query in (EVERY_TASK, ALL_QUEUES, queries.AllSettings()):
        found = target.ask(query)
        expected = twin.query(query, pair.machine.now_ms)
        assert sorted(found) == sorted(expected)
    assert target.machine.load() == twin.load()
    assert cut(target.machine).said == state.said
    source = TaskTable(seed=3)
    source.machine, source.now_ms = twin, target.now_ms
    pair.maker.model.begin(target.now_ms)
    for _ in range(20):  # a claim of a queue in order, and all else, goes on alike
        operation = pair.maker.operation()
        if operation[0] != op.CLAIM and operation[0] != op.GUARD:
            assert target.do(operation) == source.do(operation)
