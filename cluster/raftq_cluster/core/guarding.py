"""What a guarded operation may do: checked where the queue of a task is certain, in the log's order.

Changes, deletes, depends and renewals name tasks, not queues; only the state that they are applied to
tells where a task is. A task in a queue that the caller may not read does not exist for it: the answer is
that of a missing task. Where the caller may read and lacks another right, the whole operation is refused.
Source: ``docs/security.md``.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from raftq_cluster.core import modification
from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import CHANGE, DELETE, DEPEND, INSERT, MISSING, FailedPart, Refused
from raftq_cluster.core.rights import CHANGE as MAY_CHANGE
from raftq_cluster.core.rights import CLAIM as MAY_CLAIM
from raftq_cluster.core.rights import DELETE as MAY_DELETE
from raftq_cluster.core.rights import INSERT as MAY_INSERT
from raftq_cluster.core.rights import NAMES, READ, Grants, allows
from raftq_cluster.core.state import State

_ORDER: Final = {part: place for place, part in enumerate((INSERT, CHANGE, DELETE, DEPEND))}


class _Need(NamedTuple):
    """A right on a queue that one part of an operation needs."""

    part: str
    position: int
    id: str
    right: int
    queue: str
    holds: bool  # whether the task's own queue is meant


def modify_refusal(state: State, grants: Grants, modify: op.Modify) -> Refused | None:
    """Check rights and every part of a modification; None means that it may be done."""
    lacking = [need for need in _needs(state, modify) if not allows(grants, need.right, need.queue)]
    hidden = {
        (need.part, need.position): need.id
        for need in lacking
        if need.holds and not allows(grants, READ, need.queue)
    }
    for need in lacking:
        if (need.part, need.position) not in hidden:
            return forbidden(need.right, need.queue)
    refused = modification.refusal(state, modify)
    if not hidden or (refused is not None and refused.code != "dependency"):
        return refused
    failed = (
        {} if refused is None else {(part.part, part.position): part for part in refused.failed}
    )
    for (part, position), id_ in hidden.items():
        failed[part, position] = FailedPart(part, position, id_, MISSING)
    parts = sorted(failed.values(), key=lambda part: (_ORDER[part.part], part.position))
    _, _, _, _, inserts, changes, deletes, depends = modify
    count = len(inserts) + len(changes) + len(deletes) + len(depends)
    return Refused("dependency", f"{len(parts)} of {count} parts do not hold", tuple(parts))


def renewable(state: State, grants: Grants, renew: op.Renew) -> set[str] | Refused:
    """Give the ids of the targets that do not exist for the caller, or refuse the whole renewal."""
    hidden = set()
    for id_, _ in renew[4]:
        task = state.tasks.get(id_)
        if task is None or allows(grants, MAY_CLAIM, task.queue.name):
            continue
        if allows(grants, READ, task.queue.name):
            return forbidden(MAY_CLAIM, task.queue.name)
        hidden.add(id_)
    return hidden


def forbidden(right: int, queue: str) -> Refused:
    """Make the refusal that names the right and the queue."""
    return Refused("forbidden", f"this needs the right {NAMES[right]} on queue {queue}")


def _needs(state: State, modify: op.Modify) -> Iterator[_Need]:
    _, _, _, _, inserts, changes, deletes, depends = modify
    for position, insert in enumerate(inserts):
        yield _Need(INSERT, position, insert[1], MAY_INSERT, insert[0], holds=False)
    tasks = state.tasks
    for position, change in enumerate(changes):
        task = tasks.get(change[0])
        target = change[2]
        if task is None:
            continue
        queue = task.queue.name
        is_move = target is not None and target != queue
        right = MAY_DELETE if is_move else MAY_CHANGE
        yield _Need(CHANGE, position, change[0], right, queue, holds=True)
        if target is not None and is_move:
            yield _Need(CHANGE, position, change[0], MAY_INSERT, target, holds=False)
    for part, targets, right in ((DELETE, deletes, MAY_DELETE), (DEPEND, depends, READ)):
        for position, (id_, _) in enumerate(targets):
            task = tasks.get(id_)
            if task is not None:
                yield _Need(part, position, id_, right, task.queue.name, holds=True)
