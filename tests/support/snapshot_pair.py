"""A follower that is given a snapshot chunk by chunk, over a disk in memory; and snapshots to give it.

raw = snapshot_of(50, ids=["a", "b"])
follower = Follower(VirtualDisk())
await follower.take_all(raw, index=50)
"""

import asyncio
from pathlib import Path
from typing import Any

from raftq_cluster.backends.raft.commands import Member, data_command, encode_members
from raftq_cluster.backends.raft.messages import SnapshotAck, SnapshotChunk
from raftq_cluster.backends.raft.recovery import recover
from raftq_cluster.backends.raft.snapshot_receiving import SnapshotReceiver
from raftq_cluster.backends.raft.storage.snapshots import SnapshotStore
from raftq_cluster.backends.raft.storage.store import Store
from raftq_cluster.backends.raft.upkeep import Bounds, Upkeep
from raftq_cluster.codec.entries import encode_entry, encode_segment
from raftq_cluster.codec.snapshots import encode_chunk
from raftq_cluster.core.machine import Machine
from tests.support.raft_node import in_turn
from tests.support.raft_operations import put
from tests.support.virtual_disk import PowerCut, VirtualDisk

DIRECTORY = Path("/node")
TERM = 7
MEMBERS = (Member("n1", "h:1", True), Member("n2", "h:2", True))


def machine_with(index: int, ids: list[str]) -> Machine:
    machine = Machine()
    machine.apply(index, 1_000, 1, [[put(id_, value=bytes(200)) for id_ in ids]])
    return machine


def snapshot_of(index: int, ids: list[str], *, term: int = 3, chunk_records: int = 5) -> bytes:
    """The bytes of a snapshot file."""
    disk = VirtualDisk()
    disk.make_directory(DIRECTORY)
    writer = SnapshotStore(disk, DIRECTORY).begin(index, term, encode_members(MEMBERS))
    for records in machine_with(index, ids).snapshot(chunk_records):
        writer.write(encode_chunk(records))
    writer.finish()
    return disk.content(disk.paths()[0])


class Follower:
    """A store with a replica and a receiver; it is its own ``Node``, and installs as an engine does."""

    def __init__(self, disk: VirtualDisk, *, bytes_between_min: int = 1 << 20) -> None:
        self.disk = disk
        disk.make_directory(DIRECTORY)
        self.store = Store.open(disk, DIRECTORY, b"n2", segment_bytes=8_192)
        recovered = recover(self.store, MEMBERS[1:])
        self.replica = recovered.replica
        for index in range(self.replica.index + 1, self.store.journal.last_index + 1):
            self.replica.apply(index, self.store.journal.entry(index)[1])
        self.commit = self.replica.index
        self.seconds = 100.0
        self.failures: list[str] = []
        self.acks: list[tuple[str, SnapshotAck]] = []
        self.upkeep = Upkeep(
            self.store,
            self.replica,
            self.failures.append,
            last_bytes=recovered.snapshot_bytes,
            bounds=Bounds(bytes_between_min=bytes_between_min, entries_kept=2),
            in_thread=in_turn,
        )
        self.receiver = SnapshotReceiver(
            self.store.snapshots,
            self,
            self.upkeep,
            self.replica,
            in_thread=in_turn,
            monotonic=lambda: self.seconds,
        )

    # --- Node -----------------------------------------------------------------------------------

    def holds(self, index: int, term: int) -> bool:
        journal = self.store.journal
        is_in_log = journal.base_index <= index <= journal.last_index
        return index <= self.commit or (is_in_log and journal.term_at(index) == term)

    def install(
        self,
        index: int,
        term: int,
        machine: Machine,
        members: tuple[Member, ...],
        log_format: int = 1,
    ) -> bool:
        if index <= self.commit:
            return False
        self.store.journal.reset_to(index, term)
        self.replica.replace(machine, index, members, log_format)
        self.commit = index
        return True

    def send(self, peer: str, message: Any) -> bool:
        self.acks.append((peer, message))
        return True

    def fail(self, sentence: str) -> None:
        self.failures.append(sentence)

    # --- for the test ---------------------------------------------------------------------------

    def add(self, id_: str, *, term: int = 3) -> None:
        """Append an entry, put it on disk and apply it."""
        index = self.store.journal.last_index + 1
        segment = encode_segment([put(id_, value=bytes(1_000))])
        command = data_command(encode_entry(1_000, index, [segment]))
        self.store.journal.append(term, command)
        self.sync()
        self.replica.apply(index, command)
        self.commit = index

    def sync(self) -> None:
        if self.store.dirty:
            plan = self.store.begin_sync()
            plan.run()
            self.store.end_sync(plan)

    def give(
        self, raw: bytes, start: int, stop: int, *, index: int = 50, **fields: Any
    ) -> int | None:
        """Give a chunk; tells what was acknowledged, None if nothing was."""
        self.acks.clear()
        chunk: dict[str, Any] = {
            "term": TERM,
            "snapshot_term": 3,
            "size": len(raw),
            "data": raw[start:stop],
        }
        chunk |= {"snapshot_index": index, "offset": start}
        peer = fields.pop("peer", "n1")
        self.receiver.on_chunk(peer, SnapshotChunk(**(chunk | fields)))
        return self.acked(peer)

    def acked(self, peer: str = "n1") -> int | None:
        offsets = [ack.offset for to, ack in self.acks if to == peer]
        self.acks.clear()
        return offsets[-1] if offsets else None

    async def take_all(
        self, raw: bytes, *, index: int = 50, step: int = 1_000, **fields: Any
    ) -> None:
        for offset in range(0, len(raw), step):
            self.give(raw, offset, offset + step, index=index, **fields)
            await self.rest()

    async def rest(self) -> None:
        """Wait until nothing is under way; a power cut on the way is raised."""
        for owner in (self.receiver, self.upkeep):
            while (task := owner._task) is not None:
                await asyncio.wait([task])
                if not task.cancelled() and isinstance(task.exception(), PowerCut):
                    raise PowerCut
        await asyncio.sleep(0)

    def ids(self) -> list[str]:
        return sorted(self.replica.machine.tasks)

    def names(self) -> list[str]:
        return [path.name for path in self.disk.paths() if path.parent.name == "snapshots"]
