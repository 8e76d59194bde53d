"""What the Raft backend asks of a network between members, and what it is told by it.

A frame is a string of bytes that the network does not read. Between two members there are two
connections: each node dials every other member and sends on its own connection only. ``transport`` is the
network of real nodes; tests give one in memory. Declared here, at the seam.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

# The largest frame: one operation of the largest size, alone in its entry, and its envelope.
FRAME_BYTES_MAX: Final = 24 << 20


class Identity(NamedTuple):
    """Who a node says it is. With peer TLS, ``node_id`` is the one in its certificate."""

    cluster_id: str  # "" while it has none: it is forming or joining
    node_id: str
    birth: str  # of its data directory: 16 hexadecimal digits
    end: tuple[int, int] | None = None  # its term and last index when it said so; None: not told
    reads: int = 1  # the highest format of the log


class AskError(Exception):
    """A node could not be asked, or did not answer in time. The message is one sentence."""


class PeerError(Exception):
    """A frame was not one of ours: its connection must be closed. The message says why."""


class UnfitError(PeerError):
    """A node must not go on as it is: it has lost a part of its past, or cannot read the log."""


class LostPastError(UnfitError):
    """A node has lost a part of its past: it must never go on."""


class PeerOwner(Protocol):
    """Who owns the network. Every method is called on the event loop's thread."""

    def identity(self) -> Identity:
        """Who this node is at the moment."""
        ...

    def admit(self, peer: Identity) -> str:
        """Say why this node may not be a peer; "" if it may. Asked at every handshake."""
        ...

    def why_unfit(self, peer: Identity) -> str:
        """Say why a member must not go on as it is; "" if nothing shows it. Asked at every handshake."""
        ...

    def what_is_lost(self, peer: Identity) -> str:
        """Say what a member's directory lacks of its past; "" if nothing shows it. Asked at every handshake."""
        ...

    def on_unfit(self, why: str, *, has_lost_past: bool) -> None:
        """A member says that it is this node which must not go on: never, if it has lost a part of its past."""
        ...

    def on_frame(self, peer: str, frame: bytes) -> None:
        """Take a frame from a member.

        Frames of one connection come in the order in which they were sent, without gaps. Once a newer
        connection from that member is accepted, no frame of an older one comes.

        Raises:
            PeerError: close the connection.
        """
        ...

    def on_received(self) -> None:
        """All frames that had arrived together have been given to ``on_frame``."""
        ...

    def on_up(self, peer: str) -> None:
        """Our connection to this member is new: what was sent on an older one may be lost."""
        ...

    def on_down(self, peer: str) -> None:
        """A connection from or to this member was lost. May be told twice."""
        ...

    async def on_ask(self, peer: Identity, question: bytes) -> bytes:
        """Answer a question from a node that need not be a member; see ``Network.ask``.

        Raises:
            PeerError: close the connection.
        """
        ...


class Network(Protocol):
    """Connections to the other members."""

    async def start(self, owner: PeerOwner) -> None:
        """Listen.

        Raises:
            StartError: the address cannot be listened on, or a certificate cannot be used.
        """
        ...

    async def stop(self) -> None:
        """Close everything. Idempotent."""
        ...

    @property
    def address(self) -> str:
        """``HOST:PORT`` where other nodes reach this one: what it advertises."""
        ...

    def set_peers(self, addresses: Mapping[str, str]) -> None:
        """Keep a connection to each of these (id -> ``HOST:PORT``), and to nobody else.

        Connections from others are closed too. Dialling is repeated until it succeeds.
        """
        ...

    def is_up(self, peer: str) -> bool:
        """Whether ``send`` to this member would take a frame."""
        ...

    def send(self, peer: str, frame: bytes) -> bool:
        """Take a frame for a member, to be written by ``flush``; False if it cannot be taken.

        Never raises, never blocks. A frame that was taken may still be lost with its connection.
        """
        ...

    def flush(self) -> None:
        """Write what was taken since the last call: one write per connection."""
        ...

    async def ask(self, address: str, question: bytes, *, timeout_s: float) -> bytes:
        """Ask the node at ``HOST:PORT`` one question on a connection of its own.

        Neither node needs to be a member of anything.

        Raises:
            AskError: it cannot be reached, is not to be trusted, refused, or did not answer.
        """
        ...
