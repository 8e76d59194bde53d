"""What the simulation's generator plans."""

from bisect import bisect_left
from collections import Counter
from random import Random

from tests.simulation.faults.schedule import BURST_S, FAULTS, GROUPS, HUNTED, LULL_S, plan
from tests.simulation.states import IMPOSSIBLE, STATES

PLANS = [plan(Random(seed), 1.0, 60.0)[1] for seed in range(900)]


def test_no_fault_waits_for_a_state_in_which_it_can_do_nothing():
    waiting = {(fault.name, fault.state) for planned in PLANS for fault in planned if fault.state}
    assert not waiting & IMPOSSIBLE


def test_each_fault_waits_for_each_state_that_it_can_meet():
    waiting = {(fault.name, fault.state) for planned in PLANS for fault in planned if fault.state}
    possible = {(fault, state) for fault in FAULTS for state in HUNTED} - IMPOSSIBLE
    assert possible - waiting == set()


def test_every_fault_of_a_temper_is_known_and_happens():
    assert {name for _, _, names in GROUPS for name in names} == set(FAULTS)
    counts = Counter(fault.name for planned in PLANS for fault in planned)
    assert min(counts[name] for name in FAULTS) > 50


def test_where_faults_are_dense_there_are_lulls_in_which_work_is_done():
    # Without them a cluster of three had a leader for a tenth of the time, and nothing was acknowledged.
    for planned in PLANS:
        times = [fault.at_s for fault in planned]
        for place, at_s in enumerate(times):
            assert bisect_left(times, at_s + BURST_S + LULL_S) - place < 35


def test_states_that_are_waited_for_are_states():
    assert set(HUNTED) <= set(STATES)
