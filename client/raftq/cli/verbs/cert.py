"""``raftq cert dev``: a private authority, and certificates of nodes and clients signed by it."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from raftq.cli.commands import Entry, LazyGroup, Verb
from raftq.cli.invocation import Invocation, quiet

if TYPE_CHECKING:
    from raftq.cli.authority import Pair

_VERBS: Final = {
    "Verbs": {"dev": Entry("cert", "Make a private authority and certificates of nodes", "dev")}
}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # as a node's id
_HOST: Final = re.compile(r"[A-Za-z0-9*._:-]{1,253}")
_RESERVED: Final = frozenset(("ca",))


class _Node(NamedTuple):
    name: str
    hosts: tuple[str, ...]


@click.group(
    "cert",
    cls=LazyGroup,
    sections=_VERBS,
    examples=("raftq cert dev n1 n2 n3", "raftq cert dev --help"),
    invoke_without_command=True,
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Make certificates."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@click.command(
    "dev",
    cls=Verb,
    examples=(
        "raftq cert dev n1 n2 n3",
        "raftq cert dev --out /etc/raftq/certs n1=queue1.example.org,10.0.0.1",
        "raftq cert dev n4=10.0.0.4 --client reports      # later: the same authority signs",
    ),
)
@click.argument("words", nargs=-1, metavar="[NODE[=HOST,…]]...")
@click.option("--out", default="raftq-certs", show_default=True, metavar="DIR", help="Where to.")
@click.option(
    "--node", "more_words", multiple=True, metavar="NODE[=HOST,…]",
    help="The same as an argument; repeatable.",
)  # fmt: skip
@click.option(
    "--client", "clients", multiple=True, metavar="NAME",
    help="A client's certificate; repeatable.  [client]",
)  # fmt: skip
@click.option(
    "--days", type=click.IntRange(1, 3_650), default=365, show_default=True,
    help="How long certificates are good; that of the authority is for ten years.",
)  # fmt: skip
@quiet
@click.pass_obj
def dev(
    invocation: Invocation,
    words: tuple[str, ...],
    out: str,
    more_words: tuple[str, ...],
    clients: tuple[str, ...],
    days: int,
) -> None:
    r"""Make a private authority (once) and a certificate with its key for each node and client.

    HOST is a name or an address by which clients reach the node. The node's own name, localhost,
    127.0.0.1 and ::1 are always among them. Without any NODE there is one, n1.

    \b
    DIR/ca.pem              the authority: --peer-ca, --tls-ca of nodes, RAFTQ_CA of clients
    DIR/NODE.pem NODE.key   --peer-cert and --tls-cert, --peer-key and --tls-key
    DIR/NAME.pem NAME.key   of a client: RAFTQ_CERT and RAFTQ_KEY, where nodes have --tls-ca
    DIR/ca.key              signs more later; keep it off the nodes

    Given again, the authority stays and the certificates are new: nodes that run take them by
    themselves. Paths are printed on stdout, one a line.
    """
    nodes = _nodes((*words, *more_words) or ("n1",))
    names = list(clients) or ["client"]
    _check_names([node.name for node in nodes] + names)
    for path in _make(Path(out), nodes, names, days):
        click.echo(path)
    who = ", ".join([*(f"node {node.name}" for node in nodes), *(f"client {n}" for n in names)])
    invocation.say(f"certificates of {who}, good for {days} days")


def _make(folder: Path, nodes: Iterable[_Node], clients: Iterable[str], days: int) -> list[Path]:
    from datetime import UTC, datetime

    try:
        from raftq.cli.authority import LOOPBACK, Authority, AuthorityError
    except ImportError as error:
        raise click.ClickException(f"{error}: this needs pip install 'raftq[certs]'") from None
    try:
        authority = Authority(folder, datetime.now(UTC))
        pairs: list[Pair] = [authority.pair]
        for name, hosts in nodes:
            pairs.append(authority.certify_node(name, (name, *LOOPBACK, *hosts), days))
        pairs += [authority.certify_client(name, days) for name in clients]
    except AuthorityError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    return [path for pair in pairs for path in pair]


def _nodes(words: Iterable[str]) -> list[_Node]:
    nodes = []
    for word in words:
        name, _, rest = word.partition("=")
        hosts = tuple(host.strip().strip("[]") for host in rest.split(",")) if rest else ()
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise click.UsageError(f"{word!r}: {host!r} is no host name and no address.")
        nodes.append(_Node(name, hosts))
    return nodes


def _check_names(names: list[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise click.UsageError(
                f"{name!r} is no name: at most 63 letters, digits and . _ - (and not ca)."
            )
        if names.count(name) > 1:
            raise click.UsageError(f"{name} is named twice; each has files of its own.")
