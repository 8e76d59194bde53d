"""What nodes ask each other before, or without, being members of one cluster; and the bytes of it.

MessagePack maps with a version and a kind; unknown fields are ignored, so that a later version may say more.
What is asked of a member as a member goes through ``calls`` instead. Who asks is known from the handshake
(``peer_api.Identity``) and not repeated here.

    Who      who are you?                      New | Formed
    Enter    let me be a member, I am at PEER  Entered | Elsewhere | Later | No
    Admit    you are a member from now on      Welcome | No
"""

from typing import Final, TypeAlias, TypeVar

import msgspec

from raftq_cluster.backends.raft.peer_api import PeerError
from raftq_cluster.codec.formats import FIRST

VERSION: Final = 1


class _Said(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    v: int = VERSION


class Who(_Said, frozen=True, tag="who"):
    """Who are you? Everybody answers, member or not."""


class Enter(_Said, frozen=True, tag="enter"):
    """Make me a member. Asked of any member; may be repeated."""

    peer: str  # HOST:PORT where the others reach the asker


class Admit(_Said, frozen=True, tag="admit"):
    """You have been made a member. Asked by the leader."""

    cluster_id: str
    members: bytes
    index: int


Question: TypeAlias = Who | Enter | Admit


class New(_Said, frozen=True, tag="new"):
    """I belong to no cluster. ``initial`` is my ``--initial-cluster``, empty if I join one."""

    node_id: str
    birth: str
    initial: dict[str, str]
    reads: int = FIRST  # the highest format of the log


class Formed(_Said, frozen=True, tag="formed"):
    """I am a member: how I see the cluster, and the list that I started with."""

    cluster_id: str
    node_id: str
    birth: str
    members: bytes  # in force
    index: int  # of their entry
    is_committed: bool
    first_members: bytes
    first_index: int


class Entered(_Said, frozen=True, tag="entered"):
    """You are a member: these are all, since this entry."""

    cluster_id: str
    members: bytes
    index: int


class Elsewhere(_Said, frozen=True, tag="elsewhere"):
    """Ask the leader, who is reached there."""

    leader: str


class Later(_Said, frozen=True, tag="later"):
    """It cannot be done at the moment."""

    why: str


class No(_Said, frozen=True, tag="no"):
    """It will not be done."""

    why: str


class Welcome(_Said, frozen=True, tag="welcome"):
    """I will be a member."""


Answer: TypeAlias = New | Formed | Entered | Elsewhere | Later | No | Welcome

_S = TypeVar("_S", bound=_Said)
_encode: Final = msgspec.msgpack.Encoder().encode
_questions: Final[msgspec.msgpack.Decoder[Question]] = msgspec.msgpack.Decoder(Question)
_answers: Final[msgspec.msgpack.Decoder[Answer]] = msgspec.msgpack.Decoder(Answer)


def encode(said: Question | Answer) -> bytes:
    """Pack a question or an answer."""
    return _encode(said)


def decode_question(data: bytes) -> Question:
    """Unpack a question.

    Raises:
        PeerError: it is none of these.
    """
    return _decode(_questions, data)


def decode_answer(data: bytes) -> Answer:
    """Unpack an answer.

    Raises:
        PeerError: it is none of these.
    """
    return _decode(_answers, data)


def _decode(decoder: msgspec.msgpack.Decoder[_S], data: bytes) -> _S:
    try:
        said = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerError(f"a question or answer of nodes cannot be read: {error}") from None
    if said.v != VERSION:
        raise PeerError(f"questions of version {said.v} are not known to this node")
    return said
