"""Changes of the members in the middle of everything: what an operator does, at the worst of times."""

from random import Random

from tests.simulation.faults.scene import Scene


def add(scene: Scene, chance: Random) -> None:
    """A new node joins."""
    cluster = scene.cluster
    scene.victim(chance)
    if len(cluster.member_ids()) >= cluster.size + 2:
        scene.spare()
        return
    cluster.order(cluster.add)


def remove(scene: Scene, chance: Random) -> None:
    """A member goes, perhaps the leader."""
    node = scene.victim(chance)
    scene.cluster.order(lambda: scene.cluster.remove(node.name))


def replace(scene: Scene, chance: Random) -> None:
    """A new node takes a member's place."""
    node = scene.victim(chance)
    scene.cluster.order(lambda: scene.cluster.replace(node.name))


def transfer(scene: Scene, chance: Random) -> None:
    """The leadership moves on purpose."""
    scene.victim(chance)
    heirs = [
        node for node in scene.members() if node is not scene.cluster.leader and node.is_serving
    ]
    name = chance.choice(("", chance.choice(heirs or scene.members()).name))
    scene.cluster.order(lambda: scene.cluster.transfer(name))
