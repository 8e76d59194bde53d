"""``raftq rm``: delete tasks by id, or all tasks of a queue."""

from typing import TYPE_CHECKING, Final

import click

from raftq.cli.commands import Verb
from raftq.cli.failures import NOTHING, OK
from raftq.cli.invocation import Invocation, claiming, connected, dangerous, mutating
from raftq.cli.targets import TARGET_HELP

if TYPE_CHECKING:
    from raftq import Client, Target

TASKS_A_BATCH: Final = 500  # deletes of one modification


@click.command(
    "rm",
    cls=Verb,
    epilog=TARGET_HELP,
    examples=("raftq rm 4x2k9f01", "raftq rm --queue emails/err --dry-run"),
)
@click.argument("words", nargs=-1, metavar="[TARGET...]")
@click.option("--queue", metavar="QUEUE", help="Delete every task of this queue.")
@claiming
@dangerous
@mutating
@connected
@click.pass_obj
def command(invocation: Invocation, words: tuple[str, ...], queue: str | None) -> int:
    """Delete tasks, worked on or not. What another claimant holds is refused.

    With --queue the exact number of tasks is shown and must be confirmed; tasks that are claimed
    stay.
    """
    from raftq.cli.reports import report_count
    from raftq.cli.targets import parse_targets, versioned

    if bool(words) == bool(queue):
        raise click.UsageError("Name tasks, or a queue with --queue.")
    with invocation.client() as client:
        if queue:
            return _empty(invocation, client, queue)
        targets = versioned(client, parse_targets(words))
        client.modify(
            deletes=targets,
            dry_run=invocation.dry_run,
            idempotency_key=invocation.idempotency_key,
        )
        report_count(invocation, len(targets), "deleted")
        return OK


def _empty(invocation: Invocation, client: "Client", queue: str) -> int:
    """Delete what is in a queue now, unless it is claimed; in batches, each all or nothing."""
    from raftq.cli.reports import report_count

    stats = client.queues(exact=[queue], limit=1)
    count = stats[0].tasks - stats[0].claimed if stats else 0
    if not count:
        invocation.say(f"nothing to delete in {queue}")
        return NOTHING
    if invocation.dry_run:
        report_count(invocation, count, f"deleted from {queue}")
        return OK
    invocation.confirm(f"Delete {count} tasks of {queue}?")
    deleted = 0
    while deleted < count:
        batch = _unclaimed(client, queue, count - deleted)
        if not batch:
            break
        client.modify(deletes=batch)
        deleted += len(batch)
    report_count(invocation, deleted, f"deleted from {queue}")
    return OK


def _unclaimed(client: "Client", queue: str, wanted: int) -> list["Target"]:
    """Give some tasks that nobody holds; looks past as many claimed ones as a listing shows."""
    now_ms = client.time()
    listed = client.tasks(queue=queue, limit=10_000, omit_values=True)
    # At version 0 nobody holds a task: its claimant, if any, inserted it through EntroQ.
    free = [
        task.delete()
        for task in listed
        if not (task.claimant and task.version and task.at > now_ms)
    ]
    return free[: min(wanted, TASKS_A_BATCH)]
