"""Rows on stdout: tables for people, JSON for pipes, nothing else."""

import csv
import io
import json

import pytest
from tests.support.raftq_command import NOW_MS, invoke, queue, task
from tests.support.recording_client import RecordingClient


def tasks(*arguments, listed, env=None):
    return invoke(RecordingClient(tasks=listed), "tasks", "emails", *arguments, env=env)


def test_a_pipe_gets_json_lines_with_times_in_utc():
    listed = [task("a", at=1_700_000_000_123), task("b", 2)]
    ran = tasks(listed=listed)
    first, second = map(json.loads, ran.out.splitlines())
    assert (first["id"], first["version"], first["at"]) == ("a", 1, "2023-11-14T22:13:20.123Z")
    assert second["id"] == "b"
    assert "value" not in first
    assert ran.err == ""


def test_values_are_json_or_base64_as_in_the_api():
    listed = [task("a", value={"x": [1, None]}), task("b", value=b"\x00\xff")]
    first, second = map(json.loads, tasks("--values", listed=listed).out.splitlines())
    assert first["value"] == {"x": [1, None]}
    assert second["value_b64"] == "AP8="
    assert "value" not in second


def test_a_table_has_aligned_columns_and_a_footer_apart():
    listed = [task("a", claims=3), task("bbbb", claims=99, claimant="ada", at=NOW_MS + 192_000)]
    ran = tasks("-o", "table", listed=listed)
    header, first, second = (line.rstrip() for line in ran.out.splitlines())
    assert header.split() == [
        "ID",
        "VERSION",
        "QUEUE",
        "STATE",
        "CLAIMANT",
        "CLAIMS",
        "ATTEMPT",
    ]
    assert first.index(" 3") + 2 == second.index("99") + 2  # numbers end at one place
    assert "ready 10s" in first
    assert "claimed 3m12s" in second
    assert ran.err == "2 tasks, log index 77\n"


def test_a_task_that_has_not_arrived_says_when_it_will():
    assert "in 5m00s" in tasks("-o", "table", listed=[task(at=NOW_MS + 300_000)]).out


def test_a_wide_table_shows_more():
    assert "PRIORITY" in tasks("-o", "wide", listed=[task()]).out
    assert "PRIORITY" not in tasks("-o", "table", listed=[task()]).out


def test_quiet_leaves_the_data_alone():
    assert tasks("-o", "table", "-q", listed=[task()]).err == ""


def test_columns_that_no_row_has_are_left_out_unless_asked_for():
    assert "ERROR" not in tasks("-o", "table", listed=[task()]).out
    assert "ERROR" in tasks("-o", "table", listed=[task(), task(err="x")]).out
    assert "ERROR" in tasks("-o", "wide", listed=[task()]).out


def test_ids_are_one_a_line():
    assert tasks("-o", "id", listed=[task("a"), task("b")]).out == "a\nb\n"


def test_json_is_one_array():
    assert [row["id"] for row in json.loads(tasks("-o", "json", listed=[task("a")]).out)] == ["a"]
    assert json.loads(tasks("-o", "json", listed=[]).out) == []


def test_csv_quotes_what_needs_it():
    listed = [task("a", value={"x": 'say "hi", ada'}, err="line\nbreak")]
    out = tasks("-o", "csv", "--values", listed=listed).out
    header, row = csv.reader(io.StringIO(out))
    document = dict(zip(header, row, strict=True))
    assert document["err"] == "line\nbreak"
    assert json.loads(document["value"]) == {"x": 'say "hi", ada'}


@pytest.mark.parametrize("fmt", ["table", "wide", "csv"])
def test_columns_are_chosen_and_ordered(fmt):
    out = tasks("-o", fmt, "--columns", "claims,id", listed=[task("a", claims=3)]).out
    assert out.splitlines()[1].replace(",", " ").split() == ["3", "a"]


def test_columns_choose_fields_of_json_too():
    out = tasks("--columns", "id,value", "--values", listed=[task("a", value=b"x")]).out
    assert json.loads(out) == {"id": "a", "value_b64": "eA=="}


def test_an_unknown_column_is_refused_with_those_there_are():
    ran = tasks("--columns", "id,size", listed=[task()])
    assert ran.code == 2
    assert "no column size; it has id, version, queue" in ran.err


def test_nothing_in_a_task_can_repaint_the_terminal():
    hostile = task("a", err="\x1b[2Jgone", value="\x1b]0;title\x07\u202e[bold]x[/bold]")
    out = tasks("-o", "table", "--values", listed=[hostile]).out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)
    assert "[bold]x[/bold]" in out


def test_a_long_value_is_cut_in_a_table_and_whole_in_json():
    listed = [task(value="x" * 500)]
    assert "…" in tasks("-o", "table", "--values", listed=listed).out
    assert json.loads(tasks("--values", listed=listed).out)["value"] == "x" * 500


def test_a_table_in_a_file_is_not_cut():
    long_queue = "q" * 250
    assert long_queue in tasks("-o", "table", listed=[task(queue=long_queue)]).out


def test_a_queue_without_ready_tasks_has_no_age():
    client = RecordingClient(queues=[queue(), queue("b", ready=2, oldest_ready_at=NOW_MS - 5_000)])
    out = invoke(client, "queues", "-o", "table").out.splitlines()
    assert " - " in out[1]
    assert " 5s " in out[2]
