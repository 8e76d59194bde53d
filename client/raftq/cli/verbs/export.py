"""``raftq export``: write everything that the nodes hold into one checked file."""

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import Invocation, connected, formatted


@click.command(
    "export",
    cls=Verb,
    examples=(
        "raftq export raftq-2026-11-28.export",
        "raftq export - | zstd > raftq.export.zst",
    ),
)
@click.argument("path", metavar="FILE")
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@formatted
@connected
@click.pass_obj
def command(invocation: Invocation, path: str, *, force: bool) -> None:
    """Write everything that the nodes hold, as of now, into FILE, or to stdout (-).

    The nodes go on meanwhile. Nothing stands under the name of the file before it is whole and on
    disk. It holds all values and idempotency keys: keep it as safe as the nodes. Needs admin on *.
    """
    import asyncio

    from raftq import moving
    from raftq.cli.moving import STDIO, nodes, opened_for_writing, report, same_words_of

    credentials, addresses = nodes(invocation)
    with same_words_of(path), opened_for_writing(path, force=force) as write:
        header, footer = asyncio.run(moving.export(addresses, credentials, write))
    report(invocation, "exported", header.id, footer, to_stdout=path != STDIO)
