"""Between the network and the node: who this node is, who may be its peer, where frames go.

Exists before the engine does: a node that forms or joins a cluster talks to others first. Knows neither
sockets nor what is in a frame.
"""

from collections.abc import Awaitable, Callable

from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.peer_api import Identity, PeerError

Answerer = Callable[[Identity, bytes], Awaitable[bytes]]


class Peering:
    """A ``peer_api.PeerOwner``. The callables are set by whoever knows the members."""

    def __init__(self, reads: int) -> None:
        self.reads = reads  # the highest format of the log
        self.me = Identity("", "", "")
        self.engine: Engine | None = None
        self.why_not: Callable[[Identity], str] = _nobody_yet
        self.why_unfit: Callable[[Identity], str] = _fit
        self.what_is_lost: Callable[[Identity], str] = _fit
        self.condemn: Callable[[str], None] = _say_nothing
        self.answer: Answerer = _no_answer
        self.greet: Callable[[str], None] = _say_nothing

    def identity(self) -> Identity:
        """Who this node is at the moment."""
        engine = self.engine
        end = None if engine is None else engine.consensus.log_end()
        return self.me._replace(end=end, reads=self.reads)

    def admit(self, peer: Identity) -> str:
        """Say why this node may not be a peer."""
        return self.why_not(peer)

    def on_unfit(self, why: str, *, has_lost_past: bool) -> None:
        """This node must not go on as it is, or never."""
        if self.engine is not None:
            if has_lost_past:
                self.condemn(why)
            self.engine.fail(why)

    def on_frame(self, peer: str, frame: bytes) -> None:
        """Take a frame from a member."""
        if self.engine is not None:
            self.engine.on_frame(peer, frame)

    def on_received(self) -> None:
        """Frames have come."""
        if self.engine is not None:
            self.engine.on_received()

    def on_up(self, peer: str) -> None:
        """Our connection to this member is new."""
        if self.engine is not None:
            self.engine.on_up(peer)
            self.greet(peer)

    def on_down(self, peer: str) -> None:
        """A connection from or to this member was lost."""
        if self.engine is not None:
            self.engine.on_down(peer)

    async def on_ask(self, peer: Identity, question: bytes) -> bytes:
        """Answer a node that need not be a member."""
        return await self.answer(peer, question)


def _fit(_peer: Identity) -> str:
    return ""


def _say_nothing(_text: str) -> None:
    """Nothing is known that a new peer should hear, and nothing is written yet."""


def _nobody_yet(_peer: Identity) -> str:
    return "this node is not a member of a cluster yet"


async def _no_answer(_peer: Identity, _question: bytes) -> bytes:
    raise PeerError("this node cannot be asked yet")
