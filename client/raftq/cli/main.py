"""The ``raftq`` command: finds the verb, runs it, and turns what went wrong into lines and an exit code.

No traceback reaches a person: errors of the library are explained, and anything else is an error of
ours, said in one line with the way to see the whole of it.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, Final

import click

from raftq.cli import failures
from raftq.cli.commands import VERBS, LazyGroup
from raftq.cli.invocation import Invocation, connected

DEBUG_VARIABLE: Final = "RAFTQ_DEBUG"
_EXAMPLES: Final = (
    """raftq put emails '{"to":"ada@example.org"}'""",
    "raftq work emails --exec ./send.sh",
    "raftq top",
)


class Root(LazyGroup):
    """The command itself."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run and exit, always through the exit codes of docs/cli.md."""
        kwargs["standalone_mode"] = False
        kwargs["prog_name"] = "raftq"
        code = run(lambda: super(Root, self).main(*args, **kwargs))
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb. That whoever read stdout has gone is no error."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # The interpreter must not complain either when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return failures.BROKEN_PIPE
        return result


def run(action: Callable[[], object]) -> int:
    """Do something, and give the exit code that says how it went."""
    try:
        result = action()
    except click.exceptions.Abort:
        click.echo("raftq: stopped", err=True)
        return failures.INTERRUPTED
    except KeyboardInterrupt:
        return failures.INTERRUPTED
    except click.ClickException as error:
        return _usage(error)
    except Exception as error:  # noqa: BLE001 - no traceback reaches a person
        return _failure(error)
    return result if isinstance(result, int) else failures.OK


def _usage(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "raftq"
    click.echo(f"{path}: {error.format_message()}", err=True)
    click.echo(f"  next: {path} --help", err=True)
    return error.exit_code if isinstance(error, click.UsageError) else failures.USAGE


def _failure(error: Exception) -> int:
    if os.environ.get(DEBUG_VARIABLE):
        raise error
    if hasattr(error, "code"):  # the library's own; its import is not worth an isinstance
        for line in failures.explain(error):
            click.echo(line, err=True)
        return failures.exit_code_of(error)
    click.echo(f"raftq: {type(error).__name__}: {error}", err=True)
    click.echo(f"  next: set {DEBUG_VARIABLE}=1 to see where, and please report it", err=True)
    return failures.ERROR


@click.command(
    cls=Root,
    sections=VERBS,
    examples=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=False,
    invoke_without_command=True,
)
@connected
@click.pass_context
def root(ctx: click.Context) -> None:
    """Put tasks into queues, work on them, and look after them.

    Exit codes: 0 done, 1 error, 2 usage, 3 conflict, 4 nothing found, 5 no node or no quorum,
    6 denied, 7 outcome unknown.
    """
    ctx.ensure_object(Invocation)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Be the ``raftq`` command."""
    root()
