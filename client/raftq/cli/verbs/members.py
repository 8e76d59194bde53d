"""``raftq cluster add|remove|promote|replace|transfer``: who is a member, and who leads."""

from typing import Any

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import Invocation, connected, dangerous, reporting


@click.command("add", cls=Verb, examples=("raftq cluster add 10.0.0.4:7678",))
@click.argument("peer", metavar="HOST:PORT")
@click.option("--learner", is_flag=True, help="It gets everything and does not vote.")
@reporting
@connected
@click.pass_obj
def add(invocation: Invocation, peer: str, *, learner: bool) -> None:
    """Make a new node a member, which was started with --join wait at this peer address.

    Nodes that were started with --join HOST:PORT come in by themselves.
    """
    with invocation.client() as client:
        _report(invocation, client.add_member(peer, voter=not learner), f"{peer} is a member")


@click.command("remove", cls=Verb, examples=("raftq cluster remove n3",))
@click.argument("node")
@dangerous
@reporting
@connected
@click.pass_obj
def remove(invocation: Invocation, node: str) -> None:
    """Let a member go, dead or alive. A leader hands over first.

    Refused if the voters that are left could not reach a majority. The node ends when it learns of
    it, and its data directory is of no more use.
    """
    invocation.confirm(f"Remove node {node} from the cluster?")
    with invocation.client() as client:
        _report(invocation, client.remove_member(node), f"{node} is no member any more")


@click.command("promote", cls=Verb, examples=("raftq cluster promote n4",))
@click.argument("node")
@reporting
@connected
@click.pass_obj
def promote(invocation: Invocation, node: str) -> None:
    """Let a learner vote. One that joins is promoted by itself."""
    with invocation.client() as client:
        _report(invocation, client.promote_member(node), f"{node} votes")


@click.command(
    "replace",
    cls=Verb,
    examples=("raftq cluster replace n3 n4", "raftq cluster replace n3 10.0.0.4:7678"),
)
@click.argument("node")
@click.argument("by", metavar="NODE|HOST:PORT")
@dangerous
@reporting
@connected
@click.pass_obj
def replace(invocation: Invocation, node: str, by: str) -> None:
    """Let another node take a member's place: a member, or one that waits at a peer address.

    It catches up and votes before the old one goes. If that takes long, exit code 5 says so, and the
    same command goes on from there.
    """
    invocation.confirm(f"Replace node {node} by {by}?")
    with invocation.client() as client:
        _report(invocation, client.replace_member(node, by), f"{by} has taken the place of {node}")


@click.command(
    "transfer", cls=Verb, examples=("raftq cluster transfer", "raftq cluster transfer n2")
)
@click.argument("node", required=False, default="")
@reporting
@connected
@click.pass_obj
def transfer(invocation: Invocation, node: str) -> None:
    """Move the leadership to a node, or away from the one that leads."""
    with invocation.client() as client:
        cluster = client.transfer(node)
        _report(invocation, cluster, f"{cluster.leader} leads")


def _report(invocation: Invocation, cluster: Any, done: str) -> None:
    from raftq.cli.columns import MEMBERS
    from raftq.cli.documents import cluster_document

    printer = invocation.printer
    if printer.is_table:
        printer.rows(MEMBERS, cluster.members, index=cluster.index)
    else:
        printer.document(cluster_document(cluster))
    invocation.say(done)
