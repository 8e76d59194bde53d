"""Whatever the bytes and however they are cut: the same requests, no exception, bounded memory."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.text_model import Reading

from raftq_cluster.servers.text.parser import BROKEN, LINE_BYTES_MAX, Request, RequestParser

BODY_BYTES_MAX = 120  # small, so that the limits are met; it also bounds a line

rids = st.one_of(
    st.integers(0, 2**64 + 2).map(lambda number: b"%d" % number),
    st.sampled_from([b"0", b"007", b"", b"x", b"-1", b"+1", b"1x", b"9" * 30, b"0" * 130]),
)
names = st.sampled_from([b"q", b"", b"/mail/out", b"q" * 80, b"q" * 130, b"\xff", b"a\r", b"claim"])
odd_bytes = st.binary(max_size=140) | st.lists(
    st.sampled_from([b"\n", b"\r", b" ", b"\0", b"1 ack q 1\n", b"0", b"5", b"x"]), max_size=20
).map(b"".join)
line_ends = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"", b"\r", b"\r\r\n", b"\n\0", b"x\n"])
separators = st.sampled_from([b" ", b" ", b" ", b"\t", b"X", b"\r", b"\0", b"", b"\n"])
line_verbs = st.sampled_from(
    [b"deq", b"ack", b"touch", b"nack", b"stats", b"ping", b"auth", b"help", b"enq", b"foo", b""]
)
texts = st.sampled_from(
    [b"", b"1", b"q 1", b"q", b"a b c", b"q 1 5", b"q 0 body", b"q -0 x", b"\xff"]
)


@st.composite
def counted(draw: st.DrawFn) -> bytes:
    """A request with a body, mostly with the right length."""
    body = draw(odd_bytes)
    right = b"%d" % len(body)
    length = draw(
        st.sampled_from(
            [right, right, right, right, b"0", b"+" + right, b"-1", b"-0", b"00" + right, b"",
             b"x", b"1_0", b"121", b"130", b"9" * 12, b"9" * 25, b"%d" % (len(body) + 1)]
        )
    )  # fmt: skip
    verb = draw(st.sampled_from([b"enq", b"call"]))
    return b"%b %b%b%b %b %b%b" % (
        draw(rids), verb, draw(separators), draw(names), length, body, draw(line_ends)
    )  # fmt: skip


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A request that ends with its line."""
    return b"%b %b%b%b%b" % (
        draw(rids), draw(line_verbs), draw(separators), draw(texts), draw(line_ends)
    )  # fmt: skip


good_lines = st.sampled_from(
    [b"1 deq q\n", b"2 ack q 1\n", b"3 ack q 1\n\0", b"4 enq q 3 abc\n", b"5 ping\n"]
)
streams = st.lists(good_lines | counted() | lines(), max_size=8).map(b"".join)


@st.composite
def cut_streams(draw: st.DrawFn) -> list[bytes]:
    """A stream in pieces."""
    stream = draw(streams | st.binary(max_size=200))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]


def read(pieces: list[bytes]) -> tuple[list[Request], bool]:
    """Feed pieces to a new parser; give the requests, the broken one without its message."""
    parser = RequestParser(BODY_BYTES_MAX)
    requests: list[Request] = []
    for piece in pieces:
        requests += parser.feed(piece)
        assert parser.held_bytes <= 2 * BODY_BYTES_MAX + 2
    shown = [(*request[:3], b"") if request[0] == BROKEN else request for request in requests]
    return shown, parser.sends_nul_after_ack


@given(cut_streams())
@example([b"1 enq q 121 " + b"x" * 121 + b"\r", b"\n2 ping\n"])
@example([b"1 enq q 5 ab\nc", b"d\r", b"\n"])
def test_a_stream_gives_the_same_requests_however_it_is_cut(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)
    assert read(pieces) == read([stream])
    assert read([bytes([byte]) for byte in stream]) == read([stream])


@given(streams | st.binary(max_size=200))
def test_the_requests_are_those_of_the_grammar(stream: bytes) -> None:
    reading = Reading(stream, BODY_BYTES_MAX)
    assert read([stream]) == (reading.requests, reading.sends_nul_after_ack)


@given(st.lists(st.binary(max_size=3_000), max_size=30))
def test_what_is_held_of_arbitrary_bytes_is_bounded(pieces: list[bytes]) -> None:
    parser = RequestParser(4096)
    for piece in pieces:
        parser.feed(piece)
        assert parser.held_bytes <= 4096 + LINE_BYTES_MAX


@given(st.binary(max_size=60), streams)
def test_a_disturbed_stream_leaves_another_one_alone(noise: bytes, stream: bytes) -> None:
    disturbed, other = RequestParser(BODY_BYTES_MAX), RequestParser(BODY_BYTES_MAX)
    disturbed.feed(noise)
    first = other.feed(stream[:20])
    disturbed.feed(stream)
    together = first + other.feed(stream[20:])
    assert together == RequestParser(BODY_BYTES_MAX).feed(stream)
