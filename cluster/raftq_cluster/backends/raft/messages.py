"""The frames that members send each other, and their bytes.

A frame is the MessagePack array ``[kind, field, ...]``. ``decode`` checks kind, number and type of the
fields, so that whoever handles a message can rely on its shape; what the numbers mean is theirs to
check. Nothing is pickled, ever. Golden bytes: ``tests/vectors/raft_messages.json``.

    leader                         follower
      Append  ------------------->           entries, or a heartbeat; prev (0, 0) verifies nothing
              <-------------------  Ack      holds all up to ``match``, on disk
              <-------------------  Refuse   does not hold prev
              <-------------------  Heard    knows the leader, in this read round
              <-------------------  Stale    knows of a later term
      SnapshotChunk ------------->           part of the state, for a log that has gone
              <-------------------  SnapshotAck
    candidate                      voter
      AskPreVote ---------------->           would you vote for me?
              <-------------------  PreVote
      AskVote ------------------->
              <-------------------  Vote
    any node                       leader
      Forward ------------------->           segments to be logged
              <-------------------  ForwardRefused
      AskRead ------------------->           to which index must I have applied?
              <-------------------  ReadAt
    leader                         heir
      TimeoutNow ---------------->           stand for election at once
    any node                       any node
      Facts --------------------->           who and how it is, once a second
      Chain --------------------->           what its applied entries have come to
      AskChain ------------------>           what had they come to at this entry?
              <-------------------  Chain
      StateDigest --------------->           my whole state as of an entry
      AskDigest ----------------->           what was yours?
      Call ---------------------->           a question between members
              <-------------------  Reply
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import msgpack

from raftq_cluster.backends.raft.peer_api import PeerError

NUMBER_MAX: Final = 2**64 - 1
LogRow: TypeAlias = tuple[int, bytes]  # (term, command)
SegmentRow: TypeAlias = tuple[int, bytes]  # (number, segment)


class Append(NamedTuple):
    """Entries behind ``(prev_index, prev_term)``, none in a heartbeat. Source: Raft, figure 2."""

    term: int
    epoch: int  # of the leader's sending to this peer; answers repeat it
    round: int  # of reads that wait for confirmation; answers repeat it
    commit: int
    prev_index: int
    prev_term: int
    wants_ack: bool  # not if it only tells of a commit or a round
    rows: tuple[LogRow, ...]


class Ack(NamedTuple):
    """All up to ``match`` equals the leader's log and is on disk."""

    term: int
    epoch: int
    round: int
    match: int


class Refuse(NamedTuple):
    """``prev`` is not in the log: go on from ``next`` instead."""

    term: int
    epoch: int
    round: int
    next: int


class Heard(NamedTuple):
    """In this term, this round was heard of. Does not wait for a disk."""

    term: int
    round: int


class Stale(NamedTuple):
    """What came was of an older term than ours, which this is."""

    term: int


class AskPreVote(NamedTuple):
    """Would you vote for me in ``term``? Changes nothing at anybody. Source: Raft thesis 9.6."""

    term: int
    last_index: int
    last_term: int


class PreVote(NamedTuple):
    """The answer; ``term`` is the voter's own."""

    asked_term: int
    term: int
    is_granted: bool


class AskVote(NamedTuple):
    """Vote for me. ``is_forced``: although a leader lives, who asked me to take over."""

    term: int
    last_index: int
    last_term: int
    is_forced: bool


class Vote(NamedTuple):
    """Granted, in ``term``."""

    term: int


class TimeoutNow(NamedTuple):
    """Stand for election at once. Source: Raft thesis 3.10."""

    term: int


class Forward(NamedTuple):
    """Segments for the leader of ``term``, in order, of one process of the sender.

    Numbers rise. A leader that has a number already passes over it.
    """

    term: int
    origin: int
    rows: tuple[SegmentRow, ...]


class ForwardRefused(NamedTuple):
    """These segments are certainly not in the log, and will not be. ``code`` is a wire code."""

    term: int
    origin: int
    numbers: tuple[int, ...]
    code: str
    detail: str


class AskRead(NamedTuple):
    """Confirm that you lead, and tell the commit index as of now."""

    number: int


class ReadAt(NamedTuple):
    """Whoever has applied ``read_index`` knows all that was committed when ``number`` was asked."""

    number: int
    read_index: int


class SnapshotChunk(NamedTuple):
    """Bytes of a snapshot file from ``offset``; ``size`` is that of the whole file."""

    term: int
    snapshot_index: int
    snapshot_term: int
    size: int
    offset: int
    data: bytes


class SnapshotAck(NamedTuple):
    """Go on from ``offset``: the bytes before it are held."""

    term: int
    snapshot_index: int
    snapshot_term: int
    offset: int


class Facts(NamedTuple):
    """Whatever a node tells of itself; see ``facts``."""

    fields: dict[str, Any]


class Call(NamedTuple):
    """A question to one member, answered by a ``Reply`` of the same number."""

    number: int
    name: str
    body: bytes


class Reply(NamedTuple):
    """The answer; an error's ``body`` is its text."""

    number: int
    code: str  # "" for an answer, else a wire code
    body: bytes


class Chain(NamedTuple):
    """The chain (``core.chain``) up to this entry, as the sender has applied them."""

    entry: int
    chain: int


class AskChain(NamedTuple):
    """Tell the chain up to this entry, as soon as it is applied."""

    entry: int


class StateDigest(NamedTuple):
    """The digest of the whole state (``core.digest``) as of ``entry``; "": there is none."""

    entry: int
    digest: str


class AskDigest(NamedTuple):
    """Tell the digest as of ``entry``, unless it is still being made."""

    entry: int


Message: TypeAlias = (
    Append | Ack | Refuse | Heard | Stale | AskPreVote | PreVote | AskVote | Vote | TimeoutNow
    | Forward | ForwardRefused | AskRead | ReadAt | SnapshotChunk | SnapshotAck
    | Facts | Call | Reply | Chain | AskChain
    | StateDigest | AskDigest
)  # fmt: skip


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= NUMBER_MAX


def _is_rows(value: object) -> bool:
    """Rows of a number and bytes, which are not empty."""
    if type(value) is not tuple:
        return False
    for row in value:
        if type(row) is not tuple or len(row) != 2:
            return False
        number, data = row
        if not (_is_number(number) and type(data) is bytes and data):
            return False
    return True


def _is_numbers(value: object) -> bool:
    return type(value) is tuple and all(map(_is_number, value))


def _is_map(value: object) -> bool:
    return type(value) is dict and all(type(name) is str for name in value)


def _is(kind: type) -> Callable[[object], bool]:
    return lambda value: type(value) is kind


_Check: TypeAlias = Callable[[object], bool]
_N: Final = _is_number
_KINDS: Final[dict[int, tuple[type[Any], tuple[_Check, ...]]]] = {
    1: (Append, (_N, _N, _N, _N, _N, _N, _is(bool), _is_rows)),
    2: (Ack, (_N, _N, _N, _N)),
    3: (Refuse, (_N, _N, _N, _N)),
    4: (Heard, (_N, _N)),
    5: (Stale, (_N,)),
    6: (AskPreVote, (_N, _N, _N)),
    7: (PreVote, (_N, _N, _is(bool))),
    8: (AskVote, (_N, _N, _N, _is(bool))),
    9: (Vote, (_N,)),
    10: (TimeoutNow, (_N,)),
    11: (Forward, (_N, _N, _is_rows)),
    12: (ForwardRefused, (_N, _N, _is_numbers, _is(str), _is(str))),
    13: (AskRead, (_N,)),
    14: (ReadAt, (_N, _N)),
    15: (SnapshotChunk, (_N, _N, _N, _N, _N, _is(bytes))),
    16: (SnapshotAck, (_N, _N, _N, _N)),
    17: (Facts, (_is_map,)),
    18: (Call, (_N, _is(str), _is(bytes))),
    19: (Reply, (_N, _is(str), _is(bytes))),
    20: (Chain, (_N, _N)),
    21: (AskChain, (_N,)),
    22: (StateDigest, (_N, _is(str))),
    23: (AskDigest, (_N,)),
}
# Numbers come first in all of them: kind, how many numbers, and the checks of what follows.
_SHAPES: Final = {
    tag: (
        kind,
        sum(check is _N for check in checks),
        [check for check in checks if check is not _N],
    )
    for tag, (kind, checks) in _KINDS.items()
}
_KIND_OF: Final = {kind: number for number, (kind, _checks) in _KINDS.items()}
_pack = msgpack.Packer(use_bin_type=True).pack


def encode(message: Message) -> bytes:
    """Pack a message."""
    packed: bytes = _pack((_KIND_OF[type(message)], *message))
    return packed


def decode(frame: bytes) -> Message:
    """Unpack a frame.

    Raises:
        PeerError: it is none of these messages.
    """
    try:
        fields = msgpack.unpackb(frame, use_list=False, raw=False, strict_map_key=True)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise PeerError(f"a frame is not MessagePack: {error}") from None
    if type(fields) is not tuple or not fields or type(fields[0]) is not int:
        raise PeerError("a frame has no kind")
    known = _SHAPES.get(fields[0])
    if known is None:
        raise PeerError(f"frames of kind {fields[0]} are not known to this version")
    kind, numbers, checks = known
    fields = fields[1:]
    if len(fields) != numbers + len(checks):
        raise PeerError(f"a frame of kind {kind.__name__} has {len(fields)} fields")
    for number in fields[:numbers]:  # written out: some thousand frames a second come this way
        if type(number) is not int or number < 0:
            raise PeerError(f"a frame of kind {kind.__name__} is malformed")
    for check, field in zip(checks, fields[numbers:], strict=True):
        if not check(field):
            raise PeerError(f"a frame of kind {kind.__name__} is malformed")
    message: Message = kind._make(fields)
    return message
