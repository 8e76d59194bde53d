"""``raftq release``: give claimed tasks back."""

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import DURATION, Invocation, claiming, connected, mutating, reporting
from raftq.cli.targets import TARGET_HELP


@click.command(
    "release",
    cls=Verb,
    epilog=TARGET_HELP,
    examples=("raftq release 4x2k9f01", "raftq release 4x2k9f01 --delay 1m"),
)
@click.argument("words", nargs=-1, required=True, metavar="TARGET...")
@click.option("--delay", "delay_ms", type=DURATION, default="0s", help="Arrive again after this.")
@claiming
@mutating
@reporting
@connected
@click.pass_obj
def command(invocation: Invocation, words: tuple[str, ...], delay_ms: int) -> None:
    """Give claimed tasks back to their queues. No attempt is counted."""
    from raftq.cli.reports import report_rows
    from raftq.cli.targets import current, parse_targets

    named = parse_targets(words)
    with invocation.client() as client:
        done = client.modify(
            changes=[task.change(delay_ms=delay_ms) for task in current(client, named)],
            dry_run=invocation.dry_run,
            idempotency_key=invocation.idempotency_key,
        )
        report_rows(invocation, client, done.changed, "released")
