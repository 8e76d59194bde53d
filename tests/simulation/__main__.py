"""``scripts/simulate``: seeds one after the other, and one report; exit code 1 if a promise was broken."""

import argparse
import sys
import time
from collections import Counter

from tests.simulation.coverage import Coverage
from tests.simulation.options import Options
from tests.simulation.planting import BUGS, planted
from tests.simulation.shrinking import Shrinker
from tests.simulation.simulation import Result, simulate

TAIL = 60  # lines of the trace that are shown


def numbers(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(int(part) for part in text.split(","))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/simulate", description="Whole clusters under faults, in virtual time."
    )
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument(
        "--nodes", type=int, default=3, choices=(1, 3, 5), help="voters (default 3)"
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="virtual time with faults")
    parser.add_argument("--faults", type=numbers, help="only these of the seed's faults, or none")
    parser.add_argument("--clients", type=numbers, help="only these of the seed's clients, or none")
    parser.add_argument("--plant", choices=sorted(BUGS), help="with this bug planted")
    parser.add_argument("--no-shrink", action="store_true", help="leave a failing run as it is")
    parser.add_argument("--trace", action="store_true", help="print the trace of the last run")
    parser.add_argument("--keep-going", action="store_true", help="also after a broken promise")
    return parser.parse_args()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def report_broken(result: Result) -> None:
    say(f"BROKEN by seed {result.options.seed} ({result.temper}):")
    for sentence in result.broken[:10]:
        say(f"  {sentence}")
    say(f"repeat it: {result.options.command()}")


def report_trace(result: Result, lines: int) -> None:
    chosen = result.options.faults
    say("faults:")
    for fault in result.planned:
        if fault.at_s < result.seconds and (chosen is None or fault.number in chosen):
            say(f"  {fault.at_s:10.6f} {fault.number}: {fault.name}")
    say("trace:")
    for line in result.tail[-lines:]:
        say(f"  {line}")


def report(results: int, seconds: float, counts: Counter[str], coverage: Coverage) -> None:
    say("")
    say(coverage.table())
    say("")
    for name in sorted(counts):
        say(f"{name:28} {counts[name]}")
    say(f"{'virtual seconds':28} {seconds:.0f}")
    say(f"{'CPU seconds':28} {time.process_time():.1f}")
    say(f"{'seeds':28} {results}")


def run(options: argparse.Namespace) -> int:
    counts: Counter[str] = Counter()
    coverage, seconds, broken = Coverage(), 0.0, 0
    result = None
    for seed in range(options.seed, options.seed + options.seeds):
        result = simulate(
            Options(seed, options.nodes, options.minutes * 60, options.faults, options.clients)
        )
        counts.update(result.counts)
        coverage.add(result.coverage)
        seconds += result.seconds
        if result.broken:
            broken += 1
            report_broken(result)
            if not options.no_shrink:
                result = Shrinker(simulate, say).shrink(result)
                report_broken(result)
            report_trace(result, TAIL)
            if not options.keep_going:
                break
    report(options.seeds, seconds, counts, coverage)
    if result is not None:
        if options.trace and not result.broken:
            report_trace(result, len(result.tail))
        say(f"{'hash of the last run':28} {result.trace_hash}")
    say(f"{broken} broken" if broken else "nothing was broken")
    return 1 if broken else 0


def main() -> int:
    options = arguments()
    if options.plant is None:
        return run(options)
    with planted(options.plant):
        return run(options)


if __name__ == "__main__":
    sys.exit(main())
