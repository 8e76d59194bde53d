"""How verbs that change something answer: the rows that came of it, and one line of talk."""

from typing import TYPE_CHECKING, Any

from raftq.cli.columns import TASKS_WITHOUT_VALUES

if TYPE_CHECKING:
    from raftq.cli.invocation import Invocation


def report_rows(invocation: "Invocation", client: Any, tasks: list[Any], done: str) -> None:
    """Write new versions of tasks, and say what was done to how many of them."""
    printer = invocation.printer
    now_ms = client.time() if printer.is_table and tasks else 0
    printer.rows(TASKS_WITHOUT_VALUES, tasks, now_ms=now_ms, footer=False)
    report_count(invocation, len(tasks), done)


def report_count(invocation: "Invocation", count: int, done: str) -> None:
    """Say what was done to how many tasks, or would have been."""
    plural = "" if count == 1 else "s"
    prefix = "dry run, nothing was changed: would be " if invocation.dry_run else ""
    invocation.say(f"{prefix}{count} task{plural} {done}")
