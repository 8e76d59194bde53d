"""One run in a few numbers, and the sum of many: what a long series of runs keeps and prints."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Final

from tests.simulation.coverage import Coverage
from tests.simulation.simulation import Result

OPERATIONS: Final = ("modify", "claim", "renew", "settle", "configure", "read")
OUTCOMES: Final = ("done", "refused", "unknown")
_SEPARATOR: Final = " | "  # between a fault and a state, in JSON


@dataclass
class Summary:
    """What remains of a run. ``report`` is what is worth reading about a broken one."""

    seed: int
    command: str
    temper: str = ""
    broken: list[str] = field(default_factory=list)
    trace_hash: str = ""
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    met: dict[str, int] = field(default_factory=dict)
    report: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def of_line(cls, line: str) -> "Summary":
        return cls(**json.loads(line))


def summary_of(result: Result) -> Summary:
    """Keep the numbers of a run."""
    coverage = result.coverage
    return Summary(
        seed=result.options.seed,
        command=result.options.command(),
        temper=result.temper,
        broken=list(result.broken),
        trace_hash=result.trace_hash,
        virtual_s=result.seconds,
        counts=dict(result.counts),
        faults=dict(coverage.faults),
        met={_SEPARATOR.join(pair): count for pair, count in coverage.met.items()},
    )


class Total:
    """The sum of many runs."""

    def __init__(self, summaries: Iterable[Summary]) -> None:
        self.seeds = 0
        self.virtual_s = self.cpu_s = self.wall_s = 0.0
        self.counts: Counter[str] = Counter()
        self.tempers: Counter[str] = Counter()
        self.coverage = Coverage()
        self.broken: list[Summary] = []
        for summary in summaries:
            self.add(summary)

    def add(self, summary: Summary) -> None:
        self.seeds += 1
        self.virtual_s += summary.virtual_s
        self.cpu_s += summary.cpu_s
        self.wall_s += summary.wall_s
        self.counts.update(summary.counts)
        self.tempers[summary.temper] += 1
        self.coverage.faults.update(summary.faults)
        for pair, count in summary.met.items():
            fault, _, state = pair.partition(_SEPARATOR)
            self.coverage.met[fault, state] += count
        if summary.broken:
            self.broken.append(summary)

    def lines(self) -> list[str]:
        """The report: faults by states, operations by outcome, sums, and what was broken."""
        lines = ["", *self.coverage.table().split("\n"), "", *self._operations(), ""]
        named = {f"{kind} {outcome}" for kind in OPERATIONS for outcome in OUTCOMES}
        rows = [(name, str(self.counts[name])) for name in sorted(self.counts) if name not in named]
        rows += [(f"seeds of temper {name}", str(self.tempers[name])) for name in self.tempers]
        possible = self.coverage.possible()
        met = sum(self.coverage.met[cell] > 0 for cell in possible)
        rows += [("cells of the table met", f"{met} of {len(possible)}"),
                 ("virtual seconds", f"{self.virtual_s:.0f}"), ("CPU seconds", f"{self.cpu_s:.0f}"),
                 ("wall seconds of all runs", f"{self.wall_s:.0f}"),
                 ("seeds", str(self.seeds))]  # fmt: skip
        lines += [f"{name:32} {value:>12}" for name, value in rows]
        return lines + self._failures()

    def _operations(self) -> list[str]:
        lines = [f"{'operation':12}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES)]
        for kind in OPERATIONS:
            counts = (self.counts[f"{kind} {outcome}"] for outcome in OUTCOMES)
            lines.append(f"{kind:12}" + "".join(f"{count:>10}" for count in counts))
        return lines

    def _failures(self) -> list[str]:
        if not self.broken:
            return ["nothing was broken"]
        lines = [f"{len(self.broken)} broken:"]
        for summary in sorted(self.broken, key=lambda item: item.seed):
            lines += [f"  {summary.command}", *(f"    {text}" for text in summary.broken[:3])]
        return lines
