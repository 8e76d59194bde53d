"""What ``scripts/chaos`` is told, and what it refuses: a run without a round would prove nothing."""

import pytest
from tests.chaos.__main__ import arguments


def test_a_round_that_there_is_not_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["chaos", "--minutes", "2", "--round", "4"])
    with pytest.raises(SystemExit):
        arguments()
    assert "rounds 1 to 3" in capsys.readouterr().err


def test_the_last_round_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["chaos", "--minutes", "2", "--round", "3"])
    assert arguments().only == 3
