"""``raftq get``: show tasks by id."""

import json
import sys

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import Invocation, connected, reporting


@click.command(
    "get", cls=Verb, examples=("raftq get 4x2k9f01", "raftq get 4x2k9f01 --value > photo.jpg")
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--value", "value_only", is_flag=True, help="Write the value and nothing else.")
@reporting
@connected
@click.pass_obj
def command(invocation: Invocation, ids: tuple[str, ...], *, value_only: bool) -> None:
    """Show tasks by their ids. Exit code 4 says that at least one is not there."""
    from raftq.cli.columns import TASKS
    from raftq.cli.targets import read_tasks

    printer = invocation.printer
    with invocation.client() as client:
        tasks = read_tasks(client, ids, omit_values=False)
        if value_only:
            for task in tasks:
                _write_value(task.value)
            return
        now_ms = client.time() if printer.is_table else 0
        printer.rows(TASKS, tasks, now_ms=now_ms, index=client.last_index)


def _write_value(value: object) -> None:
    if isinstance(value, bytes):
        sys.stdout.buffer.write(value)
    else:
        click.echo(json.dumps(value, ensure_ascii=False))
