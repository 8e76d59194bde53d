"""Changes of the members and of the leader, as operators ask for them; and the leader's own duties.

A change goes to whoever leads, is appended when ``membership`` allows it, and is done when its entry is committed.
The leader promotes members that join once they have caught up, one at a time. Knows nothing of HTTP.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from raftq_cluster.backends.raft import membership
from raftq_cluster.backends.raft.calls import CallError, Calls
from raftq_cluster.backends.raft.commands import Member, config_command
from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.engine_api import MembersRefusedError
from raftq_cluster.backends.raft.membership import (
    Add,
    Change,
    Correct,
    Promote,
    Refused,
    Remove,
    too_old,
)
from raftq_cluster.codec.formats import FIRST

_log: Final = logging.getLogger(__name__)

# An operator's wait: for a leader, for the change before it, for a majority.
CHANGE_S: Final = 10.0
_POLL_S: Final = 0.05
_NAME: Final = "change members"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator wants, on its way to the leader."""

    what: str  # add, correct, promote, remove, transfer
    id: str = ""
    peer: str = ""
    birth: str = ""
    is_joining: bool = True  # who is added votes once it has caught up
    reads: int = FIRST  # the highest format of the log that who is added reads


class Steward:
    """Looks after the members from one node. ``me``: its id; ``sleep`` waits for seconds."""

    def __init__(
        self, engine: Engine, calls: Calls, me: Member, loop_s: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._calls = calls
        self._me = me
        self._loop_s = loop_s
        self._decode = msgspec.msgpack.Decoder(Order).decode
        self._moving: asyncio.Task[None] | None = None
        calls.serve(_NAME, self._on_order)

    # --- once a second ------------------------------------------------------------------------

    def tick(self) -> None:
        """Do what a leader owes its members, if this node leads: at most one change at a time."""
        engine = self._engine
        if not engine.is_leader:
            self._tell_address()
            return
        if engine.config_index > engine.core.commit_index:
            return
        for change in self._duties():
            if self._try(change) is None:
                return

    def _tell_address(self) -> None:
        """A node that has moved has the leader correct its record."""
        if self._is_misplaced() and self._engine.consensus.leader and self._moving is None:
            order = Order(what="correct", id=self._me.id, peer=self._me.peer, birth=self._me.birth)
            self._moving = asyncio.create_task(self._move(order), name="raft member address")

    async def _move(self, order: Order) -> None:
        try:
            await self._order(order)
        except CallError as error:
            _log.warning("the new address of this node is not known yet: %s", error.detail)
        finally:
            self._moving = None

    def _is_misplaced(self) -> bool:
        """Whether the members have another address of this node; alone, nobody needs one."""
        members, me = self._engine.members, self._me
        mine = membership.find(members, me.id)
        return len(members) > 1 and mine is not None and bool(me.peer) and mine.peer != me.peer

    def close(self) -> None:
        """Give up what is under way."""
        if self._moving is not None:
            self._moving.cancel()

    def _duties(self) -> list[Change]:
        duties: list[Change] = []
        if self._is_misplaced():
            duties.append(Correct(self._me.id, self._me.peer, self._me.birth))
        duties += [Promote(member.id) for member in self._engine.members if member.is_joining]
        return duties

    # --- orders -------------------------------------------------------------------------------

    async def add(self, member: Member, reads: int) -> None:
        """Let a node in that reads formats up to ``reads``, as a learner. Raises ``CallError``.

        It votes later if it is joining.
        """
        order = Order(
            what="add",
            id=member.id,
            peer=member.peer,
            birth=member.birth,
            is_joining=member.is_joining,
            reads=reads,
        )
        await self._order(order)

    async def promote(self, node_id: str) -> None:
        """Let a learner vote. Raises ``CallError``."""
        await self._order(Order(what="promote", id=node_id))

    async def remove(self, node_id: str) -> None:
        """Let a member go. Raises ``CallError``."""
        await self._order(Order(what="remove", id=node_id))

    async def transfer(self, node_id: str) -> None:
        """Move the leadership; "" leaves the choice to the leader. Raises ``CallError``."""
        await self._order(Order(what="transfer", id=node_id))

    async def _order(self, order: Order) -> None:
        """Have an order carried out by whoever leads."""
        deadline_s = self._loop_s() + CHANGE_S
        refused = CallError("unavailable", "no leader is known")
        while self._loop_s() < deadline_s:
            leader = self._engine.consensus.leader
            try:
                if self._engine.is_leader:
                    await self._carry_out(order, deadline_s)
                    return
                if leader and leader != self._me.id:
                    body = msgspec.msgpack.encode(order)
                    await self._calls.ask(leader, _NAME, body, timeout_s=CHANGE_S)
                    return
            except CallError as error:
                if error.code != "unavailable":
                    raise
                refused = error
            await asyncio.sleep(_POLL_S)
        raise refused

    async def _on_order(self, _peer: str, body: bytes) -> bytes:
        try:
            order = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CallError("invalid", f"an order that cannot be read: {error}") from None
        if not self._engine.is_leader:
            raise CallError("unavailable", "this node does not lead")
        await self._carry_out(order, self._loop_s() + CHANGE_S / 2)
        return b""

    async def _carry_out(self, order: Order, deadline_s: float) -> None:
        if order.what == "transfer":
            await self._transfer(order.id, deadline_s)
            return
        if order.what == "remove" and order.id == self._me.id:
            # The leader stays while it leads: hand over, and let the next one do it.
            await self._transfer("", deadline_s)
            raise CallError("unavailable", "the leadership has moved")
        change = _change_of(order)
        while True:
            if order.what == "add" and order.reads < self._engine.log_format:
                why = too_old(order.id, order.reads, self._engine.log_format)
                raise CallError("change_refused", why)
            refused = self._try(change)
            if not isinstance(refused, Refused):
                await self._committed(refused, deadline_s)
                return
            if refused.code != "unavailable" or self._loop_s() >= deadline_s:
                raise CallError(refused.code, refused.detail, may_pass=refused.may_pass)
            await asyncio.sleep(_POLL_S)

    def _try(self, change: Change) -> Refused | int | None:
        """Append a change: its index; None if there is nothing to change; or why not."""
        engine = self._engine
        proposed = membership.next_members(engine.members, change)
        if isinstance(proposed, Refused):
            return proposed
        if proposed == engine.members:
            return None
        why = membership.why_not(engine.members, proposed, self._view())
        if why is not None:
            return why
        try:
            index = engine.propose(config_command(proposed))
        except MembersRefusedError as error:
            return Refused("unavailable", str(error))
        _log.info("members: %s, as entry %d", change, index)
        return index

    def _view(self) -> membership.View:
        engine, consensus = self._engine, self._engine.consensus
        others = [member.id for member in engine.members if member.id != self._me.id]
        commit = engine.core.commit_index
        return membership.View(
            me=self._me.id,
            is_leader=engine.is_leader,
            is_settled=engine.config_index <= commit,
            live=frozenset(other for other in others if consensus.is_live(other)),
            caught_up=frozenset(other for other in others if consensus.match_of(other) >= commit),
        )

    async def _committed(self, index: int | None, deadline_s: float) -> None:
        """Wait until the entry of a change is committed here."""
        engine = self._engine
        term = engine.core.term
        while index is not None and engine.core.commit_index < index:
            if engine.core.term != term or self._loop_s() >= deadline_s:
                raise CallError("outcome_unknown", "the change was logged and is not confirmed")
            await asyncio.sleep(_POLL_S)

    async def _transfer(self, heir: str, deadline_s: float) -> None:
        engine = self._engine
        consensus = engine.consensus
        if heir == self._me.id:
            return
        if heir and heir not in consensus.voters:
            raise CallError("member_not_found", f"node {heir} is not a voter of this cluster")
        heir = heir or consensus.best_heir()
        if not heir or not consensus.is_live(heir):
            raise CallError("unavailable", f"node {heir or 'nobody'} cannot take over now")
        engine.transfer(heir)
        while consensus.is_leader or not consensus.leader:
            if self._loop_s() >= deadline_s or (consensus.is_leader and not engine.is_transferring):
                raise CallError("unavailable", f"node {heir} did not take over in time")
            await asyncio.sleep(_POLL_S)


def _change_of(order: Order) -> Change:
    if order.what == "add":
        return Add(
            Member(
                order.id,
                order.peer,
                voter=False,
                birth=order.birth,
                is_joining=order.is_joining,
            )
        )
    if order.what == "correct":
        return Correct(order.id, order.peer, order.birth)
    if order.what == "promote":
        return Promote(order.id)
    if order.what == "remove":
        return Remove(order.id)
    raise CallError("invalid", f"orders to {order.what!r} are not known to this node")
