"""Faults of disks that pass: slow, full, failing."""

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


def failing_read(scene: Scene, chance: Random) -> None:
    """A node restarts, and cannot read what it has: it must not start without it."""
    node = scene.victim(chance)
    node.kill("killed, and its disk cannot be read")
    call = chance.choice(("read", "read", "open", "names"))
    node.disk.faults.append(Fault(call, errno.EIO, after=chance.randint(0, 30)))
    node.start_later(0.3)
