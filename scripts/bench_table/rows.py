"""Figures: several runs of one thing become a row; rows become a table, or are held against a baseline."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

HEADINGS: Final = ("what", "median", "unit", "lowest", "highest", "CPU µs/cycle", "others", "note")


class Figure(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a program prints, see ``scripts/bench.d/README.md``."""

    name: str
    value: float
    unit: str
    better: Literal["higher", "lower"] = "higher"
    cycles: int = 0
    cpu_s: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """A figure, the CPU time a cycle of all our processes, and the cores that others used meanwhile."""

    figure: Figure
    cpu_us_per_cycle: float
    others_cores: float


@dataclass(frozen=True, slots=True)
class Row:
    """One thing, measured several times."""

    samples: Sequence[Sample]

    @property
    def name(self) -> str:
        return self.samples[0].figure.name

    @property
    def median(self) -> float:
        return statistics.median(sample.figure.value for sample in self.samples)

    def cells(self) -> tuple[str, ...]:
        values = [sample.figure.value for sample in self.samples]
        middle = min(self.samples, key=lambda sample: abs(sample.figure.value - self.median))
        cpu_us = statistics.median(sample.cpu_us_per_cycle for sample in self.samples)
        return (
            self.name,
            number(self.median),
            middle.figure.unit,
            number(min(values)),
            number(max(values)),
            f"{cpu_us:.1f}" if cpu_us else "",
            f"{statistics.median(sample.others_cores for sample in self.samples):.2f}",
            middle.figure.note,
        )

    def falls_behind(self, baseline: float, ratio: float) -> bool:
        """Tell whether the median is worse than ``ratio`` times as good as the baseline."""
        if self.samples[0].figure.better == "higher":
            return self.median < baseline * ratio
        return self.median * ratio > baseline


def number(value: float) -> str:
    """Three digits that count, or a whole number."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows: Iterable[Row]) -> str:
    """Aligned columns, numbers to the right."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    left = {0, 2, 7}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def save(rows: Iterable[Row], path: Path) -> None:
    """Keep the medians as a baseline."""
    medians = {row.name: row.median for row in rows}
    path.write_text(json.dumps(medians, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def complaints(rows: Iterable[Row], path: Path, ratio: float) -> list[str]:
    """One sentence for each row that fell behind the baseline; rows that it has not pass."""
    baseline = msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    return [
        f"{row.name}: {number(row.median)} against {number(baseline[row.name])}"
        for row in rows
        if row.name in baseline and row.falls_behind(baseline[row.name], ratio)
    ]
