"""The bytes of a member list."""

import msgpack
import pytest

from raftq_cluster.backends.raft.commands import (
    MEMBERS_MAX,
    Member,
    decode_members,
    encode_members,
)
from raftq_cluster.codec.errors import CodecError

ONE = Member("n1", "127.0.0.1:7678", True)


def test_a_member_list_survives_packing():
    members = (ONE, Member("n2", "", False))
    assert decode_members(encode_members(members)) == members


def test_the_bytes_of_a_member_list_stay_what_they_are():
    assert encode_members([Member("n1", "h:1", True)]).hex() == "9201" + "91" + "93a26e31a3683a31c3"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgpack.packb(7),
        msgpack.packb([1]),
        msgpack.packb([1, 7]),
        msgpack.packb([1, [["n1"]]]),
        msgpack.packb([2, [ONE]]),
        msgpack.packb([1, []]),
        msgpack.packb([1, [ONE] * (MEMBERS_MAX + 1)]),
    ],
)
def test_bytes_that_are_no_member_list_are_refused(data):
    with pytest.raises(CodecError):
        decode_members(data)
