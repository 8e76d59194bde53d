"""``raftq completion``: print the completion script of a shell."""

import click
from click.shell_completion import get_completion_class

from raftq.cli.commands import Verb


@click.command(
    "completion",
    cls=Verb,
    examples=("raftq completion bash > ~/.local/share/bash-completion/completions/raftq",),
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete the verbs and options of raftq."""
    completion = get_completion_class(shell)
    assert completion is not None
    root = ctx.find_root().command
    click.echo(completion(root, {}, "raftq", "_RAFTQ_COMPLETE").source())
