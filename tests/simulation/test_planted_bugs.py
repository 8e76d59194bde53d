"""Each planted bug is caught by the run or the script that the table names, and only because of the bug."""

from pathlib import Path

import pytest

from tests.simulation.options import Options
from tests.simulation.planting import BUGS, planted
from tests.simulation.scripts import SCRIPTS, Script, play
from tests.simulation.simulation import simulate

Caught = Options | Script
GUARANTEES = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"


def found(caught: Caught) -> list[str] | str:
    """What broke in a run or a script."""
    return simulate(caught).broken if isinstance(caught, Options) else play(caught)


def name_of(caught: Caught) -> str:
    return caught.command() if isinstance(caught, Options) else caught.__name__


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BUGS))
def test_the_planted_bug_is_caught(name: str) -> None:
    with planted(name):
        assert found(BUGS[name].caught), f"{name} is not caught by {name_of(BUGS[name].caught)}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", sorted({b.caught for b in BUGS.values() if isinstance(b.caught, Options)}), ids=str
)
def test_a_run_that_catches_a_bug_is_clean_without_it(options: Options) -> None:
    assert simulate(options).broken == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_a_script_that_catches_a_bug_is_clean_without_it(script: Script) -> None:
    assert play(script) == ""


def test_the_guarantees_have_this_table() -> None:
    text = GUARANTEES.read_text("utf-8")
    rows = [f"| {bug.what} | `{name_of(bug.caught)}` |" for bug in BUGS.values()]
    assert [row for row in rows if row not in text] == []
