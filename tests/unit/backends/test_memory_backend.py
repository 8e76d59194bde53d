"""What the memory backend is beside the common contract, which ``tests/conformance/backend`` holds."""

import time

import pytest
from tests.support.task_table import START_MS, claim, modify

from raftq_cluster.backends.memory import MemoryBackend, wall_clock_ms
from raftq_cluster.core import operations as op
from raftq_cluster.core import queries
from raftq_cluster.core.outcomes import Claimed, Outcome

pytestmark = pytest.mark.asyncio


def chosen(seed: int) -> list[str]:
    """Insert twenty tasks, claim them one by one, and give the order of their ids."""
    backend = MemoryBackend(clock=lambda: START_MS, seed=seed)
    told: list[Outcome] = []
    inserts = [op.Insert("/a", f"x{number}") for number in range(20)]
    backend.submit([modify(inserts=inserts)], lambda _index, _outcomes: None)
    for _ in range(20):
        backend.submit([claim("/a")], lambda _, outcomes: told.extend(outcomes))
    return [row.id for outcome in told if isinstance(outcome, Claimed) for row in outcome.tasks]


async def test_it_answers_before_submit_returns() -> None:
    told: list[Outcome] = []
    MemoryBackend().submit([claim("/a")], lambda _, outcomes: told.extend(outcomes))
    assert told == [Claimed(())]


async def test_a_claim_that_finds_nothing_is_no_entry() -> None:
    indexes: list[int] = []
    backend = MemoryBackend()
    for _ in range(3):
        backend.submit([claim("/a")], lambda index, _: indexes.append(index))
    assert indexes == [0, 0, 0]


async def test_the_same_seed_makes_the_same_choices_and_another_makes_others() -> None:
    assert chosen(1) == chosen(1) != chosen(2)
    assert sorted(chosen(1)) == sorted(chosen(2))


async def test_it_says_that_nothing_survives_the_process() -> None:
    status = MemoryBackend(node_id="solo").status()
    assert (status.node, status.backend, status.durability) == ("solo", "memory", "memory")


async def test_a_clock_that_goes_back_is_held() -> None:
    now_ms = START_MS
    backend = MemoryBackend(clock=lambda: now_ms)
    backend.submit([op.Tick()], lambda _index, _outcomes: None)
    now_ms -= 60_000
    assert backend.now_ms() == START_MS
    assert (await backend.read(queries.Time())).value == START_MS


async def test_its_own_clock_is_the_time_of_day() -> None:
    before_ns = time.time_ns()
    assert before_ns // 1_000_000 <= wall_clock_ms() <= time.time_ns() // 1_000_000


async def test_a_verification_has_the_digest_of_the_state_as_it_is() -> None:
    backend = MemoryBackend()
    first = await backend.verify(0)
    assert first.members[0].digest == (await backend.read(queries.Digest())).value
    backend.submit([op.Tick()], lambda _index, _outcomes: None)
    second = await backend.verify(first.entry)
    assert second.entry == first.entry + 1
    assert second.members[0].digest != first.members[0].digest
