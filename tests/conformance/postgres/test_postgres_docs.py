"""Docs over PostgreSQL: several nodes at once, sets larger than a batch may read, and locks that are forgotten."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import pytest_asyncio
from tests.support.backend_subjects import START_MS, NodeOverPostgres, Subject
from tests.support.cutting_proxy import CuttingProxy
from tests.support.doc_table import NS, claim_docs, doc, held, transact
from tests.support.postgres_server import PostgresServer, fresh_schema, shared_server
from tests.support.task_table import claim

from raftq_cluster.backends.postgres import doc_part
from raftq_cluster.backends.postgres.connecting import Place
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.doc_store import DOC_BYTES, EMPTY_WINDOW_MS, SET_BYTES
from raftq_cluster.core.outcomes import DocsClaimed, Done, Refused, Transacted, Unfinished

pytestmark = pytest.mark.asyncio

ALL_DOCS = queries.Docs(NS, (), None, "", "", 1_000, omit_values=False)


@asynccontextmanager
async def connection_to(subject: Subject) -> AsyncIterator[tuple[asyncpg.Connection, str]]:
    """Somebody's connection to a subject's database, and the schema's name."""
    assert isinstance(subject.node, NodeOverPostgres)
    place = subject.node.place
    connection = await asyncpg.connect(place.dsn)
    try:
        yield connection, place.schema
    finally:
        await connection.close()


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    async with fresh_schema(shared_server()) as place:
        yield place


@pytest_asyncio.fixture
async def subject(place: Place) -> AsyncIterator[Subject]:
    subject = Subject(NodeOverPostgres(shared_server(), place))
    await subject.backend.start()
    yield subject
    await subject.backend.stop()


@pytest_asyncio.fixture
async def other(place: Place) -> AsyncIterator[Subject]:
    other = Subject(NodeOverPostgres(shared_server(), place))
    await other.backend.start()
    yield other
    await other.backend.stop()


async def test_writers_at_two_nodes_lose_nothing(subject: Subject, other: Subject) -> None:
    await subject.do(transact(doc_inserts=[doc(str(n), f"k{n % 3}", value=b"0") for n in range(5)]))

    async def write(node: Subject, first: int) -> None:
        for turn in range(40):
            id_ = str((first + turn) % 5)
            while True:
                (row,) = await node.ask(ALL_DOCS._replace(ids=(id_,)))
                change = op.DocChange(NS, id_, row.version, value=b"%d" % (int(row.value) + 1))
                if isinstance(await node.do(transact(doc_changes=[change])), Transacted):
                    break

    await asyncio.gather(*(write(node, n) for n in range(4) for node in (subject, other)))
    assert sum(int(row.value) for row in await other.ask(ALL_DOCS)) == 320


async def test_of_two_nodes_that_claim_the_same_sets_one_has_them_all(
    subject: Subject, other: Subject
) -> None:
    for turn in range(20):
        sets = [held(f"{turn}-{n}") for n in range(4)]
        outcomes = await asyncio.gather(
            subject.do(claim_docs(*sets, claimant="w1")),
            other.do(claim_docs(*sets[::-1], claimant="w2")),
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["DocsClaimed", "Refused"]


async def test_of_two_nodes_that_insert_the_same_doc_one_does(
    subject: Subject, other: Subject
) -> None:
    for turn in range(20):
        outcomes = await asyncio.gather(
            subject.do(transact(doc_inserts=[doc(str(turn), f"a{turn}")])),
            other.do(transact(doc_inserts=[doc(str(turn), f"b{turn}")])),
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Refused", "Transacted"]
    assert len(await subject.ask(ALL_DOCS)) == 20
    sets = await subject.ask(queries.Namespaces((), (), 10))
    assert [(row.docs, row.sets) for row in sets] == [(20, 20)]


async def test_a_doc_that_moves_to_another_set_meanwhile_is_changed_there_or_not_at_all(
    subject: Subject, other: Subject
) -> None:
    await subject.do(transact(doc_inserts=[doc("d", "k0")]))

    changed: list[Transacted] = []

    async def move() -> None:
        turn = 0
        while turn < 40 or len(changed) < 5:
            turn += 1
            while True:  # until nobody has changed it between the look and the deletion
                (row,) = await subject.ask(ALL_DOCS)
                target = op.DocTarget(NS, "d", row.version)
                if isinstance(await subject.do(transact(doc_deletes=[target])), Transacted):
                    break
            done = await subject.do(transact(doc_inserts=[doc("d", f"k{turn % 3}")]))
            assert isinstance(done, Transacted)

    moving = asyncio.create_task(move())
    while not moving.done():
        for row in await other.ask(ALL_DOCS):
            change = op.DocChange(NS, "d", row.version, value=b"changed")
            done = await other.do(transact(doc_changes=[change]))
            changed += [done] if isinstance(done, Transacted) else []
    await moving
    async with connection_to(subject) as (connection, schema):
        counted = await connection.fetch(
            f"SELECT s.docs, (SELECT count(*) FROM {schema}.doc d WHERE d.namespace = s.namespace AND d.key = s.key)"
            f" FROM {schema}.doc_set s"
        )
    assert [docs for docs, _ in counted] == [docs for _, docs in counted]
    assert len(await subject.ask(ALL_DOCS)) == 1


async def test_of_a_large_set_no_more_is_read_than_what_is_named(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    await subject.do(transact(doc_inserts=[doc(str(n), value=b"x" * 100) for n in range(50)]))
    loaded: list[int] = []
    made = doc_part.PartOfDocs.__init__

    def noted(part: doc_part.PartOfDocs, *gathered: object) -> None:
        made(part, *gathered)  # type: ignore[arg-type] # as they come
        loaded.append(len(part.docs_before))

    monkeypatch.setattr(doc_part.PartOfDocs, "__init__", noted)
    change = op.DocChange(NS, "7", 0, value=b"new")
    lease = op.SetLease(NS, "k", 0, op.LEASE, 1_000)
    done = await subject.do(transact(doc_changes=[change], doc_leases=[lease]))
    assert [(row.docs, row.version) for row in done.sets] == [(50, 1)]
    (claimed,) = (await subject.do(claim_docs(held("k", omit_docs=True)))).sets
    assert claimed.docs == 50
    assert loaded == [1, 0]
    assert len((await subject.do(claim_docs(held("k")))).docs) == 50
    assert loaded == [1, 0, 50]


async def test_more_docs_than_an_answer_may_have_are_refused_and_not_read(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftq_cluster.core.transaction.CLAIM_BYTES_MAX", 10_000)
    monkeypatch.setattr(doc_part, "CLAIM_BYTES_MAX", 10_000)
    for key in ("k", "l"):
        docs = [doc(f"{key}{n}", key, value=b"x" * 2_000) for n in range(4)]
        await subject.do(transact(doc_inserts=docs))
    refused = await subject.do(claim_docs(held("k"), held("l")))
    assert (refused.code, refused.limit_name) == ("too_large", "claim_bytes_max")
    more = [doc(f"m{n}", value=b"x" * 2_000) for n in range(4)]
    await subject.do(transact(doc_inserts=more))
    refused = await subject.do(claim_docs(held("k")))
    assert (refused.code, refused.limit_name) == ("too_large", "claim_bytes_max")
    assert isinstance(await subject.do(claim_docs(held("k", omit_docs=True))), DocsClaimed)


async def test_claims_that_are_too_large_together_are_done_one_by_one(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doc_part, "ALL_BYTES_MAX", 3_000)
    for key in ("k", "l"):
        await subject.do(transact(doc_inserts=[doc(key, key, value=b"x" * 2_000)]))
    tick, *claims = await subject.run(
        op.Tick(), claim_docs(held("k")), claim_docs(held("l")), claim_docs(held("k"), held("l"))
    )
    assert tick == Done()
    assert [[row.id for row in claimed.docs] for claimed in claims[:2]] == [["k"], ["l"]]
    assert isinstance(claims[2], Refused)
    assert claims[2].code == "too_large"


async def test_what_docs_take_counts_as_it_does_in_the_state_machine(
    subject: Subject, other: Subject
) -> None:
    await subject.do(transact(doc_inserts=[doc("é", "é", "s", value=b"12")]))
    await other.do(claim_docs(held("empty"), lease_ms=1))
    docs, empty = SET_BYTES + 1 + DOC_BYTES + 4, SET_BYTES + 5
    assert other.backend.load().value_bytes == docs + empty
    await other.restart()  # its share of the counts is folded into that of the gone
    assert other.backend.load().value_bytes == docs + empty
    subject.pass_ms(1 + EMPTY_WINDOW_MS)
    await subject.do(claim_docs(held("another"), lease_ms=1))
    assert subject.backend.load().value_bytes == docs + SET_BYTES + 7


async def test_the_lock_of_an_empty_set_is_kept_for_a_window_and_then_forgotten(
    subject: Subject,
) -> None:
    first = await subject.do(claim_docs(held("k"), lease_ms=1_000))
    subject.pass_ms(1_000 + EMPTY_WINDOW_MS - 1)
    again = await subject.do(claim_docs(held("k"), lease_ms=1_000))
    subject.pass_ms(1_000 + EMPTY_WINDOW_MS)
    anew = await subject.do(claim_docs(held("k"), lease_ms=1_000))
    assert [outcome.sets[0].version for outcome in (first, again, anew)] == [1, 2, 1]


async def test_the_oldest_empty_sets_that_nobody_holds_go_first_when_there_are_many(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doc_part, "EMPTY_SETS_KEPT_MAX", 3)
    for number in range(6):
        await subject.do(claim_docs(held(str(number)), lease_ms=1 if number else 1_000_000))
        subject.pass_ms(1)
    await subject.do(claim_docs(held("last")))
    async with connection_to(subject) as (connection, schema):
        keys = await connection.fetch(f"SELECT key FROM {schema}.doc_set ORDER BY key")
    assert [key for (key,) in keys] == ["0", "4", "5", "last"]


async def test_a_repeated_claim_of_docs_tells_the_sets_that_nobody_has_written_since(
    subject: Subject, other: Subject
) -> None:
    await subject.do(transact(doc_inserts=[doc("d"), doc("e", "l")]))
    operation = claim_docs(held("k"), held("l"), held("m"), key="key", mark=b"m")
    first = await subject.do(operation)
    assert await other.do(operation) == first
    change = op.DocChange(NS, "d", 1, op.LEASE, 1_000, b"new")
    await other.do(transact(doc_changes=[change]))
    again = await subject.do(operation)
    assert [row.key for row in again.sets] == ["l", "m"]
    assert [row.id for row in again.docs] == ["e"]


async def test_a_set_is_held_as_long_as_the_task_that_another_node_gave(
    subject: Subject, other: Subject
) -> None:
    await subject.do(transact(inserts=[op.Insert("/q", "t")], doc_inserts=[doc("d")]))
    (task,) = (await other.do(claim("/q", lease_ms=5_000))).tasks
    claimed = await subject.do(claim_docs(held("k"), task=("t", task.version, "/q")))
    assert [(row.at, row.version) for row in claimed.sets] == [(START_MS + 5_000, 1)]
    stale = await subject.do(claim_docs(held("l"), task=("t", 0, "/q")))
    assert isinstance(stale, Refused)
    done = await other.do(
        transact(deletes=[op.Target("t", 1)], doc_changes=[op.DocChange(NS, "d", 1, value=b"2")])
    )
    assert isinstance(done, Transacted)


async def test_a_set_that_another_program_has_locked_makes_one_operation_unavailable(
    subject: Subject,
) -> None:
    await subject.do(transact(doc_inserts=[doc("d", "k"), doc("e", "l")]))
    async with connection_to(subject) as (person, schema):
        sql = f"ALTER FUNCTION {schema}.gather_docs SET lock_timeout = '100ms'"
        await person.execute(sql)
        try:
            async with person.transaction():
                await person.execute(f"SELECT FROM {schema}.doc_set WHERE key = 'k' FOR UPDATE")
                locked, done, beside = await subject.run(
                    transact(doc_changes=[op.DocChange(NS, "d", 0, value=b"1")]),
                    transact(doc_changes=[op.DocChange(NS, "e", 0, value=b"1")]),
                    transact(inserts=[op.Insert("/q", "t")]),
                )
        finally:
            await person.execute(sql.replace("100ms", "5s"))
    assert isinstance(locked, Unfinished)
    assert locked.code == "unavailable"
    assert [type(outcome) for outcome in (done, beside)] == [Transacted, Transacted]
    assert [row.value for row in await subject.ask(ALL_DOCS)] == [b"", b"1"]


async def test_a_commit_of_docs_whose_answer_is_lost_is_looked_up_and_done_once(
    place: Place,
) -> None:
    server = shared_server()
    assert isinstance(server, PostgresServer), "somebody's server cannot be put behind a proxy"
    async with CuttingProxy(server.port) as proxy:
        behind = place._replace(dsn=f"postgresql://raftq@127.0.0.1:{proxy.port}/postgres")
        subject = Subject(NodeOverPostgres(server, behind))
        await subject.backend.start()
        await subject.do(transact(inserts=[op.Insert("/q", "t")], doc_inserts=[doc("d")]))
        proxy.cut_after(b"COMMIT")
        change = op.DocChange(NS, "d", 0, value=b"2")
        done = await subject.do(transact(deletes=[op.Target("t", 0)], doc_changes=[change]))
        assert isinstance(done, Transacted)
        assert proxy.cuts == 1
        assert [(row.value, row.version) for row in await subject.ask(ALL_DOCS)] == [(b"2", 1)]
        await subject.backend.stop()
