"""No write is acknowledged before it is on the disks of a majority: seen in the nodes' system calls."""

from pathlib import Path

import pytest
from tests.support.cluster_process import ClusterProcess
from tests.support.node_process import child_environment
from tests.support.sync_trace import Trace, read_trace, traced, unsynced

import raftq

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WRITES = 60
IN_FLIGHT = 20  # the second half is sent in batches: syncs are shared then
PATIENCE_S = 60.0

# A node whose disk lies: what is written is never synced, and called synced.
LYING_NODE = """
from raftq_cluster.backends.raft.storage import kernel_sync
from raftq_cluster.backends.raft.storage.syncer import ThreadRunner

class Liar(ThreadRunner):
    def submit(self, job, done, only_file=None):
        super().submit(job if only_file is None else lambda: None, done)

kernel_sync.kernel_or_thread = Liar
"""
# One that has no kernel syncs, and uses the thread.
THREAD_NODE = """
from raftq_cluster.backends.raft.storage import kernel_sync
kernel_sync.KernelSyncs.open = classmethod(lambda cls: None)
"""


def traces_of(folder: Path, count: int, patch: str = "") -> tuple[dict[str, Trace], list[str]]:
    """Insert through a follower, one by one and many at a time; give what all nodes did meanwhile."""
    env = {}
    if patch:
        (folder / "sitecustomize.py").write_text(patch)
        env["PYTHONPATH"] = f"{folder}:{child_environment()['PYTHONPATH']}"
    ids = [f"synced-{number:04}" for number in range(WRITES)]
    with ClusterProcess(folder, count, env=env) as cluster:
        pids = {name: node.pid for name, node in cluster.nodes.items()}
        url = cluster.text_url(cluster.follower())
        with traced(pids, folder) as files, raftq.Client(url, timeout_s=PATIENCE_S) as client:
            for id_ in ids[: WRITES // 2]:
                client.put("/synced", id=id_)
            for start in range(WRITES // 2, WRITES, IN_FLIGHT):
                client.put_many(
                    raftq.Insert("/synced", id=i) for i in ids[start : start + IN_FLIGHT]
                )
    read = {name: read_trace(file.read_text().splitlines()) for name, file in files.items()}
    return read, ids


@pytest.mark.parametrize(
    ("count", "patch"),
    [(3, ""), (5, ""), (3, THREAD_NODE)],
    ids=["three", "five", "three-without-kernel-syncs"],
)
def test_every_acknowledged_write_was_synced_by_a_majority_before(
    tmp_path: Path, count: int, patch: str
) -> None:
    traces, ids = traces_of(tmp_path, count, patch)
    assert unsynced(traces, ids, majority=count // 2 + 1) == []


def test_nodes_that_do_not_sync_are_found_out(tmp_path: Path) -> None:
    traces, ids = traces_of(tmp_path, 3, LYING_NODE)
    # Not all: what is synced for other reasons (votes, a mark each idle second) is not left out.
    assert len(unsynced(traces, ids, majority=2)) > WRITES // 4
