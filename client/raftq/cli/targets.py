"""Which tasks a command line means: ``ID``, ``ID@VERSION``, or JSON lines on stdin (``-``).

A version that was given is used as it is, so that a stale one is refused by the node. Without one, the
task's present version is asked for.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

if TYPE_CHECKING:
    from raftq import Client
    from raftq.tasks import Task

STDIN: Final = "-"
IDS_A_READ_MAX: Final = 1_000  # what one listing may ask for
TARGET_HELP: Final = "TARGET is ID, ID@VERSION, or - for JSON lines on stdin."


class Named(NamedTuple):
    """A task as the command line named it; None: whatever its version is."""

    id: str
    version: int | None


def parse_targets(words: Iterable[str]) -> list[Named]:
    """Read what the command line, and stdin where it says so, name.

    Raises:
        click.UsageError: a line of stdin does not name a task, or nothing does.
    """
    named: list[Named] = []
    for word in words:
        named += _from_lines(sys.stdin) if word == STDIN else [_from_word(word)]
    if not named:
        raise click.UsageError("No task is named.")
    return named


def _from_word(word: str) -> Named:
    id_, at, version = word.rpartition("@")
    if at and id_ and version.isascii() and version.isdigit():
        return Named(id_, int(version))
    return Named(word, None)


def _from_lines(lines: Iterable[str]) -> Iterator[Named]:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        if not text.startswith("{"):
            yield _from_word(text)
            continue
        try:
            document = json.loads(text)
            yield Named(document["id"], document.get("version"))
        except (ValueError, KeyError, TypeError):
            raise click.UsageError(
                f"Line {number} of stdin is neither an id nor a JSON object with an id."
            ) from None


def versioned(client: "Client", named: Sequence[Named]) -> list[Any]:
    """Give (id, version) targets, asking for the versions that were not given.

    Raises:
        NotFound: there is no such task.
    """
    from raftq.tasks import Target

    unknown = [target.id for target in named if target.version is None]
    found = {task.id: task for task in read_tasks(client, unknown)}
    return [
        Target(id_, found[id_].version if version is None else version) for id_, version in named
    ]


def current(client: "Client", named: Sequence[Named]) -> list["Task"]:
    """Give the tasks as they are now, with the versions that were named.

    Raises:
        NotFound: there is no such task.
    """
    import msgspec

    tasks = read_tasks(client, [target.id for target in named])
    return [
        task if version is None else msgspec.structs.replace(task, version=version)
        for task, (_id, version) in zip(tasks, named, strict=True)
    ]


def read_tasks(client: "Client", ids: Sequence[str], *, omit_values: bool = True) -> list["Task"]:
    """Read tasks by id, in this order.

    Raises:
        NotFound: at least one is missing; the error names them all.
    """
    from raftq.errors import NotFound

    tasks: list[Task] = []
    for start in range(0, len(ids), IDS_A_READ_MAX):
        piece = list(ids[start : start + IDS_A_READ_MAX])
        tasks += client.tasks(id=piece, limit=len(piece), omit_values=omit_values)
    found = {task.id for task in tasks}
    missing = [id_ for id_ in ids if id_ not in found]
    if missing:
        raise NotFound(f"there is no task {', '.join(missing)}")
    return tasks
