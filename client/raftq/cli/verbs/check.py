"""``raftq check``: tell a monitor whether all is well, in one line and an exit code.

The codes are those of Nagios and its heirs: 0 well, 1 warning, 2 critical, 3 unknown.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict, Unpack

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import DURATION, Invocation, connected
from raftq.cli.times import format_age

if TYPE_CHECKING:
    from raftq import Client

WELL: Final = 0
WARNING: Final = 1
CRITICAL: Final = 2
UNKNOWN: Final = 3
_WORDS: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
TIMEOUT_S: Final = 2.0  # a monitor has little patience, and asks again soon
_QUEUES_MAX: Final = 100_000


class Finding(NamedTuple):
    """One thing that is not well."""

    severity: int
    sentence: str


class Bounds(TypedDict):
    """What is still well."""

    max_ready: int | None
    max_ready_age: int | None
    warn_ready: int | None
    warn_ready_age: int | None


class CheckVerb(Verb):
    """A monitor must not take a mistyped flag for an outage."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse; a usage error becomes "unknown"."""
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            error.exit_code = UNKNOWN  # type: ignore[misc] # of this one error only
            raise


@click.command(
    "check",
    cls=CheckVerb,
    examples=("raftq check", "raftq check --queue emails --max-ready-age 5m --warn-ready 1000"),
)
@click.option("--queue", "queues", multiple=True, metavar="QUEUE", help="Only this; repeatable.")
@click.option("--max-ready", type=click.IntRange(0), help="Critical above so many ready tasks.")
@click.option("--max-ready-age", type=DURATION, help="Critical if a task is ready for longer.")
@click.option("--warn-ready", type=click.IntRange(0), help="Warning above so many ready tasks.")
@click.option("--warn-ready-age", type=DURATION, help="Warning if a task is ready for longer.")
@connected
@click.pass_obj
def command(invocation: Invocation, queues: tuple[str, ...], **bounds: Unpack[Bounds]) -> int:
    """Print one line and exit with 0 (well), 1 (warning), 2 (critical) or 3 (unknown).

    Critical: nobody answers within 2 s (--timeout), no leader is known, or a --max bound is passed.
    """
    try:
        with invocation.client(timeout_s=TIMEOUT_S) as client:
            findings, facts = _look(client, queues, bounds)
    except Exception as error:  # noqa: BLE001 - whatever it is, a monitor wants its line
        severity = CRITICAL if hasattr(error, "code") else UNKNOWN
        findings, facts = [Finding(severity, str(error))], ""
    severity = max((finding.severity for finding in findings), default=WELL)
    click.echo(f"{_WORDS[severity]}: " + ("; ".join(f.sentence for f in findings) or facts))
    return severity


def _look(client: "Client", queues: tuple[str, ...], bounds: Bounds) -> tuple[list[Finding], str]:
    cluster = client.cluster()
    if not cluster.leader:
        return [Finding(CRITICAL, "no leader is known")], ""
    stats = client.queues(exact=list(queues), limit=_QUEUES_MAX)
    now_ms = client.time()
    findings = [finding for queue in stats for finding in _judge(queue, now_ms, bounds)]
    ready = sum(queue.ready for queue in stats)
    facts = f"{cluster.leader} leads, {len(stats)} queues, {ready} tasks ready"
    return findings, facts


def _judge(queue: Any, now_ms: int, bounds: Bounds) -> Iterator[Finding]:
    age_ms = 0 if queue.oldest_ready_at is None else max(0, now_ms - queue.oldest_ready_at)
    for severity, ready_max, age_max in (
        (CRITICAL, bounds["max_ready"], bounds["max_ready_age"]),
        (WARNING, bounds["warn_ready"], bounds["warn_ready_age"]),
    ):
        too_many = ready_max is not None and queue.ready > ready_max
        too_old = age_max is not None and age_ms > age_max
        if too_many:
            yield Finding(severity, f"{queue.name} has {queue.ready} ready tasks")
        if too_old:
            yield Finding(severity, f"{queue.name} has a task ready for {format_age(age_ms)}")
        if too_many or too_old:
            return
