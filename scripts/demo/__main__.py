"""``scripts/run``: the demo job on a node of its own, from nothing to a verified result."""

import argparse
import asyncio
import shutil
import signal
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
from local_node import LocalNode, NodeNotStartedError
from raftq import RaftqError

TOP: Final = 20
# The declared encoding does not have this byte: Python itself could not read the file.
POISON: Final = b"# coding: ascii\nname = '\xff'\n"


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """Index the Python standard library with raftq, lose a worker on the way, verify the result."""
    parser = argparse.ArgumentParser(prog="scripts/run", description=main.__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave the node up, with the queues as they ended"
    )
    keep = parser.parse_args().keep
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # after cleaning up
    with ExitStack() as clean_up:
        folder = Path(tempfile.mkdtemp(prefix="raftq-demo-"))
        clean_up.callback(shutil.rmtree, folder, ignore_errors=True)
        node = LocalNode(folder / "node")
        clean_up.callback(node.stop)
        try:
            node.start()
            say(f"raftqd serves raftq://{node.text_address} and http://{node.http_address}")
            succeeded = demonstrate(f"raftq://{node.text_address}", folder)
        except (NodeNotStartedError, WorkerDiedError, RaftqError, TimeoutError) as error:
            say(f"The demo failed: {error or 'it took too long'}")
            return 1
        if keep:
            clean_up.pop_all()
            say(how_to_look_around(node, folder))
    return 0 if succeeded else 1


def demonstrate(url: str, folder: Path) -> bool:
    """Run the job, print its result, tell whether all of it is as it must be."""
    poisoned = folder / "poisoned.py"
    poisoned.write_bytes(POISON)
    good = standard_library()
    say(f"Poisoned file: {poisoned} (a byte that its encoding does not have)")
    finished = asyncio.run(job.run(url, [*good, poisoned], folder, say))
    report(finished)
    return verify(finished, good, poisoned)


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


def how_to_look_around(node: LocalNode, folder: Path) -> str:
    """What to type next."""
    url = f"raftq://{node.text_address}"
    raftq = Path(sys.executable).with_name("raftq")
    return f"""
The node is still up (process {node.pid}, data in {folder}). Look around:

  export RAFTQ_URL={url}
  '{raftq}' queues
  '{raftq}' tasks {QUARANTINE}
  '{raftq}' peek {PARTIALS}
  curl http://{node.http_address}/v1/queues

Stop it with: kill {node.pid}; its data stays until you delete it."""


if __name__ == "__main__":
    sys.exit(main())
