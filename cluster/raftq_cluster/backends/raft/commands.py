"""What a log entry's bytes are for, and the member list that a config entry holds.

The first byte is the kind. ``NOOP`` is the Raft core's own; numbers from 16 up are free of the
library's. Knows neither operations nor tasks.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgpack

from raftq_cluster.codec.errors import CodecError

DATA: Final = 0x00  # an entry of the codec follows
NOOP: Final = 0x01  # nothing follows; a leadership begins
CONFIG: Final = 0x10  # the whole member list follows

MEMBERS_MAX: Final = 64  # far above any sensible cluster; bounds what a damaged entry can ask for
_CONFIG_VERSION: Final = 1
_DATA_PREFIX: Final = bytes((DATA,))


class Member(NamedTuple):
    """A node of the cluster. A learner (no ``voter``) gets the log and is not counted."""

    id: str
    peer: str  # HOST:PORT where the others reach it, "" while it has no others
    voter: bool


def data_command(entry: bytes) -> bytes:
    """The command of an entry of operations."""
    return _DATA_PREFIX + entry


def encode_members(members: Sequence[Member]) -> bytes:
    """Pack a member list; also the form in which a snapshot keeps it."""
    packed: bytes = msgpack.packb([_CONFIG_VERSION, members])
    return packed


def decode_members(data: bytes) -> tuple[Member, ...]:
    """Unpack a member list.

    Raises:
        CodecError: these bytes are none, or of a version that this node does not know.
    """
    try:
        version, rows = msgpack.unpackb(data, use_list=False)
        members = tuple(Member(*row) for row in rows)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CodecError(f"not a member list: {error}") from None
    if version != _CONFIG_VERSION:
        raise CodecError(f"member lists of version {version} cannot be read")
    if not 0 < len(members) <= MEMBERS_MAX:
        raise CodecError(f"a cluster of {len(members)} members")
    return members
