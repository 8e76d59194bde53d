"""EntroQ's published Python clients, each in a virtual environment that ``scripts/entroq-clients`` makes.

    python -m tests.support.entroq_clients 10000 0.15.0 0.14.0 cluster postgres

has each version process so many tasks through three nodes, of which one that leads is killed twice, and says what was found.
"""

import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple

import raftq
from tests.support.cluster_process import ClusterProcess
from tests.support.node_process import REPOSITORY
from tests.support.real_nodes import OF_THREE

VERSIONS: Final = ("0.14.0", "0.15.0")
PROGRAMS: Final = REPOSITORY / "tests" / "integration" / "entroq" / "programs"
OUT: Final = "/entroq/out"
IN: Final = "/entroq/in"


def python_of(version: str) -> Path:
    """Give the interpreter that has this version; makes the environments if they are not there.

    Raises:
        AssertionError: they could not be made.
    """
    folder = REPOSITORY / ".venv-entroq" / version
    if not (folder / "ready").exists():
        made = subprocess.run(
            [REPOSITORY / "scripts" / "entroq-clients"], capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr
    return folder / "bin" / "python"


def run_program(version: str, name: str, *arguments: str, timeout_s: float) -> str:
    """Run a program to its end, and give what it said."""
    ran = subprocess.run(
        [python_of(version), PROGRAMS / name, *arguments],
        capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-2_000:] + ran.stderr[-6_000:]
    return ran.stdout


class Found(NamedTuple):
    """What became of the tasks."""

    left: int
    results: int
    values: int  # different ones among the results
    kills: int
    seconds: float


def process(version: str, tasks: int, cluster: ClusterProcess, folder: Path) -> Found:
    """Have tasks processed through three nodes; kill one that leads at a third and at two thirds."""
    began_s = time.monotonic()
    kills = 0
    urls = [node.http_url for node in cluster.nodes.values()]
    log = folder / "program.log"
    with log.open("w") as errors, subprocess.Popen(
        [python_of(version), PROGRAMS / "process.py", str(tasks), *urls],
        stdout=subprocess.PIPE, stderr=errors, text=True,
    ) as program:  # fmt: skip
        try:
            assert program.stdout is not None
            down = ""
            for line in program.stdout:
                done = int(line) if line.strip().isdigit() else 0
                if kills < 2 and done >= (kills + 1) * tasks // 3:
                    if down:
                        cluster.start(down)
                    down = cluster.leader()
                    cluster.kill(down)
                    kills += 1
            code = program.wait(60)
        finally:
            program.kill()
    assert code == 0, log.read_text(errors="replace")[-6_000:]
    if down:
        cluster.start(down)
    with raftq.Client(cluster.text_url()) as client:
        counts = {queue.name: queue.tasks for queue in client.queues(exact=[IN, OUT])}
        rows = client.tasks(id=[f"out-{number}" for number in range(tasks)], limit=tasks)
    values = len({task.value for task in rows})
    seconds = time.monotonic() - began_s
    return Found(counts.get(IN, 0), counts.get(OUT, 0), values, kills, seconds)


def main(arguments: list[str]) -> int:
    """Do it for each version, and tell."""
    kinds = [word for word in arguments if word in OF_THREE] or ["cluster"]
    numbers = [word for word in arguments if word.isdigit()]
    versions = [word for word in arguments if word in VERSIONS] or VERSIONS
    if set(arguments) - {*kinds, *numbers, *versions}:
        sys.exit("usage: [TASKS] [0.14.0] [0.15.0] [cluster] [postgres]")
    tasks = int(numbers[0]) if numbers else 10_000
    failed = False
    for version, kind in product(versions, kinds):
        with (
            tempfile.TemporaryDirectory(prefix="raftq-entroq-") as folder,
            OF_THREE[kind](Path(folder)) as nodes,
        ):
            found = process(version, tasks, nodes, Path(folder))
        is_right = found[:4] == (0, tasks, tasks, 2)
        failed = failed or not is_right
        sys.stdout.write(
            f"entroq {version}, {kind}: {tasks} tasks, leader killed {found.kills} times, {found.results} results,"
            f" {found.values} different, {found.left} left, {found.seconds:.0f} s:"
            f" {'exactly once each' if is_right else 'WRONG'}\n"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
