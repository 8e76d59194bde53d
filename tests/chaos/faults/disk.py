"""Faults of disks: full, and with room again."""

import asyncio
from random import Random

from tests.chaos.disks import FREE_BYTES_MIN
from tests.chaos.faults.scene import Scene, hold_s


async def disk_full(scene: Scene, chance: Random) -> None:
    """A node's disk fills up, wholly or until it takes no more inserts; later there is room again.

    A node may end of it, with a sentence; then it is started again once there is room.
    """
    async with scene.victim(chance) as node:
        node.is_full = True
        try:
            left = chance.choice((0, 0, 4 << 20, FREE_BYTES_MIN // 2))
            await asyncio.to_thread(node.disk.fill, left)
            scene.note(f"leaves {left} bytes")
            await scene.hold(hold_s(chance))
        finally:
            await asyncio.to_thread(node.disk.drain)
        await scene.bring_back(node)
        node.is_full = False
