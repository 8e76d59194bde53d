"""The faults of a run are its seed's, and every kind has its turn."""

from collections import Counter

from tests.chaos.faults.schedule import FAULTS, ROUND_S, chance_of, plan
from tests.chaos.options import Options

NAMES = list(FAULTS)


def test_the_same_seed_plans_the_same_faults() -> None:
    assert plan(7, 3, NAMES, 4) == plan(7, 3, NAMES, 4)
    assert plan(7, 3, NAMES, 4) != plan(8, 3, NAMES, 4)
    assert plan(7, 3, NAMES, 4) != plan(7, 5, NAMES, 4)


def test_a_round_is_planned_alike_whatever_comes_after_it() -> None:
    assert plan(7, 3, NAMES, 2) == plan(7, 3, NAMES, 9)[:2]


def test_every_kind_has_its_turn_before_one_comes_again() -> None:
    names = [fault.name for faults in plan(3, 5, NAMES, 10) for fault in faults]
    for start in range(0, len(names) - len(NAMES), len(NAMES)):
        assert Counter(names[start : start + len(NAMES)]) == Counter(NAMES)


def test_faults_come_in_order_and_within_their_round() -> None:
    for faults in plan(5, 3, NAMES, 6):
        times = [fault.at_s for fault in faults]
        assert times == sorted(times)
        assert 0 < times[0] <= times[-1] < ROUND_S


def test_only_the_faults_that_were_asked_for_are_planned() -> None:
    assert {f.name for faults in plan(1, 3, ["kill"], 3) for f in faults} == {"kill"}
    assert plan(1, 3, [], 3) == [[], [], []]


def test_a_fault_has_a_stream_of_its_own() -> None:
    (first, second, *_), *_ = plan(1, 3, NAMES, 1)
    assert chance_of(1, first).random() == chance_of(1, first).random()
    assert chance_of(1, first).random() != chance_of(1, second).random()
    assert chance_of(1, first).random() != chance_of(2, first).random()


def test_the_command_repeats_the_run() -> None:
    assert Options(7, 5, 0.5).command() == "scripts/chaos --seed 7 --nodes 5 --minutes 0.5"
    full = Options(7, 3, 10.0, ("kill", "slow"), proxies=True, plant="commit_alone", alone=True)
    assert full.command(2) == (
        "scripts/chaos --seed 7 --nodes 3 --minutes 10 --faults kill,slow --proxies"
        " --alone --plant commit_alone --round 2"
    )
