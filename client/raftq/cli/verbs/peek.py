"""``raftq peek``: show tasks of a queue without claiming them."""

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import Invocation, connected, reporting


@click.command("peek", cls=Verb, examples=("raftq peek emails", "raftq peek emails/err -o json"))
@click.argument("queue")
@click.option("--limit", type=click.IntRange(1, 10_000), default=10, show_default=True)
@reporting
@connected
@click.pass_obj
def command(invocation: Invocation, queue: str, limit: int) -> None:
    """Show up to --limit tasks of QUEUE with their values. Nothing is claimed."""
    from raftq.cli.columns import TASKS

    printer = invocation.printer
    with invocation.client() as client:
        tasks = client.tasks(queue=queue, limit=limit)
        now_ms = client.time() if printer.is_table else 0
        printer.rows(TASKS, tasks, now_ms=now_ms, index=client.last_index)
