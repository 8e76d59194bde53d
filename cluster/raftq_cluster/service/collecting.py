"""The collector: sees to it that what may be collected is, in the background, a little at a time.

Every ``PAUSE_S`` the node that leads asks which queues and sets of docs may be collected, and has it done in pieces
of ``PIECE`` tasks and docs, one after the other, so that everybody else's operations find their way between them.
What a piece ends is decided by the core (:mod:`raftq_cluster.core.collection`), for all nodes alike. Source: the
collector of EntroQ, which sweeps once in 5 s to a minute.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from raftq_cluster.backends.api import Backend, BackendError
from raftq_cluster.core import operations as op
from raftq_cluster.core.operations import Operation
from raftq_cluster.core.outcomes import Collected, Outcome
from raftq_cluster.core.queries import Collectable, Collectables

_log: Final = logging.getLogger(__name__)

PAUSE_S: Final = 5.0
PIECE: Final = 200  # tasks and docs of one entry: some 0.3 ms of every node


class Collecting:
    """The collector of one node.

    ``tasks`` and ``docs`` count what it has had ended, ``malformed`` the names that ask to be collected and
    say no time, as of the last sweep, ``sweeps`` and ``seconds`` how often it looked and how long that took.
    """

    def __init__(
        self, backend: Backend, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._backend = backend
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self._turn = 0
        self.tasks = 0
        self.docs = 0
        self.malformed = 0
        self.sweeps = 0
        self.seconds = 0.0

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="collector")

    async def stop(self) -> None:
        """End, in the middle of a sweep too. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def counts(self) -> tuple[int, int, int, int, float]:
        """Give the counts in the order in which the class names them."""
        return self.tasks, self.docs, self.malformed, self.sweeps, self.seconds

    async def _run(self) -> None:
        while True:
            await self._sleep(PAUSE_S)
            await self.sweep()

    async def sweep(self) -> None:
        """Collect all that may be collected now, if this node leads."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        try:
            while self._leads():
                ended = await self._collect_piece()
                if not ended:
                    break
                await asyncio.sleep(0)  # a backend in memory has answered at once
        except BackendError as error:
            _log.debug("the collector could not look: %s", error.detail)
        else:
            self.sweeps += 1
            self.seconds += loop.time() - started_s

    def _leads(self) -> bool:
        """Whether this is up to this node; over PostgreSQL every node leads."""
        status = self._backend.status()
        return status.ready and status.leader == status.node

    async def _collect_piece(self) -> int:
        """Have a piece collected; give how much that was."""
        self._turn += 1
        found: Collectables = (await self._backend.read(Collectable(PIECE, self._turn))).value
        self._note_malformed(found.malformed)
        operations: list[Operation] = [
            op.Collect(op.COLLECT, queue, count) for queue, count in found.queues
        ]
        operations += [op.CollectDocs(op.COLLECT_DOCS, *item) for item in found.sets]
        if not operations:
            return 0
        outcomes = await self._do(operations)
        tasks = _count(outcomes[: len(found.queues)])
        docs = _count(outcomes[len(found.queues) :])
        self.tasks += tasks
        self.docs += docs
        return tasks + docs

    async def _do(self, operations: Sequence[Operation]) -> Sequence[Outcome]:
        told: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()

        def tell(_index: int, outcomes: Sequence[Outcome]) -> None:
            if not told.done():
                told.set_result(outcomes)

        self._backend.submit(operations, tell)
        return await told

    def _note_malformed(self, count: int) -> None:
        if count > self.malformed:
            _log.warning("names with a gc= that says no time, never collected: %d", count)
        self.malformed = count


def _count(outcomes: Sequence[Outcome]) -> int:
    return sum(outcome.ended for outcome in outcomes if isinstance(outcome, Collected))
