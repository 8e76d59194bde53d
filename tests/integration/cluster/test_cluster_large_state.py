"""While a node joins, snapshots are taken and a node restarts, nobody's event loop is held by it.

A small sister of ``scripts/bench.d/million.py``. What counts is the work that a loop did in one go, as the nodes
themselves report it: how long it took beside other tests on the machine says nothing.
"""

import re
from pathlib import Path

import pytest
from tests.support.cluster_process import ClusterProcess, until
from tests.support.steady_load import SteadyLoad

import raftq

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TASKS = 30_000
BATCH = 1_000
VALUE = "x" * 64
CYCLES = 100
WORK_MS_MAX = 150  # 100, and what a loop does anyway between two looks at the clock
LATE = re.compile(r"the event loop was \d+ ms late: it worked for (\d+) ms")


def fill(cluster: ClusterProcess) -> None:
    with raftq.Client(cluster.text_url(), timeout_s=60.0) as client:
        for _ in range(TASKS // BATCH):
            client.put_many(raftq.Insert("/large", VALUE) for _ in range(BATCH))


def tasks_at(cluster: ClusterProcess, name: str) -> int:
    with raftq.Client(cluster.text_url(name), timeout_s=60.0) as client:
        return sum(queue.tasks for queue in client.queues(exact=["/large"]))


def snapshots_taken(cluster: ClusterProcess, name: str) -> int:
    return cluster[name].logs().count("snapshot of entry")


def test_a_large_state_moves_and_nobody_is_held_up(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path, 3, "--snapshot-bytes", "1MiB") as cluster:
        fill(cluster)
        with SteadyLoad(cluster.text_url()) as load:
            cluster.join("n4")
            load.more(CYCLES)
            follower = next(name for name in ("n1", "n2", "n3") if name != cluster.leader())
            cluster.kill(follower)
            cluster.start(follower)
            load.more(CYCLES)
        assert load.failures == []
        for name in cluster.nodes:
            until(lambda name=name: snapshots_taken(cluster, name) > 0, f"{name} has a snapshot")
            assert tasks_at(cluster, name) == TASKS
        others = [name for name in ("n1", "n2", "n3") if name != follower]
        worked_ms = [int(ms) for name in others for ms in LATE.findall(cluster[name].logs())]
    assert max(worked_ms, default=0) <= WORK_MS_MAX
