"""What a log entry's bytes are for, and the member list that a config entry holds.

The first byte is the kind. ``NOOP`` is the Raft core's own; numbers from 16 up are free of the
library's. Knows neither operations nor tasks.

    0x00 | entry                 DATA: written by nodes that knew no others; still read
    0x01                         NOOP: a leadership begins
    0x10 | member list           CONFIG
    0x11 | [[origin, number, ...], entry]   SENT: an entry, and which process sent which of its segments
    0x12 | number                FORMAT: entries behind this one are in that format (``codec.formats``)
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import msgpack

from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.formats import FIRST

DATA: Final = 0x00  # an entry of the codec follows
NOOP: Final = 0x01  # nothing follows; a leadership begins
CONFIG: Final = 0x10  # the whole member list follows
SENT: Final = 0x11  # who sent its segments, and an entry of the codec
FORMAT: Final = 0x12  # a number follows; entries behind it are in that format

MEMBERS_MAX: Final = 64  # far above any sensible cluster; bounds what a damaged entry can ask for
_CONFIG_VERSION: Final = 2
_BASE_VERSION: Final = 3  # a snapshot's: members, and the format behind the first
_FIRST_CONFIG_VERSION: Final = 1  # members had neither a birth nor a way to become voters
_MEMBER_TYPES: Final = (str, str, bool, str, bool)
_SENT_PREFIX: Final = bytes((SENT,))
_DATA_PREFIX: Final = bytes((DATA,))

Origin: TypeAlias = tuple[int, int]
"""A process, by a random number of 63 bits, and the number that it gave a segment."""


class FormatTooNewError(Exception):
    """The log is in a format that this version cannot read; the node must not go on. One sentence."""

    def __init__(self, number: int, reads: int) -> None:
        super().__init__(
            f"the log goes on in format {number}, and this version of raftq reads formats up to {reads}:"
            " start this node with a newer version"
        )


class Member(NamedTuple):
    """A node of the cluster. A learner (no ``voter``) gets the log and is not counted."""

    id: str
    peer: str  # HOST:PORT where the others reach it, "" while it has no others
    voter: bool
    birth: str = ""  # of its data directory: a lost disk is another member; "" in old lists
    is_joining: bool = False  # a learner that becomes a voter once it has caught up


Members: TypeAlias = tuple[Member, ...]


def data_command(entry: bytes) -> bytes:
    """The command of an entry whose segments nobody waits for."""
    return _DATA_PREFIX + entry


def sent_command(origins: Sequence[Origin], entry: bytes) -> bytes:
    """The command of an entry; ``origins`` has one for each of its segments."""
    flat = [number for origin in origins for number in origin]
    packed: bytes = msgpack.packb((flat, entry))
    return _SENT_PREFIX + packed


def decode_sent(command: bytes) -> tuple[list[Origin], bytes]:
    """Give origins and entry of a ``SENT`` command.

    Raises:
        CodecError: these bytes are none.
    """
    try:
        flat, entry = msgpack.unpackb(memoryview(command)[1:])
        pairs = iter(flat)
        origins = list(zip(pairs, pairs, strict=True))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CodecError(f"not an entry with origins: {error}") from None
    if type(entry) is not bytes or any(type(number) is not int for number in flat):
        raise CodecError("not an entry with origins: its fields are of other types")
    return origins, entry


def encode_members(members: Sequence[Member]) -> bytes:
    """Pack a member list; also the form in which a snapshot keeps it."""
    packed: bytes = msgpack.packb([_CONFIG_VERSION, members])
    return packed


def config_command(members: Sequence[Member]) -> bytes:
    """The command that puts a member list in force."""
    return bytes((CONFIG,)) + encode_members(members)


def decode_members(data: bytes) -> tuple[Member, ...]:
    """Unpack a member list.

    Raises:
        CodecError: these bytes are none, or of a version that this node does not know.
    """
    try:
        version, rows = msgpack.unpackb(data, use_list=False)
        members = _members_of(rows)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CodecError(f"not a member list: {error}") from None
    if version not in (_FIRST_CONFIG_VERSION, _CONFIG_VERSION):
        raise CodecError(f"member lists of version {version} cannot be read")
    if not 0 < len(members) <= MEMBERS_MAX:
        raise CodecError(f"a cluster of {len(members)} members")
    return members


def _members_of(rows: Sequence[Sequence[object]]) -> tuple[Member, ...]:
    """Raises ``TypeError`` if these are no members."""
    members = tuple(Member(*row) for row in rows)  # type: ignore[arg-type] # looked at next
    if any(tuple(map(type, member)) != _MEMBER_TYPES for member in members):
        raise TypeError("a member's fields are of other types")
    return members


def format_command(number: int) -> bytes:
    """The command from which on the log is in a format."""
    packed: bytes = msgpack.packb(number)
    return bytes((FORMAT,)) + packed


def decode_format(command: bytes) -> int:
    """Give the number of a ``FORMAT`` command.

    Raises:
        CodecError: these bytes are none.
    """
    try:
        number = msgpack.unpackb(command[1:])
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CodecError(f"not the number of a format: {error}") from None
    if type(number) is not int or number < FIRST:
        raise CodecError(f"not the number of a format: {number!r}")
    return number


def encode_base(members: Sequence[Member], log_format: int) -> bytes:
    """What a snapshot keeps of a log besides the state. In the first format: a member list."""
    if log_format == FIRST:
        return encode_members(members)
    packed: bytes = msgpack.packb([_BASE_VERSION, members, log_format])
    return packed


def decode_base(data: bytes) -> tuple[tuple[Member, ...], int]:
    """Give members and format as of a snapshot.

    Raises:
        CodecError: these bytes are neither.
    """
    try:
        fields = msgpack.unpackb(data, use_list=False)
        if fields[0] != _BASE_VERSION:
            return decode_members(data), FIRST
        _, rows, log_format = fields
        members = _members_of(rows)
    except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        raise CodecError(f"not the base of a log: {error}") from None
    if not 0 < len(members) <= MEMBERS_MAX or type(log_format) is not int or log_format <= FIRST:
        raise CodecError("not the base of a log: its members or its format cannot be")
    return members, log_format
