"""What a member answers to nodes that are none: who we are, and whether they may come in.

The counterpart of ``formation``. Knows neither sockets nor files.
"""

from raftq_cluster.backends.raft import membership
from raftq_cluster.backends.raft.calls import CallError
from raftq_cluster.backends.raft.commands import Member, encode_members
from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.peer_api import Identity
from raftq_cluster.backends.raft.questions import (
    Admit,
    Answer,
    Elsewhere,
    Enter,
    Entered,
    Formed,
    Later,
    No,
    Who,
    decode_question,
    encode,
)
from raftq_cluster.backends.raft.steward import Steward
from raftq_cluster.backends.raft.storage import data_dir


class Reception:
    """Answers for a member, who is ``me`` and started with the list in ``me.first_members``."""

    def __init__(self, me: data_dir.Identity, engine: Engine, steward: Steward) -> None:
        self._me = me
        self._engine = engine
        self._steward = steward

    async def answer(self, peer: Identity, data: bytes) -> bytes:
        """Answer another node. Raises ``PeerError`` for a question that is none."""
        question = decode_question(data)
        if isinstance(question, Who):
            return encode(self._who())
        if isinstance(question, Enter):
            return encode(await self._enter(peer, question))
        assert isinstance(question, Admit)
        return encode(No(why=f"node {self._me.node_id} is a member of {self._me.cluster_id}"))

    def _who(self) -> Formed:
        me, engine = self._me, self._engine
        in_force = encode_members(engine.members)
        return Formed(
            cluster_id=me.cluster_id,
            node_id=me.node_id,
            birth=me.birth,
            members=in_force,
            index=engine.config_index,
            is_committed=engine.config_index <= engine.core.commit_index,
            first_members=me.first_members or in_force,
            first_index=me.first_index,
        )

    async def _enter(self, peer: Identity, question: Enter) -> Answer:
        engine = self._engine
        if not engine.is_leader:
            leader = membership.find(engine.members, engine.consensus.leader)
            if leader is None or leader.id == self._me.node_id or not leader.peer:
                return Later(why="no leader is known")
            return Elsewhere(leader=leader.peer)
        if peer.cluster_id and peer.cluster_id != self._me.cluster_id:
            return No(why=f"node {peer.node_id} belongs to cluster {peer.cluster_id} already")
        member = Member(peer.node_id, question.peer, voter=False, birth=peer.birth, is_joining=True)
        try:
            await self._steward.add(member, peer.reads)
        except CallError as error:
            return self._not_now(error)
        return Entered(
            cluster_id=self._me.cluster_id,
            members=encode_members(engine.members),
            index=engine.config_index,
        )

    def _not_now(self, error: CallError) -> Answer:
        if error.may_pass or error.code in ("unavailable", "outcome_unknown", "too_busy"):
            return Later(why=error.detail)
        return No(why=error.detail)
