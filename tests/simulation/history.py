"""What clients asked and were told: the records that checkers judge."""

from dataclasses import dataclass, field
from typing import Any, Final

from raftq_cluster.core.outcomes import TaskRow

DONE: Final = "done"  # the machine has answered, be it with a refusal
REFUSED: Final = "refused"  # certainly not done
UNKNOWN: Final = "unknown"


@dataclass(slots=True)
class Call:
    """One request of one client, with all its attempts. Times are nanoseconds of the world."""

    client: str
    kind: str  # claim, modify, renew, settle, configure, read
    began_ns: int
    operation: Any = None  # as the last attempt had it
    tags: tuple[str, ...] = ()  # of the values that it inserts
    ended_ns: int = 0
    status: str = UNKNOWN
    index: int = 0
    outcome: Any = None
    node: str = ""
    attempts: int = 0
    repeats: list[Any] = field(default_factory=list)  # what the same key was answered later
    deletes: tuple[str, ...] = ()  # ids of tasks that it completes, if it is a settle


@dataclass(slots=True)
class History:
    """One run. ``left`` is what a final linearizable listing had, by id."""

    calls: list[Call] = field(default_factory=list)
    left: dict[str, TaskRow] = field(default_factory=dict)
    registers: dict[str, list[tuple[int, int, Any]]] = field(default_factory=dict)
    small_queues: dict[str, list[tuple[int, int, Any]]] = field(default_factory=dict)
    clock_spread_ns: int = 0  # the largest difference between two nodes' wall clocks

    def done(self, kind: str) -> list[Call]:
        return [call for call in self.calls if call.kind == kind and call.status == DONE]
