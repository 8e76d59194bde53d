"""What each member has once said that it holds, so that one which comes back with less is not believed.

A data directory that was restored from an older copy has the right name and the right birth, and has forgotten entries and votes
that others counted on. It cannot know; the others can: once a second every node tells how far its log is on disk in the current
term, and everybody remembers, in memory at once and on disk a little later (``storage/witness``). Who says hello tells where its log
ends.

    told:   in term T, all up to M is mine      hello:  my term is t, my log ends at L
    t < T               it has forgotten a term, and perhaps a vote in it
    t = T and L < M     within a term nothing that was acknowledged is ever cut: it has forgotten entries
    otherwise           what was told may have given way to a later leader's, or is still there

Pure. Knows members by the birth of their directory, not by name.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

_REPORT: Final = """\
raftq: {why}.

Entries or votes that this copy lacks were counted by others, so it must not take part again, even when nobody remembers
any more. Leave this file here, remove the node from the cluster (or let a new one take its place):

    raftq cluster replace NODE HOST:PORT

If all nodes were put back to copies of different moments, on purpose: docs/cluster.md, "Copies of data directories".
"""


class Held(NamedTuple):
    """How far a node's log is its leader's, on disk, in this term."""

    term: int
    last: int  # index


class Pasts:
    """The furthest that is known of each birth. ``known`` is what was kept on disk."""

    def __init__(self, known: Mapping[str, Held]) -> None:
        self._known = dict(known)
        self.changes = 0  # so that whoever keeps it on disk sees whether it has changed

    @property
    def known(self) -> Mapping[str, Held]:
        """All that is known, by birth."""
        return self._known

    def note(self, birth: str, held: Held) -> None:
        """A member has told this of itself."""
        before = self._known.get(birth)
        if birth and (before is None or held > before):
            self._known[birth] = held
            self.changes += 1

    def forget_others(self, births: Iterable[str]) -> None:
        """Only these are members still."""
        kept = set(births)
        for birth in [birth for birth in self._known if birth not in kept]:
            del self._known[birth]
            self.changes += 1

    def what_is_lost(self, node_id: str, birth: str, end: Held | None) -> str:
        """Say why a node whose log ends like this has lost a part of its past; "" if nothing shows it.

        ``end`` is its term and its last index, None if it did not tell.
        """
        told = self._known.get(birth)
        if told is None or end is None:
            return ""
        if end.term > told.term or (end.term == told.term and end.last >= told.last):
            return ""
        return (
            f"the data directory of node {node_id} is an older copy of itself: it held entry {told.last} in"
            f" term {told.term}, and its log ends with entry {end.last} in term {end.term}; remove the"
            " node from the cluster, and join it as a new one with an empty directory"
        )


def copy_report(why: str) -> str:
    """What is left in such a directory, for people."""
    return _REPORT.format(why=why)
