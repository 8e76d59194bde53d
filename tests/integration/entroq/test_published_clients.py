"""EntroQ's published Python clients, unchanged, against real nodes: one, three whose leader dies, and over PostgreSQL."""

from pathlib import Path

import pytest
from tests.support.cluster_process import ClusterProcess
from tests.support.entroq_clients import VERSIONS, process, run_program
from tests.support.real_nodes import OF_ONE, OF_THREE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TASKS = 300  # scripts/entroq does it with 10,000


@pytest.mark.parametrize("kind", OF_ONE)
@pytest.mark.parametrize("version", VERSIONS)
def test_workers_docs_and_dependency_errors_are_as_on_its_own_server(
    version: str, kind: str, tmp_path: Path
) -> None:
    with OF_ONE[kind](tmp_path) as nodes:
        said = run_program(version, "semantics.py", nodes["n1"].http_url, timeout_s=120)
    assert said.endswith("done\n")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_follower_serves_a_client_as_well_as_the_leader(version: str, tmp_path: Path) -> None:
    with ClusterProcess(tmp_path, 3) as cluster:
        follower = cluster[cluster.follower()]
        said = run_program(version, "semantics.py", follower.http_url, timeout_s=120)
    assert said.endswith("done\n")


@pytest.mark.parametrize("kind", OF_THREE)
@pytest.mark.parametrize("version", VERSIONS)
def test_tasks_are_done_exactly_once_though_a_node_that_leads_is_killed_twice(
    version: str, kind: str, tmp_path: Path
) -> None:
    with OF_THREE[kind](tmp_path) as nodes:
        found = process(version, TASKS, nodes, tmp_path)
    assert found[:4] == (0, TASKS, TASKS, 2)
