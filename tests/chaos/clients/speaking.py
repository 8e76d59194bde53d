"""What a client needs of a dialect, and what it is told: one attempt of one request at one node."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from raftq_cluster.core.outcomes import Claimed, LostTask, Modified, Renewed, TaskRow
from tests.simulation.history import DONE, REFUSED, UNKNOWN

HASTY_S: Final = 4.0  # a client's patience: longer than an election, shorter than most faults
PATIENT_S: Final = 7.0  # or longer than the five seconds in which a node says that it does not know
# The node has answered that nothing was done, and that another attempt may fare better.
NOT_DONE: Final = frozenset({"unavailable", "store_full", "too_busy", "request_timeout"})
# The answer of the state machine, good for ever.
DECIDED: Final = frozenset({"dependency", "task_not_found"})

Address = Callable[[str, str], tuple[str, int]]
"""(node, door) -> host and port."""


class Refusal(NamedTuple):
    """What a node said instead of doing it."""

    code: str


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one attempt. ``index`` 0: the dialect does not tell."""

    status: str
    index: int = 0
    outcome: Any = None
    code: str = ""  # of what was refused


NOBODY: Final = Told(REFUSED, code="no connection")
SILENT: Final = Told(UNKNOWN, code="no answer")
BROKEN: Final = Told(UNKNOWN, code="connection lost")


class SurpriseError(AssertionError):
    """A node answered what no client of ours should be told."""


class Speaker(Protocol):
    """One client's connections, in one dialect. Documents are those of v1, whatever is said on the wire."""

    dialect: str

    async def call(
        self, node: str, verb: str, document: Mapping[str, Any], wait_s: float = 0.0
    ) -> Told:
        """One attempt at one node: ``claim``, ``modify``, ``renew``, ``tasks`` or ``configure``."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def refusal(code: str, index: int = 0) -> Told:
    """Sort a refusal by its code.

    Raises:
        SurpriseError: it is none that an honest client gets.
    """
    if code in NOT_DONE:
        return Told(REFUSED, index, code=code)
    if code == "outcome_unknown":
        return Told(UNKNOWN, index, code=code)
    if code in DECIDED:
        return Told(DONE, index, Refusal(code), code)
    raise SurpriseError(f"a client was told {code}")


def row_of(task: Mapping[str, Any]) -> TaskRow:
    """A task of a v1 document. A value is the bytes of its text."""
    if "value_b64" in task:
        value = base64.b64decode(task["value_b64"])
    else:
        value = str(task.get("value", "")).encode()
    return TaskRow(
        task["id"], task["version"], task["queue"], task["at"], value, 0, task["claimant"],
        task["claims"], task["attempt"], task["priority"], task["err"], task["created"],
        task["modified"], 0,
    )  # fmt: skip


def outcome_of(verb: str, answer: Mapping[str, Any]) -> Any:
    """What a good v1 answer says, as the state machine would."""
    if verb == "claim":
        return Claimed(_rows(answer["tasks"]))
    if verb == "modify":
        return Modified(_rows(answer["inserted"]), _rows(answer["changed"]))
    if verb == "renew":
        lost = tuple(LostTask(item["id"], item["reason"]) for item in answer["lost"])
        return Renewed(_rows(answer["renewed"]), lost)
    return _rows(answer["tasks"]) if verb == "tasks" else None


def _rows(tasks: list[dict[str, Any]]) -> tuple[TaskRow, ...]:
    return tuple(row_of(task) for task in tasks)
