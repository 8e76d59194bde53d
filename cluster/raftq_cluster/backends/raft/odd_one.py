"""Whose state is the odd one, when nodes say different things of what must be the same.

Pure. A majority of the voters that say the same is right, and whoever says something else is not. Where no majority
says the same, nobody can know; then what the leader has counts, because one state must be
left, because most answers of late came from entries that it ordered, and because it is the leader's state that newcomers are sent.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

AGREES: Final = "agrees"
ODD: Final = "odd"
OPEN: Final = "open"


class Difference(NamedTuple):
    """What nodes have said of one entry, and against whom this node stands."""

    what: str  # that was compared
    entry: int
    said: dict[str, str]  # by node: hexadecimal digits
    voters: tuple[str, ...]
    leader: str
    is_by_majority: bool


def judge(
    me: str, said: Mapping[str, object], voters: Collection[str], leader: str, *, is_over: bool
) -> tuple[str, bool]:
    """Say whether ``me`` agrees, is odd, or whether that is open; and whether a majority decided it.

    Args:
        me: a node that has said something.
        said: what each node has said so far.
        voters: all nodes whose word counts.
        leader: "" while none is known.
        is_over: nothing more is waited for.
    """
    counts = Counter(said[voter] for voter in voters if voter in said)
    value, count = counts.most_common(1)[0] if counts else (None, 0)
    if count > len(voters) // 2:
        return (AGREES if said[me] == value else ODD), True
    if not is_over and any(voter not in said for voter in voters):
        return OPEN, False
    if leader not in said:
        return OPEN, False
    return (AGREES if said[me] == said[leader] else ODD), False


def sentence(me: str, difference: Difference, report: str) -> str:
    """Why this node stops, for the log and for stderr. ``report`` is a path."""
    others = "a majority" if difference.is_by_majority else f"the leader {difference.leader}"
    return (
        f"the state of node {me} differs from that of {others} at entry {difference.entry}:"
        f" it stops and must not serve with it; {report} says what to do"
    )


_ADVICE: Final = """
What to do
  1. Let another node take this one's place, or remove it and let a new one join under a new name:
       raftq cluster replace {me} HOST:PORT      (a node that was started with --join wait)
       raftq cluster remove {me}
  2. Keep this directory if you want to find out why, and report it; else delete it.
  This node does not start on this directory while this file is here. Whoever removes the file starts it
  again: it replays its last snapshot and log, and stops again if its state still differs.
"""
_BY_LEADER: Final = """
No majority said the same, so nobody can know which state is right. What the leader has was kept, because one
of them must be. Compare before you delete this directory.
"""


def report_text(me: str, cluster: str, difference: Difference) -> str:
    """The report that is left in the data directory, for people."""
    lines = [
        f"raftq: node {me} of cluster {cluster} has stopped itself, because its state is not that of",
        "the others although all applied the same log.",
        "",
        f"compared = {difference.what}",
        f"entry    = {difference.entry}",
        f"leader   = {difference.leader or 'not known'}",
        "",
    ]
    for node in sorted(difference.said):
        kind = "voter" if node in difference.voters else "learner"
        mine = "   <- this node" if node == me else ""
        lines.append(f"  {node}  {difference.said[node]}  {kind}{mine}")
    silent = [voter for voter in difference.voters if voter not in difference.said]
    lines += [f"  {node}  said nothing" for node in sorted(silent)]
    text = "\n".join(lines) + "\n"
    if not difference.is_by_majority:
        text += _BY_LEADER
    return text + _ADVICE.format(me=me)
