"""Rows on stdout, in the format that was asked for: a table, JSON, JSON lines, CSV or ids.

Data goes to stdout and nothing else does; the footer of a table is talk, so it goes to stderr.
"""

import csv
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from raftq.cli.columns import Column, Kind
from raftq.cli.documents import Document

if TYPE_CHECKING:
    from rich.table import Table

_PIPE_WIDTH: Final = 10_000  # a table in a file is not cut to a terminal's width


class Printer:
    """Writes rows of any kind.

    Args:
        fmt: table, wide, json, jsonl, csv or id.
        columns: fields to show, in order; empty means all that the format shows.
        quiet: no footers.
    """

    def __init__(self, fmt: str, columns: Sequence[str] = (), *, quiet: bool = False) -> None:
        self.fmt = fmt
        self.columns = columns
        self._quiet = quiet

    @property
    def is_table(self) -> bool:
        """Whether a person reads it: then the time of the log is worth asking for."""
        return self.fmt in {"table", "wide"}

    def rows(
        self,
        kind: Kind,
        rows: Sequence[Any],
        *,
        now_ms: int = 0,
        index: int = 0,
        footer: bool = True,
    ) -> None:
        """Write rows.

        Args:
            kind: what they are.
            rows: objects of the client library.
            now_ms: the time of the log, for ages in tables.
            index: the log index that they reflect, for the footer; 0: not told.
            footer: whether to say how many there are.
        """
        self._check_columns(kind)
        _WRITERS[self.fmt](self, kind, rows, now_ms)
        if footer and self.is_table and not self._quiet:
            plural = "" if len(rows) == 1 else "s"
            reflects = f", log index {index}" if index else ""
            click.echo(f"{len(rows)} {kind.noun}{plural}{reflects}", err=True)

    def document(self, document: Document) -> None:
        """Write one document: a line for pipes, an indented one for people."""
        indent = None if self.fmt == "jsonl" else 2
        click.echo(json.dumps(document, ensure_ascii=False, indent=indent))

    def _check_columns(self, kind: Kind) -> None:
        known = [column.name for column in kind.columns]
        for name in self.columns:
            if name not in known:
                raise click.UsageError(
                    f"A {kind.noun} has no column {name}; it has {', '.join(known)}."
                )

    def shown(self, kind: Kind, rows: Sequence[Any], now_ms: int) -> list[Column]:
        """Give the columns of a table."""
        by_name = {column.name: column for column in kind.columns}
        if self.columns:
            return [by_name[name] for name in self.columns]
        if self.fmt == "wide":
            return list(kind.columns)
        return [
            column
            for column in kind.columns
            if not column.wide
            and not (column.only_if_any and not any(column.show(row, now_ms) for row in rows))
        ]

    def documents(self, kind: Kind, rows: Sequence[Any]) -> list[Document]:
        """Give rows as documents, with the fields that were asked for."""
        documents = [kind.document(row) for row in rows]
        if not self.columns:
            return documents
        wanted = [name for column in self.columns for name in (column, f"{column}_b64")]
        return [
            {name: document[name] for name in wanted if name in document} for document in documents
        ]


def _write_table(printer: Printer, kind: Kind, rows: Sequence[Any], now_ms: int) -> None:
    from rich.console import Console

    columns = printer.shown(kind, rows, now_ms)
    cells = [[column.show(row, now_ms) for column in columns] for row in rows]
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(file=sys.stdout, width=width).print(make_table(columns, cells))


def make_table(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> "Table":
    """Make a table without lines. Where the terminal is narrow, long texts are cut."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for position, column in enumerate(columns):
        widest = max((len(line[position]) for line in cells), default=0)
        table.add_column(
            column.header,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=max(min(widest, column.chars_min or widest), len(column.header)),
        )
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    return table


def _write_json(printer: Printer, kind: Kind, rows: Sequence[Any], _now_ms: int) -> None:
    click.echo(json.dumps(printer.documents(kind, rows), ensure_ascii=False, indent=2))


def _write_jsonl(printer: Printer, kind: Kind, rows: Sequence[Any], _now_ms: int) -> None:
    for document in printer.documents(kind, rows):
        click.echo(json.dumps(document, ensure_ascii=False))


def _write_csv(printer: Printer, kind: Kind, rows: Sequence[Any], _now_ms: int) -> None:
    names = list(printer.columns) or [column.name for column in kind.columns]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for document in printer.documents(kind, rows):
        writer.writerow([_cell(document.get(name, document.get(f"{name}_b64"))) for name in names])


def _write_ids(_printer: Printer, kind: Kind, rows: Sequence[Any], _now_ms: int) -> None:
    for row in rows:
        click.echo(str(getattr(row, kind.key)))


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


_WRITERS: Final[dict[str, Callable[[Printer, Kind, Sequence[Any], int], None]]] = {
    "table": _write_table,
    "wide": _write_table,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "id": _write_ids,
}
