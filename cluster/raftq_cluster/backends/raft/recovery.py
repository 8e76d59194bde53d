"""From a data directory to a replica: the newest snapshot, behind which the engine applies the log.

A directory without a past gets snapshot 0 first: the empty state, and the member list of a cluster of
one. So a node that starts for the first time and one that starts again take the same way. Whatever
cannot be trusted stops the start in one sentence.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from raftq_cluster.backends.raft import commands
from raftq_cluster.backends.raft.commands import (
    FormatTooNewError,
    Member,
    decode_base,
    decode_members,
    encode_members,
)
from raftq_cluster.backends.raft.replica import Replica
from raftq_cluster.backends.raft.storage.snapshots import SnapshotReader
from raftq_cluster.backends.raft.storage.store import Store
from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.formats import FORMATS, Formats
from raftq_cluster.codec.snapshots import encode_chunk
from raftq_cluster.config import StartError
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.restoring import SnapshotVersionError, restore
from raftq_cluster.core.state import MachineError

# From so many tasks on, a state is kept out of the collector's sight: looking through it takes a second.
UNSEEN_TASKS: Final = 10_000


class Recovered(NamedTuple):
    """A node's past."""

    replica: Replica
    snapshot_bytes: int
    members: tuple[Member, ...]  # in force: of the last config entry, committed or not


def recover(
    store: Store, first_members: tuple[Member, ...], formats: Formats = FORMATS
) -> Recovered:
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
        replica = _load(reader, formats)
        members = _members_in_force(store, replica)
        _check_formats(store, replica)
    except FormatTooNewError as error:
        raise StartError(str(error)) from error
    except SnapshotVersionError as error:
        raise StartError(
            f"the state up to entry {reader.info.index} cannot be read: {error}"
        ) from error
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


def _load(reader: SnapshotReader, formats: Formats) -> Replica:
    members, log_format = read_base(reader.config, formats)
    decode_chunk = formats[log_format].decode_chunk
    with collector_off():
        machine = restore(decode_chunk(chunk) for chunk in reader.chunks())
        hide(len(machine.tasks))
    return Replica(machine, reader.info.index, members, log_format=log_format, formats=formats)


def read_base(config: bytes, formats: Formats) -> tuple[tuple[Member, ...], int]:
    """Members and format of a snapshot that can be read.

    Raises:
        CodecError: these bytes are neither.
        FormatTooNewError: the snapshot is in a format of a later version.
    """
    members, log_format = decode_base(config)
    if log_format not in formats:
        raise FormatTooNewError(log_format, max(formats))
    return members, log_format


def _check_formats(store: Store, replica: Replica) -> None:
    reads = max(replica.formats)
    for index in range(replica.index + 1, store.journal.last_index + 1):
        _, command = store.journal.entry(index)
        if command[0] == commands.FORMAT and commands.decode_format(command) > reads:
            raise FormatTooNewError(commands.decode_format(command), reads)


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


def hide(tasks: int) -> None:
    """Keep the collector from looking through what was made just now, if it refers to many tasks.

    To be called where the collector was off since. What is young is looked through again and again, with all that
    it refers to: 70 ms for a million tasks. Counting references still frees them.
    """
    if tasks >= UNSEEN_TASKS:
        gc.freeze()


def _members_in_force(store: Store, replica: Replica) -> tuple[Member, ...]:
    journal = store.journal
    for index in range(journal.last_index, replica.index, -1):
        _, command = journal.entry(index)
        if command[0] == commands.CONFIG:
            return decode_members(command[1:])
    return replica.members
