"""``raftq doc``: docs, by namespace and key."""

from typing import TYPE_CHECKING, BinaryIO, Final

import click

from raftq.cli.commands import Entry, LazyGroup, Verb
from raftq.cli.failures import NOTHING, OK
from raftq.cli.invocation import (
    Invocation,
    claiming,
    connected,
    mutating,
    reporting,
)

if TYPE_CHECKING:
    from raftq.docs import Doc

_VERBS: Final = {
    "Docs": {
        "list": Entry("doc", "List docs of a namespace", "list_docs"),
        "put": Entry("doc", "Insert a doc, or change it", "put"),
        "rm": Entry("doc", "Delete docs by id", "remove"),
        "namespaces": Entry("doc", "Count docs by namespace", "namespaces"),
    }
}


@click.command(
    "doc",
    cls=LazyGroup,
    sections=_VERBS,
    examples=(
        "raftq doc list /mail/state",
        """raftq doc put /mail/state ada '{"sent":3}' --id d1""",
        "raftq doc rm /mail/state d1",
    ),
)
def command() -> None:
    """Docs: values under keys that change together with tasks."""


@click.command(
    "list",
    cls=Verb,
    examples=("raftq doc list /mail/state", "raftq doc list /mail/state --of ada -o json"),
)
@click.argument("namespace")
@click.option("--of", "of", metavar="KEY", help="Only docs of this key.")
@click.option("--from", "key_start", default="", metavar="KEY", help="Keys from this one on.")
@click.option("--before", "key_end", default="", metavar="KEY", help="Keys before this one.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only this doc; may be repeated.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@reporting
@connected
@click.pass_obj
def list_docs(
    invocation: Invocation,
    namespace: str,
    of: str | None,
    key_start: str,
    key_end: str,
    ids: tuple[str, ...],
    limit: int,
) -> None:
    """List docs by key, secondary key and id."""
    from raftq.cli.columns import DOCS

    printer = invocation.printer
    with invocation.client() as client:
        found = client.docs(
            namespace, key=of, key_start=key_start, key_end=key_end, id=ids, limit=limit
        )
        now_ms = client.time() if printer.is_table else 0
        printer.rows(DOCS, found, now_ms=now_ms, index=client.last_index)


@click.command(
    "put",
    cls=Verb,
    examples=(
        """raftq doc put /mail/state ada '{"sent":3}'""",
        "raftq doc put /mail/state ada --id d1 < state.json",
    ),
)
@click.argument("namespace")
@click.argument("doc_key", metavar="KEY")
@click.argument("value", required=False)
@click.option("--file", type=click.File("rb"), help="Read the value from a file; - is stdin.")
@click.option("--id", "id_", metavar="ID", help="The doc's id: changed if it is there.")
@click.option("--secondary-key", default="", metavar="KEY", help="Orders docs of one key.")
@claiming
@mutating
@reporting
@connected
@click.pass_obj
def put(
    invocation: Invocation,
    namespace: str,
    doc_key: str,
    value: str | None,
    file: BinaryIO | None,
    id_: str | None,
    secondary_key: str,
) -> None:
    """Insert a doc under KEY; with --id of one that is there, give that one the value.

    VALUE is JSON; a plain word is a JSON string. What another claimant holds is refused.
    """
    from raftq.cli.columns import DOCS_WITHOUT_VALUES
    from raftq.cli.verbs.put import parse_value
    from raftq.docs import DocInsert

    if (value is None) == (file is None):
        raise click.UsageError("Give either VALUE or --file.")
    new = parse_value(file.read() if file is not None else (value or "").encode())
    with invocation.client() as client:
        old: list[Doc] = client.docs(namespace, id=id_, omit_values=True) if id_ else []
        if old and (old[0].key, old[0].secondary_key or "") != (doc_key, secondary_key):
            raise click.UsageError(f"The doc {id_} has the key {old[0].key}; keys never change.")
        insert = DocInsert(namespace, doc_key, new, secondary_key=secondary_key, id=id_)
        done = client.modify(
            doc_inserts=() if old else (insert,),
            doc_changes=[doc.change(value=new) for doc in old],
            dry_run=invocation.dry_run,
            idempotency_key=invocation.idempotency_key,
        )
        rows = [*done.docs_inserted, *done.docs_changed]
        invocation.printer.rows(DOCS_WITHOUT_VALUES, rows, footer=False)
        _say(invocation, len(rows), "put")


@click.command("rm", cls=Verb, examples=("raftq doc rm /mail/state d1 d2",))
@click.argument("namespace")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@claiming
@mutating
@connected
@click.pass_obj
def remove(invocation: Invocation, namespace: str, ids: tuple[str, ...]) -> int:
    """Delete docs, all or none. Exit code 4 says that at least one is not there."""
    ids = tuple(dict.fromkeys(ids))
    with invocation.client() as client:
        found = client.docs(namespace, id=ids, limit=len(ids), omit_values=True)
        if len(found) < len(ids):
            missing = sorted(set(ids) - {doc.id for doc in found})
            invocation.say(f"there is no doc {', '.join(missing)} in {namespace}")
            return NOTHING
        client.modify(
            doc_deletes=found,
            dry_run=invocation.dry_run,
            idempotency_key=invocation.idempotency_key,
        )
        _say(invocation, len(found), "deleted")
        return OK


@click.command("namespaces", cls=Verb, examples=("raftq doc namespaces --prefix /mail/",))
@click.option("--prefix", multiple=True, metavar="TEXT", help="Only names that begin so.")
@reporting
@connected
@click.pass_obj
def namespaces(invocation: Invocation, prefix: tuple[str, ...]) -> None:
    """Count docs by namespace, and how many are in sets that somebody holds."""
    from raftq.cli.columns import NAMESPACES

    with invocation.client() as client:
        found = client.namespaces(prefix=prefix)
        invocation.printer.rows(NAMESPACES, found, index=client.last_index)


def _say(invocation: Invocation, count: int, done: str) -> None:
    prefix = "dry run, nothing was changed: would be " if invocation.dry_run else ""
    invocation.say(f"{prefix}{count} doc{'' if count == 1 else 's'} {done}")
