"""``raftq token new``: make the secret of a token, and the entry of it for the nodes' tokens file."""

from pathlib import Path
from typing import Final

import click

from raftq.cli.commands import Entry, LazyGroup, Verb
from raftq.cli.invocation import Invocation, quiet

_VERBS: Final = {"Verbs": {"new": Entry("token", "Make a secret, and its entry", "new")}}
_PRIVATE: Final = 0o600


@click.group(
    "token",
    cls=LazyGroup,
    sections=_VERBS,
    examples=("raftq token new worker --grant claim,change,delete:/mail/*",),
    invoke_without_command=True,
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Make tokens, by which nodes know who asks and what it may do."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@click.command(
    "new",
    cls=Verb,
    examples=(
        "raftq token new admin --grant all:* --file tokens.toml",
        "raftq token new mailer --grant claim,change,delete:/mail/out --grant insert:/mail/sent",
    ),
)
@click.argument("name")
@click.option(
    "--grant", "grants", multiple=True, required=True, metavar="RIGHT[,…]:PATTERN",
    help="What it may do, and where; repeatable.",
)  # fmt: skip
@click.option(
    "--file", "path", metavar="FILE", help="Append the entry to this tokens file, or make it."
)
@quiet
@click.pass_obj
def new(invocation: Invocation, name: str, grants: tuple[str, ...], path: str | None) -> None:
    """Print the secret of a new token on stdout, once; it is kept nowhere.

    RIGHT is read, insert, claim, change, delete, admin or all. PATTERN is a queue, or a prefix and
    one * behind it. A move needs delete on the queue it leaves and insert on the one it enters.

    With --file the entry is appended there, without it shown on stderr. A node that was started with
    that file as --tokens counts it within a second.
    """
    from raftq.wire.tokens import check_name, digest_of, entry_text, new_secret, parse_rights

    try:
        check_name(name)
        parse_rights(grants)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    secret = new_secret()
    entry = entry_text(name, digest_of(secret), grants)
    if path is None:
        click.echo(f"# for the nodes' tokens file:\n{entry}", err=True, nl=False)
    else:
        _append(Path(path), entry)
        invocation.say(f"token {name} is in {path}; its secret is shown this once:")
    click.echo(secret)


def _append(path: Path, entry: str) -> None:
    """Write the file anew with one entry more: a node never reads half of one."""
    import os

    try:
        before = path.read_text() if path.exists() else ""
        mode = path.stat().st_mode & 0o777 if before else _PRIVATE
        aside = path.with_name(f".{path.name}.new")
        aside.unlink(missing_ok=True)
        with open(aside, "x", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(f"{before.rstrip()}\n\n{entry}".lstrip())
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path}: {getattr(error, 'strerror', error)}") from None
