"""Faults of clocks: set, too fast, too slow, standing still."""

from random import Random

from tests.simulation.clock import MILLION
from tests.simulation.faults.scene import Scene


def jump(scene: Scene, chance: Random) -> None:
    """Somebody sets a wall clock, and sets it right later."""
    node = scene.victim(chance)
    ms = chance.choice((-3_000, -400, 400, 3_000))
    node.clock.jump(ms * 1_000_000)
    scene.cluster.note_clocks()
    scene.later(chance.uniform(1.0, 10.0), lambda: node.clock.jump(-ms * 1_000_000))


def drift(scene: Scene, chance: Random) -> None:
    """A machine's clocks run too fast or too slow, by two percent at most."""
    node = scene.victim(chance)
    node.clock.run_at(MILLION + chance.choice((-20_000, -2_000, 2_000, 20_000)))

    def right() -> None:
        scene.cluster.note_clocks()
        node.clock.run_at(MILLION)

    scene.later(chance.uniform(2.0, 15.0), right)


def stall(scene: Scene, chance: Random) -> None:
    """A wall clock stands still for a while, and then is right again."""
    node = scene.victim(chance)
    node.clock.stall()

    def go_on() -> None:
        scene.cluster.note_clocks()
        node.clock.mend()

    scene.later(chance.uniform(0.5, 3.0), go_on)
