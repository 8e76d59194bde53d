"""Whether a history of calls that overlap could have been one after the other.

The search of Wing and Gong, with the memory of Lowe: a set of calls that were placed already and the state that
they led to are looked at once. A call whose outcome is not known has no end and may be left out. Source: Wing and Gong,
"Testing and Verifying Concurrent Objects" (1993); Lowe, "Testing for Linearizability" (2017).
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final

FOREVER_NS: Final = 1 << 62
NODES_MAX: Final = 200_000  # of the search; beyond, nothing is known

Step = tuple[int, int, Any]
"""(began, ended or FOREVER_NS, what was asked and answered)."""

Model = Callable[[Any, Any], Iterable[Hashable]]
"""(state, step) -> the states to which that step can lead from there: none if it cannot be."""


def is_linearizable(steps: Sequence[Step], start: Hashable, model: Model) -> bool | None:
    """Search for an order. None: the search was given up."""
    ordered = sorted(steps, key=lambda step: step[0])
    must = sum(1 << place for place, step in enumerate(ordered) if step[1] < FOREVER_NS)
    seen: set[tuple[int, Hashable]] = set()
    stack: list[tuple[int, Hashable]] = [(0, start)]
    while stack:
        placed, state = stack.pop()
        if placed & must == must:
            return True
        if (placed, state) in seen:
            continue
        seen.add((placed, state))
        if len(seen) > NODES_MAX:
            return None
        for place in _next(ordered, placed):
            stack += [(placed | 1 << place, after) for after in model(state, ordered[place][2])]
    return False


def _next(ordered: Sequence[Step], placed: int) -> list[int]:
    """The calls that may come next: those that began before any other unplaced one had ended."""
    first_end = min(
        (step[1] for place, step in enumerate(ordered) if not placed >> place & 1),
        default=FOREVER_NS,
    )
    return [
        place
        for place, step in enumerate(ordered)
        if not placed >> place & 1 and step[0] <= first_end
    ]


def register(state: Any, step: Any) -> Iterable[Hashable]:
    """One task that is created, read, and changed by version. State: None or (version, value)."""
    if step[0] == "read":
        return [state] if state == step[1] else []
    if step[0] == "create":
        _, value, is_done = step
        after, may_be = (0, value), state is None
    else:
        _, version, value, is_done = step
        after, may_be = (version + 1, value), state is not None and state[0] == version
    if is_done is None:
        return [after] if may_be else []
    if is_done:
        return [after] if may_be else []
    return [] if may_be else [state]


def small_queue(state: Any, step: Any) -> Iterable[Hashable]:
    """Tasks that are inserted, and claimed for good. State: the frozen set of those that can be."""
    kind, id_ = step
    if kind == "insert":
        return [state | {id_}]
    if id_ is None:  # it is not known what was claimed
        return [state - {taken} for taken in sorted(state)]
    if not id_:
        return [] if state else [state]
    return [state - {id_}] if id_ in state else []
