"""Connections that others made to this node: who they are, then their frames or their question."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from raftq_cluster.backends.raft.peer_api import (
    FRAME_BYTES_MAX,
    Identity,
    LostPastError,
    PeerError,
    PeerOwner,
    UnfitError,
)
from raftq_cluster.backends.raft.transport.framing import FrameReader, length_of
from raftq_cluster.backends.raft.transport.hello import (
    ASK,
    PEER,
    Hello,
    Refusal,
    Welcome,
    common_protocol,
    pack,
    read_hello,
)
from raftq_cluster.backends.raft.transport.tls import node_of

HANDSHAKE_S: Final = 2.0
QUESTION_BYTES_MAX: Final = 1 << 20
ANSWER_S: Final = 15.0  # a join waits for a commit


class Host(Protocol):
    """What an accepted connection asks of its network."""

    owner: PeerOwner
    uses_tls: bool
    received_bytes: int
    received_frames: int

    def arrived(self, link: "AcceptedLink") -> None:
        """A connection was made; nobody knows by whom."""
        ...

    def identified(self, link: "AcceptedLink", hello: Hello) -> None:
        """A member sends on this connection from now on."""
        ...

    def left(self, link: "AcceptedLink") -> None:
        """The connection is gone."""
        ...

    def complain(self, peer: str, reason: str) -> None:
        """Log why a connection is closed; the same reason not again and again."""
        ...


class AcceptedLink(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._take: Callable[[bytes], None] = self._on_hello
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._hello: Hello | None = None
        self.peer = ""  # the member, once it is known
        self.is_replaced = False  # by a newer connection of the same member: its frames are late

    # --- asyncio ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a hello, but not long."""
        self._transport = cast(
            asyncio.Transport, transport
        )  # uvloop's own kind is none of asyncio's
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_S, self.abort)
        self._host.arrived(self)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; whatever is wrong with it closes this connection and nothing else."""
        self._host.received_bytes += len(data)
        try:
            for frame in self._reader.feed(data):
                if self.is_replaced:
                    return
                self._take(frame)
        except PeerError as error:
            self._host.complain(self.peer, f"a peer connection is closed: {error}")
            self.abort()
        if self.peer and not self.is_replaced:
            self._host.owner.on_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the network."""
        del exc
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()
        self._take = (
            _take_nothing  # else it would refer to itself, and stay with what it holds of a frame
        )
        self._host.left(self)

    # --- the handshake ------------------------------------------------------------------------

    def _on_hello(self, frame: bytes) -> None:
        hello = read_hello(frame)
        me = self._host.owner.identity()
        try:
            self._check(hello, me)
            protocol = common_protocol(hello)
        except PeerError as error:
            is_final, has_lost_past = (
                isinstance(error, UnfitError),
                isinstance(error, LostPastError),
            )
            refusal = Refusal(why=str(error), is_final=is_final, has_lost_past=has_lost_past)
            self._write(pack(refusal))
            self.close()
            raise
        self._stop_timer()
        self._hello = hello
        self._write(pack(Welcome(protocol=protocol, cluster_id=me.cluster_id,
                                 node_id=me.node_id, birth=me.birth, end=me.end, reads=me.reads)))  # fmt: skip
        if hello.purpose == PEER:
            self._reader.limit = FRAME_BYTES_MAX
            self.peer = hello.node_id
            self._take = self._on_frame
            self._host.identified(self, hello)
        else:
            self._reader.limit = QUESTION_BYTES_MAX
            self._take = self._on_question
            self._timer = asyncio.get_running_loop().call_later(ANSWER_S, self.abort)

    def _check(self, hello: Hello, me: Identity) -> None:
        if hello.purpose not in (PEER, ASK):
            raise PeerError(f"connections for {hello.purpose!r} are not known to this node")
        if self._host.uses_tls and node_of(self._certificate()) != hello.node_id:
            raise PeerError(f"the certificate is not that of node {hello.node_id}")
        if hello.to and hello.to != me.node_id:
            if not me.node_id:
                raise PeerError("this node is still starting")
            raise PeerError(f"this is node {me.node_id}, not {hello.to}")
        if hello.purpose == PEER:
            why = self._host.owner.admit(hello.identity)
            if why:
                raise PeerError(why)
            unfit = self._host.owner.why_unfit(hello.identity)
            if unfit:
                raise UnfitError(unfit)
            lost = self._host.owner.what_is_lost(hello.identity)
            if lost:
                raise LostPastError(lost)

    def _certificate(self) -> dict[str, Any]:
        assert self._transport is not None
        certificate: dict[str, Any] = self._transport.get_extra_info("peercert") or {}
        return certificate

    # --- what follows -------------------------------------------------------------------------

    def _on_frame(self, frame: bytes) -> None:
        self._host.received_frames += 1
        self._host.owner.on_frame(self.peer, frame)

    def _on_question(self, question: bytes) -> None:
        if self._task is not None:
            raise PeerError("a second question on one connection")
        self._task = asyncio.create_task(self._answer(question))

    async def _answer(self, question: bytes) -> None:
        assert self._hello is not None
        try:
            answer = await self._host.owner.on_ask(self._hello.identity, question)
        except PeerError as error:
            self._host.complain("", f"a question is not answered: {error}")
            self.abort()
        else:
            self._write(answer)
            self.close()

    def _write(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(length_of(frame) + frame)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def identity(self) -> Identity | None:
        """Who has said hello."""
        return None if self._hello is None else self._hello.identity

    def close(self) -> None:
        """Close once what was written is out."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


def _take_nothing(_frame: bytes) -> None:
    """The connection is over."""
