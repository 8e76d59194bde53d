"""The power fails at every single call that changes the disk; nothing promised is ever missing.

A life is a random but lawful sequence of appends, truncations, votes, syncs, snapshots, installs and
compactions. It is cut at each of its calls, with each kind of loss, and what is read back is held
against what was promised. Then the node lives on and is cut again.
"""

import copy

import pytest
from tests.support.storage_witness import Witness, live, open_store, survive, sync
from tests.support.virtual_disk import Loss, PowerCut, VirtualDisk

STEPS = 60
LOSSES = list(Loss)


def calls_of_a_life(seed: int) -> int:
    disk = VirtualDisk(seed)
    assert live(disk, seed, STEPS) is not None
    return disk.calls


def cut_twice(seed: int, cut_at: int, loss: Loss) -> None:
    """Live, crash, live on, crash again at a random call with a random loss."""
    disk = VirtualDisk(1000 * seed + cut_at)
    disk.cut_at = cut_at
    store = survive(disk, live(disk, seed, STEPS), loss)
    between = Witness(store)
    if disk.rng.random() < 0.5:
        store.close()
    disk.kill()
    disk.cut_at = disk.calls + disk.rng.randint(1, 60)
    again = live(disk, seed + 1, STEPS) or between
    survive(disk, again, disk.rng.choice(LOSSES))


def cut_while_recovering(seed: int, cut_at: int, loss: Loss) -> None:
    """Crash, and crash again at every call of the recovery; the second recovery succeeds."""
    disk = VirtualDisk(1000 * seed + cut_at)
    disk.cut_at = cut_at
    witness = live(disk, seed, STEPS)
    if disk.rng.random() < 0.3:
        disk.kill()
    else:
        disk.cut_power(loss)
    for call in range(1, 100):
        copied = copy.deepcopy(disk)
        copied.rng.seed(call)
        copied.cut_at = copied.calls + call
        try:
            open_store(copied)
        except PowerCut:
            survive(copied, witness, copied.rng.choice(LOSSES))
            write_one_more(copied)
        else:
            return
    pytest.fail("a recovery does not end")


def write_one_more(disk: VirtualDisk) -> None:
    """A recovered node works: what it writes next is there after one more crash."""
    disk.kill()
    store = open_store(disk)
    index = store.journal.append(99, b"one more")
    sync(store)
    disk.cut_power(Loss.EVERYTHING)
    assert open_store(disk).journal.entry(index) == (99, b"one more")


@pytest.mark.parametrize("seed", [1, 2])
def test_a_node_survives_a_cut_at_any_call(seed: int) -> None:
    for cut_at in range(1, calls_of_a_life(seed) + 1):
        cut_twice(seed, cut_at, LOSSES[cut_at % len(LOSSES)])


def test_a_node_survives_a_cut_at_any_call_of_its_recovery() -> None:
    for cut_at in range(5, calls_of_a_life(3) + 1, 11):
        cut_while_recovering(3, cut_at, LOSSES[cut_at % len(LOSSES)])


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(10, 14))
def test_many_nodes_survive_a_cut_at_any_call(seed: int, loss: Loss) -> None:
    for cut_at in range(1, calls_of_a_life(seed) + 1):
        cut_twice(seed, cut_at, loss)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 24))
def test_many_nodes_survive_a_cut_at_any_call_of_their_recovery(seed: int) -> None:
    for cut_at in range(1, calls_of_a_life(seed) + 1, 3):
        cut_while_recovering(seed, cut_at, LOSSES[cut_at % len(LOSSES)])


def test_a_life_makes_every_kind_of_call() -> None:
    disk = VirtualDisk(1)
    live(disk, 1, STEPS)
    assert {"create", "allocate", "write", "sync_data", "sync", "rename", "unlink"} <= set(
        disk.seen
    )
