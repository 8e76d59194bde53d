"""``raftq done``: delete finished tasks."""

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import Invocation, claiming, connected, mutating
from raftq.cli.targets import TARGET_HELP


@click.command(
    "done",
    cls=Verb,
    epilog=TARGET_HELP,
    examples=("raftq done 4x2k9f01", "raftq claim emails -o jsonl | raftq done -"),
)
@click.argument("words", nargs=-1, required=True, metavar="TARGET...")
@claiming
@mutating
@connected
@click.pass_obj
def command(invocation: Invocation, words: tuple[str, ...]) -> None:
    """Delete tasks whose work is finished: all of them, or none if one cannot be."""
    from raftq.cli.reports import report_count
    from raftq.cli.targets import parse_targets, versioned

    named = parse_targets(words)
    with invocation.client() as client:
        client.modify(
            deletes=versioned(client, named),
            dry_run=invocation.dry_run,
            idempotency_key=invocation.idempotency_key,
        )
    report_count(invocation, len(named), "done")
