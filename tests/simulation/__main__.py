"""``scripts/simulate``: any number of seeds, and one report; exit code 1 if a promise was broken, 2 if it was cut off."""

import argparse
import gc
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from tests.simulation.options import Options
from tests.simulation.planting import BUGS, planted
from tests.simulation.series import ROOT, Results, Series, version
from tests.simulation.shrinking import Shrinker
from tests.simulation.simulation import Result, simulate
from tests.simulation.summary import Summary, Total, summary_of

TAIL: Final = 60  # lines of the trace that are shown
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MANY: Final = 50  # seeds whose results are kept in a file without being asked for one


def numbers(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(int(part) for part in text.split(","))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/simulate", description="Whole clusters under faults, in virtual time."
    )
    add = parser.add_argument
    add("--seed", "--from", type=int, default=1, help="the first seed (default 1)")
    add("--seeds", type=int, default=1, help="how many, one after the other")
    add("--jobs", type=int, default=1, help="how many at a time (default 1)")
    add("--nodes", type=int, default=3, choices=(1, 3, 5, 7), help="voters (default 3)")
    add("--minutes", type=float, default=1.0, help="virtual time with faults (default 1)")
    add("--faults", type=numbers, help="only these of the seed's faults, or none")
    add("--clients", type=numbers, help="only these of the seed's clients, or none")
    add("--plant", default="", choices=sorted(BUGS), help="with this bug planted")
    add("--results", type=Path, help="go on with the series in this file"
        f" (from {MANY} seeds on, build/simulation/NODES.results)")  # fmt: skip
    add("--no-shrink", action="store_true", help="leave a failing run as it is")
    add("--trace", action="store_true", help="print the trace of each run")
    add("--stop", action="store_true", help="stop at the first broken promise")
    return parser.parse_args()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def interrupt(_number: int, _frame: object) -> None:
    """End the series, and tell what was run. Whoever asks twice, or asks the whole group too, waits for that."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def broken_lines(result: Result) -> list[str]:
    lines = [f"BROKEN by seed {result.options.seed} ({result.temper}):"]
    lines += [f"  {sentence}" for sentence in result.broken[:10]]
    return [*lines, f"repeat it: {result.options.command()}"]


def trace_lines(result: Result, count: int) -> list[str]:
    chosen = result.options.faults
    faults = [
        f"  {fault.at_s:10.6f} {fault.number}: {fault}"
        for fault in result.planned
        if fault.at_s < result.seconds and (chosen is None or fault.number in chosen)
    ]
    return ["faults:", *faults, "trace:", *(f"  {line}" for line in result.tail[-count:])]


def carry_out(options: Options, *, is_shrunk: bool, is_traced: bool) -> Summary:
    """One run, made smaller if it broke a promise."""
    result = simulate(options, is_last=True)
    summary = summary_of(result)
    if result.broken:
        summary.report = broken_lines(result)
        if is_shrunk:
            result = Shrinker(simulate, say).shrink(result)
            summary.report += broken_lines(result)
        summary.report += trace_lines(result, TAIL)
    elif is_traced:
        summary.report = trace_lines(result, len(result.tail))
    return summary


def results_of(options: argparse.Namespace) -> Results:
    """Where the series is kept: what came of the same code and the same kind of run counts."""
    path = options.results
    if path is None and options.seeds >= MANY:
        path = ROOT / "build" / "simulation" / f"{options.nodes}.results"
    kind = (version(), options.nodes, f"{options.minutes:g}", options.faults, options.clients,
            options.plant)  # fmt: skip
    return Results(path, "/".join(str(part).replace(" ", "") for part in kind))


def todo_of(options: argparse.Namespace) -> list[Options]:
    """The runs that are asked for. Seconds are those of the run whose ``command`` has said so many minutes."""
    seconds = round(options.minutes * 60, 3)
    return [
        Options(seed, options.nodes, seconds, options.faults, options.clients, options.plant)
        for seed in range(options.seed, options.seed + options.seeds)
    ]


def run(options: argparse.Namespace) -> int:
    todo = todo_of(options)
    series = Series(
        lambda one: carry_out(one, is_shrunk=not options.no_shrink, is_traced=options.trace),
        results_of(options),
        say,
        jobs=options.jobs,
    )
    gc.freeze()  # what is loaded stays: processes of runs need not look at it
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
            signal.signal(number, interrupt)
    try:
        is_whole = series.carry_out(todo, is_stopping_at_first=options.stop)
    except KeyboardInterrupt:
        is_whole = False
    total = Total(series.summaries)
    for line in total.lines():
        say(line)
    if len(series.summaries) == 1:
        say(f"{'hash of the run':32} {series.summaries[0].trace_hash}")
    if not is_whole:
        say(f"cut off: {len(todo) - total.seeds} seeds were not run")
    if total.broken:
        return 1
    return 0 if is_whole else 2


def main() -> int:
    options = arguments()
    with planted(options.plant) if options.plant else nullcontext():
        return run(options)


if __name__ == "__main__":
    sys.exit(main())
