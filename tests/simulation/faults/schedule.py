"""Which faults happen when: a list that a seed gives, of which any part can be left out.

Each fault has a stream of chance of its own, by its number: the others do the same with and without it, as far as the
run itself lets them. Whole runs are of a temper: some have all kinds of faults, some few, some none but heavy load.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple

from tests.simulation.faults import clock, disk, membership, network, process
from tests.simulation.faults.scene import Scene

Strike = Callable[[Scene, Random], None]

FAULTS: Final[dict[str, tuple[Strike, float]]] = {
    "isolate": (network.isolate, 2.0),
    "split": (network.split, 1.5),
    "one_way": (network.one_way, 1.5),
    "bridge": (network.bridge, 1.0),
    "hold": (network.hold, 2.0),
    "flap": (network.flap, 1.5),
    "slow": (network.slow, 1.0),
    "lossy": (network.lossy, 1.0),
    "repeating": (network.repeating, 1.0),
    "shuffling": (network.shuffling, 1.0),
    "late": (network.late, 1.5),
    "kill": (process.kill, 2.0),
    "restart": (process.restart, 1.0),
    "pause": (process.pause, 2.0),
    "cut_power": (process.cut_power, 2.0),
    "cut_all_power": (process.cut_all_power, 0.8),
    "kill_all": (process.kill_all, 0.4),
    "aimed_cut": (process.aimed_cut, 2.5),
    "cut_while_starting": (process.cut_while_starting, 0.8),
    "slow_disk": (disk.slow_disk, 2.0),
    "full_disk": (disk.full_disk, 1.0),
    "failing_sync": (disk.failing_sync, 0.7),
    "failing_write": (disk.failing_write, 0.5),
    "flip": (disk.flip, 0.3),
    "jump": (clock.jump, 1.0),
    "drift": (clock.drift, 0.7),
    "stall": (clock.stall, 0.5),
    "add": (membership.add, 0.7),
    "remove": (membership.remove, 0.7),
    "replace": (membership.replace, 0.7),
    "transfer": (membership.transfer, 1.5),
}
GROUPS: Final = (
    ("everything", 8, tuple(FAULTS)),
    ("network", 2, ("isolate", "split", "one_way", "bridge", "hold", "flap", "slow", "lossy",
                    "repeating", "shuffling", "late", "transfer")),
    ("power", 2, ("kill", "cut_power", "cut_all_power", "kill_all", "aimed_cut",
                  "cut_while_starting", "slow_disk", "isolate", "hold")),
    ("members", 1, ("add", "remove", "replace", "transfer", "kill", "aimed_cut", "isolate",
                    "hold", "split")),
    ("nothing", 1, ()),
)  # fmt: skip
_AMONG_SEVERAL: Final = frozenset(GROUPS[1][2])
EVERY_S: Final = (0.3, 1.0, 2.5)  # between two faults, on average


class Planned(NamedTuple):
    """One fault to come."""

    number: int
    at_s: float
    name: str


def plan(chance: Random, from_s: float, until_s: float) -> tuple[str, list[Planned]]:
    """The temper of a run, and its faults in order."""
    temper, _, names = chance.choices(GROUPS, [weight for _, weight, _ in GROUPS])[0]
    planned: list[Planned] = []
    if not names:
        return temper, planned
    every_s, at_s = chance.choice(EVERY_S), from_s
    weights = [FAULTS[name][1] for name in names]
    while True:
        at_s += chance.expovariate(1 / every_s)
        if at_s >= until_s:
            return temper, planned
        planned.append(Planned(len(planned), at_s, chance.choices(names, weights)[0]))


def carry_out(scene: Scene, planned: Sequence[Planned]) -> None:
    """Let planned faults happen when it is their time."""
    for fault in planned:
        scene.world.after_s(
            fault.at_s - scene.world.now_s, lambda fault=fault: _strike(scene, fault)
        )


def _strike(scene: Scene, fault: Planned) -> None:
    if scene.is_over or (fault.name in _AMONG_SEVERAL and len(scene.members()) < 2):
        return
    cluster, strike = scene.cluster, FAULTS[fault.name][0]
    cluster.world.note(f"fault {fault.number}: {fault.name}")
    scene.met = None
    strike(scene, scene.world.random(f"fault/{fault.number}"))
    cluster.coverage.note(fault.name, scene.met[1] if scene.met else ())
