"""Durations and moments as people write them.

A duration is ``250ms``, ``10s``, ``1h30m`` or ``2d``; a moment is RFC 3339 or milliseconds since the
epoch. Everything inside is integer milliseconds.
"""

import re
from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
_UNITS: Final = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_PART: Final = re.compile(r"(\d{1,15})(ms|[smhd])")
_EPOCH_MS: Final = re.compile(r"\d{1,16}")


def parse_duration_ms(text: str) -> int:
    """Read a duration.

    Raises:
        ValueError: it is not one; a bare number is not, because its unit is anybody's guess.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(text)
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


def format_age(ms: int) -> str:
    """Write a length of time by its two largest units: ``3m12s``, ``2d4h``, ``<1s``."""
    if ms < SECOND_MS:
        return "<1s"
    seconds = ms // SECOND_MS
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h"


def parse_moment_ms(text: str) -> int:
    """Read a moment; one without a zone is local time.

    Raises:
        ValueError: it is not one, or lies before 1970.
    """
    if _EPOCH_MS.fullmatch(text):
        return int(text)
    from datetime import datetime

    ms = int(datetime.fromisoformat(text).astimezone().timestamp() * SECOND_MS)
    if ms < 0:
        raise ValueError(text)
    return ms


def rfc3339(ms: int) -> str:
    """Write a moment in UTC, to the millisecond."""
    from datetime import UTC, datetime, timedelta

    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_clock(ms: int) -> str:
    """Write a moment in local time, to the second, for a table."""
    from datetime import UTC, datetime, timedelta

    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
