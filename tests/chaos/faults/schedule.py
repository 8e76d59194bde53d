"""Which faults happen when: a list that a seed gives. Every kind has its turn before one comes again.

Each fault has a stream of chance of its own, by its number, so it does the same whatever else is on. Whom it hits depends on who
leads at that moment, which no seed can fix among real processes.
"""

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final, NamedTuple

from tests.chaos.faults import clock, disk, membership, network, process
from tests.chaos.faults.scene import Scene

Strike = Callable[[Scene, Random], Awaitable[None]]

FAULTS: Final[dict[str, Strike]] = {
    "split": network.split,
    "isolate_leader": network.isolate_leader,
    "one_way": network.one_way,
    "bridge": network.bridge,
    "flapping": network.flapping,
    "slow": network.slow,
    "half_open": network.half_open,
    "lose_clients": network.lose_clients,
    "kill": process.kill,
    "kill_minority": process.kill_minority,
    "pause": process.pause,
    "restart_all": process.restart_all,
    "rolling_restart": process.rolling_restart,
    "disk_full": disk.disk_full,
    "clock_jump": clock.clock_jump,
    "clock_drift": clock.clock_drift,
    "transfer": membership.transfer,
    "replace": membership.replace,
}
NEEDS_DISKS: Final = frozenset({"disk_full"})
ROUND_S: Final = 40.0  # of faults; what comes after is healing and judging
FIRST_S: Final = 1.5  # of a round are quiet
EVERY_S: Final = (1.5, 5.0)  # between two faults: most overlap with the one before


class Planned(NamedTuple):
    """One fault to come: its number in the run, when in its round, and its kind."""

    number: int
    at_s: float
    name: str


def plan(
    seed: int, nodes: int, names: Sequence[str], rounds: int, round_s: float = ROUND_S
) -> list[list[Planned]]:
    """The faults of every round, in order."""
    chance = Random(f"{seed}/{nodes}/plan")
    bag: list[str] = []
    planned: list[list[Planned]] = []
    number = 0
    for _ in range(rounds):
        planned.append([])
        at_s = FIRST_S
        while names and at_s < round_s:
            bag = bag or chance.sample(list(names), len(names))
            number += 1
            planned[-1].append(Planned(number, at_s, bag.pop()))
            at_s += chance.uniform(*EVERY_S)
    return planned


def chance_of(seed: int, fault: Planned) -> Random:
    """A fault's own stream."""
    return Random(f"{seed}/fault/{fault.number}")
