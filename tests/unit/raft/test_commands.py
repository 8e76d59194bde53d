"""The bytes of a member list."""

import msgpack
import pytest

from raftq_cluster.backends.raft.commands import (
    MEMBERS_MAX,
    SENT,
    Member,
    decode_base,
    decode_format,
    decode_members,
    decode_sent,
    encode_base,
    encode_members,
    format_command,
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
        msgpack.packb([2, [["n1", "h:1", 1, "", False]]]),
        msgpack.packb([2, [[["n1"], "h:1", True]]]),
        msgpack.packb([2, ["h:1"]]),
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


@pytest.mark.parametrize("number", [1, 2, 300])
def test_the_number_of_a_format_survives_packing(number):
    assert decode_format(format_command(number)) == number


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", msgpack.packb("2"), msgpack.packb(0), msgpack.packb(True)]
)
def test_what_is_no_number_of_a_format_is_refused(body):
    with pytest.raises(CodecError, match="not the number of a format"):
        decode_format(b"\x12" + body)


def test_the_base_of_a_log_in_the_first_format_is_a_member_list():
    assert encode_base((ONE,), 1) == encode_members((ONE,))
    assert decode_base(encode_members((ONE,))) == ((ONE,), 1)


def test_the_base_of_a_log_in_a_later_format_survives_packing():
    assert decode_base(encode_base((ONE,), 7)) == ((ONE,), 7)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x90",
        msgpack.packb(7),
        msgpack.packb([3]),
        msgpack.packb([3, [], 2]),
        msgpack.packb([3, [["n1"]], 2]),
        msgpack.packb([3, [list(ONE)], 1]),
    ],
)
def test_what_is_no_base_of_a_log_is_refused(data):
    with pytest.raises(CodecError):
        decode_base(data)


@pytest.mark.parametrize(
    "fields", [([[7], 1], b"e"), ([7.5, 1], b"e"), ([True, 1], b"e"), ([7, 1], "e")]
)
def test_origins_that_are_no_numbers_are_refused(fields):
    with pytest.raises(CodecError):
        decode_sent(bytes((SENT,)) + msgpack.packb(fields))
