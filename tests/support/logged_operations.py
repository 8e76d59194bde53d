"""What the log of a node that has ended holds: its operations, in their order."""

from collections.abc import Iterator
from pathlib import Path

from raftq_cluster.backends.raft.commands import DATA, SENT, decode_sent
from raftq_cluster.backends.raft.storage.data_dir import DataDir
from raftq_cluster.backends.raft.storage.files import DiskFiles
from raftq_cluster.backends.raft.storage.store import Store
from raftq_cluster.codec.entries import decode_entry
from raftq_cluster.core.operations import Operation


def logged_operations(directory: Path) -> list[Operation]:
    """All operations that the log still has. The node must not run."""
    files = DiskFiles()
    data_dir = DataDir.open(files, directory)
    try:
        assert data_dir.identity is not None
        store = Store.open(files, directory, data_dir.identity.seed)
        try:
            return list(_operations(store))
        finally:
            store.close()
    finally:
        data_dir.close()


def _operations(store: Store) -> Iterator[Operation]:
    journal = store.journal
    for index in range(journal.first_index, journal.last_index + 1):
        _term, command = journal.entry(index)
        if command[0] == SENT:
            _origins, entry = decode_sent(command)
        elif command[0] == DATA:
            entry = command[1:]
        else:
            continue
        for segment in decode_entry(entry).segments:
            yield from segment
