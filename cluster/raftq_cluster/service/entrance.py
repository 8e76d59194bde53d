"""What dialects ask of the service, whoever asks: the one seam between servers and rights.

:class:`~raftq_cluster.service.facade.Service` is the entrance of those who may do everything,
:class:`~raftq_cluster.service.authorised.Authorised` that of one token. A server that holds an entrance
cannot forget to check: there is no way around it.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from raftq.wire.export_file import AbandonReply, ImportReply
from raftq_cluster.backends.api import Answer, MemberChange, Sink, Status, Verification
from raftq_cluster.core.operations import Claim, Operation
from raftq_cluster.core.outcomes import Outcome
from raftq_cluster.core.queries import Query
from raftq_cluster.service.limits import Limits


class Entrance(Protocol):
    """See :class:`~raftq_cluster.service.facade.Service` for each method."""

    limits: Limits

    def new_id(self) -> str:
        """Make an id for a task."""
        ...

    def submit(self, operations: Sequence[Operation], sink: Sink) -> None:
        """Have operations done in order."""
        ...

    def claim(self, claim: Claim, wait_ms: int, sink: Sink) -> Callable[[], None]:
        """Claim, and wait for a task."""
        ...

    async def run(self, operations: Sequence[Operation]) -> tuple[int, Sequence[Outcome]]:
        """Do operations and wait for their outcomes."""
        ...

    async def wait_claim(self, claim: Claim, wait_ms: int) -> tuple[int, Outcome]:
        """Claim, and wait for a task."""
        ...

    async def read(self, query: Query, *, stale: bool = False) -> Answer:
        """Answer a query."""
        ...

    async def change_members(self, change: MemberChange) -> None:
        """Change the members of the cluster."""
        ...

    async def verify(self, entry: int) -> Verification:
        """Compare the states of all nodes."""
        ...

    def export(self) -> AsyncIterator[bytes]:
        """Give the whole state as a file."""
        ...

    async def take_in(self, chunks: AsyncIterator[bytes]) -> ImportReply:
        """Take in the whole state of another store."""
        ...

    async def abandon_import(self) -> AbandonReply:
        """Drop what an unfinished import has left."""
        ...

    def cluster(self) -> Status:
        """Tell about the cluster."""
        ...
