"""``raftq import``: put what ``raftq export`` wrote into an empty store of any kind."""

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import Invocation, connected, dangerous, formatted


@click.command(
    "import",
    cls=Verb,
    examples=(
        "raftq import raftq.export --url raftq://new.example.org:7979",
        "raftq import --dry-run raftq.export",
        "raftq import --abandon",
    ),
)
@click.argument("path", metavar="[FILE]", required=False)
@click.option("--dry-run", "is_check", is_flag=True, help="Check the file alone; no node is asked.")
@click.option("--abandon", is_flag=True, help="Drop what an unfinished import has left.")
@dangerous
@formatted
@connected
@click.pass_obj
def command(invocation: Invocation, path: str | None, *, is_check: bool, abandon: bool) -> None:
    """Put FILE, or what comes on stdin (-), into a store that holds nothing yet.

    It is done when the target's digest of what it holds then is the one in the file. If it breaks
    off, the same file goes on where it stopped, over Raft; over PostgreSQL nothing is there. Needs admin on *.
    """
    if abandon == bool(path) or (abandon and is_check):
        raise click.UsageError("Give a FILE, or --abandon alone.")
    if abandon:
        _abandon(invocation)
    elif path is not None:
        _import(invocation, path, is_check=is_check)


def _import(invocation: Invocation, path: str, *, is_check: bool) -> None:
    import asyncio

    from raftq import moving
    from raftq.cli.moving import STDIO, nodes, pieces_of, report, same_words_of, sent

    with same_words_of(path):
        if is_check or path != STDIO:  # stdin can be read only once
            header, footer = moving.check(pieces_of(path))
            if is_check:
                report(invocation, "checked", header.id, footer)
                return
        credentials, addresses = nodes(invocation)
        reply = asyncio.run(moving.take_in(addresses, credentials, sent(path)))
    report(invocation, "imported", reply.id, reply)


def _abandon(invocation: Invocation) -> None:
    import asyncio

    from raftq import moving
    from raftq.cli.moving import nodes

    invocation.confirm("Drop all that the unfinished import has left in this store?")
    credentials, addresses = nodes(invocation)
    asyncio.run(moving.abandon_import(addresses, credentials))
    invocation.say("the unfinished import is dropped; the store is empty")
