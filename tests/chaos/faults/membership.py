"""What an operator does while other things go wrong: hand over the leadership, and change the members."""

import asyncio
from random import Random
from typing import Final

from tests.chaos.faults.scene import NobodyError, Scene

_ASK_AGAIN_S: Final = 0.5
_VOTES: Final = frozenset({"leader", "follower"})


async def transfer(scene: Scene, chance: Random) -> None:
    """The leadership moves on purpose, some times."""
    for _ in range(chance.randint(1, 4)):
        to = chance.choice(["", *scene.cluster.nodes])
        told = await scene.cluster.order("POST", "/v1/cluster/transfer", {"to": to} if to else {})
        scene.note(f"to {to or 'anybody'}: {'done' if told is not None else 'refused'}")
        await scene.hold(chance.uniform(0.2, 1.5))
        if scene.is_over.is_set():
            return


async def replace(scene: Scene, chance: Random) -> None:
    """A new node joins, and once it votes another goes: the leader perhaps, or one that is down.

    It takes as long as it takes; after the end of a round it has to come to its end.
    """
    if not scene.cluster.has_room():
        raise NobodyError("no place is free")
    new = scene.cluster.add()
    scene.note(f"{new.id} joins at {new.place}")
    await scene.bring_back(new)  # whoever joins is ready once it is in
    while await scene.cluster.role(new.id) not in _VOTES:
        await asyncio.sleep(_ASK_AGAIN_S)
    async with scene.victim(chance) as old:
        old.is_leaving = True
        while await scene.cluster.role(old.id) != "":
            await scene.cluster.order("DELETE", f"/v1/cluster/members/{old.id}")
            await asyncio.sleep(_ASK_AGAIN_S)
        scene.note(f"{old.id} is removed")
        await scene.cluster.forget(old.id)
