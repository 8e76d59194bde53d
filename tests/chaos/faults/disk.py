"""Faults of disks: full, and with room again."""

import asyncio
from random import Random
from typing import Final

from tests.chaos.disks import FREE_BYTES_MIN
from tests.chaos.faults.scene import Scene, hold_s

# More than a segment of the log (16 MiB), in values of nearly the largest size: the log must go on in a new segment.
_BULK_VALUES: Final = 20
_BULK_BYTES: Final = 900_000


async def disk_full(scene: Scene, chance: Random) -> None:
    """A node's disk fills up, wholly or until it takes no more inserts; later there is room again.

    Sometimes so much is inserted meanwhile that the node's log does not fit where it is. A node may end of it, with a
    sentence; then it is started again once there is room.
    """
    async with scene.victim(chance) as node:
        node.is_full = True
        ids: list[str] = []
        try:
            left = chance.choice((0, 0, 4 << 20, FREE_BYTES_MIN // 2))
            await asyncio.to_thread(node.disk.fill, left)
            scene.note(f"leaves {left} bytes")
            if chance.random() < 0.5:
                ids = await _insert_much(scene)
            await scene.hold(hold_s(chance))
        finally:
            await asyncio.to_thread(node.disk.drain)
        await scene.bring_back(node)
        await _delete(scene, ids)
        node.is_full = False


async def _insert_much(scene: Scene) -> list[str]:
    """Insert large values while they are taken; give their ids."""
    ids: list[str] = []
    for _ in range(_BULK_VALUES):
        part = {"queue": "/bulk", "value": "." * _BULK_BYTES}
        told = await scene.cluster.order("POST", "/v1/modify", {"inserts": [part]})
        if told is None or scene.is_over.is_set():
            break
        ids += [row["id"] for row in told["inserted"]]
    scene.note(f"{len(ids)} large values are in")
    return ids


async def _delete(scene: Scene, ids: list[str]) -> None:
    """Delete what was inserted; some may stay where a deletion was done and not heard of."""
    for id_ in ids:
        document = {"deletes": [{"id": id_, "version": 0}]}
        await scene.cluster.order("POST", "/v1/modify", document)
