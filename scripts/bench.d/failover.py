"""How long nothing is acknowledged when the leader of three nodes is killed -9.

usage: failover.py [--times N]

A client inserts, one task after the other, through all three nodes with retries; the leader is killed, the
time until the next acknowledgement is taken, and the node comes back before the next round.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from local_node import LocalCluster
from raftq import Client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    given = parser.parse_args()
    took_s = []
    with tempfile.TemporaryDirectory(prefix="raftq-failover-") as folder:
        data = Path(folder) / "data"
        with (
            LocalCluster(data) as cluster,
            Client("raftq://" + ",".join(cluster.text_addresses), timeout_s=20.0) as client,
        ):
            for number in range(given.times):
                client.put("/bench/failover", number)
                leader = cluster.nodes[cluster.leader()]
                begin_s = time.perf_counter()
                leader.kill()
                client.put("/bench/failover", number)
                took_s.append(time.perf_counter() - begin_s)
                leader.start()
                while not cluster.leader():
                    time.sleep(0.02)
    figure = {
        "name": f"kill -9 of the leader of three nodes, {given.times} times",
        "value": 1e3 * statistics.median(took_s),
        "unit": "ms",
        "better": "lower",
        "note": f"to the next acknowledgement; worst {1e3 * max(took_s):.0f} ms",
    }
    print(json.dumps([figure]))


if __name__ == "__main__":
    main()
