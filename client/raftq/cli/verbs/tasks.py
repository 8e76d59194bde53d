"""``raftq tasks``: list tasks."""

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import Invocation, connected, reporting


@click.command(
    "tasks",
    cls=Verb,
    examples=(
        "raftq tasks emails",
        "raftq tasks emails --claimant ada@laptop -o wide",
        "raftq tasks emails -o id | xargs raftq get",
    ),
)
@click.argument("queue", required=False, default="")
@click.option("--claimant", default="", metavar="NAME", help="Only what this claimant holds.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only these; may be repeated.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--values", is_flag=True, help="With their values.")
@reporting
@connected
@click.pass_obj
def command(
    invocation: Invocation,
    queue: str,
    claimant: str,
    ids: tuple[str, ...],
    limit: int,
    *,
    values: bool,
) -> None:
    """List tasks of QUEUE, or tasks by id."""
    from raftq.cli.columns import TASKS, TASKS_WITHOUT_VALUES

    if not (queue or ids):
        raise click.UsageError("Name a queue, or tasks with --id.")
    printer = invocation.printer
    with invocation.client() as client:
        tasks = client.tasks(
            queue=queue, claimant=claimant, id=list(ids), limit=limit, omit_values=not values
        )
        now_ms = client.time() if printer.is_table else 0
        printer.rows(
            TASKS if values else TASKS_WITHOUT_VALUES, tasks, now_ms=now_ms, index=client.last_index
        )
