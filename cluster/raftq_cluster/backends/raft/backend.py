"""The Backend over a Raft log: what the service sees of this package.

The only module here that knows the Backend protocol. Operations become segments of log entries; their
outcomes come back when the entries are applied, which is after they are on disk. What is said of an
operation that has no outcome: ``unavailable`` where it was refused before anything was appended,
``outcome_unknown`` where its entry was in the log when the node stopped.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from raftq_cluster.backends.api import (
    Answer,
    BackendError,
    Incoming,
    Load,
    MemberChange,
    Ready,
    Sink,
    Status,
    Verification,
)
from raftq_cluster.backends.counting import counted
from raftq_cluster.backends.raft.calls import CallError
from raftq_cluster.backends.raft.engine_api import StoppedError
from raftq_cluster.backends.raft.replica import UNAVAILABLE, tell
from raftq_cluster.backends.raft.running import Outside, Running
from raftq_cluster.backends.raft.segments import segments_of
from raftq_cluster.backends.taking_in import abandon, refuse_unfinished, take_in
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.operations import CLAIM, Claim, Operation, Tick, Verify
from raftq_cluster.core.outcomes import Claimed, Done, Outcome, Unfinished
from raftq_cluster.core.queries import Query, Time
from raftq_cluster.core.snapshot import Record

# A read that cannot be confirmed in this time fails; callers' own deadlines are of this order.
READ_WAIT_S: Final = 5.0
# Claims that found nothing and cannot be confirmed to find nothing in this time take the way of the rest.
DOUBT_S: Final = 1.0
DURABILITY: Final = "majority"  # done means: on disk (fdatasync) on a majority of the voters
_EMPTY: Final = Claimed(())
_NOT_RUNNING: Final = "the node does not run"


class RaftBackend:
    """One node of a Raft cluster, in one data directory.

    Args:
        directory: made at the first start.
        node_id: this node's name; "" takes the one kept in the directory, or makes one up.
        on_fatal: told one sentence when the node cannot go on. Everyone who waited has been told by
            then; all that is left is to ``stop``.
        outside: disk, threads, time and chance.
    """

    def __init__(
        self,
        directory: Path,
        *,
        node_id: str = "",
        on_fatal: Callable[[str], None],
        outside: Outside | None = None,
    ) -> None:
        self._directory = directory
        self._node_id = node_id
        self._on_fatal = on_fatal
        self._doubts = 0
        self._doubted: dict[int, tuple[Sequence[Operation], Sink]] = {}  # claims that found nothing
        self._outside = outside or Outside()
        self._listener: Callable[[Ready], None] | None = None
        self._running: Running | None = None
        self._is_stopped = False

    async def start(self) -> None:
        """Open the directory, load the state, and serve. See ``Backend``."""
        self._running = await Running.open(
            self._directory, self._node_id, self._outside, self._on_fatal
        )
        if self._listener is not None:
            self._running.replica.on_ready(self._listener)

    async def stop(self) -> None:
        """Finish what was submitted, close everything. Idempotent."""
        if self._running is not None and not self._is_stopped:
            self._is_stopped = True
            await self._running.close()

    def submit(self, operations: Sequence[Operation], sink: Sink) -> None:
        """Have operations logged and applied. See ``Backend``."""
        running = self._running
        if running is None:
            tell(sink, 0, [Unfinished(UNAVAILABLE, _NOT_RUNNING)] * len(operations))
            return
        index = running.replica.index
        if not operations:
            tell(sink, index, ())
        elif self._find_nothing(running, operations):
            if running.engine.is_sure:
                tell(sink, index, [_EMPTY] * len(operations))
            else:
                self._confirm_nothing(running, operations, sink)
        else:
            if self._doubted:
                self._log_doubted(running)
            for segment in segments_of(operations, index, sink):
                running.engine.offer(segment)

    def _confirm_nothing(
        self, running: Running, operations: Sequence[Operation], sink: Sink
    ) -> None:
        """Let claims wait until it is certain that what this node has applied is the present."""
        self._doubts += 1
        doubt = self._doubts
        self._doubted[doubt] = (operations, sink)
        confirmed = running.engine.confirm()
        late = asyncio.get_running_loop().call_later(DOUBT_S, self._log_doubted, running)

        def decide(_confirmed: asyncio.Future[None]) -> None:
            late.cancel()
            is_stopped = confirmed.cancelled() or confirmed.exception() is not None
            if doubt not in self._doubted:
                return  # it went into the log meanwhile
            if is_stopped or not self._find_nothing(running, operations):
                self._log_doubted(running)
                return
            del self._doubted[doubt]
            tell(sink, running.replica.index, [_EMPTY] * len(operations))

        confirmed.add_done_callback(decide)

    def _log_doubted(self, running: Running) -> None:
        """Log what waits for certainty: what comes now must not overtake it, and may feed it."""
        doubted, self._doubted = self._doubted, {}
        for operations, sink in doubted.values():
            for segment in segments_of(operations, running.replica.index, sink):
                running.engine.offer(segment)

    def _find_nothing(self, running: Running, operations: Sequence[Operation]) -> bool:
        """Tell whether all of these are claims that find nothing here: they need no entry.

        Only while nothing is under way: whatever was submitted before could feed them.
        """
        if operations[0][0] != CLAIM or not running.engine.is_settled:
            return False
        machine, now_ms = running.replica.machine, running.engine.now_ms()
        for operation in operations:
            if operation[0] != CLAIM:
                return False
            claim: Claim = operation  # type: ignore[assignment] # its kind says so
            _, key, _, _, queues, _, _, _ = claim
            # A key that is known has an answer, whatever is in the queues now.
            if machine.claimable(queues, now_ms) or (key and machine.keys.get(key)):
                return False
        return True

    async def read(self, query: Query, *, stale: bool = False) -> Answer:
        """Answer a query. See ``Backend``."""
        running = self._running
        if running is None:
            raise BackendError(UNAVAILABLE, _NOT_RUNNING)
        if not stale:
            try:
                async with asyncio.timeout(READ_WAIT_S):
                    await self._catch_up(running)
            except TimeoutError as error:
                detail = f"nobody could confirm within {READ_WAIT_S:g} s that the answer is fresh"
                raise BackendError(UNAVAILABLE, detail) from error
            except StoppedError as error:
                raise BackendError(UNAVAILABLE, str(error)) from error
        if not isinstance(query, Time):
            refuse_unfinished(running.replica.machine)
        value = running.replica.machine.query(query, running.engine.now_ms())
        return Answer(running.replica.index, value)

    async def _catch_up(self, running: Running) -> None:
        """Apply all that is committed, and let the arrivals happen that are due."""
        await running.engine.read_barrier()
        if running.replica.machine.due(running.engine.now_ms()):
            done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            self.submit([Tick()], lambda _index, outcomes: _resolve(done, outcomes[0]))
            outcome = await done
            if not isinstance(outcome, Done):
                raise StoppedError(f"no entry could be logged: {outcome}")

    def next_due_ms(self) -> int | None:
        """When the next waiting task arrives, at the earliest."""
        return None if self._running is None else self._running.replica.machine.next_due_ms()

    def now_ms(self) -> int:
        """The time that the next entry would carry."""
        return (
            self._outside.clock.now_ms() if self._running is None else self._running.engine.now_ms()
        )

    def on_ready(self, listener: Callable[[Ready], None]) -> None:
        """Call ``listener`` after each entry by which tasks became claimable."""
        self._listener = listener
        if self._running is not None:
            self._running.replica.on_ready(listener)

    def load(self) -> Load:
        """Tell how full the state is."""
        return (
            Load(0, 0, 0, 0)
            if self._running is None
            else Load(*self._running.replica.machine.load(), self._running.disk_free_bytes)
        )

    def advertise(self, http: str, text: str) -> None:
        """Tell the other members where this node serves. See ``Backend``."""
        if self._running is not None:
            self._running.facts.advertise(http, text)

    def status(self) -> Status:
        """Tell about the cluster."""
        running = self._running
        if running is None:
            return Status("", self._node_id, "raft", DURABILITY, 0, "", 0, False, ())
        engine, index = running.engine, running.replica.index
        consensus = engine.consensus
        cluster_id, node_id = running.identity.cluster_id, running.identity.node_id
        leader, watch = consensus.leader, running.watch
        members = running.facts.members()
        return Status(
            cluster_id,
            node_id,
            "raft",
            DURABILITY,
            consensus.term,
            leader,
            index,
            engine.is_serving,
            tuple([item._replace(verified=watch.verified_of(item.id)) for item in members]),
            engine.log_format,
            watch.comparisons,
        )

    async def change_members(self, change: MemberChange) -> None:
        """Change the members or the leader. See ``Backend``."""
        if self._running is None:
            raise BackendError(UNAVAILABLE, _NOT_RUNNING)
        try:
            await self._running.administration().change(change)
        except CallError as error:
            raise BackendError(error.code, error.detail) from error

    async def verify(self, entry: int) -> Verification:
        """Have all members digest their states, and compare. See ``Backend``."""
        if self._running is None:
            raise BackendError(UNAVAILABLE, _NOT_RUNNING)
        return await self._running.digests.report(entry or await self._log_verify())

    async def export(self) -> AsyncIterator[Sequence[Record]]:
        """Give the state, record by record, while the node goes on. See ``Backend``."""
        await self.read(Time())  # it is the present one, and what is due has arrived
        running = self._running
        assert running is not None
        machine = running.replica.machine
        refuse_unfinished(machine)
        with closing(counted(machine)) as portions:
            for records in portions:
                yield records

    async def take_in(self, incoming: Incoming) -> None:
        """Become what another store was, by the log. See ``Backend``."""
        await take_in(self.submit, self._machine, incoming)

    async def abandon_import(self) -> None:
        """Drop what an unfinished import has left. See ``Backend``."""
        await abandon(self.submit)

    def _machine(self) -> Machine:
        if self._running is None:
            raise BackendError(UNAVAILABLE, _NOT_RUNNING)
        return self._running.replica.machine

    async def _log_verify(self) -> int:
        done: asyncio.Future[tuple[int, Outcome]] = asyncio.get_running_loop().create_future()

        def told(index: int, outcomes: Sequence[Outcome]) -> None:
            if not done.done():
                done.set_result((index, outcomes[0]))

        self.submit([Verify()], told)
        index, outcome = await done
        if isinstance(outcome, Unfinished):
            raise BackendError(outcome.code, outcome.detail)
        if not isinstance(outcome, Done):
            raise BackendError(UNAVAILABLE, f"no entry could be logged: {outcome}")
        return index


def _resolve(done: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not done.done():
        done.set_result(outcome)
