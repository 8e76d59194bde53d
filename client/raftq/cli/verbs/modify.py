"""``raftq modify``: apply one atomic set of inserts, changes, deletes and depends from a document."""

from typing import TYPE_CHECKING, Any, BinaryIO

import click

from raftq.cli.commands import Verb
from raftq.cli.invocation import Invocation, claiming, connected, mutating, reporting

if TYPE_CHECKING:
    from raftq.wire.documents import ModifyRequest


@click.command(
    "modify",
    cls=Verb,
    examples=(
        "raftq modify --dry-run plan.json",
        """echo '{"inserts":[{"queue":"b","value":1}],"deletes":[{"id":"4x2k9f01","version":2}]}' \\
    | raftq modify -""",
    ),
)
@click.argument("file", type=click.File("rb"))
@claiming
@mutating
@reporting
@connected
@click.pass_obj
def command(invocation: Invocation, file: BinaryIO) -> None:
    """Apply the document in FILE (- is stdin): all of it happens, or none of it.

    The document is the body of POST /v1/modify. If a part does not hold, every such part is shown and
    the exit code is 3.
    """
    from raftq.cli.reports import report_count, report_rows
    from raftq.wire import formats
    from raftq.wire.documents import ModifyRequest

    try:
        request = formats.decode(file.read(), ModifyRequest, "json")
    except formats.MalformedError as error:
        where = f" (field {error.field})" if error.field else ""
        raise click.UsageError(f"The document is not a modification: {error}{where}") from None
    invocation.claimant = invocation.claimant or request.claimant
    invocation.dry_run = invocation.dry_run or request.dry_run
    with invocation.client() as client:
        done = client.modify(
            **_parts(request),
            **_doc_parts(request),
            dry_run=invocation.dry_run,
            idempotency_key=invocation.idempotency_key or request.idempotency_key,
        )
        rows = [*done.inserted, *done.changed]
        doc_count = len(done.docs_inserted) + len(done.docs_changed) + len(done.doc_sets)
        if doc_count or request.doc_deletes:
            changed = doc_count + len(request.doc_deletes)
            prefix = "dry run, nothing was changed: would be " if invocation.dry_run else ""
            invocation.say(f"{prefix}{changed} parts about docs done")
        if rows or not (request.deletes or doc_count or request.doc_deletes):
            report_rows(invocation, client, rows, "inserted or changed")
        if request.deletes:
            report_count(invocation, len(request.deletes), "deleted")


def _parts(request: "ModifyRequest") -> dict[str, list[Any]]:
    from raftq.tasks import Change, Insert, Target

    return {
        "inserts": [
            Insert(**{**_given(part), "value": _value(part, None)}) for part in request.inserts
        ],
        "changes": [
            Change(**{**_given(part), "value": _value(part, _unset())}) for part in request.changes
        ],
        "deletes": [Target(part.id, part.version) for part in request.deletes],
        "depends": [Target(part.id, part.version) for part in request.depends],
    }


def _doc_parts(request: "ModifyRequest") -> dict[str, list[Any]]:
    from raftq.docs import DocChange, DocInsert, DocTarget

    parts: dict[str, list[Any]] = {
        "doc_inserts": [
            DocInsert(**{**_given(part), "value": _value(part, None)})
            for part in request.doc_inserts
        ],
        "doc_changes": [
            DocChange(**{**_given(part), "value": _value(part, _unset())})
            for part in request.doc_changes
        ],
        "doc_deletes": [
            DocTarget(part.namespace, part.id, part.version) for part in request.doc_deletes
        ],
        "doc_depends": request.doc_depends,
        "doc_leases": request.doc_leases,
    }
    return {name: items for name, items in parts.items() if items}


def _given(part: Any) -> dict[str, Any]:
    from msgspec import UNSET, structs

    fields = structs.asdict(part)
    return {
        name: value
        for name, value in fields.items()
        if value is not UNSET and name not in {"value", "value_b64"}
    }


def _value(part: Any, absent: Any) -> Any:
    from msgspec import UNSET

    from raftq.values import decode_json

    if part.value_b64 is not UNSET:
        return part.value_b64
    return absent if part.value is UNSET else decode_json(part.value)


def _unset() -> Any:
    from msgspec import UNSET

    return UNSET
