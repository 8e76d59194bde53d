"""What of an append the Raft core may see: the cure for a core that truncates without a conflict.

The library drops everything behind ``prev`` on any append, be it a heartbeat or a late copy, and with it
entries that were acknowledged. So what the log has already is taken off here, and only the first entry that
is new or in conflict, and what follows it, goes on. Pure: reads the log, changes nothing.

Source: Raft, figure 2 (AppendEntries, receiver 2 to 5), and 5.3 for the hint of a refusal.
"""

from typing import NamedTuple

from raftq_cluster.backends.raft.core_api import Log
from raftq_cluster.backends.raft.messages import Append, LogRow
from raftq_cluster.backends.raft.peer_api import PeerError


class Verdict(NamedTuple):
    """What an append is worth to this log."""

    verified: int  # up to here the log is, or will be, the leader's; 0: nothing is verified
    next: int  # nothing fits: the leader should go on from here; 0 when it fits
    prev_index: int = 0  # behind which ``rows`` belong
    prev_term: int = 0
    rows: tuple[LogRow, ...] = ()  # for the core: the first one is new or in conflict


def judge(log: Log, commit: int, append: Append) -> Verdict:
    """Compare an append of the current leader with the log; ``commit`` is our commit index.

    Raises:
        PeerError: no leader can have sent it.
    """
    _check_terms(append)
    prev_index, rows = append.prev_index, append.rows
    if prev_index > log.last_index:
        return Verdict(0, log.last_index + 1)
    # What is committed is the same everywhere.
    if prev_index > commit and log.term_at(prev_index) != append.prev_term:
        return Verdict(0, _start_of_term(log, prev_index, commit))
    end = prev_index + len(rows)
    first = max(prev_index, commit) + 1
    while first <= end and first <= log.last_index:
        if log.term_at(first) != rows[first - prev_index - 1][0]:
            break
        first += 1
    if first > end:
        return Verdict(end, 0)
    return Verdict(end, 0, first - 1, log.term_at(first - 1), rows[first - prev_index - 1 :])


def _start_of_term(log: Log, index: int, commit: int) -> int:
    """The first index of the term that is in conflict: the leader need not try what lies between."""
    term = log.term_at(index)
    while index - 1 > commit and log.term_at(index - 1) == term:
        index -= 1
    return index


def _check_terms(append: Append) -> None:
    last = append.prev_term
    for term, _command in append.rows:
        if not last <= term <= append.term:
            raise PeerError("the terms of an append do not rise")
        last = term
