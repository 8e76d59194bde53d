"""A network with nobody in it: for a node that shall have no peer port."""

# ruff: noqa: ARG002  # the interface has the arguments; there is nothing to do with them

from collections.abc import Mapping

from raftq_cluster.backends.raft.peer_api import AskError, PeerOwner


class Nobody:
    """A ``peer_api.Network`` that reaches no one."""

    address = ""

    async def start(self, owner: PeerOwner) -> None:
        """Listen nowhere."""

    async def stop(self) -> None:
        """Nothing is open."""

    def set_peers(self, addresses: Mapping[str, str]) -> None:
        """Dial nobody."""

    def is_up(self, peer: str) -> bool:
        """Nobody is."""
        return False

    def send(self, peer: str, frame: bytes) -> bool:
        """Take nothing."""
        return False

    def flush(self) -> None:
        """Nothing was taken."""

    async def ask(self, address: str, question: bytes, *, timeout_s: float) -> bytes:
        """Reach nobody."""
        raise AskError(f"{address} cannot be asked: this node has no peer port")
