"""Which format a body has and which one its answer gets: Content-Type and Accept.

Knows media types and quality values, not requests. Source: RFC 9110 sections 8.3 and 12.5.1.
"""

from functools import lru_cache
from typing import Final

from raftq.wire.formats import MEDIA_TYPES, Format

PROBLEM_TYPES: Final[dict[Format, str]] = {
    "json": "application/problem+json",
    "msgpack": "application/problem+msgpack",
}
HEADERS_REMEMBERED: Final = 256  # distinct header values; clients send a handful
RANGES_MAX: Final = 32  # of one Accept header; what stands behind them is not read
_FORMATS: Final[tuple[Format, ...]] = ("json", "msgpack")


@lru_cache(maxsize=HEADERS_REMEMBERED)
def body_format(content_type: str) -> Format | None:
    """Tell the format that a Content-Type names; None for one that the node does not read."""
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    charset = _parameter(parameters, "charset")
    for fmt in _FORMATS:
        if media_type == MEDIA_TYPES[fmt]:
            return fmt if charset in ("", "utf-8", "utf8") else None
    return None


@lru_cache(maxsize=HEADERS_REMEMBERED)
def answer_format(accept: str, preferred: Format) -> Format | None:
    """Choose the format of an answer; None when the caller accepts neither.

    The highest quality wins and ``preferred`` breaks a tie, so that ``*/*`` and no header at all get
    it. Ranges that cannot be read are passed over.
    """
    if not accept.strip():
        return preferred
    ranges = [_range(text) for text in accept.split(",")[:RANGES_MAX]]
    qualities = {fmt: _quality(fmt, ranges) for fmt in _FORMATS}
    best = max(_FORMATS, key=lambda fmt: (qualities[fmt], fmt == preferred))
    return best if qualities[best] > 0 else None


def _quality(fmt: Format, ranges: list[tuple[str, float]]) -> float:
    """Give the quality that the most specific range grants a format, 0 if none matches."""
    for pattern in (MEDIA_TYPES[fmt], PROBLEM_TYPES[fmt], "application/*", "*/*"):
        granted = [quality for media_range, quality in ranges if media_range == pattern]
        if granted:
            return max(granted)
    return 0.0


def _range(text: str) -> tuple[str, float]:
    media_range, _, parameters = text.partition(";")
    try:
        quality = float(_parameter(parameters, "q") or 1)
    except ValueError:
        return "", 0.0
    return media_range.strip().lower(), quality if 0 <= quality <= 1 else 0.0


def _parameter(parameters: str, name: str) -> str:
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"').lower()
    return ""
