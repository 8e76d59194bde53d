"""From a data directory to a replica: the newest snapshot, behind which the engine applies the log.

A directory without a past gets snapshot 0 first: the empty state, and the member list of a cluster of
one. So a node that starts for the first time and one that starts again take the same way. Whatever
cannot be trusted stops the start in one sentence.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from raftq_cluster.backends.raft import commands
from raftq_cluster.backends.raft.commands import Member, decode_members, encode_members
from raftq_cluster.backends.raft.replica import Replica
from raftq_cluster.backends.raft.storage.snapshots import SnapshotReader
from raftq_cluster.backends.raft.storage.store import Store
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.snapshots import decode_chunk, encode_chunk
from raftq_cluster.config import StartError
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.restoring import restore
from raftq_cluster.core.state import MachineError


class Recovered(NamedTuple):
    """A node's past."""

    replica: Replica
    snapshot_bytes: int
    members: tuple[Member, ...]  # in force: of the last config entry, committed or not


def recover(store: Store, first_members: tuple[Member, ...]) -> Recovered:
    """Load the newest snapshot. Blocks; may run in another thread.

    Raises:
        StartError: the snapshot or a config entry cannot be read, or a log has lost its snapshot.
        StorageError: the disk has failed, or bytes on it are damaged.
    """
    reader = store.snapshots.latest()
    if reader is None:
        if store.journal.last_index:
            raise StartError("the data directory has a log, but the snapshot before it is gone")
        _write_first(store, first_members)
        reader = store.snapshots.latest()
        assert reader is not None
    try:
        replica = _load(reader)
        members = _members_in_force(store, replica)
    except (CodecError, MachineError) as error:
        raise StartError(
            f"the state up to entry {reader.info.index} is not valid: {error}"
        ) from error
    finally:
        reader.close()
    return Recovered(replica, reader.size, members)


def _write_first(store: Store, members: tuple[Member, ...]) -> None:
    writer = store.snapshots.begin(0, 0, encode_members(members))
    for records in Machine().snapshot():
        writer.write(encode_chunk(records))
    writer.finish()


def _load(reader: SnapshotReader) -> Replica:
    with collector_off():
        machine = restore(decode_chunk(chunk) for chunk in reader.chunks())
    return Replica(machine, reader.info.index, decode_members(reader.config))


@contextmanager
def collector_off() -> Iterator[None]:
    """Keep the garbage collector away while a state is loaded.

    Loading makes millions of objects and no garbage: collecting meanwhile triples its time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _members_in_force(store: Store, replica: Replica) -> tuple[Member, ...]:
    journal = store.journal
    for index in range(journal.last_index, replica.index, -1):
        _, command = journal.entry(index)
        if command[0] == commands.CONFIG:
            return decode_members(command[1:])
    return replica.members
