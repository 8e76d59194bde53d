"""``raftq fail``: quarantine tasks, or have them tried again later."""

from typing import TYPE_CHECKING, Final

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import DURATION, Invocation, claiming, connected, mutating, reporting
from raftq.cli.targets import TARGET_HELP

if TYPE_CHECKING:
    from raftq.tasks import Change, Task

ERROR_QUEUE_SUFFIX: Final = "/err"


@click.command(
    "fail",
    cls=Verb,
    epilog=TARGET_HELP,
    examples=(
        "raftq fail 4x2k9f01 --err 'no such mailbox'",
        "raftq fail 4x2k9f01 --err 'server busy' --retry-in 5m",
    ),
)
@click.argument("words", nargs=-1, required=True, metavar="TARGET...")
@click.option("--err", default="", metavar="TEXT", help="What went wrong; kept with the task.")
@click.option(
    "--retry-in", "retry_ms", type=DURATION, help="Try again after this, instead of quarantine."
)
@claiming
@mutating
@reporting
@connected
@click.pass_obj
def command(invocation: Invocation, words: tuple[str, ...], err: str, retry_ms: int | None) -> None:
    """Move tasks to the error queue (QUEUE/err), or with --retry-in have them tried again.

    The error is kept with the task. A retry counts one attempt.
    """
    from raftq.cli.reports import report_rows
    from raftq.cli.targets import current, parse_targets

    named = parse_targets(words)
    with invocation.client() as client:
        changes = [_failed(task, err, retry_ms) for task in current(client, named)]
        done = client.modify(
            changes=changes,
            dry_run=invocation.dry_run,
            idempotency_key=invocation.idempotency_key,
        )
        word = "quarantined" if retry_ms is None else "to be tried again"
        report_rows(invocation, client, done.changed, word)


def _failed(task: "Task", err: str, retry_ms: int | None) -> "Change":
    if retry_ms is not None:
        return task.change(delay_ms=retry_ms, attempt=task.attempt + 1, err=err)
    in_quarantine = task.queue.endswith(ERROR_QUEUE_SUFFIX)
    queue = task.queue if in_quarantine else task.queue + ERROR_QUEUE_SUFFIX
    return task.change(queue=queue, delay_ms=0, err=err)
