"""Everything that is open while a node runs, opened from the disk up and closed from the engine down.

Wires the modules of this package; decides nothing about log, time or tasks.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom
from typing import Final, NamedTuple

from raftq_cluster.backends.raft import core_pysyncobj, peer_api
from raftq_cluster.backends.raft.administration import Administration
from raftq_cluster.backends.raft.calls import Calls
from raftq_cluster.backends.raft.chain_watch import ChainWatch
from raftq_cluster.backends.raft.clock_watch import SKEW_MS_MAX, ClockWatch
from raftq_cluster.backends.raft.commands import Member
from raftq_cluster.backends.raft.core_api import Timing
from raftq_cluster.backends.raft.disk import StoreDisk
from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.engine_api import StoppedError
from raftq_cluster.backends.raft.facts import FactsBoard
from raftq_cluster.backends.raft.formation import Alone, Plan, check_plan
from raftq_cluster.backends.raft.log_clock import LogClock
from raftq_cluster.backends.raft.membership import acquaintances, too_old, why_not_admit
from raftq_cluster.backends.raft.messages import Message, SnapshotAck, SnapshotChunk
from raftq_cluster.backends.raft.nobody import Nobody
from raftq_cluster.backends.raft.odd_one import Difference, report_text, sentence
from raftq_cluster.backends.raft.pasts import copy_report
from raftq_cluster.backends.raft.peer_api import Network
from raftq_cluster.backends.raft.peering import Peering
from raftq_cluster.backends.raft.reception import Reception
from raftq_cluster.backends.raft.recovery import Recovered, recover
from raftq_cluster.backends.raft.searching import Searching
from raftq_cluster.backends.raft.selftest import verify
from raftq_cluster.backends.raft.settling import Settling, first_members
from raftq_cluster.backends.raft.snapshot_receiving import SnapshotReceiver
from raftq_cluster.backends.raft.snapshot_sending import SnapshotSender
from raftq_cluster.backends.raft.state_digests import StateDigests
from raftq_cluster.backends.raft.steward import Steward
from raftq_cluster.backends.raft.storage.data_dir import (
    COPY_REPORT_NAME,
    REPORT_NAME,
    DataDir,
    Identity,
)
from raftq_cluster.backends.raft.storage.errors import StorageError
from raftq_cluster.backends.raft.storage.files import DiskFiles, Files
from raftq_cluster.backends.raft.storage.kernel_sync import kernel_or_thread
from raftq_cluster.backends.raft.storage.segments import SEGMENT_BYTES
from raftq_cluster.backends.raft.storage.store import Store
from raftq_cluster.backends.raft.storage.syncer import Runner
from raftq_cluster.backends.raft.storage.witness import WitnessFile
from raftq_cluster.backends.raft.surroundings import Surroundings
from raftq_cluster.backends.raft.transfer import HEIR_LAG_MAX
from raftq_cluster.backends.raft.upgrading import Upgrading
from raftq_cluster.backends.raft.upkeep import Bounds, InThread, Upkeep
from raftq_cluster.backends.raft.witnessing import Witness
from raftq_cluster.codec.formats import FORMATS, Formats
from raftq_cluster.config import StartError

_log: Final = logging.getLogger(__name__)

# A node of several members that finds no leader in this time serves nevertheless, and says so.
LEADER_WAIT_S: Final = 3.0
# What was submitted is finished in this time when the node stops, or its outcome is unknown.
DRAIN_S: Final = 10.0
UPKEEP_S: Final = 1.0
# Log is kept for a peer that was away no longer than this: restarting a node takes less.
LAGGING_S: Final = 60.0


def system_runner() -> Runner:
    """What syncs for the running loop."""
    return kernel_or_thread(asyncio.get_running_loop(), "raft-sync")


def _random() -> Random:
    # Entry seeds choose tasks and guard nothing; they must only differ between nodes and starts.
    return Random(SystemRandom().getrandbits(256))  # noqa: S311


async def _no_ports() -> None:
    """There is nothing to be tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outside:
    """What a node takes from outside: disk, threads, time, chance. Tests give others.

    ``try_ports`` raises ``StartError`` if the node's servers could not listen; asked before the
    directory gets an identity.
    """

    files: Files = field(default_factory=DiskFiles)
    runner: Callable[[], Runner] = system_runner
    in_thread: InThread = asyncio.to_thread
    try_ports: Callable[[], Awaitable[None]] = _no_ports
    clock: LogClock = field(default_factory=LogClock)
    clock_skew_ms_max: int = SKEW_MS_MAX
    random: Random = field(default_factory=_random)
    monotonic: Callable[[], float] = time.monotonic
    timing: Timing = field(default_factory=Timing)
    network: Network = field(default_factory=Nobody)
    plan: Plan = Alone()  # noqa: RUF009 - an immutable tuple
    bounds: Bounds = Bounds()  # noqa: RUF009 - an immutable tuple
    segment_bytes: int = SEGMENT_BYTES
    formats: Formats = field(default_factory=lambda: FORMATS)


class _Files(NamedTuple):
    """What is open on disk."""

    data_dir: DataDir
    identity: Identity
    store: Store
    recovered: Recovered
    witness: WitnessFile


class Running:
    """One node at work. Made by ``open``.

    ``replica`` and ``engine`` may be asked after ``close`` too: they stand still then.
    """

    def __init__(
        self, files: _Files, outside: Outside, peering: Peering, on_fatal: Callable[[str], None]
    ) -> None:
        self.identity = files.identity
        self.replica = files.recovered.replica
        self.disk_free_bytes = sys.maxsize  # as of the last second
        self._files = files
        self._free_bytes = outside.files.free_bytes
        # Below either of these no insert is taken, or no entry has room.
        self._full_bytes = max(outside.bounds.disk_free_bytes_min, outside.segment_bytes)
        self._on_fatal = on_fatal
        self._in_thread = outside.in_thread
        self._monotonic = outside.monotonic
        self._runner = outside.runner()
        self._network, self._peering = outside.network, peering
        journal = files.store.journal
        self._sender = SnapshotSender(
            files.store.snapshots,
            self._send,
            outside.monotonic,
            base_index=lambda: journal.base_index,
            arrived=self._on_snapshot_arrived,
        )
        me_id = self.identity.node_id
        self.engine = self._make_engine(outside)
        self.engine.on(SnapshotAck, self._on_snapshot_ack)
        self.engine.on(SnapshotChunk, self._on_snapshot_chunk)
        self._witness = Witness(files.witness, self.engine, outside.in_thread, self.engine.fail)
        self.facts = FactsBoard(self.engine, self._clocks, self._witness, me_id, outside.monotonic)
        self.watch, self.digests = self._make_comparisons(outside)
        self._upgrading = Upgrading(self.engine, self.facts)
        self._calls = Calls(self.engine)
        me = Member(me_id, outside.network.address, voter=True, birth=self.identity.birth)
        self.steward = Steward(self.engine, self._calls, me, outside.monotonic)
        self._reception = Reception(self.identity, self.engine, self.steward)
        self._searching = Searching(
            self.identity, outside.plan, self._ask, self.engine.fail, self.members_changed
        )
        self._make_upkeep(files, outside)
        self._is_started = False
        self._timer: asyncio.TimerHandle | None = None

    def _make_upkeep(self, files: _Files, outside: Outside) -> None:
        self._upkeep = Upkeep(
            files.store,
            self.replica,
            self.engine.fail,
            last_bytes=files.recovered.snapshot_bytes,
            bounds=outside.bounds,
            in_thread=outside.in_thread,
            needed_from=self._needed_from,
        )
        self._receiver = SnapshotReceiver(
            files.store.snapshots,
            self.engine,
            self._upkeep,
            self.replica,
            in_thread=outside.in_thread,
            monotonic=outside.monotonic,
        )

    def _make_comparisons(self, outside: Outside) -> tuple[ChainWatch, StateDigests]:
        mine = (self.identity.node_id, self.engine, self.replica, outside.monotonic, self._on_odd)
        return ChainWatch(*mine), StateDigests(*mine)

    def _make_engine(self, outside: Outside) -> Engine:
        self._clocks = ClockWatch(
            self.identity.node_id, outside.clock, outside.monotonic, outside.clock_skew_ms_max
        )
        surroundings = Surroundings(
            clock=outside.clock,
            random=outside.random,
            monotonic=outside.monotonic,
            timing=outside.timing,
            may_lead=self._clocks.may_lead,
            fits=self._fits,
            formats=outside.formats,
        )
        engine = self._clocks.engine = Engine(
            self.identity.node_id,
            StoreDisk(self._files.store, self._runner),
            self.replica,
            self,
            surroundings,
            outside.network,
            self._sender,
        )
        return engine

    @classmethod
    async def open(
        cls, directory: Path, node_id: str, outside: Outside, on_fatal: Callable[[str], None]
    ) -> "Running":
        """Open the directory, load the state, and serve when everything in the log is applied.

        Raises:
            StartError: anything that the operator has to know.
        """
        tables = (core_pysyncobj.OVERRIDES, core_pysyncobj.METHODS, core_pysyncobj.FIELDS)
        names = [name for table in tables for name in table.values()]
        verify(core_pysyncobj.installed_library(), names, core_pysyncobj.GLOBALS)
        peering = Peering(max(outside.formats))
        try:
            files = await _open_files(directory, node_id, outside, peering)
        except StorageError as error:
            raise StartError(str(error)) from error
        running = cls(files, outside, peering, on_fatal)
        try:
            await running._serve()
        except BaseException:
            await running.close(0.0)
            raise
        return running

    async def _serve(self) -> None:
        peering = self._peering
        me = self.identity
        peering.me = peer_api.Identity(me.cluster_id, me.node_id, me.birth)
        peering.why_not, peering.answer = self._why_not, self._reception.answer
        peering.greet, peering.why_unfit = self.facts.greet, self._why_unfit
        peering.what_is_lost, peering.condemn = self._witness.what_is_lost, self._condemn_copy
        peering.engine = self.engine
        self.engine.start()
        self._each_second()
        try:
            async with asyncio.timeout(LEADER_WAIT_S if self._has_others() else None):
                await self.engine.read_barrier()
        except StoppedError as error:
            raise StartError(str(error)) from error
        except TimeoutError:
            _log.warning("no leader is known yet; the node goes on looking for one")
        self._is_started = True

    def administration(self) -> Administration:
        """Who carries out what operators ask of the members."""
        return Administration(self.identity, self.engine, self.steward, self._network)

    def _has_others(self) -> bool:
        return len(self.engine.members) > 1

    async def close(self, drain_s: float = DRAIN_S) -> None:
        """Finish what is under way, tell the rest, and give everything back. Call it once."""
        is_drained = await self.engine.drain(drain_s)
        self.engine.stop("the node has stopped" if is_drained else "the node had to stop")
        if self._timer is not None:
            self._timer.cancel()
        self._searching.close()
        self.steward.close()
        self._calls.close()
        await self.digests.close()
        await self._receiver.close()
        self._sender.close()
        await self._upkeep.close()
        await self._network.stop()
        await self._witness.close()
        self._runner.close()
        await self._in_thread(self._files.store.close)
        self._files.data_dir.close()

    def _send(self, peer: str, message: Message) -> bool:
        return self.engine.send(peer, message)

    def _on_snapshot_arrived(self, peer: str, index: int) -> None:
        self.engine.consensus.replication.skip_to(peer, index)

    def _on_snapshot_ack(self, peer: str, ack: SnapshotAck) -> None:
        if self.engine.consensus.is_leader:
            self._sender.on_ack(peer, ack, self.engine.consensus.term)

    def _on_snapshot_chunk(self, peer: str, chunk: SnapshotChunk) -> None:
        consensus = self.engine.consensus
        is_of_leader = chunk.term == consensus.term and peer == consensus.core.leader
        if is_of_leader and consensus.is_term_durable:  # what is installed may cut the log
            self._receiver.on_chunk(peer, chunk)

    # --- for the engine (Owner) ---------------------------------------------------------------

    def applied(self) -> None:
        """Take a snapshot if it is time, and compare what was applied with the other members."""
        self._upkeep.consider()
        self.watch.applied()

    def _needed_from(self) -> int | None:
        """The lowest entry that a peer may still be sent: one that lags, or gets a snapshot just now."""
        since_s = self._monotonic() - LAGGING_S
        needed = [self.engine.consensus.replication.needed_from(since_s)]
        snapshot = self._sender.oldest_index()
        needed.append(None if snapshot is None else snapshot + 1)
        return min((index for index in needed if index is not None), default=None)

    def members_changed(self) -> None:
        """Connect to the members in force."""
        self._network.set_peers(self._searching.addresses(self._acquaintances()))

    async def _ask(self, address: str, question: bytes, timeout_s: float) -> bytes:
        return await self._network.ask(address, question, timeout_s=timeout_s)

    def _acquaintances(self) -> tuple[Member, ...]:
        in_log = self.engine.consensus.member_lists
        return acquaintances(in_log, self._searching.known, self._searching.rumoured)

    def failed(self, sentence: str) -> None:
        """Tell whoever runs the node; a node that is still starting tells by its StartError."""
        if self._is_started:
            self._on_fatal(sentence)

    def _on_odd(self, difference: Difference) -> None:
        """Stop, and see that nobody starts with this state again. Blocks: nothing may be served meanwhile."""
        me = self.identity
        self._network.flush()  # no round will: what this node has said goes out still
        report = f"{self._files.data_dir.path / REPORT_NAME}"
        try:
            self._files.data_dir.condemn(report_text(me.node_id, me.cluster_id, difference))
        except StorageError as error:
            report = f"no report could be written ({error}); docs/operations.md"
        self.engine.fail(sentence(me.node_id, difference, report))

    def _why_not(self, peer: peer_api.Identity) -> str:
        who = (peer.cluster_id, peer.node_id, peer.birth)
        return why_not_admit(self.identity.cluster_id, self._acquaintances(), who)

    def _fits(self, voter: str) -> bool:
        """Whether the leadership may well be handed over to a voter."""
        return self._clocks.fits(voter) and self.facts.has_room(voter)

    def _yield_when_full(self) -> None:
        """A leader whose disk is full can append nothing; another one may."""
        engine = self.engine
        self.facts.is_full = self.disk_free_bytes < self._full_bytes
        if not (self.facts.is_full and engine.is_leader) or engine.is_transferring:
            return
        heir = engine.consensus.best_heir(HEIR_LAG_MAX)
        if heir and self._fits(heir):
            _log.warning("the disk of this leader is full: %s is to lead", heir)
            engine.transfer(heir)

    def _why_unfit(self, peer: peer_api.Identity) -> str:
        if peer.reads < self.engine.log_format:
            return too_old(peer.node_id, peer.reads, self.engine.log_format)
        return ""

    def _condemn_copy(self, why: str) -> None:
        """See that nobody starts with this directory again: those who remember may be gone by then. Blocks."""
        try:
            self._files.data_dir.condemn(copy_report(why), COPY_REPORT_NAME)
        except StorageError as error:
            _log.error("no report of this could be written: %s", error)

    def _each_second(self) -> None:
        self._upkeep.each_second(self.disk_free_bytes)
        self._receiver.each_second()
        self.steward.tick()
        self._upgrading.tick()
        self._yield_when_full()
        self.facts.tick()
        self._clocks.each_second()
        self.watch.tick()
        self._witness.each_second()
        self.digests.tick()
        is_lonely = not self.engine.consensus.leader and self._has_others()
        engine = self.engine
        self._searching.each_second(self._acquaintances(), engine.config_index, is_lonely=is_lonely)
        try:
            self.disk_free_bytes = self._free_bytes(self._files.data_dir.path)
        except StorageError as error:
            _log.warning("the free space is not known: %s", error)
        self._timer = asyncio.get_running_loop().call_later(UPKEEP_S, self._each_second)


async def _open_files(directory: Path, node_id: str, outside: Outside, peering: Peering) -> _Files:
    """Listen, find out who we are, open and load everything. On an error, all is given back."""
    async with AsyncExitStack() as opened:
        data_dir = await outside.in_thread(lambda: DataDir.open(outside.files, directory))
        opened.callback(data_dir.close)
        # Before the directory gets an identity: a taken port leaves nothing behind.
        await outside.network.start(peering)
        opened.push_async_callback(outside.network.stop)
        await outside.try_ports()
        settling = Settling(
            data_dir, outside.plan, node_id, outside.network, peering, outside.random,
            outside.in_thread,
        )  # fmt: skip
        identity = await settling.settle()
        files: _Files = await outside.in_thread(lambda: _load(data_dir, identity, outside))
        opened.pop_all()
    return files


def _load(data_dir: DataDir, identity: Identity, outside: Outside) -> _Files:
    """Open the store and load the state. Blocks."""
    with ExitStack() as opened:
        store = Store.open(
            outside.files, data_dir.path, identity.seed, segment_bytes=outside.segment_bytes
        )
        opened.callback(store.close)
        recovered = recover(store, first_members(identity), outside.formats)
        check_plan(outside.plan, identity.node_id, recovered.members)
        witness = WitnessFile.open(outside.files, data_dir.path)
        opened.pop_all()
    return _Files(data_dir, identity, store, recovered, witness)
