"""Bugs for real nodes: those of the simulation, and some that only real processes have.

``scripts/chaos --plant NAME`` has them in all nodes of a run. ``docs/guarantees.md`` says which faults catch which.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

from raftq_cluster.backends.raft.consensus import Consensus
from raftq_cluster.core.machine import Machine
from tests.simulation import planting as simulated

# These need what only a simulated process has: its clock, or its node.
_SIMULATED_ONLY: Final = frozenset({"expire_by_the_local_clock", "members_of_now_in_snapshots"})


def commit_alone(patch: Any) -> None:
    """A leader takes for committed what its own disk has."""
    send_round = Consensus.send_round

    def alone(self: Any) -> None:
        if self.is_leader and self.leading_term:
            self.core.raise_commit(self._log.durable_index)
        send_round(self)

    patch(Consensus, "send_round", alone)


def expire_by_the_wall_clock(patch: Any) -> None:
    """Each node ends leases by its own wall clock."""
    apply = Machine.apply

    def by_clock(self: Any, index: int, now_ms: int, *rest: Any) -> Any:
        return apply(self, index, max(now_ms, time.time_ns() // 1_000_000), *rest)

    patch(Machine, "apply", by_clock)


BUGS: Final[dict[str, Callable[[Any], None]]] = {
    "commit_alone": commit_alone,
    "expire_by_the_wall_clock": expire_by_the_wall_clock,
    **{name: bug.plant for name, bug in simulated.BUGS.items() if name not in _SIMULATED_ONLY},
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Have the bug of this name in this process."""
    with ExitStack() as stack:

        def patch(target: Any, attribute: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(target, attribute, value))

        BUGS[name](patch)
        yield
