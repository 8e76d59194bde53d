"""A client of TaskQ's dialect: tasks with numbers, taken under the queue's lease, and settled by number, without keys."""

import asyncio
from typing import Final

from raftq_cluster.core import operations as op
from raftq_cluster.core.outcomes import Claimed, TaskRow
from raftq_cluster.service import taskq
from tests.simulation.clients.kinds import Tagging
from tests.simulation.history import DONE

QUEUES: Final = ("/numbered/a", "/numbered/b")


class TaskqClient(Tagging):
    """Enqueues, dequeues, and acknowledges, touches or hands back."""

    async def step(self) -> None:
        queue = self.chance.choice(QUEUES)
        if self.chance.random() < 0.45:
            tag = self.tags.new()
            body = tag.encode() + b"|"
            await self.call("modify", lambda service: taskq.enq(service, queue, body), tags=(tag,))
            return
        call = await self.call("claim", lambda service: taskq.deq(queue))
        if call.status == DONE and isinstance(call.outcome, Claimed):
            for row in call.outcome.tasks:
                await self._settle(queue, row)

    async def _settle(self, queue: str, row: TaskRow) -> None:
        await asyncio.sleep(0.2 * self.chance.random())
        action = self.chance.choice((op.ACK, op.ACK, op.TOUCH, op.NACK))
        await self.call(
            "settle",
            lambda service: taskq.settle(action, queue, row.serial),
            deletes=(row.id,) if action == op.ACK else (),
        )
