"""Checks of a history against what raftq promises. Each gives one sentence per violation.

The total-queue check is Jepsen's: lost (acknowledged and gone) and unexpected (never
attempted) are violations, a recovered task (its insert's outcome was unknown) is not.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from tests.support.crash.history import History, tag_of


def violations(history: History) -> list[str]:
    checks = (
        _lost, _unexpected, _returned, _claimed_twice, _leases_overlap, _done_twice, _answers_differ,
        _nodes_differ,
    )  # fmt: skip
    return [sentence for check in checks for sentence in check(history)]


def _lost(history: History) -> Iterator[str]:
    left = {row["id"] for row in history.left}
    for tag, id_ in history.inserted.items():
        if id_ not in left and id_ not in history.deleted and id_ not in history.maybe_deleted:
            yield f"lost: {tag} ({id_}) was acknowledged and is gone"


def _unexpected(history: History) -> Iterator[str]:
    for row in (*history.left, *(row for _, row in history.claims)):
        if tag_of(row) not in history.attempted:
            yield f"unexpected: {row['id']} was never inserted"


def _returned(history: History) -> Iterator[str]:
    for row in history.left:
        if row["id"] in history.deleted:
            yield f"returned: {row['id']} is there after its delete was acknowledged"
    for invoked, row in history.claims:
        if invoked >= history.deleted.get(row["id"], invoked + 1):
            yield f"returned: {row['id']} was claimed after its delete was acknowledged"


def _claimed_twice(history: History) -> Iterator[str]:
    counts = Counter((row["id"], row["version"]) for _, row in history.claims)
    for (id_, version), count in counts.items():
        if count > 1:
            yield f"claimed twice: {id_} at version {version}"


def _leases_overlap(history: History) -> Iterator[str]:
    """In log time: a claim is stamped ``modified``, its lease runs until ``at``."""
    ordered = sorted(
        (row for _, row in history.claims), key=lambda row: (row["id"], row["version"])
    )
    for before, after in pairwise(ordered):
        if before["id"] == after["id"] and after["modified"] < before["at"]:
            yield f"two leases at a time: {after['id']} at version {after['version']}"


def _done_twice(history: History) -> Iterator[str]:
    """A value that was inserted once, under an idempotency key, is one task."""
    ids: dict[str, set[str]] = {}
    for row in (*history.left, *(row for _, row in history.claims)):
        ids.setdefault(tag_of(row), set()).add(row["id"])
    for tag, found in ids.items():
        if len(found) > 1:
            yield f"done twice: {tag} became {len(found)} tasks"


def _answers_differ(history: History) -> Iterator[str]:
    for tag, before, after in history.repeats:
        yield f"another answer: the retry of {tag} gave {after}, not {before}"


def _nodes_differ(history: History) -> Iterator[str]:
    here = {(row["id"], row["version"]) for row in history.left}
    for node, rows in history.left_elsewhere.items():
        there = {(row["id"], row["version"]) for row in rows}
        for id_, version in here - there:
            yield f"nodes differ: {id_} at version {version} is missing at {node}"
        for id_, version in there - here:
            yield f"nodes differ: {id_} at version {version} is at {node} only"
