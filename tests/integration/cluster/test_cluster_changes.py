"""Members and leaders of real clusters change while clients work, and no request fails."""

import shutil
from pathlib import Path

import pytest
from tests.support.cluster_process import ClusterProcess, until
from tests.support.node_process import NodeFailedError
from tests.support.steady_load import SteadyLoad

import raftq

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TASKS = 300
CYCLES = 30  # of the load, between two changes
CALL_S = 60.0
TRANSFERS = 6


def until_voters(cluster: ClusterProcess, *names: str) -> None:
    """Wait until exactly these nodes vote."""

    def is_so() -> bool:
        roles = cluster.roles()
        return {name for name, role in roles.items() if role != "learner"} == set(names)

    until(is_so, f"{names} are the voters")


def kept(cluster: ClusterProcess, *names: str) -> set[int]:
    """Values of the tasks that were there at the beginning, as each of these nodes has them."""
    found = []
    for name in names:
        with raftq.Client(cluster.text_url(name), timeout_s=CALL_S) as client:
            found.append({task.value for task in client.tasks("/kept", limit=2 * TASKS)})
    assert all(values == found[0] for values in found)
    return found[0]


def fill(cluster: ClusterProcess) -> None:
    with raftq.Client(cluster.text_url(), timeout_s=CALL_S) as client:
        client.put_many(raftq.Insert("/kept", number) for number in range(TASKS))


def test_a_standalone_node_with_tasks_grows_to_three_and_can_then_be_lost(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path, 1) as cluster:
        fill(cluster)
        with SteadyLoad(cluster.text_url()) as load:
            for name in ("n2", "n3"):
                load.more(CYCLES)
                cluster.join(name)
            until_voters(cluster, "n1", "n2", "n3")
            load.more(CYCLES)
        assert load.failures == []
        assert kept(cluster, "n1", "n2", "n3") == set(range(TASKS))
        cluster.kill("n1")
        assert kept(cluster, "n2", "n3") == set(range(TASKS))


@pytest.mark.parametrize("count", [3, 5])
def test_a_dead_node_is_replaced_while_clients_work(tmp_path: Path, count: int) -> None:
    with ClusterProcess(tmp_path, count) as cluster:
        fill(cluster)
        with SteadyLoad(cluster.text_url()) as load:
            load.more(CYCLES)
            dead = cluster.leader()
            cluster.kill(dead)
            cluster.join("n9")
            with raftq.Client(cluster.text_url("n9"), timeout_s=CALL_S) as client:
                client.replace_member(dead, "n9")
            left = [name for name in cluster.nodes if name != dead]
            until_voters(cluster, *left)
            load.more(CYCLES)
        assert load.failures == []
        assert kept(cluster, *left) == set(range(TASKS))
        with pytest.raises(NodeFailedError, match="removed"):
            cluster.start(dead)


def test_a_wiped_node_and_one_of_another_cluster_are_refused_and_harm_nobody(
    tmp_path: Path,
) -> None:
    (tmp_path / "here").mkdir(), (tmp_path / "there").mkdir()
    with (
        ClusterProcess(tmp_path / "here", 3) as here,
        ClusterProcess(tmp_path / "there", 1) as there,
        SteadyLoad(here.text_url()) as load,
    ):
        fill(here)
        wiped = here.follower()
        here.kill(wiped)
        shutil.rmtree(here[wiped].data_dir)
        with pytest.raises(NodeFailedError):
            here.start(wiped)
        there.kill("n1")
        there.rejoin("n1", here.peer(here.leader()))
        with pytest.raises(NodeFailedError, match="cluster"):
            there.start("n1")
        load.more(CYCLES)
        until_voters(here, "n1", "n2", "n3")
        assert kept(here, *(name for name in here.nodes if name != wiped)) == set(range(TASKS))
    assert load.failures == []


@pytest.mark.parametrize("count", [3, 5])
def test_the_leadership_moves_while_clients_work_and_no_request_fails(
    tmp_path: Path, count: int
) -> None:
    with ClusterProcess(tmp_path, count) as cluster, SteadyLoad(cluster.text_url()) as load:
        for _ in range(TRANSFERS):
            load.more(CYCLES)
            heir = cluster.follower()
            with raftq.Client(cluster.text_url(), timeout_s=CALL_S) as client:
                client.transfer(heir)
            until(lambda heir=heir: cluster.leader() == heir, f"{heir} leads")
        load.more(CYCLES)
    assert load.failures == []
