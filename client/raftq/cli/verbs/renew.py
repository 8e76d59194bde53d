"""``raftq renew``: hold claimed tasks for longer."""

import click

from raftq.cli.commands import Verb
from raftq.cli.failures import CONFLICT, OK
from raftq.cli.invocation import DURATION, Invocation, claiming, connected, mutating, reporting
from raftq.cli.targets import TARGET_HELP


@click.command(
    "renew",
    cls=Verb,
    epilog=TARGET_HELP,
    examples=("raftq renew 4x2k9f01", "raftq renew 4x2k9f01@3 --lease 10m"),
)
@click.argument("words", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--lease", "lease_ms", type=DURATION, default="30s", show_default=True, help="From now on."
)
@claiming
@mutating
@reporting
@connected
@click.pass_obj
def command(invocation: Invocation, words: tuple[str, ...], lease_ms: int) -> int:
    """Hold claimed tasks for --lease from now, and show their new versions."""
    from raftq.cli.reports import report_count, report_rows
    from raftq.cli.targets import parse_targets, versioned

    named = parse_targets(words)
    with invocation.client() as client:
        targets = versioned(client, named)
        if invocation.dry_run:
            client.modify(depends=targets, dry_run=True)
            report_count(invocation, len(targets), "renewed")
            return OK
        done = client.renew(targets, lease_ms, idempotency_key=invocation.idempotency_key)
        report_rows(invocation, client, done.renewed, "renewed")
        for lost in done.lost:
            click.echo(f"raftq: {lost.id} is lost: {_WORDS[lost.reason]}", err=True)
        return CONFLICT if done.lost else OK


_WORDS = {
    "missing": "there is no such task",
    "version": "it has another version by now",
    "claimed": "another claimant holds it",
}
