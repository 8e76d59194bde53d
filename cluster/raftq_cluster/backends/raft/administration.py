"""What operators may ask of a cluster's members: carried out through the steward, step by step.

A node that waits to be added is visited at its address: it says who it is, the leader makes it a member, and it is told.
Every step can be repeated, so an order that was cut off is given again. Knows nothing of HTTP.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from raftq_cluster.backends.api import (
    AddMember,
    MemberChange,
    PromoteMember,
    RemoveMember,
    ReplaceMember,
    TransferLeadership,
)
from raftq_cluster.backends.raft import membership
from raftq_cluster.backends.raft.calls import CallError
from raftq_cluster.backends.raft.commands import Member, encode_members
from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.formation import is_removed
from raftq_cluster.backends.raft.peer_api import AskError, Network, PeerError
from raftq_cluster.backends.raft.questions import (
    Admit,
    Answer,
    Formed,
    New,
    Question,
    Welcome,
    Who,
    decode_answer,
    encode,
)
from raftq_cluster.backends.raft.steward import Steward
from raftq_cluster.backends.raft.storage.data_dir import Identity

ASK_S: Final = 3.0  # for one answer of a node that is visited
# For a newcomer to catch up in one call; a client waits ten seconds for an answer, and asks again.
REPLACE_S: Final = 7.0
_POLL_S: Final = 0.05
_GONE_S: Final = 0.2


class Administration:
    """Orders at one node, ``me``, whoever leads."""

    def __init__(self, me: Identity, engine: Engine, steward: Steward, network: Network) -> None:
        self._me = me
        self._engine = engine
        self._steward = steward
        self._network = network
        self._orders: dict[type[Any], Callable[[Any], Awaitable[None]]] = {
            AddMember: self._add,
            RemoveMember: self._remove,
            PromoteMember: lambda change: steward.promote(change.id),
            ReplaceMember: self._replace,
            TransferLeadership: lambda change: steward.transfer(change.to),
        }

    async def change(self, change: MemberChange) -> None:
        """Carry an order out; done when it is committed.

        Raises:
            CallError: it was refused, cannot be done now, or is not known to be done.
        """
        await self._orders[type(change)](change)

    async def _remove(self, change: RemoveMember) -> None:
        """A node that is removed itself cannot be answered: no member talks to it any more."""
        if change.id != self._me.node_id:
            await self._steward.remove(change.id)
            return
        removing = asyncio.ensure_future(self._steward.remove(change.id))
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait([removing, gone], return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                removing.result()
        finally:
            removing.cancel()
            gone.cancel()

    async def _gone(self) -> None:
        """Wait until a member says that this node is none."""
        engine = self._engine
        others = [item.peer for item in engine.members if item.id != self._me.node_id]
        while True:
            await asyncio.sleep(_GONE_S)
            for peer in others:
                try:
                    answer = await self._visit(peer, Who())
                except CallError:
                    continue
                if is_removed(answer, self._me, engine.config_index):
                    return

    async def _add(self, change: AddMember) -> None:
        await self._let_in(change.peer, is_joining=change.voter)

    async def _let_in(self, peer: str, *, is_joining: bool) -> str:
        """Make the node at an address a member, and tell it. Gives its id."""
        answer = await self._visit(peer, Who())
        if isinstance(answer, Formed):
            self._check_ours(peer, answer)
            return answer.node_id
        if not isinstance(answer, New) or answer.initial:
            raise CallError("change_refused", f"the node at {peer} was not started with --join")
        new = Member(answer.node_id, peer, voter=False, birth=answer.birth, is_joining=is_joining)
        await self._steward.add(new, answer.reads)
        await self._until(lambda: membership.find(self._engine.members, new.id) is not None, ASK_S)
        engine = self._engine
        admit = Admit(
            cluster_id=self._me.cluster_id,
            members=encode_members(engine.members),
            index=engine.config_index,
        )
        answer = await self._visit(peer, admit)
        # It may have come in by itself meanwhile; then it is a member, and says so.
        if not isinstance(answer, Welcome):
            self._check_ours(peer, await self._visit(peer, Who()))
        return new.id

    def _check_ours(self, peer: str, answer: Answer) -> None:
        if not isinstance(answer, Formed):
            raise CallError("unavailable", f"the node at {peer} did not come in")
        if answer.cluster_id != self._me.cluster_id:
            detail = f"node {answer.node_id} at {peer} belongs to cluster {answer.cluster_id}"
            raise CallError("change_refused", detail)

    async def _visit(self, peer: str, question: Question) -> Answer:
        try:
            return decode_answer(await self._network.ask(peer, encode(question), timeout_s=ASK_S))
        except (AskError, PeerError) as error:
            raise CallError(
                "unavailable", f"the node at {peer} cannot be asked: {error}"
            ) from error

    async def _replace(self, change: ReplaceMember) -> None:
        engine, by = self._engine, change.by
        if membership.find(engine.members, change.id) is None:
            detail = f"node {change.id} is not a member of this cluster"
            raise CallError("member_not_found", detail)
        self._check_room(by, change.id)
        if ":" in by:
            by = await self._let_in(by, is_joining=True)
        if by == change.id:
            raise CallError("change_refused", f"node {by} cannot take its own place")
        known = membership.find(engine.members, by)
        if known is None:
            raise CallError("member_not_found", f"node {by} is not a member of this cluster")
        if not (known.voter or known.is_joining):
            await self._steward.promote(by)
        if not await self._until(lambda: self._is_voter(by), REPLACE_S):
            self._check_room(by, change.id)
            raise CallError(
                "unavailable",
                f"node {by} is a member and still catching up, and node {change.id} is one still:"
                " ask again to go on",
            )
        await self._steward.remove(change.id)

    def _check_room(self, by: str, node_id: str) -> None:
        """A replacement votes before the other one goes: there must be room for one voter more."""
        members = self._engine.members
        known = next((item for item in members if by in {item.id, item.peer}), None)
        if (known is None or not known.voter) and not membership.has_room(members):
            raise CallError(
                "change_refused",
                f"a cluster has at most {membership.VOTERS_MAX} voters, and node {by} would be one"
                f" more: remove node {node_id} first, then add or promote {by}",
            )

    def _is_voter(self, node_id: str) -> bool:
        engine = self._engine
        known = membership.find(engine.members, node_id)
        is_committed = engine.config_index <= engine.core.commit_index
        return known is not None and known.voter and is_committed

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition; whether it came."""
        for _ in range(round(seconds / _POLL_S)):
            if condition():
                return True
            await asyncio.sleep(_POLL_S)
        return condition()
