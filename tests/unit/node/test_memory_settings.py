"""The collector never looks through a large state while the node serves."""

import subprocess
import sys
from typing import Final

from tests.support.node_process import child_environment

GROWTH: Final = """
import gc
from raftq_cluster.daemon import settle_memory

settle_memory()
first, second, _ = gc.get_threshold()
most = 0

def look(phase, info):
    global most
    if phase == "start":
        young = sum(len(gc.get_objects(place)) for place in range(info["generation"] + 1))
        most = max(most, young)

gc.callbacks.append(look)
tasks = [[] for _ in range(first * (second + 4))]  # one collection of the second generation is sure
print(most)
"""
LOOKED_THROUGH_MAX: Final = 60_000  # 10 to 20 ms


def test_a_growing_state_is_looked_through_in_small_pieces() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GROWTH],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert 0 < int(done.stdout) <= LOOKED_THROUGH_MAX
