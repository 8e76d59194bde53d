"""A sync fails, the node ends and is started again: what it takes for durable then is on the disk.

The kernel has what the sync did not write in its cache, and calls it clean: a later sync succeeds and writes
nothing. Lives as in the crash tests, in which every sync fails once; a later life is cut by a power cut.
"""

import errno
from contextlib import suppress

import pytest
from tests.support.journal_node import JournalNode
from tests.support.storage_witness import Life, Witness, open_store, survive, sync
from tests.support.virtual_disk import Fault, Loss, VirtualDisk

from raftq_cluster.backends.raft.storage import journal
from raftq_cluster.backends.raft.storage.errors import StorageFailedError
from raftq_cluster.backends.raft.storage.records import MARK_BYTES
from raftq_cluster.backends.raft.storage.recovery import Stretch
from raftq_cluster.backends.raft.storage.segments import Place
from raftq_cluster.backends.raft.storage.store import Store

STEPS = 60
VOTE_BYTES = 8192  # both copies
LOSSES = list(Loss)
CALLS = ["sync_data", "sync"]


def live(disk: VirtualDisk, seed: int) -> Witness | None:
    """Open the store and live until the end or a failure; None if opening failed."""
    try:
        witness = Witness(open_store(disk))
    except StorageFailedError:
        return None
    with suppress(StorageFailedError):
        Life(witness, seed).run(STEPS)
    return witness


def started_again(disk: VirtualDisk, call: str) -> Store:
    """As a supervisor does it; sometimes the disk fails again meanwhile."""
    disk.kill()
    if disk.rng.random() < 0.5:
        disk.faults.append(Fault(call, errno.EIO, after=disk.rng.randint(0, 2)))
        with suppress(StorageFailedError):
            open_store(disk)
        disk.kill()
    return open_store(disk)


def fail_and_cut(seed: int, call: str, after: int, loss: Loss) -> None:
    disk = VirtualDisk(1000 * seed + after)
    disk.faults.append(Fault(call, errno.EIO, after=after))
    witness = live(disk, seed)
    assert not disk.faults or disk.faults[0].times == 0
    store = started_again(disk, call)
    if witness is not None:
        witness.check(store)
    between = Witness(store)
    Life(between, seed + 1).run(disk.rng.choice((0, 1, 3, 10)))
    survive(disk, between, loss)


def syncs_of_a_life(seed: int, call: str) -> int:
    disk = VirtualDisk(seed)
    live(disk, seed)
    return disk.seen[call]


def fail_at_every_sync(seed: int, call: str) -> None:
    for after in range(syncs_of_a_life(seed, call)):
        fail_and_cut(seed, call, after, LOSSES[after % len(LOSSES)])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("seed", range(1, 9))
def test_a_node_survives_a_power_cut_after_any_failed_sync(seed: int, call: str) -> None:
    fail_at_every_sync(seed, call)


def only_synced_again(place: Place, stretch: Stretch) -> None:
    file = place.files.open(place.path(stretch.number))
    file.sync_data()
    file.close()


def test_a_node_that_only_syncs_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_write_again", only_synced_again)
    with pytest.raises(AssertionError):
        fail_at_every_sync(1, "sync_data")


def failed(disk: VirtualDisk, store: Store) -> None:
    disk.faults.append(Fault("sync_data", errno.EIO))
    with pytest.raises(StorageFailedError):
        sync(store)
    disk.faults.clear()


@pytest.mark.parametrize("times", [1, 2])
def test_a_vote_that_a_restart_has_read_survives_whatever_syncs_failed(times: int) -> None:
    for seed in range(10):
        disk = VirtualDisk(seed)
        store = open_store(disk)
        store.journal.append(1, b"entry")
        sync(store)
        store.votes.set(2, "n2")
        failed(disk, store)
        for _ in range(times):
            disk.kill()
            store = open_store(disk)
        told = store.votes.term, store.votes.voted_for
        disk.cut_power(Loss.EVERYTHING)
        store = open_store(disk)
        assert (store.votes.term, store.votes.voted_for) == told


def test_what_no_mark_tells_of_is_written_again_and_nothing_else() -> None:
    node = JournalNode()
    node.append(b"synced" * 100)
    node.sync()
    node.append(b"marked" * 100)
    node.sync()
    before = node.disk.seen["bytes written"]
    node.restart()
    assert 600 < node.disk.seen["bytes written"] - before < 800


def test_of_a_log_that_was_closed_in_peace_nothing_is_written_again() -> None:
    disk = VirtualDisk()
    store = open_store(disk)
    store.journal.append(1, b"entry" * 100)
    store.close()
    before = disk.seen["bytes written"]
    open_store(disk)
    assert disk.seen["bytes written"] - before <= VOTE_BYTES + MARK_BYTES
