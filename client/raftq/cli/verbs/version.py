"""``raftq version``: the versions of this command and of the node."""

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import Invocation, connected, formatted


@click.command("version", cls=Verb, examples=("raftq version", "raftq version --client"))
@click.option("--client", "client_only", is_flag=True, help="Ask no node.")
@formatted
@connected
@click.pass_obj
def command(invocation: Invocation, *, client_only: bool) -> None:
    """Show the version of this command, and those of the nodes."""
    from importlib.metadata import version

    versions = {"client": version("raftq")}
    if not client_only:
        with invocation.client() as client:
            versions |= {member.id: member.version for member in client.cluster().members}
    printer = invocation.printer
    if printer.is_table:
        for name, number in versions.items():
            click.echo(f"{name:8} {number}")
    else:
        printer.document(versions)
