"""``raftq work``: run a command or a Python function on every task, through ``raftq.Worker``."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypedDict, Unpack

import click

from raftq.cli.commands import Verb
from raftq.cli.failures import ERROR, OK
from raftq.cli.invocation import DURATION, Invocation, claiming, connected


class Given(TypedDict):
    """The options of ``work`` that the worker takes."""

    concurrency: int
    lease_ms: int
    max_attempts: int
    work_timeout_ms: int | None
    drain_ms: int


@click.command(
    "work",
    cls=Verb,
    examples=(
        "raftq work emails --exec ./send.sh",
        "raftq work emails sms --exec 'jq -r .to | xargs ./send.sh' --concurrency 8",
        "raftq work emails --handler app:send",
    ),
)
@click.argument("queues", nargs=-1, required=True, metavar="QUEUE...")
@click.option("--exec", "shell_command", metavar="COMMAND", help="Run this shell command.")
@click.option("--handler", metavar="MODULE:FUNCTION", help="Call this Python function.")
@click.option("--concurrency", type=click.IntRange(1, 1000), default=1, show_default=True)
@click.option(
    "--lease", "lease_ms", type=DURATION, default="30s", show_default=True,
    help="Renewed as long as the work takes.",
)  # fmt: skip
@click.option(
    "--max-attempts", type=click.IntRange(0), default=20, show_default=True,
    help="Failed tries before the error queue; 0: no limit.",
)  # fmt: skip
@click.option("--work-timeout", "work_timeout_ms", type=DURATION, help="Longest work on one task.")
@click.option(
    "--drain", "drain_ms", type=DURATION, default="20s", show_default=True,
    help="How long work may go on after Ctrl-C.",
)  # fmt: skip
@claiming
@connected
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    queues: tuple[str, ...],
    shell_command: str | None,
    handler: str | None,
    **given: Unpack[Given],
) -> int:
    """Work on the tasks of any QUEUE until Ctrl-C or SIGTERM.

    A command has the value on its stdin and RAFTQ_TASK_ID, RAFTQ_TASK_QUEUE, … in its environment. Exit
    code 0 finishes the task, 75 has it tried again later, any other one moves it to QUEUE/err
    with the end of stderr. A function takes the task; what it raises has it tried again.

    The first signal finishes what is under way, the second hands it back.
    """
    from raftq import FatalWorker, Worker

    if (shell_command is None) == (handler is None):
        raise click.UsageError("Say what to run: --exec or --handler.")
    function = _handler(invocation, shell_command, handler)
    timeout_ms = given["work_timeout_ms"]
    # Two workers of one user are two claimants, unlike two commands: each has a name by chance.
    with invocation.client(stays=True, claimant=invocation.claimant or None) as client:
        worker = Worker(
            client,
            *queues,
            handler=function,
            concurrency=given["concurrency"],
            lease_ms=given["lease_ms"],
            max_attempts=given["max_attempts"],
            work_timeout_s=None if timeout_ms is None else timeout_ms / 1000,
            drain_s=given["drain_ms"] / 1000,
        )
        try:
            with _logging_to_stderr(quiet=invocation.quiet):
                worker.run()
        except FatalWorker as error:
            click.echo(f"raftq work: the handler stopped the worker: {error}", err=True)
            return ERROR
    counts = worker.counts
    invocation.say(
        f"{counts.done} done, {counts.retried} to be tried again, {counts.moved} moved,"
        f" {counts.released} handed back, {counts.lost} lost"
    )
    return OK


def _handler(
    invocation: Invocation, shell_command: str | None, handler: str | None
) -> Callable[..., Any]:
    if shell_command is not None:
        from raftq.cli.executing import Executor, environment

        return Executor(shell_command, environment(invocation.resolved_url))
    assert handler is not None
    return load_function(handler)


def load_function(name: str) -> Callable[..., Any]:
    """Import ``MODULE:FUNCTION``, from the working directory too.

    Raises:
        click.UsageError: there is none, or its module cannot be imported.
    """
    from importlib import import_module

    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise click.UsageError(f"--handler: {name!r} is not MODULE:FUNCTION.")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path has strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found: Any = import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise click.UsageError(f"--handler: {name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise click.UsageError(f"--handler: {name} is not a function.")
    function: Callable[..., Any] = found
    return function


@contextmanager
def _logging_to_stderr(*, quiet: bool) -> Iterator[None]:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("raftq")
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
