"""Which names ask to be collected, and from when on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftq_cluster.core.gc_names import MALFORMED, collected_from, moment_ms, path_parameters

SEVEN_O_CLOCK_MS = 1_783_004_645_000  # 2026-07-02T15:04:05Z


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("", 0),
        ("0", 0),
        ("1719000000", 1_719_000_000_000),
        ("0001719000000", 1_719_000_000_000),
        ("9223372036854775807", 9_223_372_036_854_775_807_000),
        ("2026-07-02T15:04:05Z", SEVEN_O_CLOCK_MS),
        ("2026-07-02T15:04:05.000Z", SEVEN_O_CLOCK_MS),
        ("2026-07-02T17:04:05+02:00", SEVEN_O_CLOCK_MS),
        ("2026-07-02T09:34:05-05:30", SEVEN_O_CLOCK_MS),
        ("2026-07-02T15:04:05.25Z", SEVEN_O_CLOCK_MS + 250),
        ("2026-07-02T15:04:05.000000001Z", SEVEN_O_CLOCK_MS + 1),
        ("2026-07-02T15:04:05.9999999999999Z", SEVEN_O_CLOCK_MS + 1_000),
        ("1970-01-01T00:00:00Z", 0),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ("0000-02-29T00:00:00Z", -62_162_121_600_000),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000),
    ],
)
def test_a_value_is_a_moment(value: str, ms: int) -> None:
    assert moment_ms(value) == ms


@pytest.mark.parametrize(
    "value",
    [
        "someday", "12.5", "-1", "+1", " 1", "1_000", "\u0661", "9223372036854775808", "9" * 5_000, "2026-13-40T99:99:99Z",
        "2026-02-29T00:00:00Z", "2026-07-02T24:00:00Z", "2026-07-02T15:60:05Z", "2026-07-02T15:04:60Z",
        "2026-07-02", "2026-07-02 15:04:05Z", "2026-07-02T15:04:05", "2026-07-02t15:04:05z", "2026-07-02T15:04:05,5Z",
        "2026-07-02T15:04:05.Z", "2026-07-02T5:04:05Z", "2026-07-02T15:04:05+0200", "2026-07-02T15:04:05+24:00",
        "2026-07-02T15:04:05+02:60", "2026-07-02T15:04:05Z\n", "\u0662026-07-02T15:04:05Z",
    ],
)  # fmt: skip
def test_what_says_no_time_is_malformed(value: str) -> None:
    assert moment_ms(value) == MALFORMED


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("/some/path", []),
        ("/key=someval/hello", [("key", "someval")]),
        ("/hey/key=a/and/key=b", [("key", "a"), ("key", "b")]),
        ("/tasks/sess=abc;gc=123/inbox", [("sess", "abc"), ("gc", "123")]),
        ("/gc=100;sess=abc/sub/sess=def;gc=200",
         [("gc", "100"), ("sess", "abc"), ("sess", "def"), ("gc", "200")]),
        (r"/n\/s=something/hey", [("n/s", "something")]),
        (r"/key=val\/ue/hey", [("key", "val/ue")]),
        (r"/key=val\;ue;gc=123/hey", [("key", "val;ue"), ("gc", "123")]),
        ("/key=left=right;other=value", [("key", "left=right"), ("other", "value")]),
        ("key=something/and/other", []),
        ("key=something;gc=1/and", []),
        (r"\/key=something/and", []),
        (r"/a\\/key=1", [("key", "1")]),
        ("//key=1/", [("key", "1")]),
        ("/key=1\\", [("key", "1")]),
    ],
)  # fmt: skip
def test_the_parameters_of_a_path(name: str, parameters: list[tuple[str, str]]) -> None:
    assert path_parameters(name) == parameters


@pytest.mark.parametrize(
    ("name", "from_ms"),
    [
        ("/mail/out", None),
        ("/gcc=0", None),
        ("/tasks/xgc=0", None),
        ("/response/exp=1719000000", None),
        ("gc=0", None),
        (r"/k=v\;gc=0", None),
        ("/tasks/gc=0", 0),
        ("/tasks/gc=/leaf", 0),
        ("/gc=100/sub/gc=200", 200_000),
        ("/gc=100/sub/gc=whenever", MALFORMED),
        ("/gc=whenever/sub/gc=200", 200_000),
    ],
)
def test_the_last_gc_of_a_name_counts(name: str, from_ms: int | None) -> None:
    assert collected_from(name) == from_ms


@given(st.text(alphabet="/;=\\gc01TZ:-x", max_size=30))
def test_any_name_means_something(name: str) -> None:
    from_ms = collected_from(name)
    gcs = [value for key, value in path_parameters(name) if key == "gc"]
    assert (from_ms is None) == (not gcs)
    assert from_ms is None or from_ms == moment_ms(gcs[-1])
