"""``scripts/crash``: many rounds, one line of result; exit code 1 if a promise was broken."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.support.crash.checker import violations
from tests.support.crash.cluster_rounds import ClusterRounds
from tests.support.crash.rounds import run_rounds


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/crash")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=1, help="1: a standalone node")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--snapshot-bytes", type=int, default=2**20)
    options = parser.parse_args()
    say = sys.stdout.write
    say(f"{options.rounds} rounds, seed {options.seed}\n")
    sys.stdout.flush()
    began = time.monotonic()
    flags = ("--snapshot-bytes", str(options.snapshot_bytes))
    with tempfile.TemporaryDirectory(prefix="raftq-crash-") as directory:
        folder = Path(directory)
        if options.nodes == 1:
            run = run_rounds(folder / "data", options.rounds, options.seed, *flags)
        else:
            run = ClusterRounds(folder, options.nodes, options.seed, *flags).run(options.rounds)
        history = asyncio.run(run)
    found = violations(history)
    for sentence in found[:50]:
        say(sentence + "\n")
    say(
        f"{options.rounds} faults in {time.monotonic() - began:.0f} s:"
        f" {len(history.inserted)} inserts and {len(history.deleted)} deletes acknowledged,"
        f" {len(history.claims)} claims, {len(history.maybe_deleted)} deletes unknown,"
        f" {len(history.left)} tasks left, {len(found)} violations\n"
    )
    return 1 if found else 0


sys.exit(main())
