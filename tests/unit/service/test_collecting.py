"""The collector's rounds: only where it leads, in small pieces, and never in anybody's way."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest
from tests.support.task_table import START_MS, modify

from raftq_cluster.backends.api import Answer, BackendError, Status
from raftq_cluster.backends.memory import MemoryBackend
from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Unfinished
from raftq_cluster.service.collecting import PAUSE_S, PIECE, Collecting
from raftq_cluster.service.facade import Service

pytestmark = pytest.mark.asyncio


class Backend(MemoryBackend):
    """A memory backend that can lose its leader, fail, and remember what it was asked."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: START_MS, seed=1)
        self.leader = "n1"
        self.error: BackendError | None = None
        self.is_lost = False
        self.pieces: list[int] = []

    def status(self) -> Status:
        return replace(super().status(), leader=self.leader)

    async def read(self, query: Any, *, stale: bool = False) -> Answer:
        if self.error is not None:
            raise self.error
        return await super().read(query, stale=stale)

    def submit(self, operations: Any, sink: Any) -> None:
        asked = [operation[2] for operation in operations if operation[0] == op.COLLECT]
        if asked:
            self.pieces.append(sum(asked))
            if self.is_lost:
                sink(0, [Unfinished("outcome_unknown")] * len(operations))
                return
        super().submit(operations, sink)

    def fill(self, count: int, queue: str = "/t/gc=0") -> None:
        inserts = [op.Insert(queue, f"{queue}{number}") for number in range(count)]
        self.submit([modify(inserts=inserts)], lambda *_: None)


async def test_a_sweep_takes_pieces_until_nothing_is_left() -> None:
    backend = Backend()
    backend.fill(2 * PIECE + 1)
    collecting = Collecting(backend)
    await collecting.sweep()
    assert backend.pieces == [PIECE, PIECE, 1]
    assert collecting.counts()[:4] == (2 * PIECE + 1, 0, 0, 1)


async def test_others_have_their_turn_between_two_pieces() -> None:
    backend = Backend()
    backend.fill(5 * PIECE)
    collecting = Collecting(backend)
    sweep = asyncio.create_task(collecting.sweep())
    seen = []
    while not sweep.done():
        await asyncio.sleep(0)
        seen.append(collecting.tasks)
    assert set(seen) >= {PIECE, 2 * PIECE, 3 * PIECE, 4 * PIECE, 5 * PIECE}


async def test_a_node_that_does_not_lead_collects_nothing() -> None:
    backend = Backend()
    backend.fill(1)
    backend.leader = "n2"
    await Collecting(backend).sweep()
    assert backend.pieces == []


async def test_a_sweep_ends_when_an_outcome_is_not_known() -> None:
    backend = Backend()
    backend.fill(3)
    backend.is_lost = True
    collecting = Collecting(backend)
    await collecting.sweep()
    assert (backend.pieces, collecting.tasks) == ([3], 0)


async def test_a_backend_that_cannot_be_read_is_left_for_the_next_time() -> None:
    backend = Backend()
    backend.fill(1)
    backend.error = BackendError("unavailable", "no leader")
    collecting = Collecting(backend)
    await collecting.sweep()
    assert collecting.sweeps == 0
    backend.error = None
    await collecting.sweep()
    assert (collecting.tasks, collecting.sweeps) == (1, 1)


async def test_malformed_names_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    backend = Backend()
    backend.fill(1, "/t/gc=whenever")
    collecting = Collecting(backend)
    with caplog.at_level(logging.WARNING):
        await collecting.sweep()
        await collecting.sweep()
    assert len(caplog.records) == 1
    assert collecting.malformed == 1


async def test_it_sweeps_again_and_again_with_pauses() -> None:
    backend = Backend()
    backend.fill(3)
    slept: list[float] = []
    again = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > 1:
            again.set()
            await asyncio.Event().wait()

    collecting = Collecting(backend, sleep)
    collecting.start()
    await asyncio.wait_for(again.wait(), 5)
    assert (collecting.tasks, slept) == (3, [PAUSE_S, PAUSE_S])
    await collecting.stop()
    await collecting.stop()


async def test_a_service_has_a_collector_while_it_runs() -> None:
    def running() -> bool:
        return any(task.get_name() == "collector" for task in asyncio.all_tasks())

    service = Service(Backend())
    await service.start()
    assert running()
    await service.stop()
    assert not running()
