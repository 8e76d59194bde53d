"""``raftq queues``: list queues; its own verbs change how they behave."""

from typing import Final

import click

from raftq.cli.commands import Entry, LazyGroup
from raftq.cli.invocation import Invocation, connected, reporting

_VERBS: Final = {
    "Settings": {
        "settings": Entry("queue_settings", "List what was set", "show"),
        "set": Entry("queue_settings", "Set the order, the lease, or pause", "change"),
        "pause": Entry("queue_settings", "Let nothing be claimed", "pause"),
        "resume": Entry("queue_settings", "Let tasks be claimed again", "resume"),
    }
}


@click.command(
    "queues",
    cls=LazyGroup,
    sections=_VERBS,
    examples=(
        "raftq queues",
        "raftq queues --prefix mail/ -o json",
        "raftq queues pause 'mail/*'",
        "raftq queues set jobs --order fifo --lease 5m",
    ),
    invoke_without_command=True,
)
@click.option("--prefix", multiple=True, metavar="TEXT", help="Only names that begin so.")
@click.option("--exact", multiple=True, metavar="QUEUE", help="Only this one; may be repeated.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1_000, show_default=True)
@reporting
@connected
@click.pass_context
def command(
    ctx: click.Context, prefix: tuple[str, ...], exact: tuple[str, ...], limit: int
) -> None:
    """List queues that hold a task, and how many tasks are ready, claimed and delayed."""
    from raftq.cli.columns import QUEUES

    if ctx.invoked_subcommand is not None:
        return
    invocation = ctx.ensure_object(Invocation)
    printer = invocation.printer
    with invocation.client() as client:
        queues = client.queues(prefix=list(prefix), exact=list(exact), limit=limit)
        now_ms = client.time() if printer.is_table else 0
        printer.rows(QUEUES, queues, now_ms=now_ms, index=client.last_index)
