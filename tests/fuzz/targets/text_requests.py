"""The text protocol's parser: the same requests however the bytes are cut, those of the grammar, in bounded memory."""

from collections.abc import Iterator
from typing import Final

from raftq_cluster.servers.text.parser import BROKEN, LINE_BYTES_MAX, Request, RequestParser
from tests.fuzz.source import Source
from tests.support.text_model import Reading

BODIES_MAX: Final = (120, 16, 1, 5_000)


def read(pieces: list[bytes], body_bytes_max: int) -> tuple[list[Request], bool]:
    """Feed pieces to a new parser; give the requests, the broken one without its message."""
    parser = RequestParser(body_bytes_max)
    requests: list[Request] = []
    for piece in pieces:
        requests += parser.feed(piece)
        assert parser.held_bytes <= 2 * body_bytes_max + LINE_BYTES_MAX
    shown = [(*request[:3], b"") if request[0] == BROKEN else request for request in requests]
    return shown, parser.sends_nul_after_ack


def fuzz(data: bytes) -> None:
    """Parse it whole, in pieces, byte by byte, and as the model does."""
    source = Source(data)
    body_bytes_max = source.pick(BODIES_MAX)
    pieces = source.pieces(stream := source.rest())
    whole = read([stream], body_bytes_max)
    assert read(pieces, body_bytes_max) == whole
    assert read([bytes([byte]) for byte in stream], body_bytes_max) == whole
    model = Reading(stream, body_bytes_max)
    assert whole == (model.requests, model.sends_nul_after_ack)
    for _, rid, _, _ in whole[0]:
        assert rid == b"-" or (rid.isdigit() and rid == b"%d" % int(rid) and int(rid) < 2**64)


def seeds() -> Iterator[bytes]:
    """Requests of every verb, right and nearly right, and several in a row."""
    body = b'{"queues":["q"]}'
    lines = [
        b"1 deq q\n", b"2 ack q 1\n", b"3 ack q 1\n\0", b"4 enq q 3 abc\n", b"5 ping\n", b"6 help\r\n",
        b"7 nack q 1 500\n", b"8 touch q 1\n", b"9 stats q\n", b"10 auth secret\n", b"11 enq q 0 \n",
        b"12 call claim %d %b\n" % (len(body), body), b"13 enq q 4 a\nb\r\n", b"007 enq q +03 abc\r\n",
        b"14 enq q 200 " + b"x" * 200 + b"\n", b"15 enq q -1 a\n", b"99999999999999999999 ping\n",
        b"18446744073709551615 deq a b c\n", b"1 enqXq 1 a\n", b"1 ack\n", b"1 call claim x\n",
        b"1 enq q 99999999999999999999 x\n", b"\0\0 1 ping\n", b"GET / HTTP/1.1\r\n\r\n", b"1 foo\n",
    ]  # fmt: skip
    for line in lines:
        yield b"\0\0" + line
    yield b"\0\0" + b"".join(lines[:13])
    yield bytes((0, 3, 5, 9, 20)) + b"".join(lines[3:8])
    yield b"\1\0" + b"1 enq q 17 " + b"y" * 17 + b"\n2 ping\n"
