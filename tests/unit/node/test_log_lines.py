"""Log lines: one record, one line, in the shape that its reader wants."""

import io
import json
import logging

import pytest
import structlog

from raftq_cluster.observability import logs


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _logging_as_before():
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.raiseExceptions)
    yield
    root.handlers[:], logging.raiseExceptions = before[0], before[2]
    root.setLevel(before[1])
    structlog.reset_defaults()


def test_a_pipe_gets_one_json_document_a_record():
    out = io.StringIO()
    logs.configure("info", stream=out)
    structlog.get_logger().info("node ready", http="127.0.0.1:1", tasks=3)
    record = json.loads(out.getvalue())
    assert record.pop("ts").endswith("Z")
    assert record == {
        "event": "node ready", "level": "info", "http": "127.0.0.1:1", "tasks": 3,
    }  # fmt: skip


def test_a_terminal_gets_keys_and_values_with_the_time_first():
    out = Terminal()
    logs.configure("info", stream=out)
    structlog.get_logger().info("node ready", tasks=3)
    assert out.getvalue().startswith("ts=")
    assert out.getvalue().endswith(' level=info event="node ready" tasks=3\n')


def test_a_format_that_was_asked_for_wins_over_the_terminal():
    out = Terminal()
    logs.configure("info", "json", out)
    structlog.get_logger().info("x")
    assert json.loads(out.getvalue())["event"] == "x"


def test_lines_of_libraries_take_the_same_shape():
    out = io.StringIO()
    logs.configure("info", stream=out)
    logging.getLogger("some.library").warning("lost %d", 3)
    record = json.loads(out.getvalue())
    assert (record["event"], record["level"]) == ("lost 3", "warning")


def test_records_below_the_level_are_dropped():
    out = io.StringIO()
    logs.configure("warning", stream=out)
    structlog.get_logger().info("x")
    logging.getLogger("some.library").info("x")
    assert out.getvalue() == ""


def test_an_exception_stays_on_one_line():
    out = io.StringIO()
    logs.configure("info", "text", out)
    try:
        int("bad")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert out.getvalue().count("\n") == 1
    assert "ValueError: invalid literal" in out.getvalue()


def test_a_reader_that_went_away_disturbs_nobody():
    out = io.StringIO()
    logs.configure("info", stream=out)
    out.close()
    structlog.get_logger().info("x")
