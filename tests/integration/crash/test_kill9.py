"""A standalone node that is killed with -9 under load loses nothing that it acknowledged."""

import subprocess
from pathlib import Path

import pytest
from tests.support.crash.checker import violations
from tests.support.crash.rounds import run_rounds
from tests.support.node_process import REPOSITORY

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


@pytest.mark.parametrize("nodes", ["1", "3"])
def test_the_command_says_what_came_of_it(nodes: str) -> None:
    done = subprocess.run(
        ["scripts/crash", "--nodes", nodes, "--rounds", "1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 violations" in done.stdout
