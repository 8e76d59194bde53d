"""Faults of processes and of power: killed, paused, restarted, cut off in the middle of a call."""

from random import Random
from typing import Final

from tests.simulation.faults.scene import Scene
from tests.support.virtual_disk import Loss

_LOSSES: Final = tuple(Loss)
_AIMS: Final = ("sync_data", "sync_data", "write", "rename", "sync_directory", "create", "unlink",
                "sync", "allocate", "truncate")  # fmt: skip


def kill(scene: Scene, chance: Random) -> None:
    """SIGKILL, and a new start after a while."""
    node = scene.victim(chance)
    node.kill("killed")
    node.start_later(chance.choice((0.1, 1.0, 4.0)))


def restart(scene: Scene, chance: Random) -> None:
    """SIGTERM: it drains and comes back."""
    node = scene.victim(chance)
    node.stop()


def pause(scene: Scene, chance: Random) -> None:
    """SIGSTOP and SIGCONT, longer than leases and elections at times."""
    node = scene.victim(chance)
    if node.is_alive:
        node.process.pause()
        scene.world.after_s(chance.choice((0.05, 0.4, 1.5, 4.0)), node.process.resume)


def cut_power(scene: Scene, chance: Random) -> None:
    """One machine loses its power, and what it has not synced."""
    node = scene.victim(chance)
    node.cut_power(chance.choice(_LOSSES))
    node.start_later(chance.choice((0.2, 1.0, 4.0)))


def cut_all_power(scene: Scene, chance: Random) -> None:
    """All machines at once."""
    scene.victim(chance)
    for each in scene.cluster.nodes.values():
        if each.lives:
            each.cut_power(chance.choice(_LOSSES), "power cut of all")
            each.start_later(chance.uniform(0.1, 1.5))


def kill_all(scene: Scene, chance: Random) -> None:
    """All processes at once; what they wrote stays."""
    scene.victim(chance)
    for each in scene.cluster.nodes.values():
        if each.is_alive:
            each.kill("killed with all")
            each.start_later(chance.uniform(0.1, 1.0))


def aimed_cut(scene: Scene, chance: Random) -> None:
    """The power fails in the middle: at the next call of a kind, or some calls from now."""
    node = scene.victim(chance)
    if chance.random() < 0.7:
        node.disk.cut_in = chance.choice(_AIMS)
    else:
        node.disk.cut_at = node.disk.calls + chance.randint(1, 40)


def cut_while_starting(scene: Scene, chance: Random) -> None:
    """The power fails, comes back, and fails again while the node reads its files."""
    node = scene.victim(chance)
    node.cut_power(chance.choice(_LOSSES))
    node.disk.cut_at = node.disk.calls + chance.randint(1, 25)
    node.start_later(0.3)


def compact(scene: Scene, chance: Random) -> None:
    """A node takes a snapshot now, and keeps no log behind it."""
    scene.victim(chance).take_snapshot()
