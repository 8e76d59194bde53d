"""The grammar of the text protocol, read slowly from a whole stream: what the parser is compared with.

One position, one request at a time, no pieces. Written from ``docs/text-protocol.md``.
"""

from raftq_cluster.servers.text.parser import (
    BROKEN,
    LINE_BYTES_MAX,
    NO_RID,
    SKIPPED_BYTES_MAX,
    TOO_LARGE,
    Request,
)

_LINE_VERBS = {b"deq", b"ack", b"touch", b"nack", b"stats", b"ping", b"auth", b"help"}


class _Broken(Exception):  # noqa: N818 - how reading ends
    def __init__(self, rid: bytes) -> None:
        super().__init__()
        self.rid = rid


class _Incomplete(Exception):  # noqa: N818 - how reading ends
    pass


class Reading:
    """What a stream says: ``requests`` (a broken one without its message) and the Go client's NUL."""

    def __init__(self, stream: bytes, body_bytes_max: int) -> None:
        self.requests: list[Request] = []
        self.sends_nul_after_ack = False
        self._stream = stream
        self._position = 0
        self._body_bytes_max = body_bytes_max
        self._line_bytes_max = min(LINE_BYTES_MAX, body_bytes_max)
        try:
            while True:
                self._read_one()
        except _Incomplete:
            pass
        except _Broken as broken:
            self.requests.append((BROKEN, broken.rid, b"", b""))

    def _read_one(self) -> None:
        while self._stream[self._position : self._position + 1] == b"\0":
            self._position += 1
            if self.requests and self.requests[-1][0] == b"ack":
                self.sends_nul_after_ack = True
        rest = self._stream[self._position :]
        if not rest:
            raise _Incomplete
        if rest[0] not in b"0123456789":
            raise _Broken(NO_RID)
        line, line_end, _ = rest.partition(b"\n")
        counted = self._counted(line)
        if counted is not None:
            self._read_body(rest, *counted)
            return
        if len(line) > self._line_bytes_max:
            raise _Broken(self._known_rid(line))
        if not line_end:
            raise _Incomplete
        self._read_line(line)
        self._position += len(line) + 1

    def _counted(self, line: bytes) -> tuple[bytes, bytes, bytes, int, int] | None:
        """Give rid, verb, name, LEN and the body's start, if LEN counts the body's bytes."""
        digits, space, words = line.partition(b" ")
        if not space or not digits.isdigit():
            return None
        if words[:3] == b"enq" and words[3:4]:
            verb = b"enq"
        elif words[:5] == b"call ":
            verb = b"call"
        else:
            return None
        name, space, rest = words[len(verb) + 1 :].partition(b" ")
        length, second_space, _ = rest.partition(b" ")
        number = length[1:] if length[:1] in (b"+", b"-") else length
        if not space or not second_space or not number.isdigit() or not number.strip(b"0"):
            return None
        start = len(digits) + 1 + len(verb) + 1 + len(name) + 1 + len(length) + 1
        if start > self._line_bytes_max:
            raise _Broken(self._known_rid(line))
        rid = _canonical(digits)
        if length[:1] == b"-" or len(number.lstrip(b"0")) > 18:
            raise _Broken(rid)
        return rid, verb, name, int(number), start

    def _read_body(
        self, rest: bytes, rid: bytes, verb: bytes, name: bytes, length: int, start: int
    ) -> None:
        is_too_large = length > self._body_bytes_max
        if is_too_large:
            if length > SKIPPED_BYTES_MAX:
                raise _Broken(rid)
            self.requests.append((TOO_LARGE, rid, verb, b"%d" % length))
        end = start + length
        after = rest[end : end + 2]
        if after in (b"", b"\r"):
            raise _Incomplete
        if after[:1] != b"\n" and after != b"\r\n":
            raise _Broken(rid)
        if not is_too_large:
            self.requests.append((verb, rid, name, rest[start:end]))
        self._position += end + (1 if after[:1] == b"\n" else 2)

    def _read_line(self, line: bytes) -> None:
        line = line.removesuffix(b"\r")
        digits, _, words = line.partition(b" ")
        if not digits.isdigit():
            raise _Broken(NO_RID)
        rid = _canonical(digits)
        verb, _, args = words.partition(b" ")
        if words[:3] in (b"enq", b"deq", b"ack"):
            verb, args = words[:3], words[4:]
        if verb in (b"enq", b"call"):
            name, _, counted = args.partition(b" ")
            length, space, body = counted.partition(b" ")
            if not space or length.lstrip(b"+-").strip(b"0") or length[-1:] != b"0":
                raise _Broken(rid)
            if length.lstrip(b"+-") not in (length, length[1:]):
                raise _Broken(rid)
            self.requests.append((verb, rid, name, body))
        elif verb not in _LINE_VERBS:
            raise _Broken(rid)
        elif verb == b"deq":
            self.requests.append((verb, rid, args, b""))
        else:
            name, _, rest = args.partition(b" ")
            self.requests.append((verb, rid, name, rest))

    def _known_rid(self, line: bytes) -> bytes:
        digits, space, _ = line[: self._line_bytes_max].partition(b" ")
        return _canonical(digits) if space and digits.isdigit() else NO_RID


def _canonical(digits: bytes) -> bytes:
    significant = digits.lstrip(b"0")
    if len(significant) > 20 or int(significant or b"0") > 2**64 - 1:
        raise _Broken(NO_RID)
    return significant or b"0"
