"""Three real ``raftqd``, one of them with a bug: it stops itself with a report, and the others serve on."""

import asyncio

import pytest
from tests.support.node_process import NodeFailedError, NodeProcess

import raftq
from free_ports import free_address

IDS = ("n1", "n2", "n3")
STOPS_S = 10.0


@pytest.fixture
def nodes(tmp_path):
    """The third one is odd."""
    peers = {node_id: free_address() for node_id in IDS}
    members = ",".join(f"{node_id}={address}" for node_id, address in peers.items())
    made = {
        node_id: NodeProcess(
            tmp_path / node_id,
            *("--node-id", node_id, "--peer", peers[node_id], "--initial-cluster", members),
            program="tests.support.odd_raftqd" if node_id == "n3" else "raftq_cluster",
        )
        for node_id in IDS
    }
    asyncio.run(start_all(made))
    yield made
    for node in made.values():
        node.kill()


async def start_all(nodes):
    async with asyncio.TaskGroup() as group:
        for node in nodes.values():
            group.create_task(asyncio.to_thread(node.start))


@pytest.mark.parametrize("leader", ["n1", "n3"], ids=["a follower is odd", "the leader is odd"])
def test_the_odd_node_stops_itself_with_a_report_and_the_others_serve(nodes, leader):
    urls = [node.text_url.removeprefix("raftq://") for node in nodes.values()]
    with raftq.Client(f"raftq://{urls[0]},{urls[1]}") as client:
        client.transfer(leader)
        client.put("/odd", 1)
        task = client.put("/work", 2)
        client.delete(task)
        assert nodes["n3"].wait(STOPS_S) == 1
        client.put("/after", 3)
        assert [queue.name for queue in client.queues()] == ["/after", "/odd"]
    said = nodes["n3"].logs()
    last = said.strip().splitlines()[-1]
    report = nodes["n3"].data_dir / "diverged.txt"
    assert last.startswith("raftqd: the state of node n3 differs from that of a majority at entry ")
    assert str(report) in last
    text = report.read_text()
    assert "raftq cluster remove n3" in text
    assert text.count("  voter") == len(IDS)
    with pytest.raises(NodeFailedError, match=r"diverged\.txt: this node stopped"):
        nodes["n3"].start()
