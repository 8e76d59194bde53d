"""All connections of one text server: how many there may be, what they hold, who has to go.

Knows connections only by what it asks of them. One sweep looks after the slow ones; no connection has a
timer of its own.
"""

from asyncio import Event
from typing import Protocol

from raftq_cluster.servers.text.limits import (
    CONNECTIONS_REFUSED_MAX,
    RECEIVING_BYTES_MAX,
    STRANGERS_MAX,
    STRANGERS_RECEIVING_BYTES_MAX,
    Patience,
)


class Guarded(Protocol):
    """What the guard asks of a connection."""

    def sweep(self, now_s: float) -> None:
        """End it if the peer took too long."""
        ...

    def end(self) -> None:
        """Close it once all is answered."""
        ...

    def abort(self) -> None:
        """Close it now."""
        ...


class Guard:
    """Counts connections and the bytes that arrive on them.

    Args:
        connections_max: that are served at one time.
        patience: with slow peers.
    """

    def __init__(self, connections_max: int, patience: Patience) -> None:
        self.connections_max = connections_max
        self.patience = patience
        self.is_draining = False
        self.gone = Event()  # no connection is left
        self.gone.set()
        self._served: set[Guarded] = set()
        self._refused: set[Guarded] = set()
        self._strangers: dict[Guarded, None] = {}  # of those served, by age
        self._receiving_bytes = 0
        self._strangers_receiving_bytes = 0

    @property
    def served(self) -> int:
        """How many connections are served now."""
        return len(self._served)

    def admit(self, connection: Guarded, *, is_known: bool = True) -> bool:
        """Count a new connection in; False: it must be refused.

        Those of whom it is not known who they are cannot fill the node: of too many the oldest goes.
        """
        self.gone.clear()
        if len(self._served) >= self.connections_max or self.is_draining:
            self._refused.add(connection)
            return False
        self._served.add(connection)
        self.introduce(connection, is_known=is_known)
        return True

    def introduce(self, connection: Guarded, *, is_known: bool) -> None:
        """Note whether it is known who is at the other end."""
        if is_known or connection not in self._served:
            self._strangers.pop(connection, None)
            return
        self._strangers[connection] = None
        if len(self._strangers) > STRANGERS_MAX:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.abort()

    @property
    def may_explain(self) -> bool:
        """Whether a refused connection may stay long enough to be told why."""
        return len(self._refused) <= CONNECTIONS_REFUSED_MAX

    def dismiss(self, connection: Guarded) -> None:
        """Count a connection out."""
        self._served.discard(connection)
        self._strangers.pop(connection, None)
        self._refused.discard(connection)
        if not self._served and not self._refused:
            self.gone.set()

    def receive(self, added_bytes: int, *, is_known: bool = True) -> bool:
        """Count bytes of requests that are still on their way; False: they are too many."""
        if not is_known:
            self._strangers_receiving_bytes += added_bytes
            return self._strangers_receiving_bytes <= STRANGERS_RECEIVING_BYTES_MAX
        self._receiving_bytes += added_bytes
        return self._receiving_bytes <= RECEIVING_BYTES_MAX

    def sweep(self, now_s: float) -> None:
        """Look after every connection."""
        for connection in [*self._served, *self._refused]:
            connection.sweep(now_s)

    def drain(self) -> None:
        """Let every connection end once all is answered."""
        self.is_draining = True
        for connection in [*self._served, *self._refused]:
            connection.end()

    def abort(self) -> None:
        """Close every connection now."""
        for connection in [*self._served, *self._refused]:
            connection.abort()
