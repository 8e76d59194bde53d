"""Which faults happen when: a list that a seed gives, of which any part can be left out.

Each fault has a stream of chance of its own, by its number: the others do the same with and without it, as far as the
run itself lets them. Whole runs are of a temper: some have all kinds of faults, some few, some none but heavy load.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final, NamedTuple

from tests.simulation.faults import clock, damage, disk, membership, network, process
from tests.simulation.faults.scene import Scene
from tests.simulation.hunting import Hunt
from tests.simulation.node import SimNode
from tests.simulation.states import IMPOSSIBLE

Strike = Callable[[Scene, Random], None]

FAULTS: Final[dict[str, tuple[Strike, float]]] = {
    "isolate": (network.isolate, 2.0),
    "split": (network.split, 1.5),
    "one_way": (network.one_way, 1.5),
    "bridge": (network.bridge, 1.0),
    "hold": (network.hold, 2.0),
    "flap": (network.flap, 1.5),
    "lag": (network.lag, 1.5),
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
    "compact": (process.compact, 0.7),
    "kill_all": (process.kill_all, 0.4),
    "aimed_cut": (process.aimed_cut, 2.5),
    "cut_while_starting": (process.cut_while_starting, 0.8),
    "slow_disk": (disk.slow_disk, 2.0),
    "full_disk": (disk.full_disk, 1.0),
    "failing_sync": (disk.failing_sync, 0.7),
    "failing_write": (disk.failing_write, 0.5),
    "failing_read": (disk.failing_read, 0.7),
    "flip": (damage.flip, 1.0),
    "spoil": (damage.spoil, 1.0),
    "wipe": (damage.wipe, 1.0),
    "put_back": (damage.put_back, 1.0),
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
    ("network", 2, ("isolate", "split", "one_way", "bridge", "hold", "flap", "lag", "slow",
                    "lossy", "repeating", "shuffling", "late", "transfer", "compact")),
    ("power", 2, ("kill", "cut_power", "cut_all_power", "kill_all", "aimed_cut",
                  "cut_while_starting", "slow_disk", "isolate", "hold", "lag", "compact", "transfer")),
    ("members", 1, ("add", "remove", "replace", "transfer", "kill", "aimed_cut", "isolate",
                    "hold", "split", "flip", "wipe", "pause", "lag", "restart")),
    ("nothing", 1, ()),
)  # fmt: skip
# States in which nodes are for moments only: faults of this share wait for one. How much each weighs.
HUNTED_SHARE: Final = 0.5
HUNTED: Final = {
    "candidate": 1.5, "learner": 1.5, "syncing": 0.7, "snapshotting": 1.5, "sending": 1.5, "installing": 2.5,
    "transferring": 1.5, "changing": 1.5, "forwarding": 0.7, "down": 0.7, "starting": 1.5,
    "draining": 1.5, "leaving": 1.0,
}  # fmt: skip
# What brings a node into a state, to happen as soon as a fault begins to wait for it.
_BRINGS: Final = {
    "candidate": ("isolate", "kill", "transfer"), "learner": ("add", "replace"),
    "sending": ("lag", "lag", "add"), "installing": ("lag", "lag", "add"),
    "snapshotting": ("compact",), "transferring": ("transfer",),
    "changing": ("add", "remove", "replace"), "leaving": ("remove", "replace"),
    "down": ("kill", "cut_power"), "starting": ("kill", "cut_power", "restart"),
    "draining": ("restart",),
}  # fmt: skip
BRINGING_SHARE: Final = 0.8
# What could not be done (a member cannot be spared just now) is tried again.
AGAIN_MAX: Final = 5
AGAIN_S: Final = 1.5


_AMONG_SEVERAL: Final = frozenset(GROUPS[1][2]) - {"compact"}
EVERY_S: Final = (0.3, 1.0, 2.5)  # between two faults, on average
# Where they are as dense as that nobody leads any more, and nobody gets work done: so they come in bursts, with lulls.
DENSE_S: Final = 0.5
BURST_S: Final = 4.0
LULL_S: Final = 8.0


class Planned(NamedTuple):
    """One fault to come. It waits for a node in ``state``, "" if it does not."""

    number: int
    at_s: float
    name: str
    state: str = ""
    bringing: str = ""  # the fault that is to bring one into the state

    def __str__(self) -> str:
        return f"{self.name} of who is {self.state}" if self.state else self.name


def plan(chance: Random, from_s: float, until_s: float) -> tuple[str, list[Planned]]:
    """The temper of a run, and its faults in order."""
    temper, _, names = chance.choices(GROUPS, [weight for _, weight, _ in GROUPS])[0]
    planned: list[Planned] = []
    if not names:
        return temper, planned
    every_s, at_s = chance.choice(EVERY_S), from_s
    weights = [FAULTS[name][1] for name in names]
    burst_ends_s = at_s + BURST_S
    while True:
        at_s += chance.expovariate(1 / every_s)
        if every_s < DENSE_S and at_s > burst_ends_s:
            at_s += LULL_S
            burst_ends_s = at_s + BURST_S
        if at_s >= until_s:
            return temper, planned
        name = chance.choices(names, weights)[0]
        state, bringing = _hunted(chance, name, names)
        planned.append(Planned(len(planned), at_s, name, state, bringing))


def _hunted(chance: Random, name: str, names: Sequence[str]) -> tuple[str, str]:
    """In which state a fault is to meet its victim, and what is to bring one there."""
    if chance.random() >= HUNTED_SHARE:
        return "", ""
    state = chance.choices(list(HUNTED), list(HUNTED.values()))[0]
    if (name, state) in IMPOSSIBLE:
        return "", ""
    bringing = [other for other in _BRINGS.get(state, ()) if other in names]
    return state, chance.choice(bringing) if bringing and chance.random() < BRINGING_SHARE else ""


def carry_out(scene: Scene, planned: Sequence[Planned]) -> None:
    """Let planned faults happen when it is their time."""
    for fault in planned:
        scene.world.after_s(fault.at_s - scene.world.now_s, partial(_begin, scene, fault))


def _begin(scene: Scene, fault: Planned, attempt: int = 0) -> None:
    if scene.is_over:
        return
    chance = scene.world.random(f"fault/{fault.number}{'+' * attempt}")

    def strike(aim: SimNode | None) -> None:
        if not _strike(scene, fault, fault.name, chance, aim) and attempt < AGAIN_MAX:
            scene.later(AGAIN_S, lambda: _begin(scene, fault, attempt + 1))

    def bring() -> None:
        if fault.bringing:
            _strike(scene, fault, fault.bringing, chance, None)

    if fault.state:
        scene.world.note(f"fault {fault.number} waits: {fault}")
        Hunt(scene.cluster, fault.state, chance, strike, bring)
    else:
        strike(None)


def _strike(scene: Scene, fault: Planned, name: str, chance: Random, aim: SimNode | None) -> bool:
    """Let it happen. Whether it could."""
    if scene.is_over or (name in _AMONG_SEVERAL and len(scene.members()) < 2):
        return True
    cluster = scene.cluster
    cluster.world.note(f"fault {fault.number}: {name}{f' of {aim.name}' if aim else ''}")
    scene.take_aim(aim)
    FAULTS[name][0](scene, chance)
    met = scene.hit()
    if met is None:
        return False
    cluster.coverage.note(name, met)
    return True
