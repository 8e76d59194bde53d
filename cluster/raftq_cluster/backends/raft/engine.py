"""The rounds of one node: what drives the Raft core, the disk and the replica from the event loop.

A round takes what waits into the log, hands the disk over to the sync thread, lets the core
count commits and the replica apply them, and answers reads. It runs when operations arrive while
nothing is under way, when a sync is complete, and on a timer; no request ever waits for the timer.

    submit -> waiting -> [entry appended] -> [sync] -> [commit] -> [apply] -> sinks
                 ^             one sync at a time covers all that was appended before it began

Group commit: while a sync runs, what arrives waits, and becomes one entry when the sync is complete (or
at once, when it fills an entry). Knows nothing of what operations mean, nor of files.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

from raftq_cluster.backends.raft.commands import data_command
from raftq_cluster.backends.raft.core_api import LEADER, Log, Timing
from raftq_cluster.backends.raft.core_pysyncobj import RaftCore
from raftq_cluster.backends.raft.log_clock import LogClock
from raftq_cluster.backends.raft.proposals import (
    WAITING_BYTES_MAX,
    Proposal,
    Segment,
    WaitingSegments,
)
from raftq_cluster.backends.raft.replica import UNAVAILABLE, Replica, ReplicaError, abandon, tell
from raftq_cluster.backends.raft.storage.errors import StorageError, StorageFullError
from raftq_cluster.codec.entries import encode_entry
from raftq_cluster.core.outcomes import Refused

_log: Final = logging.getLogger(__name__)

# The timer runs when the core has something to do by itself, but not more often than this: waking
# up an idle process costs 0.2 to 0.3 ms of a core.
TICK_MIN_S: Final = 0.025
# Applying holds the event loop: after this long, others get their turn.
APPLY_S: Final = 0.002
# Entries appended and not yet applied: beyond, applying is the bottleneck and appending would only
# make operations wait in the log.
ENTRIES_AHEAD_MAX: Final = 16


class Disk(Log, Protocol):
    """The log and the vote, and how they get on disk."""

    @property
    def is_dirty(self) -> bool:
        """Whether there is something to sync. Asked only while no sync runs."""
        ...

    def begin_sync(self, done: Callable[[Exception | None], None]) -> None:
        """Sync what was written so far, in another thread; then ``done`` is called by the loop.

        When it is called without an error, ``durable_index`` has moved. One at a time.

        Raises:
            StorageFullError: it could not be written; try again when there may be space.
            StorageFailedError: the disk has failed.
        """
        ...


class StoppedError(Exception):
    """The engine does not run (any more). The message says why."""


class Owner(Protocol):
    """Who started the engine."""

    def applied(self) -> None:
        """Entries were applied in this round."""
        ...

    def failed(self, sentence: str) -> None:
        """The node must stop. Called once, after everyone who waited has been told."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Time and chance. ``random`` seeds entries and spreads election timeouts."""

    clock: LogClock
    random: Random
    monotonic: Callable[[], float] = time.monotonic  # seconds
    timing: Timing = field(default_factory=Timing)


class Engine:
    """One member of a Raft group: ``node_id`` in votes, ``replica`` at or after the log's base."""

    def __init__(
        self,
        node_id: str,
        disk: Disk,
        replica: Replica,
        owner: Owner,
        surroundings: Surroundings,
    ) -> None:
        self._disk = disk
        self._replica = replica
        self._owner = owner
        self._clock = surroundings.clock
        self._random = surroundings.random
        self._monotonic = surroundings.monotonic
        self._waiting = WaitingSegments()
        self._reads: list[_Read] = []
        self._drained: asyncio.Future[None] | None = None
        self._is_draining = False
        self._is_syncing = False
        self._is_woken = False
        self._stopped = ""  # why, once it is
        self._is_full = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._core = RaftCore(
            node_id,
            disk,
            self,
            timing=surroundings.timing,
            monotonic=surroundings.monotonic,
            random=surroundings.random.random,
        )
        self._core.resume_at(replica.index)

    # --- for the backend ----------------------------------------------------------------------

    def start(self) -> None:
        """Begin: a node that is the only voter does not wait for an election timeout."""
        self._core.elect_now()
        self._on_timer()

    def offer(self, segment: Segment) -> None:
        """Take a segment in, or tell its sink that it cannot be taken."""
        refusal = self._why_not()
        if refusal:
            abandon([segment], self._replica.index, UNAVAILABLE, refusal)
            return
        self._waiting.add(segment)
        if not self._is_syncing or self._waiting.fills_an_entry():
            self._wake()

    @property
    def is_serving(self) -> bool:
        """Whether this node leads and has applied everything from before its leadership."""
        core = self._core
        return not self._stopped and core.role == LEADER and core.last_applied >= core.noop_index

    @property
    def is_settled(self) -> bool:
        """Whether it serves and has nothing under way: its state is the present."""
        return (
            self.is_serving
            and not self._waiting
            and self._core.last_applied == self._disk.last_index
        )

    async def read_barrier(self) -> None:
        """Wait until everything that was committed before the call is applied here.

        Raises:
            StoppedError: the engine does not run (any more).
        """
        if self._stopped:
            raise StoppedError(self._stopped)
        if self.is_serving and self._core.last_applied == self._core.commit_index:
            return  # the only voter has no newer leader to ask
        read = _Read(self._loop.create_future())
        self._reads.append(read)
        await read.done

    async def drain(self, seconds: float) -> bool:
        """Take nothing more in and finish what is under way; tells whether it is all done."""
        self._is_draining = True
        if self.is_settled or self._stopped:
            return not self._stopped
        self._drained = self._loop.create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._drained
        except TimeoutError:
            return False
        return not self._stopped

    def stop(self, reason: str) -> None:
        """Stop for good, and tell everyone who waits. Idempotent."""
        if self._stopped:
            return
        self._stopped = reason
        if self._timer is not None:
            self._timer.cancel()
        abandon(self._waiting.take_all(), self._replica.index, UNAVAILABLE, reason)
        self._replica.abandon(reason)
        for read in self._reads:
            if not read.done.done():
                read.done.set_exception(StoppedError(reason))
        self._reads.clear()
        self._finish_drain()

    def now_ms(self) -> int:
        """The time that the next entry would carry: never less than the log's."""
        self._clock.advance_to(self._replica.machine.now_ms)
        return self._clock.now_ms()

    @property
    def core(self) -> RaftCore:
        """For status: term, role, leader, indexes."""
        return self._core

    # --- the round ----------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon(self._on_wake)

    def _on_wake(self) -> None:
        self._is_woken = False
        self._guard(self._round)

    def _on_timer(self) -> None:
        self._guard(self._round)
        if not self._stopped:
            delay_s = max(TICK_MIN_S, self._core.due_in_s())
            self._timer = self._loop.call_later(delay_s, self._on_timer)

    def _on_synced(self, error: Exception | None) -> None:
        self._is_syncing = False
        if error is not None:
            self.fail(str(error))
        self._guard(self._after_sync)

    def _after_sync(self) -> None:
        self._core.finish_election()
        self._round()

    def _round(self) -> None:
        before = self._core.last_applied
        self.propose()
        self._begin_sync()  # before applying: the disk works meanwhile
        self._core.tick()
        self._begin_sync()
        self._answer_reads()
        if self.is_settled:
            self._finish_drain()
        if self._core.last_applied != before:
            self._owner.applied()

    def _begin_sync(self) -> None:
        if self._is_syncing or not self._disk.is_dirty:
            return
        try:
            self._disk.begin_sync(self._on_synced)
        except StorageFullError as error:
            # Entries stay buffered and their callers wait; the next tick tries again.
            self._note_full(error)
        else:
            self._is_syncing = True
            self._is_full = False

    def _note_full(self, error: StorageFullError) -> None:
        if not self._is_full:
            self._is_full = True
            _log.error("the disk is full: operations wait or are refused: %s", error)

    def _answer_reads(self) -> None:
        if not self._reads or not self.is_serving:
            return
        waiting, self._reads = self._reads, []
        for read in waiting:
            read.index = read.index or self._core.commit_index
            if read.index > self._core.last_applied:
                self._reads.append(read)
            elif not read.done.done():
                read.done.set_result(None)

    def _finish_drain(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _guard(self, step: Callable[[], None]) -> None:
        """Run a step of the engine; an exception out of one leaves a state that nobody knows."""
        if self._stopped:
            return
        try:
            step()
        except StorageError as error:
            self.fail(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, going on could lose writes
            _log.exception("a round has failed")
            self.fail(f"the Raft engine has failed: {error!r}")

    def fail(self, sentence: str) -> None:
        """Stop for good because the node cannot go on. The first reason is the one that is told."""
        if not self._stopped:
            self.stop(sentence)
            self._owner.failed(sentence)

    def _why_not(self) -> str:
        """Why nothing can be taken in now, "" if it can."""
        if self._stopped:
            return self._stopped
        if self._is_draining:
            return "the node is stopping"
        if self._core.role != LEADER:
            return "this node does not lead"
        if self._waiting.bytes >= WAITING_BYTES_MAX:
            return "too much is waiting for the disk"
        return ""

    # --- for the core (Shell) -----------------------------------------------------------------

    def may_elect(self) -> bool:
        """A single voter needs nobody's leave."""
        return True

    def replicate(self) -> None:
        """There are no peers to send to."""

    def send(self, peer: str, message: dict[str, Any]) -> None:
        """Refuse: the core has no peers to write to."""
        raise AssertionError(f"a {message['type']} for {peer} from the only member")

    def propose(self) -> None:
        """Append what waits, unless a running sync leaves time for more to arrive."""
        if self._core.role != LEADER:
            abandon(self._waiting.take_all(), self._replica.index, UNAVAILABLE, "no longer leading")
            return
        waiting = self._waiting
        while waiting and not self._stopped:
            if self._is_syncing and not waiting.fills_an_entry():
                return
            if self._disk.last_index - self._core.last_applied >= ENTRIES_AHEAD_MAX:
                return
            self._append(waiting.take_entry())

    def _append(self, segments: list[Segment]) -> None:
        now_ms, seed = self.now_ms(), self._random.getrandbits(64)
        entry = encode_entry(now_ms, seed, [segment.data for segment in segments])
        try:
            index = self._core.append(data_command(entry))
        except StorageFullError as error:
            self._note_full(error)
            refusal = Refused("store_full", f"the disk is full: {error}")
            for segment in segments:
                tell(segment.sink, self._replica.index, [refusal] * len(segment.operations))
            return
        self._replica.expect(index, Proposal(self._core.term, now_ms, seed, segments))

    def apply(self, applied: int, commit: int) -> int:
        """Apply for up to ``APPLY_S``; the rest has its turn in the next round."""
        deadline = self._monotonic() + APPLY_S
        while applied < commit and not self._stopped:
            try:
                ((term, command),) = self._disk.entries(applied + 1, applied + 2)
                self._replica.apply(applied + 1, term, command)
            except (ReplicaError, LookupError, ValueError) as error:
                self.fail(f"entry {applied + 1} of the log cannot be applied: {error}")
                break
            applied += 1
            if self._monotonic() > deadline:
                break
        if applied < commit:
            self._wake()
        return applied


class _Read:
    """Somebody who waits for the state to be as new as it was when they asked."""

    __slots__ = ("done", "index")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.index = 0  # to be reached; 0 until this node serves
