"""A search counts as clean only if it has searched to its end."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import Search

CRASH = Path("crashes/votes-crash-1")


@pytest.mark.parametrize(
    ("executions", "crashes", "code", "is_clean", "told"),
    [
        (900, [], 0, True, "none"),
        (900, [CRASH], 77, False, f"{CRASH} it did not come to its end (exit code 77)"),
        (900, [], 77, False, "it did not come to its end (exit code 77)"),  # found before
        (0, [], 1, False, "it did not come to its end (exit code 1)"),  # no atheris, say
        (0, [], 0, False, "it did not come to its end (exit code 0)"),
    ],
)
def test_a_search_that_ended_early_is_not_clean(
    executions: int, crashes: list[Path], code: int, is_clean: bool, told: str
) -> None:
    done = Search("votes", 1.0, executions, 3, 40, crashes, code)
    assert done.is_clean() is is_clean
    assert done.what_came() == told
