"""Faults of the network: who does not reach whom. Nobody is told: packets vanish, connections stay as they look."""

from random import Random

from tests.chaos.faults.scene import NobodyError, Scene, both_ways, hold_s
from tests.chaos.networks.api import CLIENTS, Slow


async def split(scene: Scene, chance: Random) -> None:
    """A minority and a majority do not reach each other; clients reach both."""
    places = scene.places()
    chance.shuffle(places)
    few = chance.randint(1, max(1, (len(places) - 1) // 2))
    async with scene.cut(both_ways(places[:few], places[few:])):
        await scene.hold(hold_s(chance))


async def isolate_leader(scene: Scene, chance: Random) -> None:
    """The leader reaches no other node, and none reaches it."""
    leader = await scene.leader_place()
    others = [place for place in scene.places() if place != leader]
    async with scene.cut(both_ways([leader], others)):
        await scene.hold(hold_s(chance))


async def one_way(scene: Scene, chance: Random) -> None:
    """A node is heard and hears nobody, or the reverse; or so it is with one other node only."""
    place = await scene.victim_place(chance)
    others = [other for other in scene.places() if other != place]
    if chance.random() < 0.4:
        others = [chance.choice(others)]
    is_deaf = chance.random() < 0.5
    async with scene.cut((other, place) if is_deaf else (place, other) for other in others):
        await scene.hold(hold_s(chance))


async def bridge(scene: Scene, chance: Random) -> None:
    """Two groups reach each other through one node only, which sees both."""
    places = scene.places()
    chance.shuffle(places)
    if len(places) < 3:
        raise NobodyError("two nodes need no bridge")
    rest = places[1:]
    half = max(1, len(rest) // 2)
    async with scene.cut(both_ways(rest[:half], rest[half:])):
        await scene.hold(hold_s(chance))


async def flapping(scene: Scene, chance: Random) -> None:
    """A node is cut off and comes back, again and again."""
    place = await scene.victim_place(chance)
    others = [other for other in scene.places() if other != place]
    for _ in range(chance.randint(3, 7)):
        async with scene.cut(both_ways([place], others)):
            await scene.hold(chance.uniform(0.1, 1.2))
        await scene.hold(chance.uniform(0.1, 1.0))
        if scene.is_over.is_set():
            return


async def slow(scene: Scene, chance: Random) -> None:
    """Packets of a node, or of all, take long, some are lost, and few fit on the line."""
    place = await scene.victim_place(chance)
    worse = Slow(
        delay_ms=chance.choice((20, 80, 200)),
        loss_percent=chance.choice((0, 2, 10)),
        rate_kbit=chance.choice((512, 2_000)),
    )
    places = [place] if chance.random() < 0.75 else scene.places()
    async with scene.slow(dict.fromkeys(places, worse)):
        await scene.hold(hold_s(chance))


async def half_open(scene: Scene, chance: Random) -> None:
    """A node dies behind a cut: others keep connections to nobody, until it is back and the cut is mended."""
    async with scene.victim(chance) as node:
        others = [place for place in scene.places() if place != node.place]
        async with scene.cut(both_ways([node.place], [*others, CLIENTS])):
            scene.cluster.kill(node.id)
            await scene.hold(chance.uniform(0.5, 3.0))
        await scene.bring_back(node)


async def lose_clients(scene: Scene, chance: Random) -> None:
    """Clients do not reach a node, or do not hear it; nodes reach each other."""
    place = await scene.victim_place(chance)
    links = both_ways([place], [CLIENTS])
    if chance.random() < 0.5:
        links = [chance.choice(links)]
    async with scene.cut(links):
        await scene.hold(hold_s(chance))
