"""The demo job on a real node with real worker processes, one of which is killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import job
from demo.__main__ import POISON, verify
from demo.counting import count_here, standard_library
from demo.queues import FILES, PARTIALS
from local_node import LocalNode
from raftq import Client

pytestmark = pytest.mark.slow

FILES_USED = 40  # the largest: each is work enough to be killed at


@pytest.fixture
def node(tmp_path: Path) -> Iterator[LocalNode]:
    with LocalNode(tmp_path / "a node") as node:
        yield node


@pytest.mark.asyncio
async def test_the_job_survives_a_killed_worker_and_a_poisoned_file(
    node: LocalNode, tmp_path: Path
) -> None:
    good = sorted(standard_library(), key=lambda path: path.stat().st_size)[-FILES_USED:]
    poisoned = tmp_path / "poisoned.py"
    poisoned.write_bytes(POISON)
    said: list[str] = []

    finished = await job.run(
        f"raftq://{node.text_address}", [*good, poisoned], tmp_path, said.append
    )

    assert finished.result.counts == count_here(good)
    assert finished.result.files == FILES_USED
    assert finished.abandoned
    assert finished.lost_leases >= 1
    assert [(task.value, task.queue) for task in finished.quarantined] == [
        (str(poisoned), f"{FILES}/err")
    ]
    assert finished.quarantined[0].err
    assert verify(finished, good, poisoned)
    assert any("killed mapper-1" in line for line in said)
    with Client(f"raftq://{node.text_address}") as client:
        (last,) = client.queues(exact=[PARTIALS])
    assert last.tasks == 1
