"""The command line of ``scripts/bench``."""

import argparse
import os
import sys
from pathlib import Path

from bench_table.programs import PROGRAMS
from bench_table.rows import complaints, save, table
from bench_table.running import BenchmarkFailedError, run


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Run the benchmarks and print one table: medians of several runs, CPU time a "
        "cycle (insert + claim + delete) over client and node, and the cores that other processes "
        "used meanwhile. Nodes are real ones, with fdatasync before every answer.",
    )
    names = [program.name for program in PROGRAMS]
    parser.add_argument("name", nargs="*", help=f"which ones, default all: {', '.join(names)}")
    parser.add_argument("--runs", type=int, default=3, help="runs of each [3]")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the medians as a baseline")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with a baseline")
    parser.add_argument(
        "--ratio",
        type=float,
        default=0.7,
        help="with --against: fail below this share of the baseline [0.7]",
    )
    given = parser.parse_args()
    unknown = sorted(set(given.name) - set(names))
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    if given.runs < 1:
        parser.error("--runs must be 1 or more")
    return given


def main() -> int:
    given = arguments()
    rows = []
    try:
        for program in PROGRAMS:
            if not given.name or program.name in given.name:
                print(f"{program.name} …", file=sys.stderr, flush=True)
                rows += run(program, given.runs)
    except BenchmarkFailedError as error:
        print(error, file=sys.stderr)
        return 1
    print(table(rows))
    load = ", ".join(f"{average:.2f}" for average in os.getloadavg())
    print(f"\n{given.runs} runs each; {os.cpu_count()} cores, load average {load}")
    if given.save:
        save(rows, given.save)
    slow = complaints(rows, given.against, given.ratio) if given.against else []
    for complaint in slow:
        print(f"slower than the baseline allows: {complaint}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
