"""What a guarded operation may do: checked where the queue of a task is certain, in the log's order.

Changes, deletes, depends and renewals name tasks, not queues; only the state that they are applied to
tells where a task is. A task in a queue that the caller may not read does not exist for it: the answer is
that of a missing task. Where the caller may read and lacks another right, the whole operation is refused.
Source: ``docs/security.md``.
"""

from collections.abc import Iterator
from typing import NamedTuple

from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Refused
from raftq_cluster.core.rights import CHANGE as MAY_CHANGE
from raftq_cluster.core.rights import CLAIM as MAY_CLAIM
from raftq_cluster.core.rights import DELETE as MAY_DELETE
from raftq_cluster.core.rights import INSERT as MAY_INSERT
from raftq_cluster.core.rights import NAMES, READ, Grants, allows
from raftq_cluster.core.state import State


class _Need(NamedTuple):
    """A right on a queue that one part of an operation needs."""

    id: str
    right: int
    queue: str
    holds: bool  # whether the task's own queue is meant


def modify_hidden(state: State, grants: Grants, modify: op.Modify) -> set[str] | Refused:
    """Give the ids whose tasks do not exist for the caller, or refuse the whole modification."""
    hidden: set[str] = set()
    refused = None
    for part_id, right, queue, holds in _needs(state, modify):
        if allows(grants, right, queue):
            continue
        if holds and not allows(grants, READ, queue):
            hidden.add(part_id)
        elif refused is None and part_id not in hidden:
            refused = forbidden(right, queue)
    return refused or hidden


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


def may_match(state: State, grants: Grants, claim: op.ClaimDocs) -> bool:
    """Tell whether the task whose lease a claim of docs is to have exists for the caller."""
    task = state.tasks.get(claim[6][0])
    return task is None or allows(grants, READ, task.queue.name)


def _needs(state: State, modify: op.Modify) -> Iterator[_Need]:
    _, _, _, _, inserts, changes, deletes, depends = modify
    for insert in inserts:
        yield _Need(insert[1], MAY_INSERT, insert[0], holds=False)
    tasks = state.tasks
    for change in changes:
        task = tasks.get(change[0])
        target = change[2]
        if task is None:
            continue
        queue = task.queue.name
        is_move = target is not None and target != queue
        yield _Need(change[0], MAY_DELETE if is_move else MAY_CHANGE, queue, holds=True)
        if target is not None and is_move:
            yield _Need(change[0], MAY_INSERT, target, holds=False)
    for targets, right in ((deletes, MAY_DELETE), (depends, READ)):
        for id_, _ in targets:
            task = tasks.get(id_)
            if task is not None:
                yield _Need(id_, right, task.queue.name, holds=True)
