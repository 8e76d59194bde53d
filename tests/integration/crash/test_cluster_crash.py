"""Clusters whose nodes die, fall silent and come back under load lose nothing that they acknowledged."""

from pathlib import Path

import pytest
from tests.support.crash.checker import violations
from tests.support.crash.cluster_rounds import ClusterRounds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.asyncio]

ROUNDS = 6  # each fault once; scripts/crash --nodes N runs 200


@pytest.mark.parametrize("nodes", [3, 5])
async def test_nothing_acknowledged_is_lost_done_twice_or_returned(
    tmp_path: Path, nodes: int
) -> None:
    rounds = ClusterRounds(tmp_path, nodes, nodes, "--snapshot-bytes", "65536")
    history = await rounds.run(ROUNDS)
    assert violations(history) == []
    assert len(set(rounds.done)) == ROUNDS
    assert len(history.inserted) > 100
    assert len(history.deleted) > 100
