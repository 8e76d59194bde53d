"""``raftq pg``: hands over to ``raftqd pg``, which knows the database; the client knows no driver."""

import os
import shutil
import sys
from pathlib import Path

import click

from raftq.cli.commands import Verb


@click.command(
    "pg",
    cls=Verb,
    examples=("raftq pg init --postgres-dsn postgresql://raftq@db/raftq", "raftq pg status"),
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(words: tuple[str, ...]) -> None:
    """Make, upgrade and look at the tables of nodes over PostgreSQL: init, upgrade, status, print."""
    program = _raftqd()
    os.execv(program, [program, "pg", *words])  # noqa: S606 - the words go as they are, through no shell


def _raftqd() -> str:
    """Find the command of the node: beside this one, or on the path."""
    beside = Path(sys.executable).with_name("raftqd")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("raftqd")
    if found is None:
        raise click.ClickException("raftqd is not installed: pip install 'raftq[server,postgres]'")
    return found
