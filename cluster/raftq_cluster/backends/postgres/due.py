"""Which names may be collected now, of all that the tables have: read by this node, since SQL cannot read them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from raftq_cluster.core.gc_names import MALFORMED, collected_from

SLICE: Final = 1_000  # names read before others have their turn: some 3 ms


class Due(NamedTuple):
    """The names whose time has come, and how many of all say no time."""

    names: list[str]
    malformed: int


async def due_of(names: Sequence[str], now_ms: int, is_kept: Callable[[str], bool]) -> Due:
    """Read names, a slice at a time; what ``is_kept`` says of is not due."""
    due: list[str] = []
    malformed = 0
    for start in range(0, len(names), SLICE):
        if start:
            await asyncio.sleep(0)
        for name in names[start : start + SLICE]:
            from_ms = collected_from(name)
            if from_ms == MALFORMED:
                malformed += 1
            elif from_ms is not None and from_ms <= now_ms and not is_kept(name):
                due.append(name)
    return Due(due, malformed)
