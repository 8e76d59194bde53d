"""``raftq top``: watch the queues, live."""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import DURATION, Invocation, connected

if TYPE_CHECKING:
    from rich.table import Table

_QUEUES_MAX: Final = 1_000  # more than a terminal shows
_QUIT: Final = frozenset((b"q", b"Q", b"\x04"))


@click.command("top", cls=Verb, examples=("raftq top", "raftq top --prefix mail/ --interval 500ms"))
@click.option("--prefix", multiple=True, metavar="TEXT", help="Only queues that begin so.")
@click.option("--interval", "interval_ms", type=DURATION, default="1s", show_default=True)
@click.option("--count", type=click.IntRange(1), help="Stop after so many looks.")
@connected
@click.pass_obj
def command(
    invocation: Invocation, prefix: tuple[str, ...], interval_ms: int, count: int | None
) -> None:
    """Show the queues, the fullest first, and how their counts change. q or Ctrl-C leaves.

    PER S is the difference between two looks: tasks that came less tasks that went.
    """
    from rich.console import Console
    from rich.live import Live

    before: Look | None = None
    looks = 0
    live = Live(console=Console(), screen=sys.stdout.isatty(), auto_refresh=False)
    with (
        suppress(KeyboardInterrupt),
        invocation.client(stays=True) as client,
        _keys() as quit_pressed,
        live,
    ):
        while count is None or looks < count:
            if looks and quit_pressed(interval_ms / 1000):
                return
            looks += 1
            queues = client.queues(prefix=list(prefix), limit=_QUEUES_MAX)
            now = Look(queues, client.cluster(), client.time())
            live.update(draw(now, before), refresh=True)
            before = now
    if before is not None and not sys.stdout.isatty():
        click.echo()  # Live leaves the last line of a pipe or a file without its end


class Look:
    """What one look has seen."""

    def __init__(self, queues: list[Any], cluster: Any, now_ms: int) -> None:
        self.queues = sorted(queues, key=lambda queue: (-queue.tasks, queue.name))
        self.cluster = cluster
        self.now_ms = now_ms
        self.tasks = {queue.name: queue.tasks for queue in queues}


def draw(now: Look, before: Look | None) -> "Table":
    """Draw a look; rates need the one before."""
    from raftq.cli.columns import QUEUES, Column
    from raftq.cli.output import make_table

    cluster = now.cluster
    seconds = 0.0 if before is None else (now.now_ms - before.now_ms) / 1000

    def per_s(queue: Any, _now_ms: int) -> str:
        old = queue.tasks if before is None else before.tasks.get(queue.name, 0)
        return f"{(queue.tasks - old) / seconds:+.1f}" if seconds > 0 else ""

    columns = [*QUEUES.columns, Column("per_s", "PER S", per_s, right=True)]
    table = make_table(
        columns, [[column.show(queue, now.now_ms) for column in columns] for queue in now.queues]
    )
    table.title_justify = "left"
    table.title = (
        f"{cluster.leader or 'no leader'}  term {cluster.term}  log index {cluster.index}"
        f"  {cluster.durability}"
    )
    return table


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _key_within(fd: int, seconds: float) -> bytes:
    readable, _, _ = select.select([fd], [], [], seconds)
    return os.read(fd, 1) if readable else b""


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Give a function that waits some seconds and tells whether the user wants to leave."""
    if not sys.stdin.isatty():
        yield _wait
        return
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield lambda seconds: _key_within(fd, seconds) in _QUIT
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
