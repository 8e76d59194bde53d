"""What must be true of a round, by the simulation's checkers, and by a few that only real dialects need.

TaskQ's clients learn a number and a body, and no version: their calls take part in the total-queue check, those of the other
dialects in all.
"""

from collections.abc import Iterator
from typing import Any, Final

from raftq_cluster.core.operations import Modify, Target
from raftq_cluster.core.outcomes import Claimed, Modified, TaskRow
from tests.chaos.clients.text import Numbered
from tests.chaos.clients.values import is_whole, tag_of
from tests.simulation.checkers import linearizability, tasks
from tests.simulation.history import DONE, Call, History

_OF_ALL: Final = (tasks.total_queue, tasks.refused, tasks.done_once)
_OF_ROWS: Final = (tasks.versions, tasks.completed, tasks.leases, tasks.in_order)
_TASKQ: Final = frozenset({"enq", "deq", "ack"})


def breaches(
    history: History, *, is_listed: bool = True, undecided: list[str] | None = None
) -> Iterator[str]:
    """One sentence for each breach. Where nobody listed what was left, nothing can be lost.

    ``undecided`` takes the names of small histories in which the search for an order was given up.
    """
    rows = History(
        calls=[call for call in history.calls if call.kind not in _TASKQ],
        left=history.left,
        clock_spread_ns=history.clock_spread_ns,
    )
    everything = History(calls=list(_translated(history)), left=history.left)
    for check in _OF_ALL if is_listed else ():
        yield from check(everything)
    for check in _OF_ROWS:
        yield from check(rows)
    yield from returned(everything)
    yield from numbers(history)
    yield from whole(history)
    yield from not_linearizable(history, [] if undecided is None else undecided)


def not_linearizable(history: History, undecided: list[str]) -> Iterator[str]:
    """Registers and small queues whose calls have no order."""
    for what, records, start, model in (
        ("register", history.registers, None, linearizability.register),
        ("small queue", history.small_queues, frozenset(), linearizability.small_queue),
    ):
        for name, steps in records.items():
            found = linearizability.is_linearizable(steps, start, model)
            if found is None:
                undecided.append(name)
            elif not found:
                yield f"not linearizable: {what} {name}: {steps}"


def returned(history: History) -> Iterator[str]:
    """A task that is claimed by a call that began after its deletion was acknowledged."""
    ends: dict[str, int] = {}
    for call in history.calls:
        if call.status == DONE and isinstance(call.outcome, Modified):
            for id_ in tasks.deleted(call):
                ends[id_] = min(call.ended_ns, ends.get(id_, call.ended_ns))
    for call in history.done("claim"):
        for row in tasks.made(call):
            if call.began_ns > ends.get(row.id, call.began_ns):
                yield f"returned: {row.id} was claimed by {call.client} after it was deleted"


def numbers(history: History) -> Iterator[str]:
    """TaskQ's numbers: each stands for one task of its queue, for ever."""
    known: dict[tuple[str, int], str] = {}
    for call in history.calls:
        if call.kind in _TASKQ and isinstance(call.outcome, Numbered) and call.kind != "ack":
            tag = call.tags[0] if call.tags else tag_of(call.outcome.body)
            key = (call.outcome.queue, call.outcome.number)
            if known.setdefault(key, tag) != tag:
                yield f"two tasks of one number: {key} is {known[key]} and {tag}"


def whole(history: History) -> Iterator[str]:
    """Values that are not, byte for byte, what was once inserted."""
    for call in history.calls:
        for value in _values(call):
            if not is_whole(value):
                yield f"another value: {call.client} was given {value[:60]!r}"
    for row in history.left.values():
        if not is_whole(row.value):
            yield f"another value: {row.id} has {row.value[:60]!r}"


def _values(call: Call) -> Iterator[bytes]:
    """Those that an answer has: answers to insertions have none, or as they were sent."""
    if isinstance(call.outcome, Claimed):
        yield from (row.value for row in call.outcome.tasks)
    elif call.kind == "deq" and isinstance(call.outcome, Numbered):
        yield call.outcome.body
    elif call.kind == "read" and call.status == DONE:
        yield from (row.value for row in call.outcome)


def _translated(history: History) -> Iterator[Call]:
    """TaskQ's calls in the words of the others."""
    ids = {tasks.tag_of(row): row.id for row in history.left.values()}
    for call in history.calls:
        if isinstance(call.outcome, Claimed):
            ids.update((tasks.tag_of(row), row.id) for row in call.outcome.tasks)
        elif isinstance(call.outcome, Modified):
            ids.update(
                (tag, row.id) for tag, row in zip(call.tags, call.outcome.inserted, strict=False)
            )
    by_number: dict[tuple[str, int], str] = {}

    def row_of(task: Numbered, tag: str) -> TaskRow:
        id_ = ids.setdefault(tag, f"{task.queue} {task.number}")
        by_number[task.queue, task.number] = id_
        value = f"{tag}|".encode()
        return TaskRow(id_, 0, task.queue, 0, value, 0, "", 0, 0, 0, "", 0, 0, task.number)

    for call in history.calls:
        yield _as_others(call, row_of, by_number) if call.kind in _TASKQ else call


def _as_others(call: Call, row_of: Any, by_number: dict[tuple[str, int], str]) -> Call:
    kind, outcome, operation = "modify", call.outcome, None
    if call.kind == "deq":
        kind = "claim"
        if isinstance(outcome, Numbered):
            outcome = Claimed((row_of(outcome, tag_of(outcome.body)),))
    elif call.kind == "enq":
        operation = _modify(())
        if isinstance(outcome, Numbered):
            outcome = Modified((row_of(outcome, call.tags[0]),), ())
    else:
        task: Numbered = call.operation
        operation = _modify((Target(by_number[task.queue, task.number], 0),))
        outcome = Modified((), ()) if isinstance(outcome, Numbered) else outcome
    return Call(call.client, kind, call.began_ns, operation, call.tags, call.ended_ns, call.status,
                call.index, outcome, call.node, call.attempts, call.repeats)  # fmt: skip


def _modify(deletes: tuple[Target, ...]) -> Modify:
    return Modify(0, "", b"", "", (), (), deletes, ())
