"""Real nodes, and a data directory that somebody has put back to what it was some time ago."""

import shutil

import pytest
from tests.support.cluster_process import ClusterProcess, until
from tests.support.node_process import NodeFailedError

import raftq

pytestmark = pytest.mark.slow


def applied(cluster, node_id, at):
    members = cluster.status(at).get("members", [])
    return max((m["applied"] for m in members if m["id"] == node_id), default=0)


def test_a_directory_that_was_put_back_stops_its_node_and_harms_nobody(tmp_path):
    with (
        ClusterProcess(tmp_path, 3) as cluster,
        raftq.Client(cluster.text_url("n1", "n2")) as client,
    ):
        directory, copy = cluster["n3"].data_dir, tmp_path / "copy"
        client.put("/q", {"number": 0})
        assert cluster["n3"].stop() == 0
        shutil.copytree(directory, copy)
        cluster.start("n3")
        for number in range(1, 20):
            client.put("/q", {"number": number})
        index = cluster.status(cluster.leader())["index"]
        for witness in ("n1", "n2"):
            until(
                lambda at=witness: applied(cluster, "n3", at) >= index, "n3 has told what it holds"
            )

        cluster.kill("n3")
        shutil.rmtree(directory)
        copy.rename(directory)
        with pytest.raises(NodeFailedError, match="is an older copy of itself: it held entry"):
            cluster.start("n3")

        client.put("/q", {"number": 20})
        assert [queue.tasks for queue in client.queues()] == [21]
