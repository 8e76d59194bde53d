"""What the demo says of a result: right only if every number is."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from demo.__main__ import report, verify
from demo.counting import Partial, count_here
from demo.job import Finished, Progress
from demo.queues import FILES, QUARANTINE
from raftq import Task


@pytest.fixture
def good(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a.py", tmp_path / "b.py"]
    for path in paths:
        path.write_text("a = b\n")
    return paths


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    return tmp_path / "poisoned.py"


@pytest.fixture
def right(good: list[Path], poisoned: Path) -> Finished:
    failed = Task(
        id="1",
        version=7,
        queue=QUARANTINE,
        at=0,
        err="SyntaxError",
        attempt=3,
        claims=3,
        value_json=raw(poisoned),
    )
    return Finished(
        result=Partial(files=2, merges=1, lost_leases=1, counts=count_here(good)),
        quarantined=[failed],
        abandoned=[Task(id="2", version=1, queue=FILES, at=0)],
        took_s=2.0,
    )


def raw(path: Path) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(str(path)))


def test_a_right_result_is_verified(right: Finished, good: list[Path], poisoned: Path) -> None:
    assert verify(right, good, poisoned)


@pytest.mark.parametrize(
    "wrong",
    [
        {"counts": {"a": 2, "b": 3}},
        {"counts": {"a": 2}},
        {"files": 3},
        {"lost_leases": 0},
    ],
)
def test_a_result_that_is_off_by_one_anywhere_is_not(
    wrong: dict[str, object], right: Finished, good: list[Path], poisoned: Path
) -> None:
    result = replace(right.result, **wrong)
    assert not verify(replace(right, result=result), good, poisoned)


def test_a_poisoned_file_that_is_missing_from_quarantine_is_noticed(
    right: Finished, good: list[Path], poisoned: Path
) -> None:
    assert not verify(replace(right, quarantined=[]), good, poisoned)


def test_a_poisoned_file_without_its_error_is_noticed(
    right: Finished, good: list[Path], poisoned: Path
) -> None:
    silent = [msgspec.structs.replace(task, err="") for task in right.quarantined]
    assert not verify(replace(right, quarantined=silent), good, poisoned)


def test_a_lease_that_ran_out_on_the_poisoned_file_counts_too(right: Finished) -> None:
    failed = [msgspec.structs.replace(task, claims=5) for task in right.quarantined]
    assert replace(right, quarantined=failed).lost_leases == 1 + 2


def test_the_report_counts_files_and_merged_parts_as_tasks(
    right: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    report(right)
    # two files, and the two partial results that the merge took
    assert "4 tasks done in 2.0 s, 2 a second: 2 files counted, 1 merges" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("waiting", "partials", "done"),
    [(0, 1, True), (1, 1, False), (0, 2, False), (0, 0, False)],
)
def test_the_job_is_done_when_nothing_waits_and_one_result_is_left(
    waiting: int, partials: int, done: bool
) -> None:
    assert Progress(waiting=waiting, partials=partials, quarantined=0).is_done is done
