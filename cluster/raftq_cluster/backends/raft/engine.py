"""The rounds of one node: what drives consensus, the disk and the replica from the event loop.

A round takes what waits into the log, hands the disk over to the sync thread, sends what peers wait
for, and lets the replica apply what is committed. It runs when operations or messages arrive, when a
sync is complete, and on a timer; no request ever waits for the timer.

    submit -> waiting -> [leader's queue] -> [entry] -> [sync here and there] -> [commit] -> [apply] -> sinks

Group commit: while an entry is under way, what arrives waits, and becomes one entry when it is committed (or
at once, when it fills an entry). Knows nothing of what operations mean, nor of files.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from raftq_cluster.backends.raft.alarm import STEP_S, Alarm
from raftq_cluster.backends.raft.commands import CONFIG, FormatTooNewError, Members, sent_command
from raftq_cluster.backends.raft.consensus import Consensus
from raftq_cluster.backends.raft.core_pysyncobj import RaftCore
from raftq_cluster.backends.raft.engine_api import (
    Disk,
    MembersRefusedError,
    Owner,
    StoppedError,
)
from raftq_cluster.backends.raft.forwarding import Forwarding
from raftq_cluster.backends.raft.member_log import MemberLog
from raftq_cluster.backends.raft.messages import Ack, Message, decode, encode
from raftq_cluster.backends.raft.peer_api import Network, PeerError
from raftq_cluster.backends.raft.proposals import Segment
from raftq_cluster.backends.raft.replica import Replica, ReplicaError
from raftq_cluster.backends.raft.replication import NEVER_S, Snapshots
from raftq_cluster.backends.raft.storage.errors import StorageError, StorageFullError
from raftq_cluster.backends.raft.surroundings import Surroundings
from raftq_cluster.backends.raft.transfer import Transfer
from raftq_cluster.codec.formats import FIRST
from raftq_cluster.core.machine import Machine

_log: Final = logging.getLogger(__name__)

# The timer runs when the core has something to do by itself; while anybody waits for something that may
# have been lost on the way, at least this often.
TICK_WAITING_S: Final = 0.1
# Applying holds the event loop: after this long, others get their turn.
APPLY_S: Final = 0.002
# Entries appended and not yet applied: beyond, applying is the bottleneck and appending would only
# make operations wait in the log.
ENTRIES_AHEAD_MAX: Final = 16


class Engine:
    """One member of a Raft group: ``node_id`` in votes, ``replica`` at or after the log's base."""

    def __init__(
        self,
        node_id: str,
        disk: Disk,
        replica: Replica,
        owner: Owner,
        surroundings: Surroundings,
        network: Network,
        snapshots: Snapshots,
    ) -> None:
        self._disk = disk
        self._replica = replica
        self._owner = owner
        self._clock = surroundings.clock
        self._random = surroundings.random
        self._monotonic = surroundings.monotonic
        self._network = network
        self._drained: asyncio.Future[None] | None = None
        self._is_draining = False
        self._is_syncing = False
        self._is_woken = False
        self._has_news = False  # messages have come for which a round is due
        self._stopped = ""  # why, once it is
        self._is_full = False
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._loop, lambda: self._guard(self._round))
        self._formats = surroundings.formats
        self.reads = max(self._formats)  # the highest format of the log
        self._member_log = MemberLog(disk, replica.members, self._on_members,
                                     log_format=replica.log_format, reads=self.reads)  # fmt: skip
        self._consensus = Consensus(node_id, self._member_log, self.send, snapshots, surroundings)
        self._forwarding = Forwarding(
            surroundings.random.getrandbits(63),
            self._consensus,
            replica,
            self.send,
            self._monotonic,
        )
        self._transfer = Transfer(
            self._consensus, self._member_log, self.send, surroundings.monotonic
        )
        self._core = self._consensus.core
        self._core.resume_at(replica.index)
        self._applied_term = self._member_log.term_at(replica.index)
        self._handlers: dict[type[Any], Callable[[str, Any], None]] = {
            **self._consensus.handlers,
            **self._forwarding.handlers,
        }

    # --- for the backend ----------------------------------------------------------------------

    def start(self) -> None:
        """Begin: a node that is the only voter does not wait for an election timeout."""
        self._on_members()
        if self._consensus.is_alone:
            self._core.elect_now()
        self._guard(self._round)

    def offer(self, segment: Segment) -> None:
        """Take a segment in, or tell its sink that it cannot be taken."""
        refusal = self._stopped or ("the node is stopping" if self._is_draining else "")
        if self._forwarding.offer(segment, refusal):
            self._wake()

    @property
    def is_serving(self) -> bool:
        """Whether a leader is known, and this node has applied what was committed as it last heard."""
        core, consensus = self._core, self._consensus
        if self._stopped:
            return False
        if consensus.is_leader:
            return core.last_applied >= core.noop_index
        return bool(consensus.leader) and self._applied_term == consensus.term

    @property
    def is_settled(self) -> bool:
        """Whether it serves and has nothing of its clients under way."""
        return self.is_serving and self._forwarding.is_idle and self._is_present

    @property
    def _is_present(self) -> bool:
        """Whether all that is known to be committed is applied; a leader knows all there is."""
        core = self._core
        if self._consensus.is_leader:
            return core.last_applied == self._member_log.last_index
        return core.last_applied == core.commit_index

    @property
    def is_sure(self) -> bool:
        """Whether what this node has applied is the present, without asking anybody."""
        core = self._core
        is_leading_alone = self._consensus.is_alone and self._consensus.is_leader
        return is_leading_alone and self.is_serving and core.last_applied == core.commit_index

    async def read_barrier(self) -> None:
        """Wait until everything that was committed before the call is applied here.

        Raises:
            StoppedError: the engine does not run (any more).
        """
        if self._stopped:
            raise StoppedError(self._stopped)
        if self.is_sure:
            return
        await self.confirm()

    def confirm(self) -> asyncio.Future[None]:
        """A future that is done when what is committed by now is applied here."""
        done: asyncio.Future[None] = self._loop.create_future()
        if self._stopped:
            done.set_exception(StoppedError(self._stopped))
        else:
            self._consensus.reads.add(done)
            self._wake()
        return done

    async def drain(self, seconds: float) -> bool:
        """Take nothing more in, finish what is under way, hand the leadership over.

        Tells whether everything that was submitted has been answered.
        """
        self._is_draining = True
        heir = self._consensus.best_heir() if self._consensus.is_leader else ""
        if heir:
            self.transfer(heir)
        if self._is_drained() or self._stopped:
            return not self._stopped
        self._drained = self._loop.create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._drained
        except TimeoutError:
            return False
        return not self._stopped

    def _is_drained(self) -> bool:
        return self._forwarding.is_idle and not self._transfer.heir

    def stop(self, reason: str) -> None:
        """Stop for good, and tell everyone who waits. Idempotent."""
        if self._stopped:
            return
        self._stopped = reason
        self._alarm.cancel()
        self._forwarding.stop(reason)
        self._consensus.reads.fail(StoppedError(reason))
        self._finish_drain()

    def now_ms(self) -> int:
        """The time that the next entry would carry: never less than the log's."""
        self._clock.advance_to(self._replica.machine.now_ms)
        return self._clock.now_ms()

    # --- for those who look after the cluster -------------------------------------------------

    @property
    def core(self) -> RaftCore:
        """For status: term, role, indexes."""
        return self._core

    @property
    def consensus(self) -> Consensus:
        """Who leads, who is heard of, how far peers are."""
        return self._consensus

    @property
    def members(self) -> Members:
        """The members in force: of the last member list in the log, committed or not."""
        return self._member_log.members

    @property
    def config_index(self) -> int:
        """Index of that list."""
        return self._member_log.config_index

    @property
    def is_leader(self) -> bool:
        """Whether this node leads and has committed an entry of its own term."""
        return self._consensus.is_leader and self._core.commit_index >= self._core.noop_index

    @property
    def log_format(self) -> int:
        """The format of the next entry of the log."""
        return self._member_log.log_format

    def on(self, kind: type[Any], handler: Callable[[str, Any], None]) -> None:
        """Have messages of this kind given to ``handler(peer, message)``."""
        self._handlers[kind] = handler

    def send(self, peer: str, message: Message) -> bool:
        """Send at the end of this round or, outside of one, of the next; False if it cannot be."""
        if not self._network.send(peer, encode(message)):
            return False
        self._wake()
        return True

    def propose(self, command: bytes) -> int:
        """Append a member list or a format, in force at once; which may follow which is not known here.

        Gives its index. Raises ``MembersRefusedError`` if this node does not lead, or the last change of
        members is not committed.
        """
        if not self.is_leader or self._transfer.heir or self._stopped:
            raise MembersRefusedError("this node does not lead")
        if command[0] == CONFIG and self.config_index > self._core.commit_index:
            raise MembersRefusedError("another change of the members is under way")
        try:
            self._member_log.reserve(len(command), 1)
            index = self._member_log.append(self._core.term, command)
        except StorageFullError as error:
            raise MembersRefusedError(f"the disk is full: {error}") from error
        self._wake()
        return index

    def transfer(self, heir: str) -> None:
        """Hand the leadership over to a voter, as soon as it has the whole log.

        Nothing is appended meanwhile. Given up after ``TRANSFER_S``.
        """
        self._transfer.begin(heir)
        self._wake()

    @property
    def is_transferring(self) -> bool:
        """Whether a transfer is under way."""
        return bool(self._transfer.heir)

    def holds(self, index: int, term: int) -> bool:
        """Whether the state or the log has this entry: a snapshot of it is no news."""
        log = self._member_log
        is_in_log = log.base_index <= index <= log.last_index and log.term_at(index) == term
        return index <= self._core.commit_index or is_in_log

    def install(
        self, index: int, term: int, machine: Machine, members: Members, log_format: int = FIRST
    ) -> bool:
        """Go on from a snapshot, which is durable; False if it is not newer than what is here.

        ``machine``, ``members`` and ``log_format`` are as of ``index``.

        A log that holds ``(index, term)`` keeps what lies behind: it may have been acknowledged.
        Operations whose entries may lie below are told that their outcome is not known.
        """
        log, core = self._member_log, self._core
        if self._stopped or index <= core.commit_index:
            return False
        if not (log.base_index <= index <= log.last_index and log.term_at(index) == term):
            self._disk.reset_to(index, term)
        self._forwarding.abandon_sent("the log went on while this node was away")
        self._replica.replace(machine, index, members, log_format)
        self._member_log.reset(index, members, log_format)
        core.resume_at(index)
        self._applied_term = term
        self._consensus.resume_at(index)
        self._wake()
        return True

    # --- for the network (part of PeerOwner) --------------------------------------------------

    def on_frame(self, peer: str, frame: bytes) -> None:
        """Take a message. Raises ``PeerError`` for a frame that is none."""
        if self._stopped:
            return
        message = decode(frame)
        kind = type(message)
        handler = self._handlers.get(kind)
        if handler is None:
            return
        self._guard(handler, peer, message)
        if kind is not Ack or self._consensus.has_news or self._transfer.heir:
            self._has_news = True

    def on_received(self) -> None:
        """Run a round if messages have come that ask for one."""
        if self._has_news:
            self._has_news = self._consensus.has_news = False
            self._wake()

    def on_up(self, peer: str) -> None:
        """A connection to a peer is new."""
        self._consensus.on_up(peer)
        self._forwarding.on_up(peer)
        self._wake()

    def on_down(self, peer: str) -> None:
        """A connection to or from a peer was lost: the other one may live on."""
        self._consensus.on_down(peer, is_ours=not self._network.is_up(peer))
        self._wake()

    # --- the round ----------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._is_woken and not self._stopped:
            self._is_woken = True
            self._loop.call_soon(self._on_wake)

    def _on_wake(self) -> None:
        self._guard(self._round)

    def _on_synced(self, error: Exception | None) -> None:
        self._is_syncing = False
        if error is not None:
            self.fail(str(error))
        self._guard(self._after_sync)

    def _after_sync(self) -> None:
        self._consensus.finish_election()
        if self._disk.is_dirty or self._transfer.heir or not self._consensus.awaits_peers:
            self._round()

    def _round(self) -> None:
        self._is_woken = True  # what is sent from here on is flushed at the end
        consensus = self._consensus
        forwarding = self._forwarding
        consensus.tick()
        forwarding.follow_leadership()
        if self._transfer.heir:
            self._transfer.advance()
        if len(forwarding.queue):
            self._propose()
        forwarding.send_round()
        consensus.send_round()
        self._network.flush()
        self._begin_sync()  # before applying: the disk works meanwhile
        self._is_woken = False
        is_applied = self._apply()
        if is_applied:
            forwarding.note_applied(self._applied_term)
        consensus.reads.release(self._core.last_applied)
        forwarding.expire()
        if self._drained is not None and self._is_drained():
            self._finish_drain()
        if is_applied:
            self._owner.applied()
        self._set_timer()

    def _set_timer(self) -> None:
        """Wake when the core has something to do by itself, or something may have been lost."""
        if self._stopped:
            return
        consensus = self._consensus
        delay_s = max(STEP_S, self._core.due_in_s())
        if delay_s > TICK_WAITING_S and (
            self._transfer.heir or consensus.reads.is_waiting or not self._forwarding.is_idle
        ):
            delay_s = TICK_WAITING_S
        if (notice_due_s := consensus.replication.notice_due_s) < NEVER_S:
            delay_s = min(delay_s, max(notice_due_s - self._monotonic(), 0.001))
        self._alarm.set(delay_s)

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

    def _propose(self) -> None:
        """Append what waits, unless an entry under way leaves time for more to arrive."""
        waiting, core = self._forwarding.queue, self._core
        if not waiting or self._transfer.heir or not self._consensus.is_leader:
            return
        log = self._member_log
        while waiting and not self._stopped:
            if log.last_index > core.commit_index and not waiting.fills_an_entry():
                return
            if log.last_index - core.last_applied >= ENTRIES_AHEAD_MAX:
                return
            self._append(waiting.take_entry())

    def _append(self, segments: list[Segment]) -> None:
        now_ms, seed = self.now_ms(), self._random.getrandbits(64)
        encode_entry = self._formats[self._member_log.log_format].encode_entry
        entry = encode_entry(now_ms, seed, [segment.data for segment in segments])
        command = sent_command([segment.origin for segment in segments], entry)
        try:
            index = self._member_log.append(self._core.term, command)
        except StorageFullError as error:
            self._note_full(error)
            self._forwarding.refuse(segments, "store_full", f"the disk is full: {error}")
        else:
            for peer in self._forwarding.senders_of(segments):
                self._consensus.replication.await_commit(peer, index)

    def _apply(self) -> bool:
        """Apply for up to ``APPLY_S``; the rest has its turn in the next round."""
        applied, commit = self._core.last_applied, self._core.commit_index
        if applied >= commit:
            return False
        deadline = self._monotonic() + APPLY_S
        while applied < commit and not self._stopped:
            try:
                ((term, command),) = self._disk.entries(applied + 1, applied + 2)
                self._replica.apply(applied + 1, command)
            except (ReplicaError, LookupError, ValueError) as error:
                self.fail(f"entry {applied + 1} of the log cannot be applied: {error}")
                return False
            applied += 1
            self._applied_term = term
            if self._monotonic() > deadline:
                break
        self._core.note_applied(applied)
        self._member_log.forget_before(applied)
        if applied < commit:
            self._wake()
        return True

    def _finish_drain(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _on_members(self) -> None:
        self._consensus.follow_members()
        self._owner.members_changed()

    def _guard(self, step: Callable[..., None], *arguments: object) -> None:
        """Run a step of the engine; an exception out of one leaves a state that nobody knows."""
        if self._stopped:
            return
        try:
            step(*arguments)
        except PeerError:
            raise  # the peer's fault: the network closes the connection
        except (StorageError, FormatTooNewError) as error:
            self.fail(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, going on could lose writes
            _log.exception("a round has failed")
            self.fail(f"the Raft engine has failed: {error!r}")

    def fail(self, sentence: str) -> None:
        """Stop for good because the node cannot go on. The first reason is the one that is told."""
        if not self._stopped:
            self.stop(sentence)
            self._owner.failed(sentence)
