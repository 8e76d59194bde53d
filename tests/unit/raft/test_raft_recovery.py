"""What a node makes of its directory when it starts."""

from pathlib import Path

import pytest
from tests.support.raft_node import DIRECTORY, RaftNode
from tests.support.raft_operations import put
from tests.support.virtual_disk import VirtualDisk

from raftq_cluster.backends.raft import running
from raftq_cluster.backends.raft.commands import CONFIG, Member, encode_members
from raftq_cluster.backends.raft.recovery import recover
from raftq_cluster.backends.raft.storage.data_dir import DataDir
from raftq_cluster.backends.raft.storage.store import Store
from raftq_cluster.codec.snapshots import encode_chunk
from raftq_cluster.config import StartError
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.snapshot import HEAD, VERSION, VERSIONS_READ

ME = (Member("n1", "", True),)
BOTH = (*ME, Member("n2", "h:1", True))


@pytest.fixture
def store():
    disk = VirtualDisk()
    disk.make_directory(Path("/store"))
    return Store.open(disk, Path("/store"), b"n1", segment_bytes=4_096)


def write_snapshot(store, index, chunks, config=None):
    writer = store.snapshots.begin(index, 1, encode_members(ME) if config is None else config)
    for chunk in chunks:
        writer.write(chunk)
    writer.finish()


def test_a_new_directory_gets_the_empty_state_of_a_cluster_of_one(store):
    recovered = recover(store, ME)
    assert (recovered.replica.index, recovered.replica.machine.index) == (0, 0)
    assert recovered.replica.members == recovered.members == ME
    assert store.snapshots.latest().info.index == 0


def test_a_member_list_is_in_force_from_the_moment_it_is_in_the_log(store):
    recover(store, ME)
    store.journal.append(1, bytes((CONFIG,)) + encode_members(BOTH))
    store.journal.append(1, b"\x01")
    recovered = recover(store, ME)
    assert (recovered.members, recovered.replica.members) == (BOTH, ME)


@pytest.mark.parametrize("version", [VERSIONS_READ[0] - 1, VERSION + 1])
def test_a_snapshot_of_another_version_stops_the_start_and_is_not_called_damaged(store, version):
    write_snapshot(store, 7, [encode_chunk([(HEAD, version)])])
    what = f"up to entry 7 cannot be read: another version of raftq has written it: .* {version},"
    with pytest.raises(StartError, match=what):
        recover(store, ME)


@pytest.mark.parametrize(
    ("chunks", "config"),
    [
        ([b"\xc1"], None),
        ([encode_chunk([(99,)])], None),
        ([encode_chunk(records[:-1]) for records in Machine().snapshot()], None),
        ([encode_chunk(records) for records in Machine().snapshot()], b"?"),
    ],
)
def test_a_snapshot_that_is_whole_but_makes_no_sense_stops_the_start(store, chunks, config):
    write_snapshot(store, 7, chunks, config)
    with pytest.raises(StartError, match="the state up to entry 7 is not valid"):
        recover(store, ME)


@pytest.mark.asyncio
async def test_a_member_whose_others_are_silent_starts_and_is_not_ready(monkeypatch):
    monkeypatch.setattr(running, "LEADER_WAIT_S", 0.01)
    node = await RaftNode(VirtualDisk()).start()
    await node.backend.stop()
    identity = DataDir.open(node.disk, DIRECTORY).identity
    node.disk.kill()
    store = Store.open(node.disk, DIRECTORY, identity.seed)
    store.journal.append(9, bytes((CONFIG,)) + encode_members(BOTH))
    store.close()
    after = await node.reborn().start()
    assert not after.backend.status().ready
    assert after.backend.status().leader == ""
    await after.die()


@pytest.mark.asyncio
async def test_a_disk_without_space_for_an_entry_stops_the_start_in_one_sentence():
    node = await RaftNode(VirtualDisk(), segment_bytes=4_096).start()
    node.disk.capacity_bytes = node.disk.used_bytes()
    told = await node.do(put("a"))
    while told.outcomes[0].__class__.__name__ != "Refused":
        told = await node.do(put(f"t{node.backend.load().tasks}"))
    node.disk.kill()
    await node.die()
    for _ in range(100):  # each start writes a no-op, until there is no room for one
        node = node.reborn()
        try:
            await node.start()
        except StartError as error:
            assert "No space left on device" in str(error)  # noqa: PT017
            break
        node.disk.kill()
        await node.die()
    else:
        raise AssertionError("there is always room")
    node = node.reborn()
    node.disk.capacity_bytes = None
    assert await (await node.start()).digest()
    await node.backend.stop()
