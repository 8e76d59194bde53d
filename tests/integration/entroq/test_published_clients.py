"""EntroQ's published Python clients, unchanged, against real nodes: one of them, and three whose leader dies."""

from pathlib import Path

import pytest
from tests.support.cluster_process import ClusterProcess
from tests.support.entroq_clients import VERSIONS, process, run_program
from tests.support.node_process import NodeProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TASKS = 300  # scripts/entroq does it with 10,000


@pytest.mark.parametrize("version", VERSIONS)
def test_workers_docs_and_dependency_errors_are_as_on_its_own_server(
    version: str, tmp_path: Path
) -> None:
    with NodeProcess(tmp_path / "data") as node:
        said = run_program(version, "semantics.py", node.http_url, timeout_s=120)
    assert said.endswith("done\n")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_follower_serves_a_client_as_well_as_the_leader(version: str, tmp_path: Path) -> None:
    with ClusterProcess(tmp_path, 3) as cluster:
        follower = cluster[cluster.follower()]
        said = run_program(version, "semantics.py", follower.http_url, timeout_s=120)
    assert said.endswith("done\n")


@pytest.mark.parametrize("version", VERSIONS)
def test_tasks_are_done_exactly_once_though_the_leader_is_killed_twice(
    version: str, tmp_path: Path
) -> None:
    found = process(version, TASKS, tmp_path)
    assert found[:4] == (0, TASKS, TASKS, 2)
