"""``raftq tail``: follow what happens in the queues.

Looks at the counts again and again, so what comes and goes between two looks is not seen.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

import click

from raftq.cli.commands import Verb
from raftq.cli.documents import Document
from raftq.cli.invocation import DURATION, Invocation, connected, formatted
from raftq.cli.times import rfc3339

_QUEUES_MAX: Final = 10_000
_COUNTS: Final = ("tasks", "ready", "claimed", "delayed")


class Change(NamedTuple):
    """One queue between two looks: the counts now, and by how much they differ from before."""

    queue: str
    counts: tuple[int, ...]
    differences: tuple[int, ...]


@click.command(
    "tail", cls=Verb, examples=("raftq tail", "raftq tail --prefix mail/ --interval 200ms")
)
@click.option("--prefix", multiple=True, metavar="TEXT", help="Only queues that begin so.")
@click.option("--interval", "interval_ms", type=DURATION, default="1s", show_default=True)
@click.option("--count", type=click.IntRange(1), help="Stop after so many looks.")
@formatted
@connected
@click.pass_obj
def command(
    invocation: Invocation, prefix: tuple[str, ...], interval_ms: int, count: int | None
) -> None:
    """Write a line whenever the counts of a queue have changed.

    It looks every --interval: a task that comes and goes in between is not seen. Ctrl-C ends it.
    """
    for_people = invocation.printer.is_table
    before: dict[str, tuple[int, ...]] = {}
    looks = 0
    with suppress(KeyboardInterrupt), invocation.client(stays=True) as client:
        while count is None or looks < count:
            if looks:
                time.sleep(interval_ms / 1000)
            looks += 1
            now = {
                queue.name: tuple(getattr(queue, name) for name in _COUNTS)
                for queue in client.queues(prefix=list(prefix), limit=_QUEUES_MAX)
            }
            now_ms = client.time()
            for change in differences(before, now):
                click.echo(_line(now_ms, change) if for_people else _json(now_ms, change))
            before = now


def differences(
    before: Mapping[str, tuple[int, ...]], now: Mapping[str, tuple[int, ...]]
) -> Iterator[Change]:
    """Compare two looks; a queue that is not listed holds nothing."""
    empty = (0,) * len(_COUNTS)
    for queue in sorted(before.keys() | now.keys()):
        old, new = before.get(queue, empty), now.get(queue, empty)
        if old != new:
            yield Change(queue, new, tuple(b - a for a, b in zip(old, new, strict=True)))


def _line(now_ms: int, change: Change) -> str:
    from raftq.cli.columns import printable
    from raftq.cli.times import local_clock

    parts = [
        f"{name} {count} ({difference:+})" if difference else f"{name} {count}"
        for name, count, difference in zip(_COUNTS, change.counts, change.differences, strict=True)
    ]
    return f"{local_clock(now_ms)}  {printable(change.queue)}  {'  '.join(parts)}"


def _json(now_ms: int, change: Change) -> str:
    import json

    document: Document = {"at": rfc3339(now_ms), "queue": change.queue}
    document |= dict(zip(_COUNTS, change.counts, strict=True))
    changed: dict[str, Any] = dict(zip(_COUNTS, change.differences, strict=True))
    return json.dumps(document | {"change": changed}, ensure_ascii=False)
