"""Export and import between any two kinds of backend: what was there is there, and nothing else happened."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.backend_subjects import KINDS, START_MS, Subject
from tests.support.doc_operations import NAMESPACES
from tests.support.doc_operations import Maker as DocMaker
from tests.support.doc_table import doc, transact
from tests.support.model import Model
from tests.support.moves import Cut
from tests.support.operations import Maker
from tests.support.task_table import claim, configure, modify

from raftq_cluster.backends.api import BackendError
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.backends.postgres import backend as postgres_backend
from raftq_cluster.backends.postgres import exporting
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import Claimed, Modified, Renewed, Settled
from raftq_cluster.core.snapshot import DOC, KEY, QUEUE, READY, WAITING, Snapshot

IDS = tuple(f"t{number}" for number in range(10))
EVERY_TASK = queries.Tasks("", "", IDS, 1_000, omit_values=False)
PAIRS = [(one, other) for one in KINDS for other in KINDS]


async def exported(subject: Subject) -> Cut:
    return Cut([list(records) async for records in subject.backend.export()])


async def act(subject: Subject, random: Random, steps: int) -> None:
    """Let a random history happen."""
    model = Model()
    maker = Maker(model, random.choice, IDS)
    model.begin(START_MS)
    docs = MemoryBackend(clock=lambda: model.now_ms)  # knows which docs there are, and nothing else
    doc_maker = DocMaker(docs._machine, random)
    for _ in range(steps):
        subject.pass_ms(random.choice((0, 1, 400, 1_100, 5_000)))
        model.now_ms = await subject.ask(queries.Time())
        outcomes = await subject.run(
            *[maker.operation() for _ in range(random.choice((1, 1, 2, 5)))]
        )
        for outcome in outcomes:
            for row in rows_of(outcome):
                if row.serial:
                    last = model.last_serial
                    last[row.queue] = max(last.get(row.queue, 0), row.serial)
        model.rows = {row.id: row for row in await subject.ask(EVERY_TASK)}
        operation = doc_maker.operation()
        docs.submit([operation], lambda _index, _outcomes: None)
        await subject.run(operation)


def rows_of(outcome: Any) -> Any:
    if isinstance(outcome, Claimed):
        return outcome.tasks
    if isinstance(outcome, Modified):
        return outcome.inserted
    if isinstance(outcome, Renewed):
        return outcome.renewed
    return (outcome.row,) if isinstance(outcome, Settled) else ()


async def set_clock(subject: Subject, now_ms: int) -> None:
    subject.pass_ms(now_ms - await subject.ask(queries.Time()))


async def view(subject: Subject) -> list[Any]:
    """All that can be asked, once whatever is due has arrived."""
    await subject.run(op.Tick())
    load = subject.backend.load()[:4]
    stats = await subject.ask(queries.Queues((), (), 1_000))
    docs = [
        await subject.ask(queries.Docs(name, (), None, "", "", 1_000, omit_values=False))
        for name in dict.fromkeys(NAMESPACES)
    ]
    return [
        sorted(await subject.ask(EVERY_TASK)),
        stats,
        await subject.ask(queries.AllSettings()),
        load,
        docs,
        await subject.ask(queries.Namespaces((), (), 100)),
    ]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


async def move(source: str, target: str, random: Random, steps: int) -> None:
    async with KINDS[source].open() as one, KINDS[target].open() as other:
        await act(one, random, steps)
        state = await exported(one)
        await set_clock(other, await one.ask(queries.Time()))
        await other.backend.take_in(state)
        assert (await exported(other)).said == state.said
        assert await view(other) == await view(one)
        # Both go on alike, where chance has no say.
        ids = ("n1", "n2")
        inserts = [op.Insert("/a", id_, serial=True) for id_ in ids]
        for operation in (modify(inserts=inserts), claim("q", serial=True, key="k1", mark=b"9")):
            found, expected = await other.do(operation), await one.do(operation)
            if isinstance(found, Modified):
                assert found == expected
            else:
                assert type(found) is type(expected)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_whatever_was_there_is_there(runner: asyncio.Runner, source: str, target: str) -> None:
    @settings(max_examples=8)
    @given(random=st.randoms(use_true_random=False), steps=st.integers(0, 25))
    def check(random: Random, steps: int) -> None:
        runner.run(move(source, target, random, steps))

    check()


@pytest.mark.asyncio
@pytest.mark.parametrize(("source", "target"), PAIRS)
async def test_order_integer_ids_leases_and_answers_go_on(source: str, target: str) -> None:
    async with KINDS[source].open() as one, KINDS[target].open() as other:
        await one.run(configure("/fifo", order="fifo"), configure("/prio", order="priority"))
        tasks = [op.Insert("/fifo", f"f{number}") for number in range(300)]
        tasks += [op.Insert("/prio", f"p{number}", priority=number % 3) for number in range(9)]
        await one.do(modify(inserts=tasks))
        await one.do(modify(inserts=[op.Insert("/taskq", "q1", serial=True)]))
        await one.do(modify(inserts=[op.Insert("/taskq", "q2", serial=True)]))
        await one.do(modify(deletes=[op.Target("q2", 0)]))
        held = await one.do(claim("/fifo", lease_ms=60_000, key="claim", mark=b"m"))
        keyed = modify(inserts=[op.Insert("/fifo", "keyed")], key="insert", mark=b"m")
        first = await one.do(keyed)
        state = await exported(one)
        await other.backend.take_in(state)
        assert (await exported(other)).said == state.said
        assert await other.do(keyed) == first
        assert await other.do(claim("/fifo", key="claim", mark=b"m")) == held
        (row,) = await other.ask(queries.Tasks("", "", ("f0",), 1, omit_values=False))
        assert row == held.tasks[0]
        taken = await other.do(claim("/fifo", limit=1_000, lease_ms=90_000))
        assert [row.id for row in taken.tasks] == [f"f{n}" for n in range(1, 300)] + ["keyed"]
        taken = await other.do(claim("/prio", limit=1_000))
        order = "p2 p5 p8 p1 p4 p7 p0 p3 p6"
        assert [row.id for row in taken.tasks] == order.split()
        new = await other.do(modify(inserts=[op.Insert("/taskq", "q3", serial=True)]))
        assert new.inserted[0].serial == 3
        other.pass_ms(59_999)
        assert not (await other.do(claim("/fifo"))).tasks
        other.pass_ms(1)
        assert (await other.do(claim("/fifo"))).tasks[0].id == "f0"


@pytest.mark.asyncio
@pytest.mark.parametrize(("source", "target"), PAIRS)
async def test_bounds_of_leases_and_who_inserted_a_task_are_carried(
    source: str, target: str
) -> None:
    async with KINDS[source].open() as one, KINDS[target].open() as other:
        bounds = op.ConfigureBounded(
            op.CONFIGURE_BOUNDED, "", b"", "/q*", None, None, None, 5_000, 9_000
        )
        inserts = [op.Insert("/q", "now", op.LEASE), op.Insert("/q", "later", op.LEASE, 10**9)]
        await one.do(bounds)
        await one.do(transact(claimant="maker", inserts=inserts))
        await other.backend.take_in(await exported(one))
        assert await other.ask(queries.AllSettings()) == await one.ask(queries.AllSettings())
        rows = await other.ask(queries.Tasks("/q", "", ("now", "later"), 10, omit_values=False))
        assert [row.claimant for row in rows] == ["maker", "maker"]
        (stats,) = await other.ask(queries.Queues((), ("/q",), 1))
        assert (stats.ready, stats.claimed, stats.delayed) == (1, 0, 1)
        (row,) = (await other.do(claim("/q", lease_ms=1))).tasks
        assert (row.id, row.at - row.modified) == ("now", 5_000)


@pytest.mark.asyncio
async def test_a_store_that_is_not_empty_takes_nothing_and_goes_on(subject: Subject) -> None:
    await subject.do(modify(inserts=[op.Insert("/a", "there")]))
    with pytest.raises(BackendError, match="not empty: it has 1 tasks") as refused:
        await subject.backend.take_in(Cut([]))
    assert refused.value.code == "import_refused"
    assert (await subject.do(claim("/a"))).tasks[0].id == "there"


@pytest.mark.asyncio
async def test_there_is_nothing_to_abandon(subject: Subject) -> None:
    with pytest.raises(BackendError, match="no import is unfinished") as refused:
        await subject.backend.abandon_import()
    assert refused.value.code == "import_refused"


@pytest.mark.asyncio
async def test_a_digest_that_is_not_the_files_is_no_import(subject: Subject) -> None:
    state = Cut([[(QUEUE, "/a", 1, False), (READY, 1, ROW)]])
    state.seq = 1
    state.said = "0" * 32
    with pytest.raises(BackendError, match="the digest of what was taken in is") as refused:
        await subject.backend.take_in(state)
    assert refused.value.code == "import_refused"
    await leaves_nothing_that_looks_whole(subject)


ROW = ("x", 0, "/a", START_MS, b"", 0, "", 0, 0, 0, "", START_MS, START_MS, 0)


async def leaves_nothing_that_looks_whole(subject: Subject) -> None:
    """Either the store is empty, or it says that an import is unfinished, which can be dropped."""
    outcome = await subject.do(claim("/a"))
    if not isinstance(outcome, Claimed):
        assert (outcome.code, "unfinished" in outcome.detail) == ("unavailable", True)
        with pytest.raises(BackendError, match="unfinished"):
            await subject.ask(EVERY_TASK)
        with pytest.raises(BackendError, match="unfinished"):
            await subject.ask(queries.Queues((), (), 10), stale=True)
        with pytest.raises(BackendError, match="unfinished"):
            await exported(subject)
        assert await subject.ask(queries.Time())
        await subject.backend.abandon_import()
        outcome = await subject.do(claim("/a"))
    assert outcome == Claimed(())
    assert await subject.ask(queries.Queues((), (), 10)) == []
    assert subject.backend.load()[:4] == (0, 0, 0, 0)


class _Broken(Cut):
    """A file that breaks off."""

    async def parts(self) -> AsyncIterator[Any]:
        for part in self.cut[:2]:
            yield part
        raise LookupError("the client is gone")


def broken(state: Cut) -> _Broken:
    other = _Broken([], state.id)
    other.seq, other.cut, other.said = state.seq, state.cut, state.said
    return other


async def several_parts(subject: Subject) -> Cut:
    for start in range(0, 1_000, 500):
        inserts = [op.Insert("/a", f"t{number}") for number in range(start, start + 500)]
        await subject.do(modify(inserts=inserts))
    return await exported(subject)


@pytest.mark.asyncio
async def test_a_file_that_breaks_off_leaves_nothing_that_looks_whole(subject: Subject) -> None:
    async with KINDS["memory"].open() as source:
        state = await several_parts(source)
    with pytest.raises(LookupError):
        await subject.backend.take_in(broken(state))
    await leaves_nothing_that_looks_whole(subject)
    await subject.backend.take_in(state)
    assert (await exported(subject)).said == state.said


@pytest.mark.asyncio
async def test_the_same_file_goes_on_where_it_broke_off(subject: Subject) -> None:
    async with KINDS["memory"].open() as source:
        state = await several_parts(source)
    with pytest.raises(LookupError):
        await subject.backend.take_in(broken(state))
    await subject.backend.take_in(state)
    assert (await exported(subject)).said == state.said
    assert len((await subject.do(claim("/a", limit=1_000))).tasks) == 1_000


@pytest.mark.asyncio
async def test_an_unfinished_import_outlives_a_power_cut(durable: Subject) -> None:
    async with KINDS["memory"].open() as source:
        state = await several_parts(source)
    with pytest.raises(LookupError):
        await durable.backend.take_in(broken(state))
    await durable.cut_power()
    await durable.backend.take_in(state)
    await durable.cut_power()
    assert (await exported(durable)).said == state.said


@pytest.mark.asyncio
async def test_an_export_is_of_one_moment(subject: Subject) -> None:
    await several_parts(subject)
    expected = (await exported(subject)).said
    records, met = [], 0
    async for some in subject.backend.export():
        records += some
        met += 1
        if met % 10 == 1:
            await subject.do(claim("/a", limit=20))
            await subject.do(modify(inserts=[op.Insert("/new", f"new{met}")]))
    assert Cut([records]).said == expected
    assert (await exported(subject)).said != expected


@pytest.mark.asyncio
async def test_an_export_that_is_given_up_leaves_nothing_behind(subject: Subject) -> None:
    await several_parts(subject)
    records: Any = subject.backend.export()
    await anext(records)
    await records.aclose()
    assert len((await subject.do(claim("/a", limit=1_000))).tasks) == 1_000


@pytest.mark.asyncio
@pytest.mark.parametrize(("source", "target"), PAIRS)
async def test_docs_and_their_locks_are_carried(source: str, target: str) -> None:
    async with KINDS[source].open() as one, KINDS[target].open() as other:
        docs = [doc(f"d{number}", f"k{number % 3}", value=b"%d" % number) for number in range(300)]
        await one.do(transact(doc_inserts=docs))
        claim_set = op.ClaimDocs(
            op.CLAIM_DOCS, "c", b"m", "w1", (op.SetClaim("/ns", "k1"), op.SetClaim("/ns", "none")),
            60_000, ("", 0, ""),
        )  # fmt: skip
        held = await one.do(claim_set)
        state = await exported(one)
        assert (state.counts["docs"], state.counts["doc_sets"]) == (300, 4)
        await other.backend.take_in(state)
        assert (await exported(other)).said == state.said
        query = queries.Docs("/ns", (), None, "", "", 1_000, omit_values=False)
        assert await other.ask(query) == await one.ask(query)
        assert await other.do(claim_set) == held
        assert other.backend.load()[:4] == one.backend.load()[:4]
        refused = await other.do(claim_set._replace(key="", claimant="w2"))
        assert refused.code == "dependency"


@pytest.mark.asyncio
async def test_a_clock_that_was_ahead_keeps_no_key_for_longer(subject: Subject) -> None:
    far_ms = 100 * START_MS
    state = Cut([[(KEY, f"k{number}", b"m", far_ms, 400, "Done", ())] for number in range(3)])
    await subject.backend.take_in(state)
    await subject.run(op.Tick())
    records: list[Any] = [record async for some in subject.backend.export() for record in some]
    expiries = [record[3] for record in records if record[0] == KEY]
    assert len(expiries) == 3
    assert max(expiries) < far_ms


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("next_serial", "seq", "serial"), [(1, 2, 0), (1, 1, 1), (5, 1, 5), (5, 1, 7)]
)
async def test_numbers_that_would_come_again_are_refused(
    subject: Subject, next_serial: int, seq: int, serial: int
) -> None:
    state = Cut([[(QUEUE, "/a", next_serial, False), (READY, seq, (*ROW[:-1], serial))]])
    state.seq = 1
    with pytest.raises(BackendError, match="cannot have") as refused:
        await subject.backend.take_in(state)
    assert refused.value.code == "import_refused"
    await leaves_nothing_that_looks_whole(subject)


@pytest.mark.asyncio
async def test_an_export_that_forgets_something_has_no_end(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = op.Insert("/a", "later", arrival=op.DELAY, ms=60_000)
    await subject.do(modify(inserts=[op.Insert("/a", "now"), later], key="k", mark=b"m"))
    await subject.do(transact(doc_inserts=[doc("d1", "k1")]))
    forgotten = {WAITING: "1, docs=1", DOC: "docs=0", KEY: "keys=0"}
    for kind, says in forgotten.items():
        with monkeypatch.context() as planted:
            forget(planted, kind)
            with pytest.raises(BackendError, match=f"the export is not whole: .*{says}"):
                await exported(subject)
    assert (await exported(subject)).counts["tasks"] == 2


def forget(planted: pytest.MonkeyPatch, kind: int) -> None:
    """Let exports of any backend pass over one kind of records."""
    generate, records_of = Snapshot._generate, exporting.records_of

    def generated(*arguments: Any) -> Iterator[Any]:
        return (record for record in generate(*arguments) if record[0] != kind)

    async def given(*arguments: Any) -> AsyncIterator[Any]:
        async for records in records_of(*arguments):
            yield [record for record in records if record[0] != kind]

    planted.setattr(Snapshot, "_generate", generated)
    planted.setattr(postgres_backend, "records_of", given)
