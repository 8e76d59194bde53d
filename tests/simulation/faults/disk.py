"""Faults of disks: slow, full, failing, damaged."""

import errno
from random import Random
from typing import Final

from tests.simulation.faults.scene import Scene
from tests.support.virtual_disk import Fault

_USUAL_S: Final = (0.0002, 0.002)


def slow_disk(scene: Scene, chance: Random) -> None:
    """Syncs take long, for a while."""
    node = scene.victim(chance)
    most = chance.choice((0.02, 0.1, 0.6, 2.0))
    node.disk.sync_s = (most / 3, most)

    def fast() -> None:
        node.disk.sync_s = _USUAL_S

    scene.later(chance.uniform(0.5, 4.0), fast)


def full_disk(scene: Scene, chance: Random) -> None:
    """There is no more space, for a while."""
    node = scene.victim(chance)
    node.disk.capacity_bytes = node.disk.used_bytes() + chance.choice((0, 4096, 40_000))

    def room() -> None:
        node.disk.capacity_bytes = None

    scene.later(chance.uniform(0.5, 6.0), room)


def failing_sync(scene: Scene, chance: Random) -> None:
    """A sync fails: the node must stop, for nobody knows what is on the disk."""
    node = scene.victim(chance)
    call = chance.choice(("sync_data", "sync_data", "sync", "sync_directory"))
    node.disk.faults.append(Fault(call, errno.EIO, after=chance.randint(0, 3)))
    node.has_failing_disk = True


def failing_write(scene: Scene, chance: Random) -> None:
    """A write fails half-way."""
    node = scene.victim(chance)
    error = chance.choice((errno.EIO, errno.ENOSPC))
    node.disk.faults.append(Fault("write", error, after=chance.randint(0, 10)))
    node.has_failing_disk = True


def flip(scene: Scene, chance: Random) -> None:
    """A bit of a machine's files turns over while its power is off. One machine in a run, of three voters at least.

    It must be noticed when the node starts: it refuses to, and is replaced by a new one.
    """
    node = scene.victim(chance)
    if not scene.cluster.may_damage():
        return
    node.kill("killed, to be damaged")
    disk = node.disk
    paths = [
        path for path in disk.paths() if path.suffix in {".log", ".snap"} or path.name == "votes"
    ]
    if not paths:
        node.start_later()
        return
    path = chance.choice(paths)
    data = disk.content(path).rstrip(b"\0")
    if data:
        disk.flip(path, chance.randrange(len(data) * 8))
        node.is_damaged = True
        scene.world.note(f"a bit of {node.name} {path.name} is flipped")
    node.start_later(0.5)
