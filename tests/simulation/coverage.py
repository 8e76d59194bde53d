"""What the generator has reached: which faults met which states of which nodes, and how much work was done.

A simulator that never cuts the power while a snapshot is installed proves nothing about that. So each fault notes
in which state it met the node that it hit.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.node import SimNode

STATES = (
    "leader", "follower", "candidate", "learner", "down", "starting", "syncing", "snapshotting",
    "installing", "transferring", "changing", "forwarding",
)  # fmt: skip


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

    def table(self) -> str:
        """Faults by states; a dot is a pair that was never met."""
        rows = [["fault", "times", *STATES]]
        for fault in sorted(self.faults):
            cells = [str(self.met[fault, state] or ".") for state in STATES]
            rows.append([fault, str(self.faults[fault]), *cells])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if place else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )


def states_of(node: "SimNode") -> list[str]:
    """All that a node is and does at the moment."""
    if not node.is_alive:
        return ["down"]
    engine = node.engine
    if engine is None:
        return ["starting"]
    running = node.backend._running
    members = {member.id: member for member in engine.members}
    is_learner = node.name in members and not members[node.name].voter
    states = ["learner" if is_learner else engine.core.role]
    checks = {
        "starting": not node.is_serving,
        "syncing": engine._is_syncing,
        "snapshotting": running._upkeep._task is not None,
        "installing": running._receiver._partial is not None,
        "transferring": engine.is_transferring,
        "changing": engine.config_index > engine.core.commit_index,
        "forwarding": not engine._forwarding.is_idle,
    }
    return states + [name for name, is_so in checks.items() if is_so]
