"""A client's side of the framing: requests are written, replies are read however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftq.wire.text import (
    CONNECTION_RID,
    HEAD_BYTES_MAX,
    RID_MAX,
    FramingError,
    Reply,
    ReplyParser,
    request,
    request_with_body,
)
from raftq_cluster.servers.text.parser import RequestParser

words = st.text(st.characters(codec="utf-8", exclude_characters=" \n"), min_size=1, max_size=20)
bodies = st.binary(max_size=60)
rids = st.integers(0, RID_MAX)


@st.composite
def replies(draw: st.DrawFn) -> tuple[bytes, Reply]:
    """A reply as the node writes it, and as it must be read."""
    rid, body, queue = draw(rids), draw(bodies), draw(words)
    counted = b"%d %b\n" % (len(body), body)
    queue_and_id = f"{queue} {draw(st.integers(1, 2**63 - 1))}"
    code = draw(st.sampled_from(["invalid", "outcome_unknown"]))
    message = draw(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=40))
    kind = draw(st.sampled_from(["ok", "fail", "deqed", "error", "goodbye", "pong", "enqed"]))
    return {
        "ok": (b"%d ok %b" % (rid, counted), Reply(rid, "ok", "", body)),
        "fail": (
            b"%d fail %b %b" % (rid, code.encode(), counted),
            Reply(rid, "fail", code, body),
        ),
        "deqed": (
            b"%d deqed %b %b" % (rid, queue_and_id.encode(), counted),
            Reply(rid, "deqed", queue_and_id, body),
        ),
        "error": (
            b"%d error %b\n" % (rid, message.encode()),
            Reply(rid, "error", message, b""),
        ),
        "goodbye": (
            b"- error %b\n" % message.encode(),
            Reply(CONNECTION_RID, "error", message, b""),
        ),
        "pong": (b"%d pong\n" % rid, Reply(rid, "pong", "", b"")),
        "enqed": (
            b"%d enqed %b\n" % (rid, queue_and_id.encode()),
            Reply(rid, "enqed", queue_and_id, b""),
        ),
    }[kind]


@given(st.lists(replies(), max_size=8), st.integers(1, 40))
def test_replies_are_read_however_they_are_cut(
    written: list[tuple[bytes, Reply]], piece_bytes: int
) -> None:
    stream = b"".join(text for text, _ in written)
    parser = ReplyParser()
    read = []
    for start in range(0, len(stream), piece_bytes):
        read += parser.feed(stream[start : start + piece_bytes])
    assert read == [reply for _, reply in written]


def test_many_replies_come_out_of_one_piece() -> None:
    stream = b"".join(b"%d ok 5 a\nb\nc\n" % rid for rid in range(10_000))
    assert [reply.rid for reply in ReplyParser().feed(stream)] == list(range(10_000))


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"1 what\n",
        b"1 ok x \n",
        b"\n",
        b"1 ok 2 {}x",
        b"1 ok 2 {}{}\n",
        b"-1 pong\n",
        b"1 error " + b"x" * HEAD_BYTES_MAX,
        b"123456789012345678901 pong\n",
    ],
)
def test_what_is_no_reply_is_refused(garbage: bytes) -> None:
    with pytest.raises(FramingError):
        ReplyParser().feed(garbage)


def test_a_body_over_the_bound_is_refused_before_it_comes() -> None:
    with pytest.raises(FramingError, match="over 10"):
        ReplyParser(body_bytes_max=10).feed(b"1 ok 11 ")


@given(rids, words, st.binary(min_size=1, max_size=60))
def test_the_node_reads_what_a_client_writes(rid: int, word: str, body: bytes) -> None:
    written = request_with_body(rid, "enq", word, body) + request(rid, "deq", word)
    assert RequestParser(2**20).feed(written)[0] == (b"enq", b"%d" % rid, word.encode(), body)


def test_a_request_without_a_body_is_one_line() -> None:
    assert request(7, "nack", "q", "1", "500") == b"7 nack q 1 500\n"
    assert request(1, "ping") == b"1 ping\n"
