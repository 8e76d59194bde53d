"""Taking in the whole state of another store, part by part, each an operation of the log.

    begin -> part 0, 1, 2, … -> end          abandon: whatever came so far is dropped

Until its end nothing else is done and nothing is answered: half a state never looks like a whole one. What was
taken is kept through restarts, so whoever sends the same file again goes on where it stopped. Arrivals happen
meanwhile, as the log's time says; what would be forgotten by then is kept until the end, so that the digest
(:mod:`raftq_cluster.core.moving`) can be compared. It is compared before the end is logged; the machine itself hashes nothing.

A part that cannot be taken makes the import a failed one, on all nodes alike, which can only be abandoned.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from raftq_cluster.core.loading import Loader
from raftq_cluster.core.outcomes import Imported, Outcome, Refused
from raftq_cluster.core.snapshot import READY, WAITING, Record
from raftq_cluster.core.state import MachineError, UnfinishedImport

if TYPE_CHECKING:
    from raftq_cluster.core.operations import Import
    from raftq_cluster.core.state import State

BEGIN: Final = "begin"
PART: Final = "part"
END: Final = "end"
ABANDON: Final = "abandon"
REFUSED: Final = "import_refused"
UNFINISHED: Final = Refused(
    "unavailable",
    "an import into this store is unfinished: raftq import with the same file finishes it,"
    " raftq import --abandon drops it",
)
_UNKNOWN_ACTION: Final = Refused("invalid", "unknown step of an import")
_NO_IMPORT: Final = Refused(REFUSED, "this import is not under way here (any more)")
_EARLIER_PART: Final = Refused("unavailable", "an earlier part of the import has not come")


def run_import(state: "State", operation: "Import") -> Outcome:
    """Do one step of an import."""
    step = _STEPS.get(operation[1])
    return _UNKNOWN_ACTION if step is None else step(state, *operation[2:])


def what_is_there(counts: Sequence[tuple[int, str]]) -> str:
    """Say what a store that should be empty holds; "" for nothing."""
    return ", ".join(f"{count} {name}" for count, name in counts if count)


def _begin(state: "State", id_: str, seq: int, _: Sequence[Record]) -> Outcome:
    unfinished = state.importing
    if unfinished is None:
        return _first(state, id_, seq)
    if unfinished.id != id_:
        return Refused(REFUSED, f"the import of another file ({unfinished.id}) is unfinished here")
    return _failed(unfinished) or Imported(unfinished.parts)


def _first(state: "State", id_: str, seq: int) -> Outcome:
    found = what_is_there(
        (
            (len(state.tasks), "tasks"),
            (sum(1 for _ in state.docs.sets()), "sets of docs"),
            (len(state.queues), "queues"),
            (len(state.settings.rows()), "settings"),
            (len(state.keys), "idempotency keys"),
        )
    )
    if found and id_ == state.imported:
        return Refused(REFUSED, "this file was imported here already")
    if found:
        return Refused(REFUSED, f"this store is not empty: it has {found}")
    state.importing = UnfinishedImport(id_, 0, "")
    state.seq = max(state.seq, seq)
    return Imported(0)


def _part(state: "State", id_: str, number: int, records: Sequence[Record]) -> Outcome:
    unfinished = state.importing
    if unfinished is None or unfinished.id != id_:
        return _NO_IMPORT
    if unfinished.failure:
        return Refused(REFUSED, unfinished.failure)
    if number > unfinished.parts:
        return _EARLIER_PART
    if number == unfinished.parts:
        try:
            _take(state, unfinished, records)
        except MachineError as error:
            unfinished.failure = f"part {number}: {error}"
            return Refused(REFUSED, unfinished.failure)
        unfinished.parts += 1
    return Imported(unfinished.parts)


def _take(state: "State", unfinished: UnfinishedImport, records: Sequence[Record]) -> None:
    """Take what a part holds. Two tasks of one number would have no order, and stop the machine later."""
    seqs = unfinished.seqs
    for record in records:
        if record[0] in (READY, WAITING):
            seq = record[1]
            if seq in seqs or not 0 < seq <= state.seq:
                raise MachineError(f"a task has the insertion number {seq}, which it cannot have")
            seqs.add(seq)
    Loader(state, repeats=True).take(records)


def _end(state: "State", id_: str, number: int, _: Sequence[Record]) -> Outcome:
    unfinished = state.importing
    if unfinished is None and state.imported == id_:
        return Imported(number)  # it was said before, and the answer was lost
    if unfinished is None or unfinished.id != id_:
        return _NO_IMPORT
    failed = _failed(unfinished)
    if failed is not None:
        return failed
    if unfinished.parts != number:
        return Refused(REFUSED, f"{unfinished.parts} parts came, and the file has {number}")
    state.importing = None
    state.imported = id_
    state.announce_ready()
    return Imported(number)


def _abandon(state: "State", id_: str, number: int, _: Sequence[Record]) -> Outcome:
    del id_, number
    unfinished = state.importing
    if unfinished is None:
        return Refused(REFUSED, "no import is unfinished here")
    state.importing = None
    state.discard()
    return Imported(unfinished.parts)


def _failed(unfinished: UnfinishedImport) -> Refused | None:
    return Refused(REFUSED, unfinished.failure) if unfinished.failure else None


_STEPS: Final[dict[str, Callable[["State", str, int, Sequence[Record]], Outcome]]] = {
    BEGIN: _begin,
    PART: _part,
    END: _end,
    ABANDON: _abandon,
}
