"""A series of runs as ``scripts/simulate`` carries it out: it can be interrupted, and what is broken is not missed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.options import Options
from tests.simulation.series import Results, Series
from tests.simulation.summary import Summary

SHORT = ("--nodes", "3", "--minutes", "0.05")

FAILING = """
import os
from tests.simulation.options import Options
from tests.simulation.series import Results, Series
def run(options):
    if options.seed == 1:
        raise AssertionError("no")
    os._exit(3)
series = Series(run, Results(None, ""), print, jobs=2)
assert series.carry_out([Options(1), Options(2)])
for summary in series.summaries:
    print(summary.seed, summary.broken)
"""

# The second run ends its whole group, and whoever waits for it once more.
ENDED = """
import os, signal, sys
from tests.simulation import __main__ as main
from tests.simulation.summary import Summary
def carry_out(options, **_how):
    if options.seed == 2:
        os.killpg(0, signal.SIGTERM)
        os.kill(os.getppid(), signal.SIGTERM)
        signal.pause()
    return Summary(options.seed, options.command())
main.carry_out = carry_out
sys.argv[1:] = ["--seeds", "4", "--results", os.devnull]
sys.exit(main.main())
"""


def series(*options: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *SHORT, *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        capture_output=True,
        text=True,
    )


def hashes(path: Path) -> set[str]:
    lines = path.read_text("utf-8").splitlines()
    found = {line.partition('"trace_hash":"')[2][:32] for line in lines}
    assert len(found) == 4
    return found


@pytest.mark.slow
def test_an_interrupted_series_goes_on_where_it_ended(tmp_path: Path) -> None:
    file = tmp_path / "there" / "results"
    first = series("--seeds", "2", "--results", file)
    assert first.returncode == 0, first.stdout + first.stderr
    before = file.read_text("utf-8")
    file.write_text(before + before[: len(before) // 4], "utf-8")  # it was cut off in a line
    whole = series("--seeds", "4", "--results", file, "--jobs", "2")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert "2 of 4 seeds were run before, and count" in whole.stdout
    assert "nothing was broken" in whole.stdout
    assert file.read_text("utf-8").startswith(before)
    again = series("--seeds", "4", "--results", tmp_path / "other")
    assert "run before" not in again.stdout
    assert hashes(tmp_path / "other") == hashes(file)


@pytest.mark.slow
def test_runs_of_another_kind_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "results"
    assert series("--seeds", "1", "--results", file).returncode == 0
    other = series("--seeds", "1", "--results", file, "--faults", "none")
    assert "run before" not in other.stdout


@pytest.mark.slow
def test_a_series_with_a_broken_promise_fails_and_says_how_to_repeat_it(tmp_path: Path) -> None:
    told = series("--seed", "1", "--minutes", "0.233333", "--seeds", "2", "--plant", "apply_twice",
                  "--no-shrink", "--results", tmp_path / "results")  # fmt: skip
    assert told.returncode == 1
    assert (
        "scripts/simulate --seed 1 --nodes 3 --minutes 0.233333 --plant apply_twice" in told.stdout
    )
    assert "faults:" in told.stdout


def test_the_command_that_repeats_a_run_has_its_bug() -> None:
    options = Options(7, 3, 12.0, faults=(), plant="apply_twice")
    assert options.command() == (
        "scripts/simulate --seed 7 --nodes 3 --minutes 0.2 --faults none --plant apply_twice"
    )


def test_a_seed_that_two_series_have_run_counts_once(tmp_path: Path) -> None:
    results = Results(tmp_path / "results", "a-kind")
    for seed, broken in ((1, []), (1, ["lost"]), (2, []), (1, []), (2, [])):
        results.append(Summary(seed, "", broken=broken))
    whole = Series(pytest.fail, results, lambda _line: None, jobs=1)  # type: ignore[arg-type]
    assert whole.carry_out([Options(1), Options(2)])
    assert [(one.seed, one.broken) for one in whole.summaries] == [(1, ["lost"]), (2, [])]


def test_a_series_that_is_ended_says_how_far_it_got() -> None:
    told = subprocess.run(
        [sys.executable, "-c", ENDED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert told.returncode == 2, told.stdout + told.stderr
    assert [line.split() for line in told.stdout.splitlines() if "seeds  " in line] == [
        ["seeds", "1"]
    ]
    assert "cut off: 3 seeds were not run" in told.stdout


def test_a_run_that_ends_without_a_result_is_a_failure() -> None:
    told = subprocess.run(
        [sys.executable, "-c", FAILING],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "1 ['the simulation failed'" in told.stdout
    assert "2 ['its process ended without a word" in told.stdout
