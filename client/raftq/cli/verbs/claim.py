"""``raftq claim``: take arrived tasks under a lease."""

import click

from raftq.cli.commands import Verb
from raftq.cli.failures import NOTHING, OK
from raftq.cli.invocation import DURATION, Invocation, claiming, connected, mutating, reporting


@click.command(
    "claim",
    cls=Verb,
    examples=(
        "raftq claim emails",
        "raftq claim emails sms --lease 5m --wait 30s --limit 10",
        "raftq claim emails -o jsonl | ./work-on-it | raftq done -",
    ),
)
@click.argument("queues", nargs=-1, required=True, metavar="QUEUE...")
@click.option(
    "--lease",
    "lease_ms",
    type=DURATION,
    default="30s",
    show_default=True,
    help="Hold them so long.",
)
@click.option(
    "--wait", "wait_ms", type=DURATION, default="0s", show_default=True, help="Wait for a task."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=1, show_default=True)
@claiming
@mutating
@reporting
@connected
@click.pass_obj
def command(
    invocation: Invocation, queues: tuple[str, ...], lease_ms: int, wait_ms: int, limit: int
) -> int:
    """Take up to --limit arrived tasks from any QUEUE, and show them with their values.

    Exit code 4 says that none had arrived. A dry run shows the queues that tasks would come from.
    """
    from raftq.cli.columns import QUEUES, TASKS

    printer = invocation.printer
    with invocation.client() as client:
        if invocation.dry_run:
            found = client.queues(exact=list(queues), limit=len(queues))
            printer.rows(QUEUES, found, now_ms=client.time(), footer=False)
            ready = min(limit, sum(queue.ready for queue in found if not queue.paused))
            invocation.say(f"dry run, nothing was changed: would be {ready} claimed")
            return OK if ready else NOTHING
        tasks = client.claim(
            *queues,
            lease_ms=lease_ms,
            wait_ms=wait_ms,
            limit=limit,
            idempotency_key=invocation.idempotency_key,
        )
        if not tasks:
            invocation.say("no task had arrived")
            return NOTHING
        now_ms = client.time() if printer.is_table else 0
        printer.rows(TASKS, tasks, now_ms=now_ms, index=client.last_index)
        return OK
