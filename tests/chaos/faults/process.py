"""Faults of processes: killed, stopped, started again."""

import asyncio
import time
from random import Random
from typing import Final

from tests.chaos.faults.scene import NobodyError, Scene

_AWAY_S: Final = (0.1, 3.0)
# Longer than an election (1 s) and than most leases (1 s), sometimes than the longest.
_SILENT_S: Final = (2.0, 5.5)


async def kill(scene: Scene, chance: Random) -> None:
    """SIGKILL; the node comes back soon."""
    async with scene.victim(chance) as node:
        scene.cluster.kill(node.id)
        await scene.hold(chance.uniform(*_AWAY_S))
        await scene.bring_back(node)


async def pause(scene: Scene, chance: Random) -> None:
    """SIGSTOP: its connections live, and nothing comes."""
    async with scene.victim(chance) as node:
        scene.cluster.pause(node.id)
        try:
            # The end of the round must not shorten what is only one when it is long.
            await asyncio.sleep(chance.uniform(*_SILENT_S))
        finally:
            scene.cluster.resume(node.id)


async def restart_all(scene: Scene, chance: Random) -> None:
    """All at once, killed or asked to stop."""
    async with scene.everybody() as nodes:
        if chance.random() < 0.6:
            scene.cluster.kill(*(node.id for node in nodes))
        else:
            await asyncio.gather(*(scene.cluster.stop(node.id) for node in nodes))
        await asyncio.gather(*(scene.bring_back(node) for node in nodes))


async def rolling_restart(scene: Scene, chance: Random) -> None:
    """One after the other, as an upgrade does it; the leader last or anywhere."""
    async with scene.everybody() as nodes:
        chance.shuffle(nodes)
        for node in nodes:
            if node.is_meant:
                await scene.cluster.stop(node.id)
                await scene.bring_back(node)


async def kill_minority(scene: Scene, chance: Random) -> None:
    """As many as may be lost, at one moment."""
    async with scene.everybody() as nodes:
        few = (len(scene.cluster.nodes) - 1) // 2
        if len(nodes) <= few:
            raise NobodyError("too few are free")
        victims = chance.sample(nodes, few)
        scene.note(f"kills {', '.join(node.id for node in victims)}")
        scene.cluster.kill(*(node.id for node in victims))
        began_s = time.monotonic()
        await scene.hold(chance.uniform(*_AWAY_S))
        await asyncio.gather(*(scene.bring_back(node) for node in victims))
        scene.note(f"were away for {time.monotonic() - began_s:.1f} s")
