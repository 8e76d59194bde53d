"""Requests are read as TaskQ reads them, with our verbs beside its three, and within limits."""

import time

import pytest

from raftq_cluster.servers.text.parser import (
    BROKEN,
    LINE_BYTES_MAX,
    SKIPPED_BYTES_MAX,
    TOO_LARGE,
    Request,
    RequestParser,
)

BODY_BYTES_MAX = 4 * 2**20


def read(*pieces: bytes, body_bytes_max: int = BODY_BYTES_MAX) -> list[Request]:
    parser = RequestParser(body_bytes_max)
    return [request for piece in pieces for request in parser.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "request_read"),
    [
        (b"1 enq q 5 hello\n", (b"enq", b"1", b"q", b"hello")),
        (b"1 enq q 5 hello\r\n", (b"enq", b"1", b"q", b"hello")),
        (b"1 enq q 0 \n", (b"enq", b"1", b"q", b"")),
        (b"1 enq q +5 hello\n", (b"enq", b"1", b"q", b"hello")),
        (b"1 enq q 005 hello\n", (b"enq", b"1", b"q", b"hello")),
        (b"1 enq q 5 a\n\x00 b\n", (b"enq", b"1", b"q", b"a\n\x00 b")),
        (b"1 enq q 3 \n\n\n\r\n", (b"enq", b"1", b"q", b"\n\n\n")),
        (b"1 enqXq 1 a\n", (b"enq", b"1", b"q", b"a")),
        (b"1 enq  1 a\n", (b"enq", b"1", b"", b"a")),
        (b"1 call claim 2 {}\n", (b"call", b"1", b"claim", b"{}")),
        (b"1 deq q\n", (b"deq", b"1", b"q", b"")),
        (b"1 deq q\r\n", (b"deq", b"1", b"q", b"")),
        (b"1 deq\tq\n", (b"deq", b"1", b"q", b"")),
        (b"1 deq a b\n", (b"deq", b"1", b"a b", b"")),
        (b"1 deq\n", (b"deq", b"1", b"", b"")),
        (b"1 ack q 7\n", (b"ack", b"1", b"q", b"7")),
        (b"1 ack q 7\r\n", (b"ack", b"1", b"q", b"7")),
        (b"1 ackXq 7\n", (b"ack", b"1", b"q", b"7")),
        (b"1 ack q x\n", (b"ack", b"1", b"q", b"x")),
        (b"1 touch q 7\n", (b"touch", b"1", b"q", b"7")),
        (b"1 nack q 7 1000\n", (b"nack", b"1", b"q", b"7 1000")),
        (b"1 stats q\n", (b"stats", b"1", b"q", b"")),
        (b"1 auth secret\n", (b"auth", b"1", b"secret", b"")),
        (b"1 ping\n", (b"ping", b"1", b"", b"")),
        (b"1 help\r\n", (b"help", b"1", b"", b"")),
    ],
)
def test_every_form_of_a_request_is_read(stream: bytes, request_read: Request) -> None:
    assert read(stream) == [request_read]


@pytest.mark.parametrize(
    ("written", "echoed"),
    [
        (b"0", b"0"),
        (b"000", b"0"),
        (b"007", b"7"),
        (b"18446744073709551615", b"18446744073709551615"),
        (b"0018446744073709551615", b"18446744073709551615"),
    ],
)
def test_a_rid_is_echoed_without_leading_zeros(written: bytes, echoed: bytes) -> None:
    assert read(written + b" deq q\n") == [(b"deq", echoed, b"q", b"")]


@pytest.mark.parametrize(
    "line", [b"1 enq q 0 all of it\n", b"1 enq q 0 all of it\r\n", b"1 enq q -0 all of it\n"]
)
def test_with_len_0_the_body_ends_with_the_line(line: bytes) -> None:
    assert read(line) == [(b"enq", b"1", b"q", b"all of it")]


def test_pipelined_requests_are_read_in_order() -> None:
    stream = b"1 enq pp 1 a\n2 enq pp 3 b\nc\n3 deq pp\n4 ack pp 1\n"
    assert read(stream) == [
        (b"enq", b"1", b"pp", b"a"),
        (b"enq", b"2", b"pp", b"b\nc"),
        (b"deq", b"3", b"pp", b""),
        (b"ack", b"4", b"pp", b"1"),
    ]


def test_thousands_of_requests_come_out_of_one_piece() -> None:
    stream = b"".join(b"%d enq q 3 a\nb\n%d deq q\n" % (rid, rid) for rid in range(1, 5_001))
    assert len(read(stream)) == 10_000


def test_a_body_in_many_pieces_is_joined() -> None:
    pieces = [b"1 enq q 300000 ", *[b"x\n" * 1_000] * 150, b"\n2 ping\n"]
    requests = read(*pieces)
    assert requests == [(b"enq", b"1", b"q", b"x\n" * 150_000), (b"ping", b"2", b"", b"")]


@pytest.mark.parametrize(
    ("stream", "rid", "why"),
    [
        (b"\n", b"-", b"starts with its id"),
        (b" 1 deq q\n", b"-", b"starts with its id"),
        (b"x", b"-", b"starts with its id"),
        (b"1x deq q\n", b"-", b"a space"),
        (b"1\tdeq q\n", b"-", b"a space"),
        (b"18446744073709551616 deq q\n", b"-", b"2^64 - 1"),
        (b"9" * 5_000 + b" deq q\n", b"-", b"2^64 - 1"),
        (b"1\n", b"1", b"unknown verb"),
        (b"1 foo q\n", b"1", b"unknown verb"),
        (b"1 ENQ q 1 a\n", b"1", b"unknown verb"),
        (b"1 enq q\n", b"1", b"RID enq QUEUE LEN BODY"),
        (b"1 enq q 5\n", b"1", b"RID enq QUEUE LEN BODY"),
        (b"1 enq q five hello\n", b"1", b"RID enq QUEUE LEN BODY"),
        (b"1 enq q 1_0 hello\n", b"1", b"RID enq QUEUE LEN BODY"),
        (b"1 call time\n", b"1", b"RID call VERB LEN BODY"),
        (b"1 enq q -5 hello\n", b"1", b"negative"),
        (b"1 enq q 3 hello\n", b"1", b"LEN does not fit"),
        (b"1 enq q 5 hello there\n", b"1", b"LEN does not fit"),
        (b"1 enq q 5 a\nb\ncd\n", b"1", b"LEN does not fit"),
        (b"1 enq q 5 hello\rx\n", b"1", b"LEN does not fit"),
        (b"1 enq q 5 hellox", b"1", b"LEN does not fit"),
        (b"1 enq q 99999999999999999999 ", b"1", b"too_large"),
        (b"1 enq q %d " % (SKIPPED_BYTES_MAX + 1), b"1", b"too_large"),
    ],
)
def test_where_the_next_request_cannot_be_found_the_stream_is_broken(
    stream: bytes, rid: bytes, why: bytes
) -> None:
    *before, broken = read(b"8 ping\n" + stream)
    assert before == [(b"ping", b"8", b"", b"")]
    assert broken[:2] == (BROKEN, rid)
    assert why in broken[3]


def test_nothing_is_read_after_a_broken_request() -> None:
    assert [verb for verb, *_ in read(b"1 foo\n2 ping\n", b"3 ping\n")] == [BROKEN]


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize(
    ("line", "rid"),
    [
        (b"7 deq " + b"q" * LINE_BYTES_MAX, b"7"),
        (b"7 enq q 0 " + b"x" * LINE_BYTES_MAX, b"7"),
        (b"7 enq " + b"q" * LINE_BYTES_MAX + b" 1 x", b"7"),
        (b"0" * LINE_BYTES_MAX + b"7 deq q", b"-"),
    ],
)
def test_a_line_has_a_limit(line: bytes, rid: bytes, end: bytes) -> None:
    (broken,) = read(line + end)
    assert broken[:2] == (BROKEN, rid)
    assert b"%d" % LINE_BYTES_MAX in broken[3]


def test_a_line_may_be_as_long_as_its_limit() -> None:
    name = b"q" * (LINE_BYTES_MAX - len(b"1 deq "))
    assert read(b"1 deq %b\n" % name) == [(b"deq", b"1", name, b"")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("cut", [14, 20, 40, 115, 116, 117, 118])
def test_a_body_over_the_limit_is_skipped_and_the_rest_is_read(cut: int, end: bytes) -> None:
    stream = b"1 enq qq 101 " + b"\n" * 101 + end + b"2 ping\n"
    assert read(stream[:cut], stream[cut:], body_bytes_max=100) == [
        (TOO_LARGE, b"1", b"enq", b"101"),
        (b"ping", b"2", b"", b""),
    ]


def test_a_skipped_body_is_not_held() -> None:
    parser = RequestParser(100)
    assert parser.feed(b"1 call claim 1000000 {") == [(TOO_LARGE, b"1", b"call", b"1000000")]
    for _ in range(9):
        assert parser.feed(b"x" * 100_000) == []
        assert parser.held_bytes == 0


@pytest.mark.parametrize("pieces", [(b"x" * 101 + b"y\n",), (b"x" * 101, b"\r", b"x")])
def test_a_skipped_body_must_end_where_it_said(pieces: tuple[bytes, ...]) -> None:
    requests = read(b"1 enq q 101 ", *pieces, body_bytes_max=100)
    assert [verb for verb, *_ in requests] == [TOO_LARGE, BROKEN]


def test_a_request_is_refused_by_its_declared_length_before_its_body_comes() -> None:
    assert read(b"1 enq q %d " % (BODY_BYTES_MAX + 1)) == [
        (TOO_LARGE, b"1", b"enq", b"%d" % (BODY_BYTES_MAX + 1))
    ]


def test_the_nul_that_follows_an_ack_is_skipped_and_remembered() -> None:
    parser = RequestParser(BODY_BYTES_MAX)
    assert parser.feed(b"5 ack gq 1\n\x00") == [(b"ack", b"5", b"gq", b"1")]
    assert parser.sends_nul_after_ack
    assert parser.feed(b"6 deq gq\n") == [(b"deq", b"6", b"gq", b"")]


def test_the_nul_may_come_with_the_next_request() -> None:
    parser = RequestParser(BODY_BYTES_MAX)
    parser.feed(b"5 ack gq 1\n")
    assert not parser.sends_nul_after_ack
    assert parser.feed(b"\x006 enq gq 9 after ack\n") == [(b"enq", b"6", b"gq", b"after ack")]
    assert parser.sends_nul_after_ack


def test_a_nul_elsewhere_is_skipped_and_means_nothing() -> None:
    parser = RequestParser(BODY_BYTES_MAX)
    assert parser.feed(b"\x00\x001 deq q\n\x002 ping\n\x00") == [
        (b"deq", b"1", b"q", b""),
        (b"ping", b"2", b"", b""),
    ]
    assert not parser.sends_nul_after_ack


def test_held_bytes_count_the_request_that_is_on_its_way() -> None:
    parser = RequestParser(BODY_BYTES_MAX)
    parser.feed(b"1 ping\n2 enq q 100 abc")
    assert parser.held_bytes == len(b"2 enq q 100 abc")
    parser.feed(b"x" * 97 + b"\n")
    assert parser.held_bytes == 0


ZEROS = b"0" * (LINE_BYTES_MAX - 100)


@pytest.mark.parametrize(
    "stream",
    [
        b"1 enq q " + ZEROS,
        b"1 enq q " + ZEROS + b"\n",
        b"1 enq q -" + ZEROS + b"x",
        b"1 call 0" + b" 0" * (len(ZEROS) // 2),
        b"1 enq " + ZEROS + b"\n",
        ZEROS + b" enq q 1",
    ],
    ids=["zeros", "zeros and an end", "negative zeros", "words", "name", "rid"],
)
def test_a_line_is_read_in_a_time_that_grows_as_it_does(stream: bytes) -> None:
    began_s = time.process_time()
    read(*[stream[at : at + 8_192] for at in range(0, len(stream), 8_192)])
    assert (
        time.process_time() - began_s < 1.0
    )  # it takes a millisecond; trying all splits took 60 s
