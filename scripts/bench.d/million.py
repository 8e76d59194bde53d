"""Whether a large state holds anybody up: a node joins, snapshots are taken, a node restarts.

usage: million.py [--tasks N] [--nodes N]

Fills a cluster, and then measures at each node that takes no part how long it takes to answer a ping while a new
node joins, while all nodes take a snapshot, and while a follower is restarted. The figures are the slowest
answers: nothing can make one wait but the node's event loop, or a machine that has no processor for it. Which of the two it was
is in the nodes' own words, see the note. On standard error, a line for each node and phase.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from probing import Probe

from local_node import LocalCluster, LocalNode

HERE = Path(__file__).resolve().parent
LATE = re.compile(r"the event loop was \d+ ms late: it worked for (\d+) ms")
CHURN_IN_FLIGHT = 64
QUIET_S = 5.0
PAUSE_S = 0.05
START_S = 300.0


class Bench:
    """A cluster with its probes, and the figures so far."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.probes: dict[str, Probe] = {}
        self.figures: list[dict[str, Any]] = []

    @contextmanager
    def phase(self, name: str, *left_out: str) -> Iterator[None]:
        """Note the slowest answers of all nodes but those left out."""
        names = [id_ for id_ in self.probes if id_ not in left_out]
        said = {id_: len(self.log_of(id_)) for id_ in names}
        began_s = time.monotonic()
        yield
        took_s = time.monotonic() - began_s
        worst: dict[str, float] = {}
        own: dict[str, int] = {}
        for id_ in names:
            probe = self.probes[id_]
            assert not probe.errors, probe.errors
            worst[id_] = 1e3 * probe.worst(probe.pings, began_s)
            cycle_ms = 1e3 * probe.worst(probe.cycles, began_s)
            own_ms = max(map(int, LATE.findall(self.log_of(id_)[said[id_] :])), default=0)
            own[id_] = own_ms
            role = "leader" if id_ == self.cluster.leader() else "follower"
            print(
                f"{name}: {id_} ({role}) slowest ping {worst[id_]:.0f} ms,"
                f" slowest cycle {cycle_ms:.0f} ms, longest work of a late loop {own_ms} ms",
                file=sys.stderr,
                flush=True,
            )
        self.figures.append(
            {
                "name": f"slowest answer to a ping while {name}",
                "value": max(worst.values()),
                "unit": "ms",
                "better": "lower",
                "note": f"within {took_s:.0f} s; a loop's own work while late: {max(own.values())} ms",
            }
        )

    def log_of(self, id_: str) -> str:
        return self.cluster.nodes[id_].log_path.read_text(errors="replace")


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(PAUSE_S)


def index_of(node: LocalNode) -> int:
    try:
        with urllib.request.urlopen(f"http://{node.http_address}/v1/cluster", timeout=5) as answer:
            return int(json.load(answer)["index"])
    except OSError:
        return -1


def snapshots(node: LocalNode) -> set[str]:
    return {path.name for path in node.data_dir.rglob("*snap*") if path.suffix != ".partial"}


def run(file: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(HERE / file), *arguments], stdout=subprocess.DEVNULL
    )


def measure(bench: Bench, opened: ExitStack, tasks: int) -> None:
    cluster = bench.cluster
    leader = cluster.leader()
    began_s = time.monotonic()
    assert run("fill.py", cluster.nodes[leader].text_address, str(tasks)).wait() == 0
    print(f"{tasks:,} tasks after {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    for id_, node in cluster.nodes.items():
        bench.probes[id_] = opened.enter_context(Probe(node.text_address))
    with bench.phase("nothing happens"):
        time.sleep(QUIET_S)
    with bench.phase("a node joins"):
        joined = cluster.add("joined")
        joined.launch()
        joined.wait_until_ready(START_S)
        until(lambda: index_of(joined) >= index_of(cluster.nodes[leader]) - 10)
    before = {id_: snapshots(node) for id_, node in cluster.nodes.items()}
    with bench.phase("all take a snapshot"):
        while any(snapshots(node) == before[id_] for id_, node in cluster.nodes.items()):
            flags = ("--in-flight", str(CHURN_IN_FLIGHT), "--seconds", "2")
            assert run("text_client.py", cluster.nodes[leader].text_address, *flags).wait() == 0
    leader = cluster.leader()
    follower = next(id_ for id_ in bench.probes if id_ != leader)
    bench.probes.pop(follower).__exit__(None, None, None)
    with bench.phase("a follower restarts"):
        node = cluster.nodes[follower]
        node.kill()
        node.launch()
        node.wait_until_ready(START_S)
        until(lambda: index_of(node) >= index_of(cluster.nodes[leader]) - 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=3)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="raftq-million-") as folder,
        LocalCluster(Path(folder) / "data", given.nodes) as cluster,
        ExitStack() as opened,
    ):
        bench = Bench(cluster)
        measure(bench, opened, given.tasks)
    print(json.dumps(bench.figures))


if __name__ == "__main__":
    main()
