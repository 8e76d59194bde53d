"""Faults of wall clocks: set wrong, or running wrong. Monotonic clocks are right, as those of machines are."""

from random import Random
from typing import Final

from tests.chaos.faults.scene import Scene, hold_s

_NS_PER_MS: Final = 1_000_000
# Within the bound that nodes allow (500 ms), beyond it, and hours away.
_JUMPS_MS: Final = (200, 900, 5_000, 3_600_000)
_STEPS: Final = 40


async def clock_jump(scene: Scene, chance: Random) -> None:
    """The clock of one node is set to another time, and back."""
    async with scene.victim(chance) as node:
        off_ms = chance.choice(_JUMPS_MS) * chance.choice((-1, 1))
        scene.note(f"{node.id} is off by {off_ms} ms")
        node.clock.set(off_ms * _NS_PER_MS)
        try:
            await scene.hold(hold_s(chance))
        finally:
            node.clock.set(0)


async def clock_drift(scene: Scene, chance: Random) -> None:
    """The clock of one node runs too fast or too slow, up to a few seconds; then it is set right."""
    async with scene.victim(chance) as node:
        rate = chance.choice((0.05, 0.5)) * chance.choice((-1, 1))
        step_s = hold_s(chance) / _STEPS
        try:
            for step in range(_STEPS):
                node.clock.set(int(step * step_s * rate * 1_000_000_000))
                await scene.hold(step_s)
        finally:
            node.clock.set(0)
