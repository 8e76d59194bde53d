"""What becomes of operations when the database, the connection or another program fails them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from tests.support.backend_subjects import ANSWER_S, Subject
from tests.support.cutting_proxy import CuttingProxy
from tests.support.postgres_nodes import node_over, person_at
from tests.support.postgres_server import PostgresServer, fresh_schema, shared_server
from tests.support.task_table import claim, modify

from raftq_cluster.backends.postgres import transaction, writer
from raftq_cluster.backends.postgres.connecting import Place
from raftq_cluster.backends.postgres.view import View
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import Claimed, Modified, Refused, Unfinished

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    async with fresh_schema(shared_server()) as place:
        yield place


@pytest_asyncio.fixture
async def subject(place: Place) -> AsyncIterator[Subject]:
    async with node_over(place) as subject:
        yield subject


def insert(id_: str, queue: str = "/a", **fields: Any) -> op.Modify:
    return modify(inserts=[op.Insert(queue, id_, **fields)])


async def ids_in(subject: Subject) -> list[str]:
    rows = await subject.ask(queries.Tasks("/a", "", (), 10_000, omit_values=True))
    return sorted(row.id for row in rows)


def submitted(subject: Subject, *operations: op.Operation) -> asyncio.Future[Any]:
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    subject.backend.submit(operations, lambda _, outcomes: told.set_result(list(outcomes)))
    return told


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(ANSWER_S):
        while not await condition():
            await asyncio.sleep(0.01)


WRITERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE $1 AND state <> 'idle' AND pid <> pg_backend_pid()"


async def writer_pid(person: asyncpg.Connection, place: Place) -> int | None:
    pid: int | None = await person.fetchval(WRITERS, f"%{place.schema}.gather%")
    return pid


# --- operations that cannot be done ---------------------------------------------------------------


async def test_an_operation_that_cannot_be_stored_takes_nothing_from_its_neighbours(
    subject: Subject,
) -> None:
    first, bad, last = await subject.run(insert("x"), insert("a\0b"), insert("y"))
    assert isinstance(first, Modified)
    assert isinstance(bad, Refused)
    assert bad.code == "invalid"
    assert isinstance(last, Modified)
    assert await ids_in(subject) == ["x", "y"]


async def test_a_row_that_another_program_has_locked_makes_one_operation_unavailable(
    subject: Subject, place: Place
) -> None:
    await subject.run(insert("x"), insert("y"))
    async with person_at(place) as person:
        sql = f"ALTER FUNCTION {place.schema}.gather SET lock_timeout = '100ms'"
        await person.execute(sql)
        try:
            async with person.transaction():
                await person.execute(f"SELECT FROM {place.schema}.task WHERE id = 'x' FOR UPDATE")
                locked, done, (other,) = await asyncio.gather(
                    subject.do(modify(deletes=[op.Target("x", 0)])),
                    subject.do(modify(deletes=[op.Target("y", 0)])),
                    subject.run(claim("/a")),
                )
            assert isinstance(locked, Unfinished)
            assert locked.code == "unavailable"
            assert done == Modified((), ())
            assert other == Claimed(())  # y is gone, and x is passed over
        finally:
            await person.execute(sql.replace("100ms", "5s"))
    assert await subject.do(modify(deletes=[op.Target("x", 0)])) == Modified((), ())


# --- connections that break -----------------------------------------------------------------------


async def test_a_batch_whose_backend_is_ended_in_mid_transaction_is_done_once(
    subject: Subject, place: Place
) -> None:
    await subject.do(insert("x"))
    # Two persons: within a transaction the activity of others is as it was first looked at.
    async with person_at(place) as locker, person_at(place) as person:
        transaction = locker.transaction()
        await transaction.start()
        await locker.execute(f"SELECT FROM {place.schema}.task WHERE id = 'x' FOR UPDATE")
        told = submitted(subject, insert("y"), modify(deletes=[op.Target("x", 0)]))
        await until(lambda: writer_pid(person, place))
        assert await person.fetchval(
            "SELECT pg_terminate_backend($1)", await writer_pid(person, place)
        )
        await transaction.rollback()
    inserted, deleted = await asyncio.wait_for(told, ANSWER_S)
    assert [row.id for row in inserted.inserted] == ["y"]
    assert deleted == Modified((), ())
    assert await ids_in(subject) == ["y"]


async def test_every_connection_can_be_ended_and_the_node_goes_on(
    subject: Subject, place: Place
) -> None:
    await subject.do(insert("x"))
    async with person_at(place) as person:
        await person.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND usename = current_user AND backend_type = 'client backend'"
        )
    assert len((await subject.do(claim("/a"))).tasks) == 1

    async def reads_again() -> bool:
        try:
            return await ids_in(subject) == ["x"]
        except Exception as error:
            if getattr(error, "code", "") != "unavailable":
                raise
            return False

    await until(reads_again)


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[CuttingProxy]:
    server = shared_server()
    assert isinstance(server, PostgresServer), "somebody's server cannot be put behind a proxy"
    async with CuttingProxy(server.port) as proxy:
        yield proxy


def behind(place: Place, proxy: CuttingProxy) -> Place:
    return place._replace(dsn=f"postgresql://raftq@127.0.0.1:{proxy.port}/postgres")


async def test_a_commit_whose_answer_is_lost_is_looked_up_and_told(
    place: Place, proxy: CuttingProxy
) -> None:
    async with node_over(behind(place, proxy)) as subject:
        proxy.cut_after(b"COMMIT")
        (done,) = await subject.run(insert("x"))
        assert isinstance(done, Modified)
        assert proxy.cuts == 1
        assert await ids_in(subject) == ["x"]


async def test_a_commit_that_never_arrived_is_looked_up_and_done_again(
    place: Place, proxy: CuttingProxy
) -> None:
    async with node_over(behind(place, proxy)) as subject, person_at(place) as person:
        # The commit fails by itself, which the node does not hear of: a check at its very end.
        await person.execute(f"""
            CREATE FUNCTION {place.schema}.fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON {place.schema}.task
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {place.schema}.fail()""")
        told = submitted(subject, insert("x"))
        await until(lambda: asyncio.sleep(0.2, result=True))
        assert not told.done()
        await person.execute(
            f"DROP TRIGGER fails ON {place.schema}.task; DROP FUNCTION {place.schema}.fail"
        )
        (done,) = await asyncio.wait_for(told, ANSWER_S)
        assert isinstance(done, Modified)
        assert await ids_in(subject) == ["x"]


async def test_a_commit_that_nobody_can_look_up_is_of_unknown_outcome(
    place: Place, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RECONNECT_S", 0.3)
    async with node_over(behind(place, proxy)) as subject:
        keyed = insert("x")._replace(key="k", mark=b"m")
        proxy.cut_after(b"COMMIT", for_good=True)
        (unknown,) = await subject.run(keyed)
        assert isinstance(unknown, Unfinished)
        assert unknown.code == "outcome_unknown"
        (unavailable,) = await subject.run(insert("y"))
        assert unavailable.code == "unavailable"
        assert not subject.backend.status().ready
        proxy.refuses = False
        # The repeat with the same key tells what was done, and does it no second time.
        (repeated,) = await subject.run(keyed)
        assert [row.id for row in repeated.inserted] == ["x"]
        assert await ids_in(subject) == ["x"]


async def test_a_node_that_vanishes_in_mid_batch_holds_nothing_for_long(
    subject: Subject, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "IDLE_MS", 300)
    await subject.run(insert("x"), insert("y"))
    async with person_at(place) as connection:
        session = await connection.fetchval(
            f"SELECT max(session) FROM {place.schema}.node WHERE session <> 0"
        )
        vanished = transaction.Transactions(place.schema, View(), Random(1), session)
        gone = asyncio.Event()
        stored = vanished._store

        async def vanish(*_arguments: Any) -> Any:
            """It has locked what it may take, and is heard of no more."""
            gone.set()
            await asyncio.Event().wait()
            return await stored(*_arguments)

        monkeypatch.setattr(vanished, "_store", vanish)
        batch = asyncio.create_task(vanished.run(connection, [claim("/a", limit=2)]))
        await gone.wait()
        assert await subject.do(claim("/a")) == Claimed(())

        async def is_claimed() -> bool:
            return bool((await subject.do(claim("/a"))).tasks)

        await until(is_claimed)
        batch.cancel()
        await asyncio.gather(batch, return_exceptions=True)


async def test_a_node_whose_schema_was_upgraded_meanwhile_says_so_and_harms_nothing(
    subject: Subject, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(writer, "RECONNECT_S", 0.3)
    async with person_at(place) as person:
        await person.execute(f"INSERT INTO {place.schema}.migration VALUES (99)")
        try:
            await person.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND usename = current_user AND backend_type = 'client backend'"
            )
            refused = await subject.do(insert("x"))
            assert isinstance(refused, Unfinished)
            assert refused.code == "unavailable"
            assert not subject.backend.status().ready
        finally:
            await person.execute(f"DELETE FROM {place.schema}.migration WHERE version = 99")
    assert "install a newer raftq" in capsys.readouterr().out
    assert isinstance(await subject.do(insert("x")), Modified)


# --- several nodes --------------------------------------------------------------------------------


async def test_two_nodes_never_claim_the_same_task(place: Place) -> None:
    async with node_over(place) as one, node_over(place) as two:
        await one.run(*[insert(f"x{number}") for number in range(300)])

        async def take(subject: Subject) -> list[str]:
            taken: list[str] = []
            for _ in range(25):
                outcomes = await subject.run(*[claim("/a") for _ in range(8)])
                taken += [row.id for outcome in outcomes for row in outcome.tasks]
            return taken

        taken = [id_ for ids in await asyncio.gather(take(one), take(two)) for id_ in ids]
        assert len(taken) == len(set(taken)) == 300


async def test_two_nodes_that_insert_the_same_id_do_it_once(place: Place) -> None:
    async with node_over(place) as one, node_over(place) as two:
        for number in range(20):
            outcomes = await asyncio.gather(
                one.do(insert(f"x{number}")), two.do(insert(f"x{number}"))
            )
            assert {type(outcome) for outcome in outcomes} == {Modified, Refused}
        assert len(await ids_in(one)) == 20


async def test_two_nodes_that_use_the_same_key_answer_the_same(place: Place) -> None:
    async with node_over(place) as one, node_over(place) as two:
        for number in range(20):
            keyed = insert(f"x{number}")._replace(key=f"k{number}", mark=b"m")
            first, second = await asyncio.gather(one.do(keyed), two.do(keyed))
            assert first == second
            assert isinstance(first, Modified)


async def test_integer_ids_of_two_nodes_do_not_repeat(place: Place) -> None:
    async with node_over(place) as one, node_over(place) as two:

        async def number(subject: Subject, name: str) -> list[int]:
            serials = []
            for count in range(20):
                done = await subject.do(insert(f"{name}{count}", "q", serial=True))
                serials.append(done.inserted[0].serial)
            return serials

        first, second = await asyncio.gather(number(one, "a"), number(two, "b"))
        assert sorted(first + second) == list(range(1, 41))


@pytest.mark.parametrize("listens", [True, False])
async def test_another_node_is_told_of_what_it_can_claim(place: Place, listens: bool) -> None:
    here = place._replace(listens=listens)
    async with node_over(here) as one, node_over(here) as two:
        heard: dict[str, int] = {}
        two.backend.on_ready(heard.update)
        await one.do(insert("x"))
        await until(lambda: asyncio.sleep(0, result="/a" in heard))
        due_ms = two.backend.now_ms() + 60_000
        await one.do(insert("later", arrival=op.AT, ms=due_ms))
        await until(lambda: asyncio.sleep(0, result=two.backend.next_due_ms() == due_ms))


async def test_settings_that_one_node_changes_hold_at_the_other(place: Place) -> None:
    async with node_over(place) as one, node_over(place) as two:
        await two.run(*[insert(f"x{number}") for number in range(9)])
        await one.do(op.Configure(op.CONFIGURE, "", b"", "/a", "fifo", None, None))
        taken = [(await two.do(claim("/a"))).tasks[0].id for _ in range(9)]
        assert taken == [f"x{number}" for number in range(9)]


async def test_a_node_whose_row_was_taken_away_makes_a_new_one(
    subject: Subject, place: Place
) -> None:
    await subject.do(insert("x"))
    async with person_at(place) as person:
        await person.execute(
            f"SELECT {place.schema}.fold(session) FROM {place.schema}.node WHERE session <> 0"
        )
    await subject.do(insert("y"))
    assert subject.backend.load().tasks == 2


async def test_a_transaction_without_docs_is_done(subject: Subject) -> None:
    await subject.do(insert("x"))
    (held,) = (await subject.do(claim("/a"))).tasks
    change = op.Change("x", held.version, None, op.DELAY, 0)
    done = await subject.do(
        op.Transact(
            op.TRANSACT,
            "",
            b"",
            held.claimant,
            (),
            [change],
            (),
            (),
            [("x", "/a")],
            ["x"],
            op.NO_DOCS,
        )
    )
    assert [(row.claims, row.version) for row in done.changed] == [(0, 2)]
    assert [row.claims for row in (await subject.do(claim("/a"))).tasks] == [1]
