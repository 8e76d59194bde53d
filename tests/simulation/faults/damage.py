"""What a machine does not recover from: a bit that turned over, lost or old files. The operator replaces it.

A member is damaged only while the others can do without it for good (``Cluster.may_damage``). What is wrong must be noticed:
by the node when it starts, or by the others when it comes back with less than it once held.
"""

import copy
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from raftq_cluster.backends.raft.storage.data_dir import COPY_REPORT_NAME
from tests.simulation.faults.scene import Scene
from tests.simulation.node import SimNode
from tests.simulation.states import states_of
from tests.support.virtual_disk import Loss
from tests.support.virtual_inode import PAGE_BYTES

_LOSSES: Final = (Loss.NOTHING, Loss.EVERYTHING, Loss.ORDERED)
NOTICED_S: Final = (3.0, 12.0)  # until the operator sees to it
# Of putting a copy back: it may run for moments only, which are waited for.
TRIES: Final = 20
TRY_EVERY_S: Final = 0.7


def _damaged(scene: Scene, chance: Random, node: SimNode, what: str) -> None:
    """Bring it back as it is now, and have the operator replace it some time later."""
    node.is_damaged = True
    scene.world.note(f"{node.name} is damaged: {what}")
    node.start_later(0.5)

    def replace() -> None:
        if not node.is_serving and node.name in scene.cluster.member_ids():
            scene.cluster.order(lambda: scene.cluster.replace(node.name))

    if chance.random() < 0.7:
        scene.later(chance.uniform(*NOTICED_S), replace)


def _files(node: SimNode) -> list[Path]:
    return [path for path in node.disk.paths()
            if path.suffix in {".log", ".snap"} or path.name == "votes"]  # fmt: skip


def flip(scene: Scene, chance: Random) -> None:
    """A bit of a machine's files turns over while its power is off."""
    node = scene.victim(chance)
    paths = _files(node)
    if not paths or not scene.cluster.may_damage():
        scene.spare()
        return
    node.kill("killed, to be damaged")
    path = chance.choice(paths)
    data = node.disk.content(path).rstrip(b"\0")
    if data:
        node.disk.flip(path, chance.randrange(len(data) * 8))
    node.on_lack = partial(_run_while_remembered, scene, node)
    _damaged(scene, chance, node, f"a bit of {path.name} is flipped")


def spoil(scene: Scene, chance: Random) -> None:
    """A file is shorter than it was, empty, gone, or has a page of zeros."""
    node = scene.victim(chance)
    paths = _files(node)
    if not paths or not scene.cluster.may_damage():
        scene.spare()
        return
    node.kill("killed, to be damaged")
    path, way = chance.choice(paths), chance.choice(("cut", "emptied", "gone", "a page of zeros"))
    data = node.disk.content(path)
    if way == "gone":
        node.disk.remove(path)
    elif way == "a page of zeros":
        at = chance.randrange(max(1, len(data.rstrip(b"\0")))) // PAGE_BYTES * PAGE_BYTES
        node.disk.replace(path, data[:at] + bytes(len(data[at:][:PAGE_BYTES])) + data[at:][PAGE_BYTES:])  # fmt: skip
    else:
        node.disk.replace(
            path, b"" if way == "emptied" else data[: chance.randrange(len(data) + 1)]
        )
    node.on_lack = partial(_run_while_remembered, scene, node)
    _damaged(scene, chance, node, f"{path.name} is {way}")


def wipe(scene: Scene, chance: Random) -> None:
    """A machine comes back under its name with an empty disk."""
    node = scene.victim(chance)
    if not scene.cluster.may_damage():
        scene.spare()
        return
    node.kill("killed, to be damaged")
    for path in node.disk.paths():
        node.disk.remove(path)
    _damaged(scene, chance, node, "its disk is empty")


def put_back(scene: Scene, chance: Random) -> None:
    """Somebody puts an older copy of all files back.

    It is promised to be noticed as long as those whom the node meets remember more of it (``pasts``). So it runs only while
    all other members do, until one of them has refused it: then it must not start again, whoever is there.
    """
    node = scene.victim(chance)
    if node.engine is None:
        scene.spare()
        return
    kept = copy.deepcopy(node.disk._directories)
    birth = node.running.identity.birth
    end = node.engine.consensus.log_end()

    def do_remember() -> bool:
        others = [other for other in scene.members() if other is not node]
        return all(_remembers(other, birth, end) for other in others)

    def restore(tries: int = TRIES) -> None:
        if node.is_removed or node.is_damaged or not tries:
            return
        if not (scene.cluster.may_damage() and do_remember()):
            scene.later(TRY_EVERY_S, lambda: restore(tries - 1))
            return
        scene.cluster.coverage.note("(an older copy is back)", states_of(node))
        node.kill("killed, to be damaged")
        node.disk._directories = kept
        node.disk.cut_power(chance.choice(_LOSSES))  # the copy was made of a running node
        node.may_run = lambda: COPY_REPORT_NAME in _names(node) or do_remember()
        _damaged(scene, chance, node, "an older copy was put back")

    scene.later(chance.uniform(2.0, 15.0), restore)


def _run_while_remembered(scene: Scene, node: SimNode, running: Any) -> None:
    """The end of its log is gone, which looks like a torn one to it: it is an older copy of itself."""
    birth, end = running.identity.birth, running.engine.consensus.log_end()

    def may_run() -> bool:
        others = [other for other in scene.members() if other is not node]
        return COPY_REPORT_NAME in _names(node) or all(
            _remembers(other, birth, end) for other in others
        )

    node.may_run = may_run


def _remembers(node: SimNode, birth: str, end: tuple[int, int]) -> bool:
    if node.running is None:
        return False
    told = node.running._witness._pasts.known.get(birth)
    return told is not None and told > end


def _names(node: SimNode) -> set[str]:
    return {path.name for path in node.disk.paths()}
