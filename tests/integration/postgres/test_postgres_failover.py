"""The primary dies and its standby takes over: what was acknowledged is there if both had to have it, and what is lost otherwise.

Whatever is lost, no node takes for true what it remembers of it.
"""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog
from tests.support.backend_subjects import Subject
from tests.support.crash.checker import violations
from tests.support.crash.history import History
from tests.support.crash.load import Client, list_all
from tests.support.node_process import NodeProcess
from tests.support.postgres_nodes import node_over
from tests.support.postgres_pair import PostgresPair
from tests.support.task_table import claim, modify

from raftq_cluster.backends.api import BackendError
from raftq_cluster.backends.postgres import sessions
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import Unfinished

pytestmark = pytest.mark.asyncio

CLIENTS = 8
LOAD_S = 0.8  # before the primary dies, and after another one has taken over
REPLY_S = 3.0
WAIT_S = 30.0


def insert(id_: str, queue: str = "/a", **fields: Any) -> op.Modify:
    return modify(inserts=[op.Insert(queue, id_, **fields)])


def configure(pattern: str, order: str | None, paused: bool | None = None) -> op.Configure:
    return op.Configure(op.CONFIGURE, "", b"", pattern, order, paused, None)


async def done(subject: Subject, operation: Any) -> Any:
    """Do an operation, again while it is certainly not done."""
    async with asyncio.timeout(WAIT_S):
        while True:
            outcome = await subject.do(operation)
            if not (isinstance(outcome, Unfinished) and outcome.code == "unavailable"):
                return outcome


async def asked(subject: Subject, query: Any) -> Any:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await subject.ask(query)
            except BackendError as error:
                if error.code != "unavailable":
                    raise


@pytest.mark.timeout(180)
async def test_with_a_synchronous_standby_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    chance = random.Random(4)
    history = History()
    clients = [
        Client(f"c{n}", history, chance.getrandbits(32), reply_s=REPLY_S) for n in range(CLIENTS)
    ]
    is_over = asyncio.Event()

    async def work(client: Client, nodes: list[NodeProcess]) -> None:
        while not is_over.is_set():
            run = asyncio.create_task(client.run(chance.choice(nodes).text))
            over = asyncio.create_task(is_over.wait())
            await asyncio.wait([run, over], return_when=asyncio.FIRST_COMPLETED)
            run.cancel()
            over.cancel()
            await asyncio.wait([run, over])
            if not run.cancelled():
                run.result()
            await asyncio.sleep(0.01)

    async with PostgresPair(is_synchronous=True) as pair:
        flags = ("--backend", "postgres", "--postgres-dsn", pair.place.dsn)
        one, two = (NodeProcess(tmp_path / name, *flags) for name in ("n1", "n2"))
        try:
            for node in (one, two):  # beside this loop, through which the standby streams
                await asyncio.to_thread(node.start)
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(work(client, [one, two]))
                await asyncio.sleep(LOAD_S)
                before = history.events
                pair.primary.kill()
                await pair.promote()
                async with asyncio.timeout(WAIT_S):
                    while history.events < 2 * before:
                        await asyncio.sleep(0.05)
                is_over.set()
            history.left = await list_all(one.text)
            history.left_elsewhere["n2"] = await list_all(two.text)
        finally:
            for node in (one, two):
                node.kill()
    assert violations(history) == []
    assert before > CLIENTS
    assert len(history.deleted) > CLIENTS


async def lose(one: Subject, two: Subject) -> int:
    """Have acknowledged what never reaches the standby; give an integer id that was given."""
    for number in range(40):  # more than the server reserves of a sequence at a time
        await one.do(insert(f"lost{number}"))
    lost: int = (await one.do(insert("n2", "q", serial=True))).inserted[0].serial
    taken = [
        row.id
        for subject in (one, two)
        for queue in ("/a", "/f")
        for row in (await subject.do(claim(queue, limit=8, claimant="w"))).tasks
    ]
    assert len(set(taken)) == 32
    await one.do(modify(deletes=[op.Target(id_, 1) for id_ in taken[:8]], claimant="w"))
    for order in ("priority", "fifo", "priority"):
        await two.do(configure("/a", order))
    await one.do(configure("/f", "fifo", paused=True))
    await two.do(insert("keyed", "/k")._replace(key="k", mark=b"m"))
    for subject in (one, two):  # both know of all that
        assert (await subject.do(claim("/f"))).tasks == ()
    return lost


async def go_on(one: Subject, two: Subject, listed: set[str], lost: int) -> None:
    """Claim what is there, and repeat what was lost."""
    # What was claimed or deleted can be claimed again, also at a node that had seen it go.
    found = [row.id for row in (await done(two, claim("/f", limit=100))).tasks]
    assert found == [f"f{number}" for number in range(20)]
    again = [row.id for row in (await done(one, claim("/a", limit=100))).tasks]
    assert sorted(again) == sorted(listed - set(found))
    # An integer id that was given is not given again; a key that is lost does its work again.
    given = await done(two, insert("n3", "q", serial=True))
    assert given.inserted[0].serial == 2 + sessions.NUMBERS_SKIPPED > lost
    keyed = await done(one, insert("keyed", "/k")._replace(key="k", mark=b"m"))
    assert [row.id for row in keyed.inserted] == ["keyed"]


@pytest.mark.timeout(120)
async def test_without_one_the_last_commits_are_lost_and_no_node_takes_them_for_true() -> None:
    async with PostgresPair(is_synchronous=False) as pair, AsyncExitStack() as stack:
        one = await stack.enter_async_context(node_over(pair.place))
        two = await stack.enter_async_context(node_over(pair.place))
        logged = stack.enter_context(structlog.testing.capture_logs())
        await one.do(configure("/f", "fifo"))
        for number in range(20):
            await one.run(*[insert(f"{queue}{number}", f"/{queue}") for queue in "af"])
        await one.do(insert("n1", "q", serial=True))
        await pair.catch_up()
        pair.cut_off()

        lost = await lose(one, two)
        now_ms = one.backend.now_ms()

        pair.primary.kill()
        await pair.promote()
        kept = {f"{queue}{number}" for queue in "af" for number in range(20)}
        await done(one, insert("after"))
        await done(two, op.Tick())
        assert any(entry["event"].startswith("commits are lost") for entry in logged)
        assert one.backend.now_ms() >= now_ms
        listed = {
            row.id
            for queue in ("/a", "/f")
            for row in await asked(one, queries.Tasks(queue, "", (), 1_000, omit_values=True))
        }
        assert listed == {*kept, "after"}
        stats = {row.name: row for row in await asked(two, queries.Queues((), (), 9))}
        assert (stats["/a"].tasks, stats["/a"].ready, stats["/a"].order) == (21, 21, "random")
        assert (stats["/f"].tasks, stats["/f"].ready, stats["/f"].paused) == (20, 20, False)
        assert one.backend.load().tasks == 42
        await go_on(one, two, listed, lost)


@pytest.mark.timeout(120)
async def test_a_commit_that_the_standby_never_got_is_done_once_after_the_failover() -> None:
    async with PostgresPair(is_synchronous=True) as pair, node_over(pair.place) as subject:
        await subject.do(insert("x"))
        await pair.catch_up()
        pair.cut_off()
        # Its commit waits for the standby, and ends with the primary.
        waiting = asyncio.create_task(subject.do(insert("y")._replace(key="k", mark=b"m")))
        person = await asyncpg.connect(pair.primary.dsn)
        async with asyncio.timeout(WAIT_S):
            while not await person.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            ):
                await asyncio.sleep(0.02)
        assert not waiting.done()
        pair.primary.kill()
        await pair.promote()
        outcome = await waiting
        if isinstance(outcome, Unfinished):
            outcome = await done(subject, insert("y")._replace(key="k", mark=b"m"))
        assert [row.id for row in outcome.inserted] == ["y"]
        rows = await asked(subject, queries.Tasks("/a", "", (), 9, omit_values=True))
        assert sorted(row.id for row in rows) == ["x", "y"]


@pytest.mark.timeout(120)
async def test_a_primary_that_was_replaced_is_not_written_to_when_it_comes_back() -> None:
    async with PostgresPair(is_synchronous=False) as pair, node_over(pair.place) as subject:
        await subject.do(insert("x"))
        await pair.catch_up()
        pair.primary.kill()
        await pair.promote()
        await done(subject, insert("y"))
        async with asyncio.timeout(WAIT_S):
            while True:  # its children hold its memory for a moment
                try:
                    await asyncio.to_thread(pair.primary.start)
                    break
                except AssertionError:
                    await asyncio.sleep(0.1)
        for server in (
            pair.standby,
            pair.primary,
        ):  # all connections end; the old primary is named first
            person = await asyncpg.connect(server.dsn)
            await person.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            await person.close()
        outcome = await subject.do(insert("z"))
        assert isinstance(outcome, Unfinished)
        pair.primary.kill()
        await done(subject, insert("w"))
        rows = await asked(subject, queries.Tasks("/a", "", (), 9, omit_values=True))
        assert sorted(row.id for row in rows) == ["w", "x", "y"]
