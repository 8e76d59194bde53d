"""What faults and nodes need of a network, whatever it is made of.

*Places* are machines by name. ``CLIENTS`` is where all clients and the operator are; it can be cut off like any other.
A cut is directed and silent: what one place sends another is not delivered, and nobody is told.
"""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple, Protocol

CLIENTS: Final = "clients"
HTTP: Final = "http"
TEXT: Final = "text"

Link = tuple[str, str]
"""(from, to): a direction between two places."""


class Slow(NamedTuple):
    """How bad the network of one place is. Zero: as good as it can be."""

    delay_ms: int = 0  # each way; where the kernel cannot delay, the rate makes a queue instead
    loss_percent: int = 0  # of packets; proxies cannot lose what TCP has acknowledged
    rate_kbit: int = 0


class Network(Protocol):
    """One network with its places. Not thread safe; everything but opening happens in one loop."""

    name: str

    async def open(self) -> None:
        """Make it."""
        ...

    async def close(self) -> None:
        """Leave nothing of it behind. May be called after a failed ``open``, and twice."""
        ...

    def prefix(self, place: str) -> tuple[str, ...]:
        """Words before a command that is to run at a place."""
        ...

    def flags(self, place: str) -> tuple[str, ...]:
        """Flags of ``raftqd`` for a node at a place: where it listens and how it is reached."""
        ...

    def peer_address(self, place: str) -> str:
        """HOST:PORT at which other nodes reach a place."""
        ...

    def client_address(self, place: str, door: str) -> tuple[str, int]:
        """Where clients reach a place, by HTTP or TEXT."""
        ...

    async def set_cuts(self, cuts: Collection[Link]) -> None:
        """These directions are cut, and no others."""
        ...

    async def set_slow(self, places: Mapping[str, Slow]) -> None:
        """These places are slow, and no others."""
        ...
