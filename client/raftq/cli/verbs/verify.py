"""``raftq cluster verify``: compare the states of all nodes."""

import time
from typing import Any, Final

import click

from raftq.cli.commands import Verb
from raftq.cli.failures import ERROR, OK, UNAVAILABLE
from raftq.cli.invocation import Invocation, connected, reporting

# A node digests a million tasks in 15 s while it serves; nobody waits for longer than this.
PATIENCE_S: Final = 300.0


@click.command(
    "verify", cls=Verb, examples=("raftq cluster verify", "raftq cluster verify -o json")
)
@reporting
@connected
@click.pass_obj
def verify(invocation: Invocation) -> int:
    """Have every node digest its whole state as of one log entry, and compare.

    The cluster goes on serving meanwhile. Exit code 1 says that nodes differ (the odd one stops by
    itself), exit code 5 that not all of them could be compared.
    """
    with invocation.client() as client:
        give_up_s = time.monotonic() + PATIENCE_S
        found = client.verify()
        # A node holds its answer back for a second while somebody is at it.
        while _count(found, "pending") and time.monotonic() < give_up_s:
            found = client.verify(found.entry)
    _show(invocation, found)
    if _count(found, "different"):
        return ERROR
    return UNAVAILABLE if _count(found, "pending", "silent", "none") else OK


def _count(found: Any, *states: str) -> int:
    return sum(member.state in states for member in found.members)


def _show(invocation: Invocation, found: Any) -> None:
    from raftq.cli.columns import VERIFIED
    from raftq.cli.documents import verification_document

    printer = invocation.printer
    if printer.is_table:
        printer.rows(VERIFIED, found.members, index=found.entry)
    else:
        printer.document(verification_document(found))
    different = _count(found, "different")
    missing = _count(found, "pending", "silent", "none")
    if different:
        invocation.say(f"at entry {found.entry} {different} node(s) differ from the others")
    if missing:
        invocation.say(f"{missing} node(s) have not said what they have")
    if not different and not missing:
        invocation.say(f"all nodes have the same state at entry {found.entry}")
