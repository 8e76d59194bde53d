"""The witness of the crash tests notices what it is there for: each bug planted here is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.storage_witness import Witness, live, survive
from tests.support.virtual_disk import Loss, VirtualDisk

from raftq_cluster.backends.raft.storage import journal, recovery, snapshots, syncer
from raftq_cluster.backends.raft.storage.errors import StorageError
from raftq_cluster.backends.raft.storage.journal import Journal
from raftq_cluster.backends.raft.storage.snapshots import SnapshotWriter
from raftq_cluster.backends.raft.storage.syncer import SyncPlan

STEPS = 60


def directories_are_not_synced(plan: SyncPlan) -> None:
    for file in plan.files:
        file.sync_data()


def only_the_newest_segment_is_synced(plan: SyncPlan) -> None:
    plan.files[-1].sync_data()
    for directory in plan.directories:
        plan.layer.sync_directory(directory)


def the_tail_is_not_cut(place: Any, end: Any, segment_bytes: int) -> Any:
    file = place.files.open(place.path(end.segment))
    file.sync()
    file.allocate(segment_bytes)
    return journal.Active(file, end, max(segment_bytes, end.offset))


def segments_are_removed_before_that_is_durable(self: Journal) -> Callable[[], None] | None:
    self._writer.durable_floor = self._writer.floor
    return real_collect(self)


def a_gap_between_segments_is_not_seen(scans: list[Any], floor: int) -> list[Any]:
    scans = [scan for scan in scans if scan.number >= floor and scan.header]
    return [scan for number, scan in enumerate(scans, floor) if scan.number == number]


def a_snapshot_has_its_name_before_it_is_synced(self: SnapshotWriter) -> None:
    file = self._file

    class Unsynced:
        path: Path = file.path
        write, close = file.write, file.close

        def sync(self) -> None:
            pass

    self._file = Unsynced()
    real_finish(self)


real_collect = Journal.collect
real_finish = SnapshotWriter.finish

BUGS = [
    (syncer.SyncPlan, "run", directories_are_not_synced),
    (syncer.SyncPlan, "run", only_the_newest_segment_is_synced),
    (journal, "_reopen", the_tail_is_not_cut),
    (journal.Journal, "collect", segments_are_removed_before_that_is_durable),
    (recovery, "_connected", a_gap_between_segments_is_not_seen),
    (snapshots.SnapshotWriter, "finish", a_snapshot_has_its_name_before_it_is_synced),
]


def is_found() -> bool:
    for seed in range(6):
        whole = VirtualDisk(seed)
        live(whole, seed, STEPS)
        for cut_at in range(1 + seed, whole.calls, 3):
            try:
                cut(seed, cut_at, list(Loss)[cut_at % len(Loss)])
            except (AssertionError, StorageError, IndexError):
                return True
    return False


def cut(seed: int, cut_at: int, loss: Loss) -> None:
    disk = VirtualDisk(1000 * seed + cut_at)
    disk.cut_at = cut_at
    between = Witness(survive(disk, live(disk, seed, STEPS), loss))
    disk.kill()
    disk.cut_at = disk.calls + disk.rng.randint(1, 60)
    survive(disk, live(disk, seed + 1, STEPS) or between, Loss.SECTORS)


@pytest.mark.parametrize(
    ("owner", "name", "bug"), BUGS, ids=lambda part: getattr(part, "__name__", part)
)
def test_a_planted_bug_is_found(
    owner: Any, name: str, bug: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, bug)
    assert is_found()


def test_without_a_planted_bug_nothing_is_found() -> None:
    for cut_at in range(1, 60, 6):
        cut(1, cut_at, Loss.SECTORS)
