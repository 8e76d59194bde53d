"""Framing of the text protocol as a client sees it: bytes of requests out, replies in. No IO.

A connection carries requests ``RID VERB …`` and, in any order, replies ``RID WORD …``; the rid is all that
joins the two. Knows neither sockets nor what a document means. Source: ``docs/text-protocol.md``.
"""

import re
from typing import Final, NamedTuple

RID_MAX: Final = 2**64 - 1
HEAD_BYTES_MAX: Final = (
    64 * 1024
)  # a reply up to its body; the longest is an error with its message
BODY_BYTES_MAX: Final = (
    256 * 1024 * 1024
)  # of one reply: 1,000 tasks of 64 KiB in base64, with room
CONNECTION_RID: Final = -1  # rid of a reply that is about the connection, not about a request

_HEAD = re.compile(
    rb"(\d{1,20}|-) (?:"
    rb"(ok|fail [a-z_]{1,64}|deqed [^ \n]{1,1024} \d{1,20}) (\d{1,12}) "
    rb"|(error|pong|authed|enqed|acked|touched|nacked)(?: ([^\n]*))?\n)",
)


_LINE_END: Final = 0x0A


class FramingError(ValueError):
    """The bytes are not replies of this protocol; nothing more can be read from the connection."""


class Reply(NamedTuple):
    """One reply.

    ``word`` is ``ok``, ``fail``, ``error``, ``pong``, ``authed``, ``enqed``, ``deqed``, ``acked``,
    ``touched`` or ``nacked``. ``text`` is what stands between the word and the body, or the end of the
    line: the code of a ``fail``, the message of an ``error``, ``QUEUE ID`` of the others.
    ``body`` is that of ``ok``, ``fail`` and ``deqed``. With ``rid`` :data:`CONNECTION_RID` the reply
    (an ``error``) is about the connection, which the server closes next.
    """

    rid: int
    word: str
    text: str
    body: bytes


def request(rid: int, verb: str, *words: str) -> bytes:
    """Give the bytes of a request without a body: ``deq``, ``ack``, ``ping``, ``auth``, ….

    ``rid`` is 0..RID_MAX; words hold no space and no line end.
    """
    return f"{' '.join((str(rid), verb, *words))}\n".encode()


def request_with_body(rid: int, verb: str, word: str, body: bytes) -> bytes:
    """Give the bytes of an ``enq`` (``word`` is the queue) or a ``call`` (a v1 verb, with its document).

    ``body`` may hold any byte.
    """
    return b"%d %b %b %d %b\n" % (rid, verb.encode(), word.encode(), len(body), body)


class ReplyParser:
    """Reads replies from pieces of a byte stream, however it was cut. Holds at most one reply."""

    def __init__(self, *, body_bytes_max: int = BODY_BYTES_MAX) -> None:
        self._body_bytes_max = body_bytes_max
        self._pieces: list[bytes] = []  # what is read but not yet answered, in order
        self._held_bytes = 0
        self._wanted_bytes = 0  # no reply can be complete with fewer bytes held

    def feed(self, data: bytes) -> list[Reply]:
        """Take the next bytes of the stream and give the replies that they complete, in order.

        Raises:
            FramingError: these are not replies, or a body is over the bound. The replies before it are
                lost, as the connection is.
        """
        self._pieces.append(data)
        self._held_bytes += len(data)
        if self._held_bytes < self._wanted_bytes:
            return []
        stream = b"".join(self._pieces) if len(self._pieces) > 1 else data
        replies: list[Reply] = []
        start = 0
        while (found := self._reply(stream, start)) is not None:
            reply, start = found
            replies.append(reply)
        rest = stream[start:]
        self._pieces = [rest]
        self._held_bytes = len(rest)
        self._wanted_bytes = max(0, self._wanted_bytes - start)
        return replies

    def _reply(self, stream: bytes, start: int) -> tuple[Reply, int] | None:
        """Give the reply at ``start`` and where the next begins, or None while it is incomplete."""
        head = _HEAD.match(stream, start)
        if head is None:
            self._check_incomplete(stream, start)
            return None
        rid, counted, length, word, message = head.groups()
        if length is None:
            text = (message or b"").decode(errors="replace")
            return Reply(_rid(rid), word.decode(), text, b""), head.end()
        body_start = head.end()
        end = body_start + int(length)
        if end - body_start > self._body_bytes_max:
            raise FramingError(f"a reply of {int(length)} bytes, over {self._body_bytes_max}")
        if len(stream) <= end:
            self._wanted_bytes = end + 1
            return None
        if stream[end] != _LINE_END:
            raise FramingError("no line end after the body of a reply")
        word, _, text = counted.decode(errors="replace").partition(" ")
        return Reply(_rid(rid), word, text, stream[body_start:end]), end + 1

    def _check_incomplete(self, stream: bytes, start: int) -> None:
        """Refuse what can no longer become the head of a reply."""
        line_end = stream.find(b"\n", start, start + HEAD_BYTES_MAX)
        if line_end >= 0 or len(stream) - start >= HEAD_BYTES_MAX:
            shown = stream[start : start + 40]
            raise FramingError(f"not a reply of the text protocol: {shown!r}")
        self._wanted_bytes = 0


def _rid(digits: bytes) -> int:
    return CONNECTION_RID if digits == b"-" else int(digits)
