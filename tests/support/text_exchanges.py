"""Exchanges of the text protocol, written down for people and played by tests.

Lines that begin with ``C> `` are what a client sends, lines with ``S> `` what the node answers; the
backslash escapes of Python stand for bytes that cannot be printed. Everything else is prose. In vectors
every line end is written as ``\\n``; in documents (``line_ends=True``) each line has one, unless it
ends with ``\\c``.
"""

import codecs
import re
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

_TURN = re.compile(r"^([CS])> (.*)$")


class Step(NamedTuple):
    """Bytes that a client sends, and all that the node answers to them."""

    sent: bytes
    answered: bytes


def steps(text: str, *, line_ends: bool) -> list[Step]:
    """Give the steps of an exchange in their order."""
    turns = [match.groups() for line in text.splitlines() if (match := _TURN.match(line))]
    joined = [
        (who, b"".join(_bytes(shown, line_ends=line_ends) for _, shown in lines))
        for who, lines in groupby(turns, key=lambda turn: turn[0])
    ]
    return list(_paired(joined))


def _paired(turns: list[tuple[str, bytes]]) -> Iterator[Step]:
    for (who, sent), (_, answered) in zip(turns[::2], turns[1::2], strict=True):
        assert who == "C", "an exchange begins with the client"
        yield Step(sent, answered)


def _bytes(shown: str, *, line_ends: bool) -> bytes:
    end = ""
    if line_ends:
        shown, continued, _ = shown.partition(r"\c")
        end = "" if continued else "\n"
    escaped = (shown + end).encode("latin-1", "backslashreplace")
    return codecs.escape_decode(escaped)[0]
