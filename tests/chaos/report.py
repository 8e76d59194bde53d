"""The tables at the end of a run."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.chaos.availability import GAP_S, Gap
from tests.chaos.options import Options
from tests.chaos.rounds import Result


def lines(
    options: Options, network: str, results: Sequence[Result], seconds: float, lives: int
) -> Iterator[str]:
    """All of it."""
    faults = sum((result.faults for result in results), Counter[str]())
    passed = sum((result.passed for result in results), Counter[str]())
    attempts = sum((result.attempts for result in results), Counter[tuple[str, str, str]]())
    counts = sum((result.counts for result in results), Counter[str]())
    gaps = sorted((gap for result in results for gap in result.gaps), key=lambda gap: -gap.seconds)
    yield ""
    yield f"{options.nodes} nodes in {network}, seed {options.seed}: {len(results)} rounds in {seconds:.0f} s"
    yield ""
    yield from _faults(faults, passed, gaps)
    yield ""
    yield from _attempts(attempts, seconds)
    yield ""
    yield from _counts(counts, gaps, results, lives)


def _faults(faults: Counter[str], passed: Counter[str], gaps: Sequence[Gap]) -> Iterator[str]:
    yield f"{'fault':18}{'times':>7}{'nobody':>8}   longest time without an acknowledgement while it was on"
    for name in sorted(faults.keys() | passed.keys()):
        longest = max((gap.seconds for gap in gaps if name in gap.faults), default=0.0)
        shown = f"{longest:.1f} s" if longest else f"under {GAP_S:g} s"
        yield f"{name:18}{faults[name]:>7}{passed[name]:>8}   {shown}"
    yield f"{'all':18}{faults.total():>7}{passed.total():>8}"


def _attempts(attempts: Counter[tuple[str, str, str]], seconds: float) -> Iterator[str]:
    outcomes = sorted({outcome for _, _, outcome in attempts})
    dialects = sorted({dialect for dialect, _, _ in attempts})
    yield "operations by dialect and verb, and what came of them"
    for dialect in dialects:
        verbs = sorted({verb for name, verb, _ in attempts if name == dialect})
        for verb in verbs:
            found = [f"{outcome} {attempts[dialect, verb, outcome]}" for outcome in outcomes
                     if attempts[dialect, verb, outcome]]  # fmt: skip
            yield f"  {dialect:10}{verb:9}{', '.join(found)}"
    yield f"  {attempts.total()} operations, {attempts.total() / max(seconds, 1):.0f} a second"


def _counts(
    counts: Counter[str], gaps: Sequence[Gap], results: Sequence[Result], lives: int
) -> Iterator[str]:
    yield f"unavailable (no acknowledgement for over {GAP_S:g} s): {len(gaps)} times, {sum(gap.seconds for gap in gaps):.0f} s in all"
    for gap in gaps[:5]:
        yield f"  {gap.seconds:5.1f} s  {', '.join(sorted(gap.faults)) or 'nothing'}"
    yield f"healed within {max((result.healed_s for result in results), default=0.0):.1f} s at most; {lives} lives of nodes"
    yield (
        f"checked: {counts['calls done']} calls done, {counts['calls unknown']} unknown,"
        f" {counts['calls refused']} refused; {counts['claimed again']} claimed again,"
        f" {counts['recovered']} recovered, {counts['repeats of answered keys']} repeats of answered keys,"
        f" {counts['registers']} steps of registers, {counts['small queues']} of small queues,"
        f" {counts['undecided']} of their histories without a verdict,"
        f" {counts['left']} tasks left; digests equal after every round"
    )
    broken = [sentence for result in results for sentence in result.broken]
    yield f"broken promises: {len(broken)}"
    for sentence in broken[:20]:
        yield f"  {sentence[:600]}"
