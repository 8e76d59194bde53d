"""How long nothing is acknowledged when the leader dies or falls silent.

usage: failover.py [--nodes N] [--times N] [--silent]

A client inserts, one task after the other, through all nodes with retries, connected to the leader first. The
leader is killed with -9, or stopped with SIGSTOP (``--silent``: its connections live and nothing comes), the time until the
next acknowledgement is taken, and the node comes back before the next round.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from local_node import LocalCluster
from raftq import Client

QUEUE = "/bench/failover"


def await_leader(cluster: LocalCluster) -> str:
    """The leader, once all nodes agree on one and have applied the same."""
    while not (cluster.leader() and cluster.is_level()):
        time.sleep(0.02)
    return cluster.leader()


def one_round(cluster: LocalCluster, number: int, *, silent: bool) -> float:
    """Seconds until a client of the leader is answered again."""
    name = await_leader(cluster)
    leader = cluster.nodes[name]
    others = [node.text_address for id_, node in cluster.nodes.items() if id_ != name]
    addresses = [leader.text_address, *others]
    with Client("raftq://" + ",".join(addresses), timeout_s=30.0) as client:
        client.put(QUEUE, number)
        begin_s = time.perf_counter()
        if silent:
            os.kill(leader.pid, signal.SIGSTOP)
        else:
            leader.kill()
        client.put(QUEUE, number)
        took_s = time.perf_counter() - begin_s
    if silent:
        os.kill(leader.pid, signal.SIGCONT)
    else:
        leader.start()
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--silent", action="store_true")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="raftq-failover-") as folder,
        LocalCluster(Path(folder) / "data", given.nodes) as cluster,
    ):
        took_s = [one_round(cluster, n, silent=given.silent) for n in range(given.times)]
    what = "SIGSTOP" if given.silent else "kill -9"
    figure = {
        "name": f"{what} of the leader of {given.nodes} nodes, {given.times} times",
        "value": 1e3 * statistics.median(took_s),
        "unit": "ms",
        "better": "lower",
        "note": f"to the next acknowledgement; worst {1e3 * max(took_s):.0f} ms",
    }
    print(json.dumps([figure]))


if __name__ == "__main__":
    main()
