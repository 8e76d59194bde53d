"""Durations and moments on the command line."""

import pytest

from raftq.cli.times import format_age, parse_duration_ms, parse_moment_ms, rfc3339


@pytest.mark.parametrize(
    ("text", "ms"),
    [("250ms", 250), ("10s", 10_000), ("1h30m", 5_400_000), ("2d", 172_800_000), ("0s", 0)],
)
def test_a_duration_is_numbers_with_units(text, ms):
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "10", "s", "1.5s", "-1s", "10 s", "10sec", "1w", "²s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "<1s"), (999, "<1s"), (1_000, "1s"), (59_999, "59s"), (192_000, "3m12s"),
        (3_600_000, "1h00m"), (7_500_000, "2h05m"), (86_400_000, "1d0h"), (187_200_000, "2d4h"),
    ],
)  # fmt: skip
def test_an_age_has_its_two_largest_units(ms, text):
    assert format_age(ms) == text


def test_a_moment_is_milliseconds_or_rfc_3339():
    assert parse_moment_ms("1700000000123") == 1_700_000_000_123
    assert parse_moment_ms("2023-11-14T22:13:20.123Z") == 1_700_000_000_123
    assert parse_moment_ms("2023-11-14T23:13:20+01:00") == 1_700_000_000_000


@pytest.mark.parametrize("text", ["", "tomorrow", "12:00", "1960-01-01T00:00:00Z"])
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(ValueError):
        parse_moment_ms(text)


def test_moments_are_written_in_utc_to_the_millisecond():
    assert rfc3339(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
