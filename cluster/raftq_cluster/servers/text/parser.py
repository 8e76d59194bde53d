"""Requests of the text protocol out of a stream of bytes. No IO: bytes in, requests out.

Responsible for framing alone: where a request begins and ends, its rid, verb, words and body. It does not
know what a queue may be called, what a document holds, or who asks. A request that is framed well
but means nothing comes out like any other and is refused further up; only where the next request cannot
be found is the stream *broken*. Source: ``docs/text-protocol.md``.

The same stream gives the same requests however it was cut into pieces. What is held between two pieces
is never more than one request within the limits.
"""

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

Request: TypeAlias = tuple[bytes, bytes, bytes, bytes]
"""``(verb, rid, name, rest)``: a plain tuple, because there is one per request.

``rid`` is canonical: no leading zeros, at most 2**64 - 1. ``name`` is the first word after the verb (a
queue, the verb of a ``call``, a token; for ``deq`` all of the line), ``rest`` is the body of ``enq`` and
``call``, and for other verbs whatever else the line says.
"""

TOO_LARGE: Final = b"too large"
"""In place of a verb: the body of this request is over the limit and is skipped.

``name`` is the verb, ``rest`` the declared length. What follows is read as ever.
"""
BROKEN: Final = b"broken"
"""In place of a verb: nothing can be read from here on. It comes last, and once.

``rid`` is that of the request that could not be read, or :data:`NO_RID`; ``rest`` says why.
"""
NO_RID: Final = b"-"  # stands where a reply has its rid; no client can take it for one of its own

LINE_BYTES_MAX: Final = 64 * 1024  # without its body: more than a person or a small script types
SKIPPED_BYTES_MAX: Final = 64 * 1024 * 1024  # of a refused body; beyond it, closing costs less

_RID_MAX: Final = 2**64 - 1
_RID_DIGITS_MAX: Final = len(str(_RID_MAX))
_LENGTH_DIGITS_MAX: Final = 18  # of a length; one of more digits is too large whatever it says
_ZERO: Final = 0x30
_NUL: Final = b"\x00"
_CR: Final = b"\r"
_ACK: Final = b"ack"
_DEQ: Final = b"deq"
_COUNTED: Final = frozenset({b"enq", b"call"})  # RID VERB NAME LEN BODY
_SETTLING: Final = frozenset({_ACK, b"touch"})  # RID VERB QUEUE ID
_VERBS: Final = frozenset({_DEQ, _ACK, b"touch", b"nack", b"stats", b"ping", b"auth", b"help"})
_MESSAGES: Final = {
    b"enq": b"LEN and BODY are missing or cannot be read: RID enq QUEUE LEN BODY",
    b"call": b"LEN and BODY are missing or cannot be read: RID call VERB LEN BODY",
}

_RID = re.compile(rb"(\d+)(?: |$)")
# TaskQ takes any byte for the space after its three verbs ("enqX" is read), so this does too.
_VERB = re.compile(rb"(?:(enq|deq|ack)(?:.|$)|([a-z]+)(?: |$))")
# Every byte has one place in it only: what does not match must not be tried in many ways.
_COUNTED_HEAD = re.compile(rb"(\d+) (?:(enq).|(call) )([^ ]*) ([+-]?)(\d+) ")


class _BrokenStreamError(Exception):
    """The next request cannot be found."""

    def __init__(self, rid: bytes, why: bytes) -> None:
        super().__init__(why)
        self.rid = rid
        self.why = why


class _Head:
    """The first words of a request with a body: its length, and where in the stream it begins."""

    __slots__ = ("length", "name", "rid", "start", "verb")

    def __init__(self, match: re.Match[bytes]) -> None:
        rid, enq, call, self.name, sign, length = match.groups()
        digits = length.lstrip(b"0")
        self.rid = _canonical(rid)
        self.verb: bytes = enq or call
        self.start = match.end()
        if sign == b"-":
            raise _BrokenStreamError(self.rid, b"LEN cannot be negative")
        if len(digits) > _LENGTH_DIGITS_MAX:
            raise _BrokenStreamError(self.rid, b"too_large: LEN is beyond every limit")
        self.length = int(digits)

    @property
    def end(self) -> int:
        """Where the body ends, and the line end must stand."""
        return self.start + self.length


class RequestParser:
    """Reads the requests of one connection.

    Args:
        body_bytes_max: of one request; a larger one comes out as :data:`TOO_LARGE`.
    """

    def __init__(self, body_bytes_max: int) -> None:
        self.sends_nul_after_ack = False
        """A NUL followed an ``ack``: TaskQ's Go client is at the other end, with all its ways."""
        self.held_bytes = 0
        """Bytes held of a request that has not wholly arrived."""
        self._body_bytes_max = body_bytes_max
        self._line_bytes_max = min(LINE_BYTES_MAX, body_bytes_max)
        self._held: list[bytes] = []
        self._wanted_bytes = 0  # with fewer bytes held than this the request cannot be complete
        self._skipped: _Head | None = None  # whose body is being skipped
        self._skip_bytes = 0
        self._last_verb = b""
        self._is_broken = False

    def feed(self, data: bytes) -> list[Request]:
        """Take the next bytes of the stream and give the requests that they complete, in order."""
        requests: list[Request] = []
        if self._is_broken:
            return requests
        try:
            if self._skipped is not None:
                data = self._skip(self._skipped, data)
                if self._skipped is not None:
                    return requests
            if self._held:
                self._held.append(data)
                self.held_bytes += len(data)
                if self.held_bytes < self._wanted_bytes:
                    return requests
                data = b"".join(self._held)
            self._read(data, requests)
        except _BrokenStreamError as broken:
            self._is_broken = True
            self._release()
            requests.append((BROKEN, broken.rid, b"", broken.why))
        if requests:
            self._last_verb = requests[-1][0]
        return requests

    def _read(self, data: bytes, requests: list[Request]) -> None:
        """Read all complete requests of ``data`` and hold the rest.

        The common forms are recognised here, by two splits (``scripts/bench``, text parser);
        everything else, and everything doubtful, is left to :meth:`_read_slowly`.
        """
        self._release()
        lines = data.split(b"\n")
        tail = lines.pop()
        following = iter(lines)
        line_bytes_max = self._line_bytes_max
        append = requests.append
        for line in following:
            words = line.split(b" ", 4)
            rid = words[0]
            if rid.isdigit() and rid[0] != _ZERO and len(rid) < _RID_DIGITS_MAX:
                count = len(words)
                if count == 5:
                    _, verb, name, length, rest = words
                    fits = length == b"%d" % len(rest) and len(line) <= line_bytes_max
                    if fits and verb in _COUNTED:
                        append((verb, rid, name, rest))
                        continue
                elif count == 4:
                    _, verb, name, rest = words
                    if verb in _SETTLING and rest.isdigit() and len(line) <= line_bytes_max:
                        append((verb, rid, name, rest))
                        continue
                elif count == 3 and words[1] == _DEQ and len(line) <= line_bytes_max:
                    name = words[2]
                    if name[-1:] != _CR:
                        append((_DEQ, rid, name, b""))
                        continue
            incomplete = self._read_slowly(line, following, requests)
            if incomplete:
                tail = b"%b\n%b" % (incomplete, tail)
        self._hold(self._without_nuls(tail, requests), requests)

    def _read_slowly(
        self, line: bytes, following: Iterator[bytes], requests: list[Request]
    ) -> bytes:
        """Read the request that begins with ``line``, taking more lines if its body has line ends.

        Returns all of it if it is incomplete, else nothing.
        """
        line = self._without_nuls(line, requests)
        head = self._head(line)
        if head is None:
            requests.append(self._line_request(line))
            return b""
        text = _stretch(line, following, head.end)
        if len(text) < head.end:
            return text
        if head.length > self._body_bytes_max:
            requests.append(_too_large(head))
        if text[head.end :] not in (b"", _CR):
            raise _no_line_end(head)
        if head.length <= self._body_bytes_max:
            requests.append((head.verb, head.rid, head.name, text[head.start : head.end]))
        return b""

    def _hold(self, rest: bytes, requests: list[Request]) -> None:
        """Keep the beginning of a request, if it can still become one."""
        if not rest:
            return
        head = self._head(rest)
        if head is None:
            if len(rest) > self._line_bytes_max:
                raise self._too_long(rest)
            self._keep(rest, wanted_bytes=0)
            return
        if head.length > self._body_bytes_max:
            requests.append(_too_large(head))
            self._skipped = head
            self._skip_bytes = max(0, head.end - len(rest))
        beyond = rest[head.end :]
        if beyond not in (b"", _CR):
            raise _no_line_end(head)
        if self._skipped is None:
            self._keep(rest, wanted_bytes=head.end + 1 + len(beyond))
        elif beyond:
            self._keep(beyond, wanted_bytes=0)

    def _skip(self, head: _Head, data: bytes) -> bytes:
        """Drop what is left of a refused body, and give what follows its line end."""
        dropped = min(self._skip_bytes, len(data))
        self._skip_bytes -= dropped
        data = b"".join(self._held) + data[dropped:]
        self._release()
        if data in (b"", _CR):
            if data:
                self._keep(data, wanted_bytes=0)
            return b""
        for line_end in (b"\n", b"\r\n"):
            if data.startswith(line_end):
                self._skipped = None
                return data[len(line_end) :]
        raise _no_line_end(head)

    def _head(self, text: bytes) -> _Head | None:
        """Give the head of a request with a counted body; None for another, or an unfinished line.

        A LEN of 0 makes the body end with the line, so that there is nothing to count.
        """
        if not text[:1].isdigit():
            raise _BrokenStreamError(NO_RID, b"a request starts with its id, a number")
        match = _COUNTED_HEAD.match(text)
        if match is None or not match[6].lstrip(b"0"):
            return None
        if match.end() > self._line_bytes_max:
            raise self._too_long(text)
        return _Head(match)

    def _line_request(self, line: bytes) -> Request:
        """Read a request that ends with its line."""
        if len(line) > self._line_bytes_max:
            raise self._too_long(line)
        counted = _COUNTED_HEAD.match(line)
        line = line.removesuffix(_CR)
        if counted is not None:
            verb = counted[2] or counted[3]
            return verb, _canonical(counted[1]), counted[4], line[counted.end() :]
        found = _RID.match(line)
        if found is None:
            raise _BrokenStreamError(NO_RID, b"a request starts with its id, a number, and a space")
        rid = _canonical(found[1])
        verb_found = _VERB.match(line, found.end())
        verb = b"" if verb_found is None else verb_found[1] or verb_found[2]
        if verb_found is None or verb not in _VERBS:
            raise _BrokenStreamError(rid, _MESSAGES.get(verb, b"unknown verb; there is: RID help"))
        words = line[verb_found.end() :]
        if verb == _DEQ:
            return verb, rid, words, b""
        name, _, rest = words.partition(b" ")
        return verb, rid, name, rest

    def _without_nuls(self, text: bytes, requests: list[Request]) -> bytes:
        """Drop the NULs that TaskQ's Go client leaves behind its acks."""
        if not text.startswith(_NUL):
            return text
        if (requests[-1][0] if requests else self._last_verb) == _ACK:
            self.sends_nul_after_ack = True
        return text.lstrip(_NUL)

    def _too_long(self, text: bytes) -> _BrokenStreamError:
        digits, space, _ = text[: self._line_bytes_max].partition(b" ")
        rid = _canonical(digits) if space and digits.isdigit() else NO_RID
        why = b"too_large: a line has at most %d bytes" % self._line_bytes_max
        return _BrokenStreamError(rid, why)

    def _keep(self, rest: bytes, *, wanted_bytes: int) -> None:
        self._held = [rest]
        self.held_bytes = len(rest)
        self._wanted_bytes = wanted_bytes

    def _release(self) -> None:
        self._held = []
        self.held_bytes = 0
        self._wanted_bytes = 0


def _canonical(digits: bytes) -> bytes:
    """Write a rid as TaskQ echoes it."""
    rid = digits.lstrip(b"0") or b"0"
    if len(rid) > _RID_DIGITS_MAX or int(rid) > _RID_MAX:
        raise _BrokenStreamError(NO_RID, b"a request's id is at most 2^64 - 1")
    return rid


def _stretch(line: bytes, following: Iterator[bytes], end: int) -> bytes:
    """Join a line with those that follow until there are ``end`` bytes, or no more lines."""
    pieces = [line]
    size = len(line)
    while size < end and (more := next(following, None)) is not None:
        pieces.append(more)
        size += 1 + len(more)
    return b"\n".join(pieces)


def _too_large(head: _Head) -> Request:
    if head.length > SKIPPED_BYTES_MAX:
        raise _BrokenStreamError(head.rid, b"too_large: LEN is beyond every limit")
    return TOO_LARGE, head.rid, head.verb, b"%d" % head.length


def _no_line_end(head: _Head) -> _BrokenStreamError:
    return _BrokenStreamError(head.rid, b"no line end after the body: LEN does not fit")
