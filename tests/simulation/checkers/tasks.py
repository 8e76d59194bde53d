"""What must hold of tasks, whatever clients were told: nothing lost, nothing made up, one holder, versions that rise.

Each check takes a ``History`` and gives a sentence for each breach. The words of the total-queue check are
Jepsen's: lost and unexpected are breaches, recovered and duplicated deliveries are not, they are counted.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from raftq_cluster.core.outcomes import Claimed, Modified, Renewed, Settled, TaskRow
from tests.simulation.history import DONE, REFUSED, UNKNOWN, Call, History

NS_PER_MS: Final = 1_000_000
# Log time may run a hundredth too fast or slow (``log_clock``); clocks may drift by as much in a run.
SLEW: Final = 0.05


def tag_of(row: TaskRow) -> str:
    return row.value.partition(b"|")[0].decode()


def made(call: Call) -> tuple[TaskRow, ...]:
    """The versions that a call has brought into being."""
    outcome = call.outcome
    if call.status != DONE:
        return ()
    if isinstance(outcome, Claimed):
        return outcome.tasks
    if isinstance(outcome, Modified):
        return outcome.inserted + outcome.changed
    return outcome.renewed if isinstance(outcome, Renewed) else ()


def deleted(call: Call) -> list[str]:
    """The ids of tasks that a call deletes."""
    if call.kind == "settle":
        return list(call.deletes)
    return [target[0] for target in call.operation[6]] if call.operation else []


def _is_made(call: Call) -> bool:
    """Whether tasks were inserted, changed or deleted by it, certainly."""
    return call.status == DONE and (
        (call.kind == "modify" and isinstance(call.outcome, Modified))
        or (call.kind == "settle" and isinstance(call.outcome, Settled))
    )


def total_queue(history: History) -> Iterator[str]:
    """Lost, unexpected, and what came back."""
    gone = {id_ for call in history.calls if _is_made(call) for id_ in deleted(call)}
    yield from _lost(history, gone)
    for row in history.left.values():
        if row.id in gone:
            yield f"returned: {row.id} is there although its deletion was acknowledged"
    attempted = {tag for call in history.calls for tag in call.tags}
    seen = [row for call in history.done("claim") for row in made(call)]
    for row in (*history.left.values(), *seen):
        if not _is_of_a_group(row) and tag_of(row) not in attempted:
            yield f"unexpected: {row.id} with value {row.value[:20]!r} was never inserted"


def _lost(history: History, gone: set[str]) -> Iterator[str]:
    perhaps_gone = {
        id_
        for call in history.calls
        if call.kind in {"modify", "settle"} and call.status == UNKNOWN
        for id_ in deleted(call)
    }
    there = history.left.keys() | gone | perhaps_gone
    for call in history.calls:
        for tag, row in zip(
            call.tags, call.outcome.inserted if _is_made(call) and call.tags else (), strict=False
        ):
            if row.id not in there:
                yield f"lost: {tag} ({row.id}) was acknowledged at entry {call.index} and is gone"


def _is_of_a_group(row: TaskRow) -> bool:
    """Whether it belongs to a register or a small queue, which have checks of their own, or to what is collected."""
    return row.queue.startswith(("/registers", "/small", "/litter"))


def refused(history: History) -> Iterator[str]:
    """What was said to be certainly not done has left no trace."""
    there = {tag_of(row) for row in history.left.values()}
    there |= {tag_of(row) for call in history.done("claim") for row in made(call)}
    for call in history.calls:
        if call.status == REFUSED:
            for tag in call.tags:
                if tag in there:
                    yield f"done after all: {tag} was inserted, and {call.client} was told that it was not"


def counts(history: History) -> Counter[str]:
    """How much of what there was: for the report."""
    found: Counter[str] = Counter()
    claims: Counter[str] = Counter()
    for call in history.calls:
        found[f"calls {call.status}"] += 1
        found[f"{call.kind} {call.status}"] += 1
        found["attempts"] += max(1, call.attempts)
        found["repeats of answered keys"] += len(call.repeats)
        if call.kind == "claim":
            claims.update(row.id for row in made(call))
    unknown = {tag for call in history.calls if call.status == UNKNOWN for tag in call.tags}
    there = {tag_of(row) for row in history.left.values()}
    found["recovered"] = len(unknown & there)
    found["claimed again"] = sum(count - 1 for count in claims.values())
    return found


def done_once(history: History) -> Iterator[str]:
    """A value that was inserted once is one task, whatever was repeated; a key has one answer."""
    ids: dict[str, set[str]] = {}
    rows = [row for call in history.calls for row in made(call)]
    for row in (*history.left.values(), *rows):
        if row.value and not _is_of_a_group(row):
            ids.setdefault(tag_of(row), set()).add(row.id)
    for tag, found in ids.items():
        if len(found) > 1:
            yield f"done twice: {tag} became {sorted(found)}"
    for call in history.calls:
        for again in call.repeats:
            if not _is_same_answer(call.outcome, again):
                yield f"another answer: {call.client} asked {call.kind} again and was told {again}"


def _is_same_answer(first: Any, again: Any) -> bool:
    """A repeated claim has those of its tasks that nobody has changed since."""
    if isinstance(first, Claimed):
        before = {(row.id, row.version) for row in first.tasks}
        # An empty claim is not remembered: its repeat is a new one.
        return not before or (
            isinstance(again, Claimed) and {(row.id, row.version) for row in again.tasks} <= before
        )
    return bool(_plain(first) == _plain(again))


def _plain(outcome: Any) -> Any:
    """An answer without values, which a repeated one leaves out."""
    if isinstance(outcome, Modified):
        return [[row._replace(value=b"") for row in rows] for rows in outcome]
    if isinstance(outcome, Renewed):
        return [row._replace(value=b"") for row in outcome.renewed], outcome.lost
    return outcome.row if isinstance(outcome, Settled) else outcome


def versions(history: History) -> Iterator[str]:
    """Each version of a task is made once, never changes, and rises with the log."""
    makers: dict[tuple[str, int], Call] = {}
    looks: dict[tuple[str, int], tuple[Any, ...]] = {}
    seen: dict[str, list[tuple[int, int]]] = {}
    for call in history.calls:
        for row in made(call):
            other = makers.setdefault((row.id, row.version), call)
            if other is not call:
                yield (f"made twice: version {row.version} of {row.id} by {other.client} at entry"
                       f" {other.index} and by {call.client} at entry {call.index}")  # fmt: skip
        for row in _all_rows(call):
            look = (row.queue, row.at, row.claimant, row.claims, row.attempt, row.modified)
            if looks.setdefault((row.id, row.version), look) != look:
                yield f"two faces: version {row.version} of {row.id}: {look}"
            if not call.repeats and call.attempts <= 1:
                seen.setdefault(row.id, []).append((call.index, row.version))
    for id_, found in seen.items():
        found.sort()
        for (before, low), (index, high) in pairwise(found):
            if high < low and index > before:
                yield f"went back: {id_} had version {low} at entry {before} and {high} at {index}"


def _all_rows(call: Call) -> tuple[TaskRow, ...]:
    if call.kind == "read" and call.status == DONE and call.outcome:
        return tuple(row for row in call.outcome if isinstance(row, TaskRow))
    return made(call)


def completed(history: History) -> Iterator[str]:
    """A task whose deletion was acknowledged is never seen in a later entry."""
    ends = {id_: call.index for call in history.calls if _is_made(call) for id_ in deleted(call)}
    for call in history.calls:
        if call.attempts > 1:
            continue  # a repeated answer is about an earlier entry than its index
        for row in _all_rows(call):
            if call.index > ends.get(row.id, call.index):
                yield f"returned: {row.id} was seen at entry {call.index}, deleted at {ends[row.id]}"


def serials(history: History) -> Iterator[str]:
    """Numbers of a queue are given once each, in the order of the log."""
    owners: dict[tuple[str, int], str] = {}
    given: dict[str, list[tuple[int, int]]] = {}
    for call in history.calls:
        for row in _all_rows(call):
            if row.serial and owners.setdefault((row.queue, row.serial), row.id) != row.id:
                yield f"numbered twice: {row.serial} of {row.queue} is of two tasks"
        if call.kind == "modify" and call.attempts <= 1:
            for row in made(call):
                if row.serial and not row.version:
                    given.setdefault(row.queue, []).append((call.index, row.serial))
    for queue, found in given.items():
        found.sort()
        for (before, low), (index, high) in pairwise(found):
            if high < low and index > before:
                yield f"numbers of {queue} went back: {low} at entry {before}, {high} at {index}"


def leases(history: History) -> Iterator[str]:
    """One holder at a time: in log time exactly, in real time but for what clocks may be off."""
    slack_ns = history.clock_spread_ns + 1_000 * NS_PER_MS
    rows: dict[str, list[tuple[TaskRow, Call]]] = {}
    for call in history.calls:
        for row in made(call):
            rows.setdefault(row.id, []).append((row, call))
    for id_, found in rows.items():
        found.sort(key=lambda item: item[0].version)
        for (before, first), (after, second) in pairwise(found):
            if second.kind != "claim" or not before.claimant or after.version != before.version + 1:
                continue
            if after.modified < before.at:
                yield f"two holders: {id_} was claimed {before.at - after.modified} ms too early"
            lease_ns = (before.at - before.modified) * NS_PER_MS
            if second.ended_ns + slack_ns < first.began_ns + lease_ns * (1 - SLEW):
                yield f"two holders: the lease of {id_} was shorter than it was granted"


def in_order(history: History) -> Iterator[str]:
    """What is answered reflects all that was answered before it was asked: no stale answers."""
    ends = sorted((call.ended_ns, call.index, call) for call in history.calls
                  if call.status == DONE and call.index)  # fmt: skip
    begins = sorted(((call.began_ns, place) for place, (_, _, call) in enumerate(ends)))
    newest: tuple[int, Call | None] = (0, None)
    position = 0
    for began_ns, place in begins:
        while position < len(ends) and ends[position][0] < began_ns:
            if ends[position][1] > newest[0]:
                newest = (ends[position][1], ends[position][2])
            position += 1
        call = ends[place][2]
        before = newest[1]
        if before is not None and call.index < newest[0]:
            yield (f"stale: {call.client} was answered ({call.kind}) as of entry {call.index},"
                   f" after {before.client} had been as of entry {newest[0]}")  # fmt: skip


CHECKS: Final = (total_queue, refused, done_once, versions, completed, serials, leases, in_order)
