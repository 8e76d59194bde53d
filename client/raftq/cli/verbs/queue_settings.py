"""``raftq queues settings|set|pause|resume``: how queues behave, by name or pattern.

The API replaces the settings of a pattern as a whole; these verbs keep the fields that they do not
name, so they read first.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import DURATION, Invocation, connected, mutating, reporting

if TYPE_CHECKING:
    from raftq import Client
    from raftq.wire.documents import Order

_PATTERN_HELP = "PATTERN is a queue's name, or a prefix and a star: 'mail/*'."


class Fields(NamedTuple):
    """The settings of one pattern; None where a less specific pattern decides."""

    pattern: str
    order: "Order | None" = None
    paused: bool | None = None
    lease_ms: int | None = None
    lease_ms_min: int | None = None
    lease_ms_max: int | None = None


@click.command("settings", cls=Verb, examples=("raftq queues settings",))
@reporting
@connected
@click.pass_obj
def show(invocation: Invocation) -> None:
    """List what was set, by pattern."""
    from raftq.cli.columns import SETTINGS

    with invocation.client() as client:
        invocation.printer.rows(SETTINGS, [_fields(row) for row in client.settings()])


@click.command(
    "set",
    cls=Verb,
    epilog=_PATTERN_HELP,
    examples=(
        "raftq queues set jobs --order fifo",
        "raftq queues set 'mail/*' --lease 5m",
        "raftq queues set '*' --lease-min 5s --lease-max 1h",
        "raftq queues set jobs --clear",
    ),
)
@click.argument("pattern")
@click.option("--order", type=click.Choice(("random", "fifo", "priority")))
@click.option("--lease", "lease_ms", type=DURATION, help="For protocols that name no lease.")
@click.option("--lease-min", "lease_ms_min", type=DURATION, help="Shorter leases are raised to it.")
@click.option("--lease-max", "lease_ms_max", type=DURATION, help="Longer leases are cut to it.")
@click.option("--paused/--open", default=None, help="Whether tasks can be claimed.")
@click.option("--clear", is_flag=True, help="Remove all settings of the pattern.")
@mutating
@reporting
@connected
@click.pass_obj
def change(invocation: Invocation, /, pattern: str, *, clear: bool, **given: Any) -> None:
    """Set the order, the leases or the pause of the queues that PATTERN names."""
    chosen = {name: value for name, value in given.items() if value is not None}
    if clear == bool(chosen):
        raise click.UsageError("Say what to set, or --clear.")
    with invocation.client() as client:
        before = Fields(pattern) if clear else _present(client, pattern)
        _configure(invocation, client, before._replace(**chosen))


@click.command(
    "pause",
    cls=Verb,
    epilog=_PATTERN_HELP,
    examples=("raftq queues pause emails", "raftq queues pause 'mail/*'"),
)
@click.argument("pattern")
@mutating
@reporting
@connected
@click.pass_obj
def pause(invocation: Invocation, pattern: str) -> None:
    """Let nothing be claimed from the queues that PATTERN names, until they are resumed.

    Tasks can still be put, and those that are claimed can be finished.
    """
    with invocation.client() as client:
        _configure(invocation, client, _present(client, pattern)._replace(paused=True))


@click.command("resume", cls=Verb, epilog=_PATTERN_HELP, examples=("raftq queues resume emails",))
@click.argument("pattern")
@mutating
@reporting
@connected
@click.pass_obj
def resume(invocation: Invocation, pattern: str) -> None:
    """Let tasks be claimed again from the queues that PATTERN names."""
    with invocation.client() as client:
        _configure(invocation, client, _present(client, pattern)._replace(paused=False))


def _present(client: "Client", pattern: str) -> Fields:
    for row in client.settings():
        if row.pattern == pattern:
            return _fields(row)
    return Fields(pattern)


def _fields(row: Any) -> Fields:
    from msgspec import UNSET

    values = {name: getattr(row, name) for name in Fields._fields}
    return Fields(**{name: value for name, value in values.items() if value is not UNSET})


def _configure(invocation: Invocation, client: "Client", fields: Fields) -> None:
    from raftq.cli.columns import SETTINGS

    if not invocation.dry_run:
        client.configure(
            fields.pattern,
            order=fields.order,
            paused=fields.paused,
            lease_ms=fields.lease_ms,
            lease_ms_min=fields.lease_ms_min,
            lease_ms_max=fields.lease_ms_max,
            idempotency_key=invocation.idempotency_key,
        )
    invocation.printer.rows(SETTINGS, [fields], footer=False)
    prefix = "dry run, nothing was changed: would be " if invocation.dry_run else ""
    invocation.say(f"{prefix}set for {fields.pattern}")
