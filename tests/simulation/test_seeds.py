"""The bounded part of the simulation, for CI: some seeds, and that a seed repeats itself.

``scripts/simulate`` runs any number of longer ones; ``docs/guarantees.md`` says how many have been run.
"""

import os
import subprocess
import sys

import pytest

from tests.simulation.__main__ import arguments, todo_of
from tests.simulation.clients.kinds import Producer
from tests.simulation.coverage import Coverage
from tests.simulation.faults.schedule import Planned
from tests.simulation.options import Options
from tests.simulation.shrinking import Shrinker
from tests.simulation.simulation import Result, simulate

SECONDS = 12.0
SEEDS = 10

ONE_HASH = """
from tests.simulation.options import Options
from tests.simulation.simulation import simulate
print(simulate(Options({seed}, 3, {seconds})).trace_hash)
"""


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [3, 5])
@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_a_seed_breaks_no_promise(seed: int, nodes: int) -> None:
    result = simulate(Options(seed, nodes, SECONDS))
    assert result.broken == [], result.options.command()


@pytest.mark.slow
def test_a_node_alone_breaks_no_promise() -> None:
    for seed in range(1, 9):
        result = simulate(Options(seed, 1, SECONDS))
        assert result.broken == [], result.options.command()


@pytest.mark.slow
def test_the_same_seed_is_the_same_run_whatever_the_hash_seed() -> None:
    script = ONE_HASH.format(seed=5, seconds=8.0)
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={
                **os.environ,
                "PYTHONHASHSEED": hash_seed,
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(hashes) == 1
    assert simulate(Options(5, 3, 8.0)).trace_hash == hashes.pop().strip()
    assert simulate(Options(6, 3, 8.0)).trace_hash not in hashes


@pytest.mark.slow
def test_faults_can_be_left_out() -> None:
    result = simulate(Options(5, 3, 8.0, faults=(), clients=(0, 4)))
    assert result.broken == []
    assert result.counts["faults"] == 0
    assert result.counts["leaderships"] == 1


@pytest.mark.slow
def test_clients_of_any_kind_alone_make_progress() -> None:
    for clients in ((13, 14, 15, 16), (19, 20, 21, 16), (8, 9, 10, 11)):
        assert simulate(Options(1, 3, 4.0, faults=(), clients=clients)).broken == []


@pytest.mark.slow
def test_a_client_that_is_never_told_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait_for_ever(self: Producer) -> None:
        await self.gateway.process.create_future()

    monkeypatch.setattr(Producer, "step", wait_for_ever)
    (sentence,) = simulate(Options(1, 3, 4.0, faults=())).broken
    assert "['c0', 'c1', 'c2', 'c3'] are still at a call" in sentence


def test_a_lost_task_is_not_made_smaller_to_a_cluster_that_stands_still() -> None:
    def run(options: Options) -> Result:
        """Lost with fault 3; without it there is just no progress."""
        chosen = range(10) if options.faults is None else options.faults
        broken = ["no progress: none", *(["lost: v1"] if 3 in chosen else [])]
        planned = [Planned(number, 1.0, "kill") for number in range(10)]
        return Result(options, "", broken, "", [], 100.0, planned, 5, Coverage())

    smaller = Shrinker(run, lambda _said: None).shrink(run(Options(9, 3, 60.0)))
    assert smaller.options.faults == (3,)


def test_the_command_of_a_run_gives_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in (14.0, 8.0, 20.0, 60.0, 100.0):
        options = Options(7, 5, seconds, (1, 2), ())
        monkeypatch.setattr("sys.argv", options.command().split())
        assert todo_of(arguments()) == [options]


def test_a_failing_run_is_made_smaller() -> None:
    def run(options: Options) -> Result:
        """Broken as long as faults 3 and 7 and client 2 are there."""
        chosen = range(10) if options.faults is None else options.faults
        clients = range(5) if options.clients is None else options.clients
        broken = ["it is"] if {3, 7} <= {*chosen} and 2 in clients else []
        planned = [Planned(number, 1.0, "kill") for number in range(10)]
        return Result(options, "", broken, "", [], 100.0, planned, 5, Coverage())

    said: list[str] = []
    smaller = Shrinker(run, said.append).shrink(run(Options(9, 3, 60.0)))
    assert smaller.options == Options(9, 3, 60.0, faults=(3, 7), clients=(2,))
    assert said[-1] == (
        "still broken: scripts/simulate --seed 9 --nodes 3 --minutes 1 --faults 3,7 --clients 2"
    )
