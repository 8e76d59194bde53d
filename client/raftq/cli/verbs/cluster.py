"""``raftq cluster``: show the nodes and the time of the log; ``members`` changes them."""

from typing import Final

import click

from raftq.cli.commands import Entry, LazyGroup, Verb
from raftq.cli.failures import OK, UNAVAILABLE
from raftq.cli.invocation import Invocation, connected, formatted, reporting

_VERBS: Final = {
    "Verbs": {
        "status": Entry("cluster", "Show the nodes (the default)", "status"),
        "time": Entry("cluster", "Show the time of the log", "time"),
        "verify": Entry("verify", "Compare the states of all nodes", "verify"),
        "add": Entry("members", "Make a node that waits a member", "add"),
        "remove": Entry("members", "Let a member go", "remove"),
        "promote": Entry("members", "Let a learner vote", "promote"),
        "replace": Entry("members", "Let another node take a member's place", "replace"),
        "transfer": Entry("members", "Move the leadership", "transfer"),
    }
}


@click.command(
    "cluster",
    cls=LazyGroup,
    sections=_VERBS,
    examples=("raftq cluster", "raftq cluster status -o wide", "raftq cluster time"),
    invoke_without_command=True,
)
@reporting
@connected
@click.pass_context
def command(ctx: click.Context) -> int:
    """Show or change the nodes, who leads, and how far each has come.

    Exit code 5 says that no leader is known.
    """
    return OK if ctx.invoked_subcommand else _status(ctx.ensure_object(Invocation))


@click.command("status", cls=Verb, examples=("raftq cluster status -o wide",))
@reporting
@connected
@click.pass_obj
def status(invocation: Invocation) -> int:
    """Show the nodes, who leads, and how far each has come."""
    return _status(invocation)


def _status(invocation: Invocation) -> int:
    from raftq.cli.columns import MEMBERS
    from raftq.cli.documents import cluster_document

    printer = invocation.printer
    with invocation.client() as client:
        cluster = client.cluster()
    if printer.is_table:
        printer.rows(MEMBERS, cluster.members, index=cluster.index)
        leader = cluster.leader or "none known"
        invocation.say(
            f"cluster {cluster.cluster_id}, leader {leader}, term {cluster.term},"
            f" backend {cluster.backend}, durability {cluster.durability}"
        )
    else:
        printer.document(cluster_document(cluster))
    return OK if cluster.leader else UNAVAILABLE


@click.command("time", cls=Verb, examples=("raftq cluster time",))
@formatted
@connected
@click.pass_obj
def time(invocation: Invocation) -> None:
    """Show the time of the log, by which tasks arrive and leases end."""
    from raftq.cli.times import rfc3339

    printer = invocation.printer
    with invocation.client() as client:
        now_ms = client.time()
    if printer.is_table:
        click.echo(rfc3339(now_ms))
    else:
        printer.document({"now": rfc3339(now_ms), "now_ms": now_ms})
