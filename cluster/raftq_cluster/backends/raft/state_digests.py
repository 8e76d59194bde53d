"""Verification on demand: every member digests its whole state as of one entry, and all compare.

The entry is logged like any other (``operations.Verify``). Applying it begins a digest of the state as of exactly this
entry, which then takes its turns on the loop, some hundred records each, while the machine goes on (copy before write). Whoever has its
digest tells all members:

    StateDigest(entry, digest) -->       mine; "": I have none of this entry and shall have none
    AskDigest(entry) -->                 what was yours? No answer while it is being made

The odd one stops itself, as with chains (``chain_watch``), of whose blind spot this is the cure: what is held wrongly without
ever having shown. Knows nothing of how a digest is made (``core.digest``).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from raftq_cluster.backends.api import (
    DIFFERENT,
    NONE,
    PENDING,
    SAME,
    SILENT,
    MemberDigest,
    Verification,
)
from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.messages import AskDigest, StateDigest
from raftq_cluster.backends.raft.odd_one import AGREES, ODD, OPEN, Difference, judge
from raftq_cluster.backends.raft.replica import Replica
from raftq_cluster.core.digest import Digesting
from raftq_cluster.core.machine import Machine

_log: Final = logging.getLogger(__name__)

# Each keeps the rows that change meanwhile; a third one at once is refused.
RUNNING_MAX: Final = 2
REMEMBERED_MAX: Final = 8
# An entry older than this, by the log's time, is met only when the log is replayed after a restart.
STALE_MS: Final = 60_000
# Where digests differ and no majority has said the same, the others are waited for this long.
DECIDE_S: Final = 30.0
# An answer is held back this long for news: whoever waits for it need not ask in a hurry.
REPORT_S: Final = 1.0


class _Entry:
    """What is known of the digests of one entry."""

    def __init__(self, now_s: float) -> None:
        self.said: dict[str, str] = {}  # by member; "" has none
        self.machine: Machine | None = None  # of which this node's digest is
        self.since_s = now_s
        self.is_decided = False

    @property
    def digests(self) -> dict[str, str]:
        return {node: digest for node, digest in self.said.items() if digest}


class StateDigests:
    """Digests of one node, ``me``, and what the others tell. ``on_odd``: this node must stop."""

    def __init__(
        self,
        me: str,
        engine: Engine,
        replica: Replica,
        monotonic: Callable[[], float],
        on_odd: Callable[[Difference], None],
    ) -> None:
        self._me = me
        self._engine = engine
        self._replica = replica
        self._monotonic = monotonic
        self._on_odd = on_odd
        self._entries: dict[int, _Entry] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        replica.on_digest(self.begin)
        engine.on(StateDigest, self._on_digest)
        engine.on(AskDigest, self._on_ask)

    def begin(self, entry: int) -> None:
        """The entry has just been applied: digest the state as it is now."""
        machine = self._replica.machine
        is_stale = self._engine.now_ms() - machine.now_ms > STALE_MS
        if is_stale or len(self._running) >= RUNNING_MAX:
            self._say(entry, "")
            return
        digesting = machine.digesting()
        task = asyncio.create_task(self._run(entry, machine, digesting), name="raft state digest")
        self._running[entry] = task

    def tick(self) -> None:
        """Once a second: where digests differ, do not wait for ever for those who say nothing."""
        for number, entry in list(self._entries.items()):
            if self._monotonic() - entry.since_s > DECIDE_S:
                self._decide(number, entry, is_over=True)

    async def close(self) -> None:
        """Give up what is under way. Idempotent."""
        for task in self._running.values():
            task.cancel()
        if self._running:
            await asyncio.wait(self._running.values())

    async def report(self, number: int) -> Verification:
        """Say what is known of an entry, after waiting a little if that is not all."""
        asked = {peer for peer in self._others() if self._ask(peer, number)}
        try:
            async with asyncio.timeout(REPORT_S):
                while PENDING in self._states(number, asked).values():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
        said = self._of(number).said
        states = self._states(number, asked)
        return Verification(
            number,
            tuple(MemberDigest(node, states[node], said.get(node, "")) for node in states),
        )

    def _ask(self, peer: str, number: int) -> bool:
        """Ask a member unless it has said; whether it can be heard."""
        return bool(self._of(number).said.get(peer)) or self._engine.send(peer, AskDigest(number))

    def _states(self, number: int, heard: set[str]) -> dict[str, str]:
        said, digests = self._of(number).said, self._of(number).digests
        states = {}
        for member in self._engine.members:
            node = member.id
            if node in digests:
                states[node] = self._verdict(node, digests)
            elif node in said:
                states[node] = NONE
            elif node == self._me:
                is_coming = number in self._running or number > self._replica.index
                states[node] = PENDING if is_coming else NONE
            else:
                states[node] = PENDING if node in heard else SILENT
        return states

    def _verdict(self, node: str, digests: dict[str, str]) -> str:
        consensus = self._engine.consensus
        verdict, _ = judge(node, digests, consensus.voters, consensus.leader, is_over=True)
        if verdict == OPEN:
            return SAME if len(set(digests.values())) == 1 else DIFFERENT
        return SAME if verdict == AGREES else DIFFERENT

    # --- making one -----------------------------------------------------------------------------

    async def _run(self, entry: int, machine: Machine, digesting: Digesting) -> None:
        try:
            for _ in digesting:
                await asyncio.sleep(0)
                if self._replica.machine is not machine:
                    break  # a snapshot of another node has taken the state's place
        finally:
            digesting.close()
            del self._running[entry]
        self._of(entry).machine = machine
        for peer in self._others():  # before this node may stop because of it
            self._engine.send(peer, StateDigest(entry, digesting.result))
        self._say(entry, digesting.result)

    def _others(self) -> list[str]:
        return [member.id for member in self._engine.members if member.id != self._me]

    def _of(self, number: int) -> _Entry:
        entry = self._entries.get(number)
        if entry is None:
            entry = self._entries[number] = _Entry(self._monotonic())
            if len(self._entries) > REMEMBERED_MAX:
                del self._entries[next(iter(self._entries))]
        return entry

    # --- comparing ------------------------------------------------------------------------------

    def _say(self, number: int, digest: str, node: str = "") -> None:
        entry = self._of(number)
        entry.said[node or self._me] = digest
        self._news.set()
        self._decide(number, entry, is_over=False)

    def _on_digest(self, peer: str, told: StateDigest) -> None:
        self._say(told.entry, told.digest, peer)

    def _on_ask(self, peer: str, question: AskDigest) -> None:
        number = question.entry
        known = self._entries.get(number)
        if known is not None and self._me in known.said:
            self._engine.send(peer, StateDigest(number, known.said[self._me]))
        elif number not in self._running and number <= self._replica.index:
            self._engine.send(peer, StateDigest(number, ""))

    def _decide(self, number: int, entry: _Entry, *, is_over: bool) -> None:
        digests = entry.digests
        if entry.is_decided or self._me not in digests or len(set(digests.values())) == 1:
            return
        if entry.machine is not self._replica.machine:
            return  # a snapshot of another node has taken the state's place: it is gone
        consensus = self._engine.consensus
        voters, leader = consensus.voters, consensus.leader
        is_over = is_over or all(voter in entry.said for voter in voters)
        verdict, is_by_majority = judge(self._me, digests, voters, leader, is_over=is_over)
        if verdict == OPEN:
            return
        entry.is_decided = True
        if verdict == ODD:
            what = "digest of the whole state"
            self._on_odd(Difference(what, number, digests, tuple(voters), leader, is_by_majority))
            return
        odd = sorted(node for node, digest in digests.items() if digest != digests[self._me])
        _log.error("node %s has another state than this one, and should stop", " and ".join(odd))
