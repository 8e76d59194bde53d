"""The benchmarks' table: medians, columns, and what counts as slower than a baseline."""

from pathlib import Path

import pytest

from bench_table.rows import Figure, Row, Sample, complaints, number, save, table


def row(*values: float, name: str = "text", better: str = "higher") -> Row:
    return Row(
        [
            Sample(
                Figure(name=name, value=value, unit="cycles/s", better=better, note=f"run {value}"),
                cpu_us_per_cycle=value / 10,
                others_cores=0.5,
            )
            for value in values
        ]
    )


def test_a_row_shows_the_median_and_the_note_of_the_run_that_had_it() -> None:
    cells = row(10, 90, 20).cells()
    assert cells == ("text", "20", "cycles/s", "10", "90", "2.0", "0.50", "run 20")


def test_a_row_without_cycles_leaves_the_cpu_column_empty() -> None:
    samples = [Sample(Figure(name="disk", value=1, unit="µs"), 0.0, 0.0)]
    assert Row(samples).cells()[5] == ""


def test_the_table_is_aligned_whatever_its_cells_hold() -> None:
    lines = table([row(1), row(1_000_000, name="a longer name")]).splitlines()
    assert len(lines) == 3
    assert len({line.index("cycles/s") for line in lines[1:]}) == 1


@pytest.mark.parametrize(
    ("value", "said"), [(17_700.4, "17,700"), (100, "100"), (99.96, "100"), (0.5678, "0.568")]
)
def test_numbers_have_three_digits_that_count(value: float, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(
    ("better", "value", "slow"),
    [("higher", 70, False), ("higher", 69, True), ("lower", 142, False), ("lower", 144, True)],
)
def test_a_row_below_its_share_of_the_baseline_falls_behind(
    better: str, value: float, slow: bool
) -> None:
    assert row(value, better=better).falls_behind(100, ratio=0.7) is slow


def test_a_saved_baseline_complains_of_what_became_slower_and_of_nothing_else(
    tmp_path: Path,
) -> None:
    baseline = tmp_path / "baseline.json"
    save([row(100), row(100, name="µ")], baseline)
    now = [row(50), row(100, name="µ"), row(1, name="new")]
    assert complaints(now, baseline, ratio=0.7) == ["text: 50 against 100"]
