"""Documents that change who is a member of the cluster, and who leads it."""

from typing import Annotated

from msgspec import Meta

from raftq.wire.documents import Document

MemberId = Annotated[str, Meta(min_length=1, max_length=64)]
PeerAddress = Annotated[str, Meta(min_length=3, max_length=320)]


class AddMemberRequest(Document):
    """Make the node at ``peer`` a member. It is new, and was started with ``--join``.

    A node that was told an address of the cluster comes in by itself; one that was started with
    ``--join wait`` waits for this. It gets the log and the state, and votes once it has caught up;
    or, with ``voter`` false, when it is promoted.
    """

    peer: PeerAddress  # HOST:PORT
    voter: bool = True


class RemoveMemberRequest(Document):
    """Let a member go, dead or alive. A leader that is removed hands over first."""

    id: MemberId


class PromoteMemberRequest(Document):
    """Let a learner vote. It must have caught up."""

    id: MemberId


class ReplaceMemberRequest(Document):
    """Let another node take a member's place: it comes in, catches up, votes; then the old one goes.

    ``by`` is the id of another member, or the peer address (``HOST:PORT``) of a node that waits to be
    one. If that takes longer than a request may (7 seconds), the answer is ``unavailable`` and the
    same request goes on from there.
    """

    id: MemberId
    by: Annotated[str, Meta(min_length=1, max_length=320)]


class TransferRequest(Document):
    """Move the leadership to a voter; to the one with the most of the log if ``to`` is empty."""

    to: Annotated[str, Meta(max_length=64)] = ""


ClusterChange = (
    AddMemberRequest
    | RemoveMemberRequest
    | PromoteMemberRequest
    | ReplaceMemberRequest
    | TransferRequest
)
"""What changes the cluster. These have no key: doing one twice is doing it once."""
