"""Faults of the network: between machines, in one direction or both."""

from collections.abc import Iterable
from random import Random

from tests.simulation.faults.scene import Scene
from tests.simulation.network import Path
from tests.simulation.node import SimNode


def _cut(
    scene: Scene, pairs: Iterable[tuple[SimNode, SimNode]], chance: Random, seconds: float
) -> None:
    fabric, is_reset = scene.cluster.fabric, chance.random() < 0.5
    names = [(source.name, target.name) for source, target in pairs]
    for source, target in names:
        fabric.cut(source, target, is_reset=is_reset)

    def heal() -> None:
        for source, target in names:
            fabric.release(source, target)

    scene.later(seconds, heal)


def _both_ways(one: Iterable[SimNode], other: Iterable[SimNode]) -> list[tuple[SimNode, SimNode]]:
    pairs = [(first, second) for first in one for second in other]
    return pairs + [(second, first) for first, second in pairs]


def isolate(scene: Scene, chance: Random) -> None:
    """One machine reaches nobody, and nobody it."""
    node = scene.victim(chance)
    _cut(scene, _both_ways([node], scene.others(node)), chance, chance.uniform(0.3, 6.0))


def split(scene: Scene, chance: Random) -> None:
    """Two groups of machines do not reach each other."""
    nodes = scene.shuffled(chance)
    scene.choose(nodes[0])
    at = chance.randint(1, len(nodes) - 1)
    _cut(scene, _both_ways(nodes[:at], nodes[at:]), chance, chance.uniform(0.5, 6.0))


def one_way(scene: Scene, chance: Random) -> None:
    """A machine can be heard and hears nobody, or the reverse."""
    node = scene.victim(chance)
    others = scene.others(node)
    is_deaf = chance.random() < 0.5
    pairs = [(other, node) if is_deaf else (node, other) for other in others]
    if chance.random() < 0.5:
        pairs = [chance.choice(pairs)]
    _cut(scene, pairs, chance, chance.uniform(0.3, 5.0))


def bridge(scene: Scene, chance: Random) -> None:
    """Two groups reach each other through one machine only."""
    nodes = scene.shuffled(chance)
    scene.choose(nodes[0])
    rest = nodes[1:]
    at = max(1, len(rest) // 2)
    _cut(scene, _both_ways(rest[:at], rest[at:]), chance, chance.uniform(0.5, 6.0))


def hold(scene: Scene, chance: Random) -> None:
    """What one machine sends another waits, over elections perhaps, and comes then."""
    source, target = scene.pair(chance)
    fabric = scene.cluster.fabric
    fabric.path(source.name, target.name).is_held = True
    scene.later(
        chance.choice((0.3, 1.0, 3.0, 8.0)), lambda: fabric.release(source.name, target.name)
    )


def lag(scene: Scene, chance: Random) -> None:
    """A machine is cut off until the others have cut their logs: it comes back and needs a snapshot."""
    node = scene.victim(chance)
    if scene.aim is None and node is scene.cluster.leader:
        node = scene.choose(scene.shuffled(chance)[0])
    seconds = chance.uniform(0.8, 4.0)
    _cut(scene, _both_ways([node], scene.others(node)), chance, seconds)

    def compact() -> None:
        for other in scene.others(node):
            other.take_snapshot()

    scene.later(0.8 * seconds, compact)


def flap(scene: Scene, chance: Random) -> None:
    """Connections of a machine break again and again."""
    node = scene.victim(chance)
    fabric = scene.cluster.fabric

    def break_some(times: int) -> None:
        links = [link for ends, link in sorted(fabric.links.items()) if node.name in ends]
        for link in links:
            if chance.random() < 0.5:
                fabric.break_link(link)
        if times:
            scene.later(chance.uniform(0.05, 0.8), lambda: break_some(times - 1))

    break_some(chance.randint(1, 8))


def _worsen(
    scene: Scene, chance: Random, node: SimNode, **fields: float | tuple[float, float]
) -> None:
    fabric = scene.cluster.fabric
    paths: list[Path] = []
    for other in scene.others(node):
        for source, target in ((node, other), (other, node)):
            if chance.random() < 0.7:
                paths.append(fabric.path(source.name, target.name))
    fresh = Path()
    for path in paths:
        for name, value in fields.items():
            setattr(path, name, value)

    def better() -> None:
        for path in paths:
            for name in fields:
                setattr(path, name, getattr(fresh, name))

    scene.later(chance.uniform(1.0, 8.0), better)


def slow(scene: Scene, chance: Random) -> None:
    """Packets of a machine take long."""
    node = scene.victim(chance)
    most = chance.choice((0.02, 0.1, 0.4))
    _worsen(scene, chance, node, delay_s=(most / 4, most))


def lossy(scene: Scene, chance: Random) -> None:
    """Packets are lost, although connections stay."""
    node = scene.victim(chance)
    _worsen(scene, chance, node, loss=chance.choice((0.02, 0.1, 0.3)))


def repeating(scene: Scene, chance: Random) -> None:
    """Packets come twice, some of them late."""
    node = scene.victim(chance)
    _worsen(scene, chance, node, repeats=chance.choice((0.05, 0.3)))


def shuffling(scene: Scene, chance: Random) -> None:
    """Packets overtake each other."""
    node = scene.victim(chance)
    _worsen(scene, chance, node, shuffles=chance.choice((0.05, 0.3)))


def late(scene: Scene, chance: Random) -> None:
    """When connections break, what was on its way arrives later, among what newer ones bring."""
    node = scene.victim(chance)
    _worsen(scene, chance, node, late=0.8)
    flap(scene, chance)
