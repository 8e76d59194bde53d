"""The first frame of each side of a connection: who is there, and what for. Pure.

    dialler    Hello(versions, purpose, who I am, whom I mean to reach)
    acceptor   Welcome(version, who I am)  or  Refusal(why)

MessagePack maps; unknown fields are ignored, so that a later version may say more.
"""

from typing import Final, TypeAlias

import msgspec

from raftq_cluster.backends.raft.peer_api import Identity, LostPastError, PeerError, UnfitError

PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1
PEER: Final = "peer"  # frames of a member follow
ASK: Final = "ask"  # one question follows, and one answer
_WHY_MAX: Final = 500  # characters of a refusal that are shown


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="raftq hello"):
    """What the dialler says."""

    protocol_min: int
    protocol_max: int
    purpose: str
    cluster_id: str
    node_id: str
    birth: str
    address: str = ""  # HOST:PORT where the dialler is reached
    to: str = ""  # id of the node that is meant; "" for whoever is there
    end: tuple[int, int] | None = None  # term and last index of the dialler's log
    reads: int = 1  # the highest format of the log that it reads

    @property
    def identity(self) -> Identity:
        """Who says so."""
        return Identity(self.cluster_id, self.node_id, self.birth, self.end, self.reads)


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="raftq welcome"):
    """The acceptor agrees, and says who it is."""

    protocol: int
    cluster_id: str
    node_id: str
    birth: str
    end: tuple[int, int] | None = None  # term and last index of the acceptor's log
    reads: int = 1  # the highest format of the log that it reads

    @property
    def identity(self) -> Identity:
        """Who says so."""
        return Identity(self.cluster_id, self.node_id, self.birth, self.end, self.reads)


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="raftq refusal"):
    """The acceptor does not agree."""

    why: str
    is_final: bool = False  # the dialler must not go on as it is
    has_lost_past: bool = False  # and never will


_KINDS: Final[dict[tuple[bool, bool], type[PeerError]]] = {
    (False, False): PeerError,
    (True, False): UnfitError,
    (True, True): LostPastError,
}
_Answer: TypeAlias = Welcome | Refusal
_NONSENSE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_hello: Final = msgspec.msgpack.Decoder(Hello)
_answer: Final[msgspec.msgpack.Decoder[_Answer]] = msgspec.msgpack.Decoder(_Answer)
_pack: Final = msgspec.msgpack.Encoder().encode


def pack(said: Hello | Welcome | Refusal) -> bytes:
    """Pack any of the three."""
    return _pack(said)


def read_hello(frame: bytes) -> Hello:
    """Unpack what a dialler says.

    Raises:
        PeerError: it is no hello.
    """
    try:
        return _hello.decode(frame)
    except _NONSENSE:
        raise PeerError("what came first is no hello of a node") from None


def read_answer(frame: bytes) -> Welcome:
    """Unpack what an acceptor says.

    Raises:
        PeerError: it refuses, or it is no answer.
        UnfitError: it refuses because we must not go on as we are.
        LostPastError: likewise, and we never must.
    """
    try:
        answer = _answer.decode(frame)
    except _NONSENSE:
        raise PeerError("what answers is no node") from None
    if isinstance(answer, Refusal):
        kind = _KINDS[answer.is_final, answer.is_final and answer.has_lost_past]
        raise kind(answer.why[:_WHY_MAX])
    return answer


def common_protocol(hello: Hello) -> int:
    """The highest version that both speak.

    Raises:
        PeerError: there is none.
    """
    highest = min(hello.protocol_max, PROTOCOL_MAX)
    if highest < max(hello.protocol_min, PROTOCOL_MIN):
        raise PeerError(
            f"node {hello.node_id} speaks versions {hello.protocol_min} to {hello.protocol_max}"
            f" of the peer protocol, this node {PROTOCOL_MIN} to {PROTOCOL_MAX}"
        )
    return highest
