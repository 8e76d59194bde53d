"""What the generator has reached: which faults met which states of which nodes, and how much work was done.

A simulator that never cuts the power while a snapshot is installed proves nothing about that. So each fault notes
in which state it met the node that it hit.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.states import IMPOSSIBLE, STATES


@dataclass
class Coverage:
    """Counts of one run or, by ``add``, of many."""

    met: Counter[tuple[str, str]] = field(default_factory=Counter)  # (fault, state)
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    lives: int = 0

    def note(self, fault: str, states: Iterable[str]) -> None:
        self.faults[fault] += 1
        for state in states:
            self.met[fault, state] += 1

    def add(self, other: "Coverage") -> None:
        self.met += other.met
        self.faults += other.faults
        self.counts += other.counts
        self.lives += other.lives

    def possible(self) -> set[tuple[str, str]]:
        """The cells of the table that can be met."""
        return {(fault, state) for fault in self.faults for state in STATES} - IMPOSSIBLE

    def _cell(self, fault: str, state: str) -> str:
        return str(self.met[fault, state] or ("-" if (fault, state) in IMPOSSIBLE else "."))

    def table(self) -> str:
        """Faults by states; a dot is a pair that was never met, a dash one that cannot be."""
        rows = [["fault", "times", *STATES]]
        for fault in sorted(self.faults):
            cells = [self._cell(fault, state) for state in STATES]
            rows.append([fault, str(self.faults[fault]), *cells])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if place else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )
