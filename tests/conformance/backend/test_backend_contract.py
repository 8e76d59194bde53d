"""What every Backend promises, whatever keeps its tasks. Source: ``raftq_cluster.backends.api``."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest
from tests.support.backend_subjects import START_MS, Subject
from tests.support.model import Model
from tests.support.operations import STEPS_MS, Maker
from tests.support.task_table import claim, configure, modify, renew, settle, target

from raftq_cluster.backends.api import SAME, Ready
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import (
    Claimed,
    ClaimedBefore,
    Done,
    Modified,
    Outcome,
    Refused,
    SettingsRow,
    Settled,
)

pytestmark = pytest.mark.asyncio

ALL_QUEUES = queries.Queues((), (), 100)


def insert(
    id_: str, queue: str = "/a", *, delay_ms: int = 0, value: bytes = b"", key: str = ""
) -> op.Modify:
    arrival = op.DELAY if delay_ms else op.KEEP
    return modify(inserts=[op.Insert(queue, id_, arrival, delay_ms, value)], key=key)


def tasks_of(queue: str = "/a", *, claimant: str = "") -> queries.Tasks:
    return queries.Tasks(queue, claimant, (), 1_000, False)


async def ids_in(subject: Subject, queue: str = "/a") -> list[str]:
    return sorted(row.id for row in await subject.ask(tasks_of(queue)))


# --- submit -----------------------------------------------------------------------------------------


async def test_each_operation_has_one_outcome_in_its_place(subject: Subject) -> None:
    inserted, refused, claimed, done = await subject.run(
        insert("x"), modify(deletes=[op.Target("none", 0)]), claim("/a"), op.Tick()
    )
    assert isinstance(inserted, Modified)
    assert isinstance(refused, Refused)
    assert refused.failed[0].id == "none"
    assert isinstance(claimed, Claimed)
    assert [row.id for row in claimed.tasks] == ["x"]
    assert done == Done()


async def test_a_claim_finds_another_task_than_the_one_that_was_settled_just_before(
    subject: Subject,
) -> None:
    await subject.do(configure("q", order="fifo"))
    made = [op.Insert("q", id_, serial=True) for id_ in ("x", "y")]
    await subject.do(modify(inserts=made))
    (held,) = (await subject.do(claim("q", lease_ms=10, serial=True))).tasks
    assert held.id == "x"
    subject.pass_ms(10)
    await subject.do(op.Tick())
    nacked, claimed = await subject.run(settle(op.NACK, "q", held.serial, 60_000), claim("q"))
    assert isinstance(nacked, Settled)
    assert [row.id for row in claimed.tasks] == ["y"]


async def test_operations_of_an_earlier_call_come_before_those_of_a_later_one(
    subject: Subject,
) -> None:
    """Although nobody waits for the earlier one's outcome."""
    told: list[tuple[int, int]] = []
    everything = asyncio.Event()

    def sink(number: int, index: int, outcomes: Sequence[Outcome]) -> None:
        assert len(outcomes) == 1
        assert isinstance(outcomes[0], Claimed) == bool(number % 2)
        if isinstance(outcomes[0], Claimed):
            assert len(outcomes[0].tasks) == 1
        told.append((number, index))
        if len(told) == 40:
            everything.set()

    for number in range(40):
        operation = claim("/a") if number % 2 else insert(f"x{number}")
        subject.backend.submit([operation], lambda *answer, number=number: sink(number, *answer))
    await asyncio.wait_for(everything.wait(), 10)
    assert [number for number, _ in told] == list(range(40))
    assert sorted(index for _, index in told) == [index for _, index in told]


async def test_a_sink_is_called_once(subject: Subject) -> None:
    calls = 0

    def sink(_index: int, _outcomes: Sequence[Outcome]) -> None:
        nonlocal calls
        calls += 1

    subject.backend.submit([insert("x")], sink)
    subject.backend.submit([claim("/none")], sink)
    await subject.run(op.Tick())
    assert calls == 2


async def test_no_operations_have_no_outcomes(subject: Subject) -> None:
    assert await subject.run() == []


async def test_the_index_of_an_answer_never_falls(subject: Subject) -> None:
    indexes: list[int] = []
    for operation in (insert("x"), claim("/none"), claim("/a"), op.Tick(), claim("/none")):
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        subject.backend.submit([operation], lambda index, _, told=told: told.set_result(index))
        indexes.append(await told)
        indexes.append((await subject.backend.read(queries.Time())).index)
    assert indexes == sorted(indexes)
    assert indexes[0] > 0


async def test_a_large_batch_is_done_whole_and_in_order(subject: Subject) -> None:
    inserts = [insert(f"x{number:04}") for number in range(2_000)]
    outcomes = await subject.run(*inserts, claim("/a", limit=1_000))
    assert [outcome.inserted[0].id for outcome in outcomes[:-1]] == [
        f"x{n:04}" for n in range(2_000)
    ]
    assert len(outcomes[-1].tasks) == 1_000


async def test_a_claim_that_finds_nothing_is_answered_empty(subject: Subject) -> None:
    await subject.do(insert("later", delay_ms=5_000))
    assert await subject.run(claim("/a"), claim("/none")) == [Claimed(()), Claimed(())]


async def test_a_repeated_claim_gets_its_first_answer_although_nothing_is_left(
    subject: Subject,
) -> None:
    await subject.do(insert("x"))
    first = await subject.do(claim("/a", key="k", mark=b"m"))
    assert [row.id for row in first.tasks] == ["x"]
    assert await subject.do(claim("/a", key="k", mark=b"m")) == first
    (first_again, empty) = await subject.run(claim("/a", key="k", mark=b"m"), claim("/a"))
    assert (first_again, empty) == (first, Claimed(()))


async def test_a_repeated_claim_says_that_it_is_one_and_whether_anything_is_left(
    subject: Subject,
) -> None:
    await subject.do(insert("x"))
    first = await subject.do(claim("/a", key="k", mark=b"m"))
    again = await subject.do(claim("/a", key="k", mark=b"m"))
    await subject.do(modify(deletes=[op.Target("x", 1)]))
    gone = await subject.do(claim("/a", key="k", mark=b"m"))
    never = await subject.do(claim("/a", key="other", mark=b"m"))
    repeats = [isinstance(outcome, ClaimedBefore) for outcome in (first, again, gone, never)]
    assert repeats == [False, True, True, False]
    assert (again, gone) == (first, Claimed(()))


async def test_a_key_used_for_another_request_is_refused_although_nothing_is_left(
    subject: Subject,
) -> None:
    await subject.do(insert("x", key="k"))
    await subject.do(claim("/a"))
    refused = await subject.do(claim("/a", key="k", mark=b"other"))
    assert refused.code == "idempotency_key_reused"


async def test_an_empty_claim_with_a_key_may_find_a_task_when_it_is_repeated(
    subject: Subject,
) -> None:
    assert await subject.do(claim("/a", key="k")) == Claimed(())
    await subject.do(insert("x"))
    assert len((await subject.do(claim("/a", key="k"))).tasks) == 1


async def test_a_repeated_modification_is_done_once(subject: Subject) -> None:
    first = await subject.do(insert("x", key="k"))
    held = (await subject.do(claim("/a"))).tasks[0]
    await subject.do(modify(deletes=[target(held)]))
    assert await subject.do(insert("x", key="k")) == first
    assert await ids_in(subject) == []


# --- time -------------------------------------------------------------------------------------------


async def test_a_delayed_task_can_be_claimed_when_its_time_has_come(subject: Subject) -> None:
    await subject.do(insert("x", delay_ms=5_000))
    subject.pass_ms(4_999)
    assert await subject.do(claim("/a")) == Claimed(())
    subject.pass_ms(1)
    assert len((await subject.do(claim("/a"))).tasks) == 1


async def test_a_lease_that_ran_out_lets_another_claim(subject: Subject) -> None:
    await subject.do(insert("x"))
    await subject.do(claim("/a", lease_ms=1_000))
    subject.pass_ms(1_000)
    (row,) = (await subject.do(claim("/a", claimant="w2"))).tasks
    assert (row.claimant, row.claims) == ("w2", 2)


async def test_a_fresh_read_sees_what_has_arrived_and_a_stale_one_need_not(
    subject: Subject,
) -> None:
    await subject.do(insert("x"))
    await subject.do(claim("/a", lease_ms=1_000))
    subject.pass_ms(1_000)
    assert len(await subject.ask(tasks_of(claimant="w1"), stale=True)) == 1
    (stats,) = await subject.ask(ALL_QUEUES)
    assert (stats.ready, stats.claimed) == (1, 0)
    assert await subject.ask(tasks_of(claimant="w1"), stale=True) == []


async def test_time_is_the_clocks_and_never_goes_back(subject: Subject) -> None:
    assert abs(await subject.ask(queries.Time()) - START_MS) < 1_000
    subject.pass_ms(60_000)
    before = await subject.ask(queries.Time())
    assert abs(before - START_MS - 60_000) < 1_000
    await subject.do(op.Tick())
    assert subject.backend.now_ms() >= before


async def test_when_the_next_task_arrives_is_known(subject: Subject) -> None:
    assert subject.backend.next_due_ms() is None
    await subject.do(insert("x", delay_ms=50_000))
    due_ms = subject.backend.next_due_ms()
    assert due_ms is not None
    assert 48_000 < due_ms - subject.backend.now_ms() <= 50_000
    subject.pass_ms(50_000)
    await subject.do(op.Tick())
    assert subject.backend.next_due_ms() is None


# --- read -------------------------------------------------------------------------------------------


async def test_a_read_reflects_what_was_answered_before_it(subject: Subject) -> None:
    for number in range(5):
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        subject.backend.submit(
            [insert(f"x{number}")], lambda index, _, told=told: told.set_result(index)
        )
        index = await told
        answer = await subject.backend.read(tasks_of())
        assert answer.index >= index
        assert len(answer.value) == number + 1


async def test_every_query_is_answered(subject: Subject) -> None:
    await subject.do(insert("x", value=b"1"))
    await subject.do(configure("/b*", paused=True))
    (stats,) = await subject.ask(ALL_QUEUES)
    assert (stats.name, stats.tasks) == ("/a", 1)
    assert [row.value for row in await subject.ask(tasks_of())] == [b"1"]
    rows = await subject.ask(queries.Tasks("", "", ("none", "x"), 5, True))
    assert [(row.id, row.value) for row in rows] == [("x", b"")]
    assert await subject.ask(queries.AllSettings()) == [SettingsRow("/b*", None, True, None)]
    assert len(await subject.ask(queries.Digest())) == 32
    dry = await subject.ask(queries.DryRun(modify(deletes=[op.Target("x", 0)])))
    assert dry == Modified((), ())
    assert await ids_in(subject) == ["x"]


# --- effects, load, status --------------------------------------------------------------------------


async def test_the_listener_is_told_what_became_claimable(subject: Subject) -> None:
    ready: dict[str, int] = {}

    def listener(told: Ready) -> None:
        for queue, count in told.items():
            ready[queue] = ready.get(queue, 0) + count

    subject.backend.on_ready(listener)
    await subject.run(insert("x"), insert("y"), insert("z", "/b", delay_ms=1_000))
    assert ready == {"/a": 2}
    await subject.do(claim("/a", lease_ms=1_000))
    subject.pass_ms(1_000)
    await subject.do(op.Tick())
    assert ready == {"/a": 3, "/b": 1}


async def test_the_listener_is_told_of_an_entry_that_brings_the_next_arrival_nearer(
    subject: Subject,
) -> None:
    due: list[int | None] = []
    subject.backend.on_ready(lambda _ready: due.append(subject.backend.next_due_ms()))
    await subject.do(insert("x", delay_ms=60_000))
    assert due[-1] is not None


async def test_the_listener_is_told_of_a_queue_that_goes_on(subject: Subject) -> None:
    await subject.run(configure("/a", paused=True), insert("x"))
    told: list[Ready] = []
    subject.backend.on_ready(told.append)
    await subject.do(configure("/a"))
    assert {"/a": 1} in [dict(ready) for ready in told]


async def test_load_tells_how_full_the_state_is(subject: Subject) -> None:
    assert subject.backend.load()[:4] == (0, 0, 0, 0)
    await subject.do(insert("x", value=b"12345", key="k"))
    load = subject.backend.load()
    assert (load.tasks, load.value_bytes, load.keys) == (1, 5, 1)
    assert load.key_bytes > 0
    await subject.do(op.Forget(op.FORGET, ("k",)))
    assert subject.backend.load()[:4] == (1, 5, 0, 0)


async def test_status_tells_who_leads_and_how_far_the_log_is_applied(subject: Subject) -> None:
    await subject.do(insert("x"))
    status = subject.backend.status()
    assert status.ready
    assert status.leader == status.node
    assert status.index == (await subject.backend.read(queries.Time())).index
    (member,) = status.members
    assert (member.id, member.role, member.applied) == (status.node, "leader", status.index)


async def test_a_node_alone_has_the_state_that_all_have(subject: Subject) -> None:
    await subject.do(insert("x"))
    found = await subject.backend.verify(0)
    (member,) = found.members
    assert (member.id, member.state) == (subject.backend.status().node, SAME)
    assert found.entry <= subject.backend.status().index


async def test_stopping_twice_is_stopping_once(subject: Subject) -> None:
    await subject.do(insert("x"))
    await subject.backend.stop()
    await subject.backend.stop()


# --- the oracle -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_a_long_history_has_the_outcomes_that_the_model_allows(
    subject: Subject, seed: int
) -> None:
    random = Random(seed)
    model = Model()
    maker = Maker(model, random.choice, [f"t{number}" for number in range(12)])
    for _ in range(150):
        subject.pass_ms(random.choice(STEPS_MS))
        await subject.do(op.Tick())
        model.begin(await subject.ask(queries.Time()))
        operations = [maker.operation() for _ in range(random.choice((1, 1, 2, 5)))]
        outcomes = await subject.run(*operations)
        for operation, outcome in zip(operations, outcomes, strict=True):
            model.judge(operation, outcome)
    rows = await subject.ask(queries.Tasks("", "", tuple(model.rows), 1_000, False))
    assert rows == list(model.rows.values())
    assert subject.backend.load()[:3] == (len(model.rows), model.value_bytes(), len(model.keys))


# --- what outlives the process ----------------------------------------------------------------------


async def test_what_was_answered_is_there_after_a_restart(durable: Subject) -> None:
    await durable.run(insert("x", value=b"1"), insert("y", key="k"), configure("/a", order="fifo"))
    (held,) = (await durable.do(claim("/a"))).tasks
    await durable.restart()
    assert await durable.ask(queries.AllSettings()) == [SettingsRow("/a", "fifo", None, None)]
    assert isinstance(await durable.do(insert("y", key="k")), Modified)
    renewed = await durable.do(renew(target(held)))
    assert [row.id for row in renewed.renewed] == ["x"]


async def test_what_was_answered_is_there_after_a_power_cut(durable: Subject) -> None:
    for number in range(20):
        await durable.do(insert(f"x{number:02}"))
    (held,) = (await durable.do(claim("/a"))).tasks
    await durable.do(modify(deletes=[target(held)]))
    await durable.cut_power()
    left = sorted({f"x{number:02}" for number in range(20)} - {held.id})
    assert await ids_in(durable) == left


async def test_integer_ids_do_not_repeat_after_a_restart(durable: Subject) -> None:
    serial = op.Insert("q", "x", serial=True)
    (row,) = (await durable.do(modify(inserts=[serial]))).inserted
    assert len((await durable.do(claim("q", lease_ms=0, serial=True))).tasks) == 1
    await durable.do(settle(op.ACK, "q", row.serial))
    await durable.restart()
    (row,) = (await durable.do(modify(inserts=[serial]))).inserted
    assert row.serial == 2
