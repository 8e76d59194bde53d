"""Documents of a verification: whether all nodes hold the same. See ``docs/cluster.md``."""

from typing import Annotated, Literal

from msgspec import Meta

from raftq.wire.documents import Answer, Document, Reply


class VerifyRequest(Document):
    """Have every node digest its whole state as of one log entry, and compare the digests.

    ``entry`` 0 begins a verification; the number that it was answered asks how far it is.
    """

    entry: Annotated[int, Meta(ge=0, le=2**53)] = 0


class MemberDigest(Reply):
    """What one node has: ``digest`` has 32 hexadecimal digits, or is empty while there is none.

    ``state`` is ``same``, ``different`` (from the majority, or without one from the leader; such a node
    stops itself), ``pending`` (it is at it), ``silent`` (it cannot be heard) or ``none`` (it has no digest
    of this entry and will have none: it was restarted, or is at too many).
    """

    id: str
    state: Literal["same", "different", "pending", "silent", "none"]
    digest: str


class VerifyReply(Answer, kw_only=True):
    """The digests of all nodes' states as of ``entry``.

    Answered after a second at most: while a node is ``pending``, ask for this entry again.
    """

    entry: int
    members: list[MemberDigest]
