"""Names that opt into collection: ``gc`` parameters of the path that a queue's or a namespace's name is.

A component of a path may hold parameters, ``/sess=a;gc=1700000000/``; a backslash takes the meaning from a slash, a
semicolon or a backslash behind it. The last ``gc`` counts. Its value says from when on: always (empty), from a
second of the epoch (digits), or from a time of RFC 3339 with a zone. Source: EntroQ 1.12.
"""

import re
from typing import Final

MALFORMED: Final = 1 << 80  # of a value that says no time: after all times, so never
_SECONDS_MAX: Final = 2**63 - 1
_PARAMETER: Final = "gc="  # what no name without the parameter has
_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_DAYS_OF_MONTHS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_EPOCH_DAY: Final = 719_162  # days between the first of January of the years 1 and 1970


def collected_from(name: str) -> int | None:
    """Tell from when on, in ms since the epoch, what bears this name may be collected.

    None: never, it does not ask for it. ``MALFORMED``: never, since it does not say when.
    """
    if _PARAMETER not in name:
        return None
    values = [value for key, value in path_parameters(name) if key == "gc"]
    return moment_ms(values[-1]) if values else None


def path_parameters(name: str) -> list[tuple[str, str]]:
    """Give the keys and values of a path in their order; what stands before the first slash has none."""
    found: list[tuple[str, str]] = []
    piece = ""
    is_inside = is_escaped = False

    def end_piece() -> None:
        key, equals, value = piece.partition("=")
        if is_inside and equals:
            found.append((key, value))

    for char in name:
        if not is_escaped and char in "/;":
            end_piece()
            is_inside = is_inside or char == "/"
            piece = ""
        elif is_escaped or char != "\\":
            piece += char
        is_escaped = char == "\\" and not is_escaped
    end_piece()
    return found


def moment_ms(value: str) -> int:
    """Give the moment that a value names, in ms since the epoch, rounded up; ``MALFORMED`` if none."""
    if not value:
        return 0
    if value.isascii() and value.isdigit():
        # Lengths are looked at first: Python refuses to read a number of thousands of digits.
        digits = value.lstrip("0")
        seconds = int(digits or "0") if len(digits) < 20 else _SECONDS_MAX + 1
        return MALFORMED if seconds > _SECONDS_MAX else seconds * 1_000
    match = _TIME.fullmatch(value)
    return MALFORMED if match is None else _time_ms(match)


def _time_ms(match: re.Match[str]) -> int:
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, zone_hours, zone_minutes = match.groups()[6:]
    zone = int(zone_hours or 0), int(zone_minutes or 0)
    if hour > 23 or minute > 59 or second > 59 or zone[0] > 23 or zone[1] > 59:
        return MALFORMED
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= month <= 12 or not 1 <= day <= _DAYS_OF_MONTHS[month - 1] + (leap and month == 2):
        return MALFORMED
    years = year - 1  # that are over; before the year 1 there is a year 0
    days = years * 365 + years // 4 - years // 100 + years // 400 - _EPOCH_DAY
    days += sum(_DAYS_OF_MONTHS[: month - 1]) + (leap and month > 2) + day - 1
    offset = zone[0] * 60 + zone[1]
    minutes = days * 1_440 + hour * 60 + minute - (-offset if sign == "-" else offset)
    nanoseconds = int(((fraction or "0") + "0" * 9)[:9])
    return (minutes * 60 + second) * 1_000 + -(-nanoseconds // 1_000_000)
