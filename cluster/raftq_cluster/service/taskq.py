"""TaskQ's three requests, and their relatives, as operations: shared by its text and HTTP dialects.

A task's integer id is its ``serial``: 1, 2, 3, … per queue, never repeated.
"""

from raftq_cluster.core import operations as op
from raftq_cluster.service.building import Builder
from raftq_cluster.service.names import check_queue
from raftq_cluster.service.values import check_value

# Half the price of calling a named tuple's class, once or twice per request (scripts/bench, text).
_new = tuple.__new__

NO_TASK = "taskq: no task in queue"
NO_SUCH_TASK = "taskq: no such task"


def enq(service: Builder, queue: str, body: bytes) -> op.Modify:
    """Insert a task with the queue's next integer id.

    Raises:
        Refusal: the name or the body cannot be taken.
    """
    check_queue(queue)
    check_value(body, service.limits)
    insert = _new(op.Insert, (queue, service.new_id(), op.KEEP, 0, body, op.BYTES, 0, 0, "", True))
    return _new(op.Modify, (op.MODIFY, "", b"", op.ANONYMOUS, (insert,), (), (), ()))


def deq(queue: str) -> op.Claim:
    """Claim one task under the queue's own lease. Raises as :func:`enq`."""
    check_queue(queue)
    return _new(op.Claim, (op.CLAIM, "", b"", op.ANONYMOUS, (queue,), 0, 1, True))


def settle(action: str, queue: str, serial: int, delay_ms: int = 0) -> op.Settle:
    """Ack, touch or nack the task with this integer id. Raises as :func:`enq`."""
    check_queue(queue)
    return _new(op.Settle, (op.SETTLE, "", b"", action, queue, serial, delay_ms))
