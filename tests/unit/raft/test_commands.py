"""The bytes of a member list."""

import msgpack
import pytest

from raftq_cluster.backends.raft.commands import (
    MEMBERS_MAX,
    SENT,
    Member,
    decode_members,
    decode_sent,
    encode_members,
    sent_command,
)
from raftq_cluster.codec.errors import CodecError

ONE = Member("n1", "127.0.0.1:7678", True)


def test_a_member_list_survives_packing():
    members = (ONE, Member("n2", "", False))
    assert decode_members(encode_members(members)) == members


def test_the_bytes_of_a_member_list_stay_what_they_are():
    assert (
        encode_members([Member("n1", "h:1", True, "b1")]).hex()
        == "9202" + "91" + "95a26e31a3683a31c3a26231c2"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgpack.packb(7),
        msgpack.packb([1]),
        msgpack.packb([1, 7]),
        msgpack.packb([1, [["n1"]]]),
        msgpack.packb([3, [ONE]]),
        msgpack.packb([1, []]),
        msgpack.packb([1, [ONE] * (MEMBERS_MAX + 1)]),
    ],
)
def test_bytes_that_are_no_member_list_are_refused(data):
    with pytest.raises(CodecError):
        decode_members(data)


def test_member_lists_of_the_first_version_can_be_read():
    assert decode_members(msgpack.packb([1, [["n1", "h:1", True]]])) == (Member("n1", "h:1", True),)


def test_an_entry_keeps_who_sent_its_segments():
    command = sent_command([(7, 1), (9, 2**40)], b"entry")
    assert (command[0], decode_sent(command)) == (SENT, ([(7, 1), (9, 2**40)], b"entry"))


@pytest.mark.parametrize(
    "body", [b"", b"\xff", msgpack.packb(1), msgpack.packb(([1], b"e")), msgpack.packb(([], "e"))]
)
def test_bytes_that_are_no_entry_with_origins_are_refused(body):
    with pytest.raises(CodecError):
        decode_sent(bytes((SENT,)) + body)
