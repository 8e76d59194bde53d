"""A standalone node that is killed with -9 under load loses nothing that it acknowledged."""

from pathlib import Path

import pytest
from tests.support.crash.checker import violations
from tests.support.crash.rounds import run_rounds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROUNDS = 12  # scripts/crash runs 200


@pytest.mark.asyncio
async def test_nothing_acknowledged_is_lost_and_nothing_completed_returns(tmp_path: Path) -> None:
    history = await run_rounds(tmp_path / "data", ROUNDS, seed=1)
    assert violations(history) == []
    assert len(history.inserted) > 100
    assert len(history.deleted) > 100


@pytest.mark.asyncio
async def test_the_same_holds_while_snapshots_are_taken_all_the_time(tmp_path: Path) -> None:
    history = await run_rounds(tmp_path / "data", ROUNDS, 2, "--snapshot-bytes", "65536")
    assert violations(history) == []
    assert len(history.inserted) > 100
