"""The bounded part of ``scripts/powercuts``, for CI: a part of all calls, another one for each version of the code."""

import os
import re
import subprocess
import sys

import pytest

from tests.simulation.power_cuts import Cut
from tests.simulation.series import version

EVERY = 70


def power_cuts(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation.power_cuts", *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_when_the_power_of_all_nodes_fails_at_a_file_call() -> None:
    offset = int(version(), 16) % EVERY
    told = power_cuts("--every", f"{EVERY}", "--offset", f"{offset}", "--one-variant")
    assert told.returncode == 0, told.stdout + told.stderr
    first, met, last = told.stdout.splitlines()[-3:]
    calls = {word.split()[1]: int(word.split()[0]) for word in first.split(": ")[1].split(", ")}
    assert {"write", "sync_data", "sync", "sync_directory", "create", "rename", "unlink"} <= {
        *calls
    }
    installed, lists, leaderships = (int(number) for number in re.findall(r"\d+", met))
    assert installed >= 2  # of who lagged, and of who joined
    assert lists >= 4  # the first, one with a learner, one with four voters, one without another
    assert leaderships >= 3  # the first, after a transfer, after a death
    assert int(last.split()[0]) >= sum(calls.values()) // EVERY >= 25


def test_the_command_that_repeats_a_cut_has_its_bug() -> None:
    assert Cut(3, "AGAIN").command() == "scripts/powercuts --only 3 --variant AGAIN"
    command = "scripts/powercuts --only 3 --variant AGAIN --plant apply_twice"
    assert Cut(3, "AGAIN", "apply_twice").command() == command


@pytest.mark.slow
def test_a_snapshot_that_is_published_before_it_is_on_disk_is_caught() -> None:
    told = power_cuts("--plant", "publish_a_snapshot_unsynced", "--every", "100", "--variant", "EVERYTHING")  # fmt: skip
    assert told.returncode == 1, told.stdout
    assert "--plant publish_a_snapshot_unsynced" in told.stdout
