"""Power cuts at every call that changes the disk: what was answered is there, what was ended stays ended."""

import asyncio

import pytest
from tests.support.raft_node import RaftNode
from tests.support.raft_operations import drop, put, take
from tests.support.virtual_disk import Loss, PowerCut, VirtualDisk

from raftq_cluster.core.outcomes import Modified
from raftq_cluster.core.queries import Tasks

pytestmark = pytest.mark.asyncio

STEPS = 60
PIPELINED = 3  # submissions under way together
BOUND_BYTES = 3_000  # small: several snapshots are taken on the way


class Client:
    """Inserts, claims and deletes; remembers what it was told."""

    def __init__(self, node):
        self.node = node
        self.inserted = {}
        self.deleted = {}

    async def work(self):
        for step in range(STEPS):
            self.inserted[step] = self.node.submit(put(f"t{step}", value=bytes(200)), take("/none"))
            if step >= 2 * PIPELINED:
                victim = step - 2 * PIPELINED
                self.deleted[victim] = self.node.submit(drop(f"t{victim}", 0))
            if step % PIPELINED == 0:
                last = self.inserted[step]
                await self.node.until(lambda last=last: bool(last.calls))
            if self.node.power_is_cut:
                return
        await self.node.until(self.is_done)

    def is_done(self):
        return all(told.calls for told in (*self.inserted.values(), *self.deleted.values()))

    def check(self, ids):
        """Judge what a later life of the node holds."""
        for step, told in self.inserted.items():
            if is_modified(told) and step not in self.deleted:
                assert f"t{step}" in ids, f"t{step} was acknowledged and is lost"
        for step, told in self.deleted.items():
            if is_modified(told):
                assert f"t{step}" not in ids, f"t{step} was deleted and came back"
        assert ids <= {f"t{step}" for step in self.inserted}


def is_modified(told):
    return bool(told.calls) and isinstance(told.calls[0][1][0], Modified)


async def one_life(cut, loss, seed):
    """A life that ends with a cut before its disk call number ``cut``; tells how many calls it had."""
    disk = VirtualDisk(seed=seed)
    node = await RaftNode(disk, snapshot_bytes_min=BOUND_BYTES, segment_bytes=4_096).start()
    calls_before = disk.calls
    if cut:
        disk.cut_at = calls_before + cut
    client = Client(node)
    await client.work()
    await asyncio.sleep(0)
    calls = disk.calls - calls_before
    after = await node.after_power_cut(loss, seed=seed + 1)
    answer = await after.backend.read(Tasks("/q", "", (), 1_000, True))
    client.check({row.id for row in answer.value})
    digest = await after.digest()
    again = await after.killed()
    assert await again.digest() == digest
    await again.backend.stop()
    return calls


async def test_the_script_reaches_every_kind_of_call():
    disk = VirtualDisk()
    node = await RaftNode(disk, snapshot_bytes_min=BOUND_BYTES, segment_bytes=4_096).start()
    disk.seen.clear()
    client = Client(node)
    await client.work()
    assert client.is_done()
    await node.backend.stop()
    for call in ("write", "sync_data", "sync", "create", "rename", "unlink", "sync_directory"):
        assert disk.seen[call] > 0, call


@pytest.mark.parametrize("loss", list(Loss))
async def test_acknowledged_operations_survive_a_power_cut_at_every_call(loss):
    calls = await one_life(0, loss, seed=1)
    assert calls > 70
    for cut in range(1, calls + 1):
        await one_life(cut, loss, seed=cut)


@pytest.mark.parametrize("loss", list(Loss))
async def test_power_cuts_during_a_restart_lose_nothing_either(loss):
    disk = VirtualDisk(seed=5)
    node = await RaftNode(disk, snapshot_bytes_min=BOUND_BYTES, segment_bytes=4_096).start()
    client = Client(node)
    await client.work()
    node.submit(put("unanswered"))
    for cut in range(1, 100):
        disk.cut_power(loss)
        await node.die()
        node = node.reborn(seed=cut)
        disk.cut_at = disk.calls + cut
        try:
            await node.start()
        except PowerCut:
            continue
        break
    else:
        raise AssertionError("the node never starts")
    disk.cut_at = None
    answer = await node.backend.read(Tasks("/q", "", (), 1_000, True))
    client.check({row.id for row in answer.value} - {"unanswered"})
    assert cut > 5
    await node.backend.stop()


@pytest.mark.slow
@pytest.mark.parametrize("loss", list(Loss))
async def test_acknowledged_operations_survive_power_cuts_however_they_tear(loss):
    calls = await one_life(0, loss, seed=1)
    for seed in range(1_000, 4_000, 1_000):
        for cut in range(1, calls + 1):
            await one_life(cut, loss, seed=seed + cut)
