"""From a data directory to the identity of a member: kept, made up, formed with others, or joined.

Brings ``formation`` and the directory together: a birth is on disk before anybody hears of it, and the
cluster before the node acts in it. Knows nothing of what happens afterwards.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from raftq_cluster.backends.raft import formation
from raftq_cluster.backends.raft.commands import Member, decode_members, encode_members
from raftq_cluster.backends.raft.formation import Formation, Newborn, Plan
from raftq_cluster.backends.raft.peer_api import Identity as PeerIdentity
from raftq_cluster.backends.raft.peer_api import Network
from raftq_cluster.backends.raft.peering import Peering
from raftq_cluster.backends.raft.storage.data_dir import DataDir, Identity
from raftq_cluster.backends.raft.upkeep import InThread

_ID_BITS: Final = 32  # of made-up names: eight hexadecimal digits
_BIRTH_BITS: Final = 64


class Settling:
    """One start of a node. ``given`` is its name; "" takes the one kept, or makes one up."""

    def __init__(
        self,
        data_dir: DataDir,
        plan: Plan,
        given: str,
        network: Network,
        peering: Peering,
        random: Random,
        in_thread: InThread,
    ) -> None:
        self._data_dir = data_dir
        self._plan = plan
        self._given = given
        self._network = network
        self._peering = peering
        self._random = random
        self._in_thread = in_thread

    async def settle(self) -> Identity:
        """Find or make the identity, durable on return. Takes as long as the others take.

        Raises:
            StartError: the node cannot be a member as things are.
            StorageError: the directory is another's, or the disk has failed.
        """
        identity = await self._born()
        if identity.is_formed:
            return identity
        me = Newborn(identity.node_id, identity.birth, self._network.address, self._peering.reads)
        self._peering.me = PeerIdentity("", identity.node_id, identity.birth)
        forming = Formation(self._plan, me, self._network, self._hex(2 * _ID_BITS))
        self._peering.answer = forming.answer
        start = await forming.settle()
        return await self._establish(
            Identity(
                cluster_id=start.cluster_id,
                node_id=identity.node_id,
                birth=identity.birth,
                first_members=encode_members(start.members),
                first_index=start.first_index,
            )
        )

    async def _born(self) -> Identity:
        """The identity that the directory has, with a birth."""
        kept = self._data_dir.identity
        birth = self._hex(_BIRTH_BITS)
        if kept is None:
            # A made-up name is never used twice.
            made_up = f"n{self._hex(_ID_BITS)()}"
            node_id = formation.choose_node_id(
                self._plan, self._given, self._network.address, made_up
            )
            return await self._establish(Identity(cluster_id="", node_id=node_id, birth=birth()))
        return await self._establish(
            Identity(
                cluster_id=kept.cluster_id,
                node_id=self._given or kept.node_id,
                birth=kept.birth or birth(),
                first_members=kept.first_members,
                first_index=kept.first_index,
            )
        )

    async def _establish(self, identity: Identity) -> Identity:
        await self._in_thread(lambda: self._data_dir.establish(identity))
        return identity

    def _hex(self, bits: int) -> Callable[[], str]:
        return lambda: f"{self._random.getrandbits(bits):0{bits // 4}x}"


def first_members(identity: Identity) -> tuple[Member, ...]:
    """The members with whom a node starts that has no snapshot yet."""
    if identity.first_members:
        return decode_members(identity.first_members)
    return (Member(identity.node_id, "", voter=True, birth=identity.birth),)
