"""Whether a large export or import holds anybody up, and how long it takes.

usage: moving.py [--tasks N] [--nodes N]

Fills a node, exports it, and imports the file into a cluster, while each node is pinged. The figures are the slowest answers to a ping and
the time taken; see ``million.py`` for what a slow ping means. On standard error, a line for each node and phase.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from million import LATE, run
from probing import Probe, Stream

from local_node import LocalCluster


class Pings(Probe):
    """Pings alone: nothing else is answered while a store is imported into, and it must be empty before."""

    def _cycle(self, stream: Stream) -> None:
        self._ping(stream)


class Bench:
    """The figures so far."""

    def __init__(self) -> None:
        self.figures: list[dict[str, Any]] = []

    @contextmanager
    def phase(self, name: str, cluster: LocalCluster) -> Iterator[None]:
        """Note how long something takes, and the slowest answer of all nodes meanwhile."""
        logs = {
            id_: node.log_path.read_text(errors="replace") for id_, node in cluster.nodes.items()
        }
        with ExitStack() as opened:
            probes = {
                id_: opened.enter_context(Pings(node.text_address))
                for id_, node in cluster.nodes.items()
            }
            began_s = time.monotonic()
            yield
            took_s = time.monotonic() - began_s
        worst_ms = 0.0
        for id_, probe in probes.items():
            assert not probe.errors, probe.errors
            slowest_ms = 1e3 * probe.worst(probe.pings, began_s)
            log = cluster.nodes[id_].log_path.read_text(errors="replace")
            own_ms = max(map(int, LATE.findall(log[len(logs[id_]) :])), default=0)
            print(
                f"{name}: {id_} slowest ping {slowest_ms:.0f} ms, longest work of a late loop"
                f" {own_ms} ms",
                file=sys.stderr,
                flush=True,
            )
            worst_ms = max(worst_ms, slowest_ms)
        self._note(f"slowest answer to a ping during an {name}", worst_ms, "ms")
        self._note(name, took_s, "s")

    def _note(self, name: str, value: float, unit: str) -> None:
        self.figures.append({"name": name, "value": value, "unit": unit, "better": "lower"})


def raftq(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "raftq.cli", *words], check=True, stdout=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=3)
    given = parser.parse_args()
    bench = Bench()
    with tempfile.TemporaryDirectory(prefix="raftq-moving-") as name:
        folder = Path(name)
        file = str(folder / "raftq.export")
        with LocalCluster(folder / "source", 1) as source:
            (node,) = source.nodes.values()
            assert run("fill.py", node.text_address, str(given.tasks)).wait() == 0
            with bench.phase("export", source):
                raftq("export", file, "--url", f"http://{node.http_address}")
        with LocalCluster(folder / "target", given.nodes) as target:
            leader = target.leader()
            taker = next(
                (n for id_, n in target.nodes.items() if id_ != leader), target.nodes[leader]
            )
            with bench.phase("import", target):
                raftq("import", file, "--url", f"http://{taker.http_address}")
    print(json.dumps(bench.figures))


if __name__ == "__main__":
    main()
