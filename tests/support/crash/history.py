"""What clients did and were told, in the order in which they learned it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]  # a task as the v1 dialect gives it


@dataclass(slots=True)
class History:
    """Events numbered from 0; ``invoked`` is the number of the last event before a request was sent."""

    attempted: set[str] = field(default_factory=set)  # tags of values that were ever sent
    inserted: dict[str, str] = field(default_factory=dict)  # tag -> id, acknowledged
    deleted: dict[str, int] = field(default_factory=dict)  # id -> event number, acknowledged
    # How many deletes of an id were sent and may have been done: several clients hold a task one after the other.
    maybe_deleted: Counter[str] = field(default_factory=Counter)
    claims: list[tuple[int, Row]] = field(default_factory=list)  # (invoked, task)
    repeats: list[tuple[str, str, str]] = field(default_factory=list)  # tag, id before, id after
    left: list[Row] = field(default_factory=list)  # what the final listing has
    left_elsewhere: dict[str, list[Row]] = field(default_factory=dict)  # the same at other nodes
    events: int = 0

    def next_event(self) -> int:
        self.events += 1
        return self.events

    def note_inserted(self, tag: str, id_: str) -> None:
        before = self.inserted.setdefault(tag, id_)
        if before != id_:
            self.repeats.append((tag, before, id_))
        self.next_event()

    def note_claimed(self, invoked: int, row: Row) -> None:
        self.claims.append((invoked, row))
        self.next_event()

    def note_refused_delete(self, ids: Sequence[str]) -> None:
        """One delete of these was certainly never done."""
        self.maybe_deleted -= Counter(ids)  # keeps what is above zero

    def note_deleted(self, id_: str) -> None:
        del self.maybe_deleted[id_]
        self.deleted[id_] = self.next_event()


def tag_of(row: Row) -> str:
    return str(row["value"]["tag"])
