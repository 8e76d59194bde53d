"""``scripts/run``: the demo job on three nodes of its own, from nothing to a verified result."""

import argparse
import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from demo import job
from demo.counting import count_here, standard_library, top
from demo.queues import PARTIALS, QUARANTINE
from demo.workers import WorkerDiedError
from local_node import LocalCluster, NodeNotStartedError
from raftq import AsyncClient, RaftqError
from ready_line import without_settings

TOP: Final = 20
NODES: Final = 3
# The declared encoding does not have this byte: Python itself could not read the file.
POISON: Final = b"# coding: ascii\nname = '\xff'\n"


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """Index the Python standard library with raftq, lose a worker and the leader on the way, verify."""
    parser = argparse.ArgumentParser(prog="scripts/run", description=main.__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave the nodes up, with the queues as they ended"
    )
    keep = parser.parse_args().keep
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # after cleaning up
    with ExitStack() as clean_up:
        folder = Path(tempfile.mkdtemp(prefix="raftq-demo-"))
        clean_up.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = LocalCluster(folder / "nodes")
        clean_up.callback(cluster.stop)
        try:
            cluster.start()
            say(f"three nodes serve raftq://{','.join(cluster.text_addresses)}")
            succeeded = demonstrate(cluster, folder)
        except (NodeNotStartedError, WorkerDiedError, RaftqError, TimeoutError) as error:
            say(f"The demo failed: {error or 'it took too long'}")
            return 1
        if keep:
            clean_up.pop_all()
            say(how_to_look_around(cluster, folder))
    return 0 if succeeded else 1


def demonstrate(cluster: LocalCluster, folder: Path) -> bool:
    """Run the job, print its result, tell whether all of it is as it must be."""
    poisoned = folder / "poisoned.py"
    poisoned.write_bytes(POISON)
    good = standard_library()
    say(f"Poisoned file: {poisoned} (a byte that its encoding does not have)")
    url = "raftq://" + ",".join(cluster.text_addresses)
    finished = asyncio.run(
        job.run(url, [*good, poisoned], folder, say, lambda: lose_leader(cluster, url))
    )
    report(finished)
    is_right = verify(finished, good, poisoned)
    return all([is_right, agree(cluster), compare_digests(url)])


async def lose_leader(cluster: LocalCluster, url: str) -> None:
    """Kill the leader, see how long nothing is acknowledged, and bring it back."""
    leader = cluster.leader()
    async with AsyncClient(url) as client:
        begin_s = time.perf_counter()
        cluster.nodes[leader].kill()
        await client.put("/demo/after-the-leader", leader)
        took_ms = 1e3 * (time.perf_counter() - begin_s)
    say(
        f"killed {leader}, the leader (kill -9): the next task was acknowledged after {took_ms:.0f} ms;"
        f" {cluster.leader()} leads now"
    )
    await asyncio.to_thread(cluster.nodes[leader].start)
    say(f"{leader} is back and catches up")


def agree(cluster: LocalCluster) -> bool:
    """Ask every node, by itself, for every task that is left."""
    seen = [asyncio.run(everything(address)) for address in cluster.text_addresses]
    holds = bool(seen[0]) and all(tasks == seen[0] for tasks in seen)
    what = f"all three nodes have the same {len(seen[0])} tasks, version by version"
    say(f"  {'yes' if holds else 'NO '}  {what}")
    return holds


def compare_digests(url: str) -> bool:
    """Have the nodes digest all they hold as of one log entry, by the command that operators use."""
    command = [sys.executable, "-m", "raftq.cli", "--url", url, "cluster", "verify", "-o", "json"]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, env=without_settings()
    )
    found = json.loads(ran.stdout or '{"members": []}')
    digests = {member["digest"] for member in found["members"]}
    holds = ran.returncode == 0 and len(digests) == 1 and len(found["members"]) == NODES
    what = f"all three nodes have the state {' or '.join(sorted(digests))} at entry {found.get('entry')}"
    say(f"  {'yes' if holds else 'NO '}  {what} (raftq cluster verify){said(ran.stderr, holds)}")
    return holds


def said(text: str, holds: bool) -> str:
    """What a command that failed has said."""
    return "" if holds else f": {text.strip()}"


async def everything(address: str) -> list[tuple[str, int, str]]:
    """Id, version and value of every task, as one node tells them."""
    async with AsyncClient(f"raftq://{address}") as client:
        found = []
        for queue in await client.queues():
            found += await client.tasks(queue.name)
    return sorted((task.id, task.version, repr(task.value)) for task in found)


def report(finished: job.Finished) -> None:
    """Print the top and the speed."""
    result = finished.result
    say(f"\nThe {TOP} most used identifiers of {len(result.counts):,}, in {result.files} files:")
    for name, count in top(result.counts, TOP):
        say(f"{count:8,}  {name}")
    # Each merge takes some partial results and leaves one; all but the last one are taken.
    tasks = result.files + result.files + result.merges - 1
    say(
        f"\n{tasks} tasks done in {finished.took_s:.1f} s, {tasks / finished.took_s:.0f} a second:"
        f" {result.files} files counted, {result.merges} merges"
    )
    tries = sum(task.attempt for task in finished.quarantined)
    say(
        f"{tries - len(finished.quarantined)} retries of what failed,"
        f" {finished.lost_leases} claimed again after a lease ran out"
    )


def verify(finished: job.Finished, good: list[Path], poisoned: Path) -> bool:
    """Count once more without any queue, and compare."""
    begin_s = time.perf_counter()
    expected = count_here(good)
    took_s = time.perf_counter() - begin_s
    in_quarantine = {task.value: task.err.partition("\n")[0] for task in finished.quarantined}
    say(f"\nVerified against a plain count in one process ({took_s:.1f} s):")
    checks = {
        f"{sum(expected.values()):,} identifiers counted, each as often as by the plain count": (
            finished.result.counts == expected
        ),
        f"each of {len(good)} files counted exactly once": finished.result.files == len(good),
        "what the killed worker held was done by another": bool(
            finished.abandoned and finished.lost_leases
        ),
        f"the poisoned file alone is in {QUARANTINE}: {'; '.join(in_quarantine.values())}": (
            list(in_quarantine) == [str(poisoned)] and all(in_quarantine.values())
        ),
    }
    for what, holds in checks.items():
        say(f"  {'yes' if holds else 'NO '}  {what}")
    return all(checks.values())


def how_to_look_around(cluster: LocalCluster, folder: Path) -> str:
    """What to type next."""
    url = "raftq://" + ",".join(cluster.text_addresses)
    raftq = Path(sys.executable).with_name("raftq")
    pids = " ".join(map(str, cluster.pids))
    return f"""
The nodes are still up (processes {pids}, data in {folder}). Look around:

  export RAFTQ_URL={url}
  '{raftq}' cluster
  '{raftq}' queues
  '{raftq}' tasks {QUARANTINE}
  '{raftq}' peek {PARTIALS}
  curl http://{cluster.http_addresses[0]}/v1/cluster

Stop them with: kill {pids}; their data stays until you delete it."""


if __name__ == "__main__":
    sys.exit(main())
