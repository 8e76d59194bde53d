"""``raftq put``: insert a task, or one per line of a file."""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypedDict, Unpack

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import (
    DURATION,
    MOMENT,
    Invocation,
    claiming,
    connected,
    mutating,
    reporting,
)

if TYPE_CHECKING:
    from raftq.tasks import Insert

# One modification of this many lines costs about a millisecond of a node and one sync.
LINES_A_BATCH: Final = 500
BYTES_A_BATCH: Final = 1 << 20  # well under the 4 MiB that a node takes in one request


class Given(TypedDict):
    """The options of ``put`` that make up a task."""

    file: BinaryIO | None
    lines: bool
    as_bytes: bool
    id_: str | None
    at: int | None
    delay_ms: int | None
    priority: int


@click.command(
    "put",
    cls=Verb,
    examples=(
        """raftq put emails '{"to":"ada@example.org"}'""",
        "raftq put emails --delay 10m --id welcome-7 < mail.json",
        "raftq put urls --lines --file urls.txt",
        "raftq put images --bytes --file photo.jpg",
    ),
)
@click.argument("queue")
@click.argument("value", required=False)
@click.option("--file", type=click.File("rb"), help="Read the value from a file; - is stdin.")
@click.option("--lines", is_flag=True, help="Every line is a task of its own.")
@click.option("--bytes", "as_bytes", is_flag=True, help="Store the bytes as they are.")
@click.option("--id", "id_", metavar="ID", help="The task's id; refused if it is taken.")
@click.option("--at", type=MOMENT, help="Arrive at this time.")
@click.option("--delay", "delay_ms", type=DURATION, help="Arrive after this time.")
@click.option("--priority", type=int, default=0, help="Larger is sooner, in priority queues.")
@claiming
@mutating
@reporting
@connected
@click.pass_obj
def command(invocation: Invocation, queue: str, value: str | None, **given: Unpack[Given]) -> None:
    """Insert a task into QUEUE.

    VALUE is JSON; a plain word is a JSON string. Without VALUE it is read from --file or from stdin.
    """
    from raftq.cli.reports import report_rows

    _check(value, given)
    stream = _stream(value, given)
    inserts: Iterator[Insert]
    if given["lines"]:
        assert stream is not None
        bodies: Iterable[bytes] = (line.rstrip(b"\r\n") for line in stream)
        inserts = iter(_insert(queue, body, given) for body in bodies if body)
    else:
        body = stream.read() if stream is not None else (value or "").encode()
        inserts = iter([_insert(queue, body, given)])
    with invocation.client() as client:
        for number, batch in enumerate(_batches(inserts)):
            key = invocation.idempotency_key
            # Each batch is a request of its own, so each needs a key of its own.
            key = f"{key}.{number}" if key and number else key
            done = client.modify(inserts=batch, dry_run=invocation.dry_run, idempotency_key=key)
            report_rows(invocation, client, done.inserted, "put")


def _check(value: str | None, given: Given) -> None:
    if value is not None and given["file"] is not None:
        raise click.UsageError("VALUE and --file exclude each other.")
    if given["lines"] and value is not None:
        raise click.UsageError("--lines reads --file or stdin, so VALUE has no place.")
    if given["lines"] and given["id_"] is not None:
        raise click.UsageError("--lines makes many tasks, so --id has no place.")
    if given["at"] is not None and given["delay_ms"] is not None:
        raise click.UsageError("--at and --delay exclude each other.")


def _stream(value: str | None, given: Given) -> BinaryIO | None:
    if value is not None:
        return None
    if given["file"] is not None:
        return given["file"]
    if sys.stdin is None or sys.stdin.isatty():
        if given["lines"]:
            raise click.UsageError("--lines reads --file or stdin.")
        return None
    return sys.stdin.buffer


def _insert(queue: str, body: bytes, given: Given) -> "Insert":
    from raftq.tasks import Insert

    return Insert(
        queue,
        body if given["as_bytes"] else parse_value(body),
        id=given["id_"],
        at=given["at"],
        delay_ms=given["delay_ms"],
        priority=given["priority"],
    )


def parse_value(body: bytes) -> Any:
    """Read a value: JSON, or a plain word, which stands for itself; nothing is null.

    What begins like an object, a list or a string must be JSON: a broken one is a mistake, not a word.

    Raises:
        click.UsageError: it is broken JSON, or not UTF-8.
    """
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        raise click.UsageError("The value is not UTF-8 text; say --bytes to store bytes.") from None
    if not text:
        return None
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        if text[0] in '{["':
            raise click.UsageError(f"The value is not JSON: {error}") from None
        return text
    except RecursionError:
        raise click.UsageError("The value is nested too deeply.") from None


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _batches(inserts: Iterator["Insert"]) -> Iterator[list["Insert"]]:
    batch: list[Insert] = []
    size_bytes = 0
    for insert in inserts:
        value_bytes = _size_bytes(insert.value)
        if batch and (len(batch) == LINES_A_BATCH or size_bytes + value_bytes > BYTES_A_BATCH):
            yield batch
            batch, size_bytes = [], 0
        batch.append(insert)
        size_bytes += value_bytes
    if batch:
        yield batch


def _size_bytes(value: Any) -> int:
    return len(value) if isinstance(value, bytes) else len(json.dumps(value))
