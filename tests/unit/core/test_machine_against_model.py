"""The machine and the model go through the same entries, and never disagree."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.machine_pair import Pair, apply

from raftq_cluster.core import calendar
from raftq_cluster.core.machine import Machine

FEW_IDS = tuple(f"t{number}" for number in range(8))
MANY_IDS = tuple(f"t{number}" for number in range(300))


class MachineAndModel(RuleBasedStateMachine):
    """A pair that hypothesis drives, and makes small when it disagrees."""

    def __init__(self) -> None:
        super().__init__()
        self.data: Any = None
        self.pair = Pair(lambda items: self.data.draw(st.sampled_from(items)), FEW_IDS)

    @initialize(data=st.data(), seed=st.integers(0, 2**64 - 1))
    def begin(self, data: st.DataObject, seed: int) -> None:
        self.entry(data, seed)

    @rule(data=st.data(), seed=st.integers(0, 2**64 - 1))
    def entry(self, data: st.DataObject, seed: int) -> None:
        self.data = data
        self.pair.entry(seed)

    @precondition(lambda self: self.pair.snapshot is None)
    @rule(chunk_records=st.integers(1, 5))
    def begin_snapshot(self, chunk_records: int) -> None:
        self.pair.begin_snapshot(chunk_records)

    @precondition(lambda self: self.pair.snapshot is not None)
    @rule(chunks=st.integers(1, 4))
    def read_snapshot(self, chunks: int) -> None:
        self.pair.read_snapshot(chunks)

    @precondition(lambda self: self.pair.snapshot is not None)
    @rule()
    def abandon_snapshot(self) -> None:
        self.pair.abandon_snapshot()

    @precondition(lambda self: self.pair.snapshot is not None)
    @rule()
    def go_on_from_snapshot(self) -> None:
        self.pair.go_on_from_snapshot()

    @invariant()
    def all_agree(self) -> None:
        self.pair.all_agree()

    def teardown(self) -> None:
        self.pair.replay()


class TestMachineAndModel(MachineAndModel.TestCase):  # type: ignore[misc,name-defined] # made at run time
    settings = settings(max_examples=15)


@pytest.mark.slow
class TestMachineAndModelForLong(MachineAndModel.TestCase):  # type: ignore[misc,name-defined] # the same
    settings = settings(max_examples=50, stateful_step_count=60)


def walk(seed: int, entries: int, ids: Sequence[str]) -> Pair:
    """Go through a long log, snapshots now and then, and compare after every entry."""
    random = Random(seed)
    pair = Pair(random.choice, ids)
    for _ in range(entries):
        pair.entry(random.getrandbits(64))
        pair.all_agree()
        if pair.snapshot is None:
            if random.randrange(20) == 0:
                pair.begin_snapshot(random.randrange(1, 9))
        elif random.randrange(10) == 0:
            random.choice((pair.go_on_from_snapshot, pair.abandon_snapshot))()
        else:
            pair.read_snapshot(random.randrange(3))
    pair.replay()
    return pair


@pytest.mark.parametrize("seed", range(4))
def test_a_long_log_over_few_tasks_keeps_machine_and_model_together(seed: int) -> None:
    walk(seed, 300, FEW_IDS)


@pytest.mark.parametrize("seed", range(2))
def test_a_long_log_over_many_tasks_keeps_machine_and_model_together(seed: int) -> None:
    walk(seed, 150, MANY_IDS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 108))
def test_very_long_logs_keep_machine_and_model_together(seed: int) -> None:
    walk(seed, 2_000, FEW_IDS if seed % 2 else MANY_IDS[:60])


@pytest.mark.parametrize("shift", [0, 5, 13, 40])
def test_the_width_of_the_calendars_buckets_decides_nothing(
    shift: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = walk(7, 300, FEW_IDS).log
    machines = [Machine(), Machine()]
    narrow_or_wide = []
    for machine in machines:
        narrow_or_wide.append([apply(machine, data) for data in log])
        monkeypatch.setattr(calendar, "BUCKET_SHIFT", shift)
    assert narrow_or_wide[0] == narrow_or_wide[1]
    assert machines[0].digest() == machines[1].digest()
