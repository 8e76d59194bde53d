"""What is planted in the nodes of a run, and the clocks that they see."""

import time
from pathlib import Path

import pytest
from tests.chaos.planting import BUGS, planted
from tests.chaos.raftqd import WallClock

from raftq_cluster.backends.raft.consensus import Consensus


def test_a_clock_is_off_as_another_process_says(tmp_path: Path) -> None:
    ours, theirs = WallClock(tmp_path / "clock"), WallClock(tmp_path / "clock")
    seen = theirs.shifted(lambda: 1_000)
    assert seen() == 1_000
    ours.set(-400)
    assert seen() == 600
    ours.set(0)
    assert seen() == 1_000


def test_a_clock_keeps_its_error_over_a_restart(tmp_path: Path) -> None:
    WallClock(tmp_path / "clock").set(77)
    assert WallClock(tmp_path / "clock").shifted(time.time_ns)() > 77
    assert WallClock(tmp_path / "clock").offset_ns() == 77


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_bug_is_there_while_it_is_planted_and_no_longer(bug: str) -> None:
    before = Consensus.send_round
    with planted(bug):
        assert (Consensus.send_round is not before) == (bug == "commit_alone")
    assert Consensus.send_round is before
