"""Rights on queues: who may do what, as plain values that a log entry can carry.

A *grant* is ``(pattern, rights)``: a pattern as settings have it, and a sum of the rights below. Who has
which grants is not known here. Source: ``docs/security.md``.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from raftq_cluster.core.settings import matches

READ: Final = 1
INSERT: Final = 2
CLAIM: Final = 4
CHANGE: Final = 8
DELETE: Final = 16
ADMIN: Final = 32

NAMES: Final[dict[int, str]] = {
    READ: "read",
    INSERT: "insert",
    CLAIM: "claim",
    CHANGE: "change",
    DELETE: "delete",
    ADMIN: "admin",
}
ALL: Final = sum(NAMES)
EVERYWHERE: Final = "*"  # the pattern of all queues

Grant: TypeAlias = tuple[str, int]
Grants: TypeAlias = Sequence[Grant]


def allows(grants: Grants, right: int, queue: str) -> bool:
    """Tell whether any grant gives the right on a queue."""
    # Once per operation of who has a token: a plain loop (scripts/bench.d/text_client.py, RAFTQ_TOKEN).
    for pattern, rights in grants:  # noqa: SIM110 - any() of a generator costs three times as much
        if rights & right and matches(pattern, queue):
            return True
    return False


def covers(grants: Grants, right: int, pattern: str) -> bool:
    """Tell whether one grant gives the right on every queue that a pattern matches."""
    # The prefix of a pattern that ends in * is a queue's name as well, and the longest they share.
    return any(
        rights & right
        and (
            own == pattern or (own.endswith("*") and pattern.removesuffix("*").startswith(own[:-1]))
        )
        for own, rights in grants
    )


def touches(grants: Grants, right: int, pattern: str) -> bool:
    """Tell whether any grant gives the right on at least one queue that a pattern can match."""
    return any(rights & right and _overlap(own, pattern) for own, rights in grants)


def _overlap(one: str, other: str) -> bool:
    if not one.endswith("*"):
        return matches(other, one)
    if not other.endswith("*"):
        return matches(one, other)
    return one[:-1].startswith(other[:-1]) or other[:-1].startswith(one[:-1])
