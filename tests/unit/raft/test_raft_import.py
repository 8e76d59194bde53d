"""An import into a cluster: leaders end, nodes come and go meanwhile, and all nodes have the same in the end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import pytest_asyncio
from tests.support.moves import Cut, cut
from tests.support.raft_cluster import RaftCluster
from tests.support.task_table import TaskTable, claim, modify

from raftq_cluster.backends.api import BackendError
from raftq_cluster.backends.memory import wall_clock_ms
from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Claimed
from raftq_cluster.core.queries import Queues

pytestmark = pytest.mark.asyncio
QUEUES = Queues((), (), 10)
TASKS = 3_000


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[RaftCluster]:
    cluster = RaftCluster(snapshot_bytes=100_000, entries_kept=5)
    await cluster.form(3)
    yield cluster
    await cluster.close()


def large() -> Cut:
    """A state of a dozen parts."""
    table = TaskTable()
    table.now_ms = wall_clock_ms()  # the nodes' clocks are real: keys are kept for five minutes
    for start in range(0, TASKS, 500):
        inserts = [op.Insert("/a", f"t{number}") for number in range(start, start + 500)]
        table.entry(modify(inserts=inserts))
    table.entry(modify(inserts=[op.Insert("/a", "keyed")], key="k", mark=b"m"))
    return cut(table.machine)


class Interrupted(Cut):
    """A file in the middle of which something happens."""

    def __init__(
        self, whole: Cut, at: int, what: Callable[[], Coroutine[Any, Any, object]]
    ) -> None:
        super().__init__([], whole.id)
        self.seq, self.cut, self.said = whole.seq, whole.cut, whole.said
        self._at, self._what = at, what

    async def parts(self) -> AsyncIterator[Any]:
        for number, part in enumerate(self.cut):
            if number == self._at:
                await self._what()
            yield part


async def exported(cluster: RaftCluster, node_id: str) -> str:
    return Cut([list(some) async for some in cluster.backends[node_id].export()]).said


async def follower_of(cluster: RaftCluster) -> str:
    await cluster.until(lambda: bool(cluster.leader()))
    return next(id_ for id_ in cluster.backends if id_ != cluster.leader())


async def test_an_import_through_a_follower_is_on_all_nodes(cluster: RaftCluster) -> None:
    state = large()
    follower = await follower_of(cluster)
    await cluster.backends[follower].take_in(state)
    assert {await exported(cluster, id_) for id_ in cluster.backends} == {state.said}
    assert len(await cluster.digests()) == 1
    (again,) = await cluster.do(
        cluster.leader(), modify(inserts=[op.Insert("/a", "keyed")], key="k", mark=b"m")
    )
    assert again.inserted[0].id == "keyed"  # type: ignore[union-attr] # its kind says so


async def test_an_import_goes_on_under_the_next_leader(cluster: RaftCluster) -> None:
    state = large()
    follower, leader = await follower_of(cluster), cluster.leader()
    await cluster.backends[follower].take_in(Interrupted(state, 5, lambda: cluster.end(leader)))
    await cluster.start(leader)
    assert {await exported(cluster, id_) for id_ in cluster.backends} == {state.said}
    assert len(await cluster.digests()) == 1


async def test_a_node_that_comes_meanwhile_goes_on_from_a_snapshot(cluster: RaftCluster) -> None:
    state = large()
    follower = await follower_of(cluster)

    async def another() -> None:
        await cluster.join("n4", follower)
        with pytest.raises(BackendError, match="an import into this store is unfinished"):
            await cluster.backends["n4"].read(QUEUES)

    await cluster.backends[follower].take_in(Interrupted(state, 8, another))
    assert {await exported(cluster, id_) for id_ in cluster.backends} == {state.said}
    assert len(await cluster.digests()) == 1


async def test_nothing_is_answered_before_the_end_by_any_node(cluster: RaftCluster) -> None:
    state = large()
    follower = await follower_of(cluster)
    said: list[str] = []

    async def ask() -> None:
        for id_, backend in cluster.backends.items():
            for is_stale in (False, True):
                with pytest.raises(BackendError) as refused:
                    await backend.read(QUEUES, stale=is_stale)
                said.append(refused.value.code)
            for operation in (
                claim("/a"),
                claim("/nowhere"),
                modify(inserts=[op.Insert("/a", "x")]),
            ):
                (outcome,) = await cluster.do(id_, operation)
                said.append(outcome.code)  # type: ignore[union-attr] # a refusal
            with pytest.raises(BackendError) as refused:
                await anext(backend.export())  # type: ignore[call-overload] # it is a generator
            said.append(refused.value.code)

    await cluster.backends[follower].take_in(Interrupted(state, 3, ask))
    assert said == ["unavailable"] * 18
    (claimed,) = await cluster.do(follower, claim("/a"))
    assert isinstance(claimed, Claimed)
    assert claimed.tasks


async def test_whoever_has_no_majority_does_not_end_an_import(
    cluster: RaftCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftq_cluster.backends.taking_in.PATIENCE_S", 0.5)
    state = large()
    follower = await follower_of(cluster)
    others = [id_ for id_ in cluster.backends if id_ != follower]

    async def end_all() -> None:
        await asyncio.gather(*map(cluster.end, others))

    with pytest.raises(BackendError) as refused:
        await cluster.backends[follower].take_in(Interrupted(state, 5, end_all))
    assert refused.value.code in {"unavailable", "outcome_unknown"}
    await asyncio.gather(*map(cluster.start, others))
    await cluster.backends[others[0]].take_in(state)
    assert {await exported(cluster, id_) for id_ in cluster.backends} == {state.said}
