"""Raft's own invariants, checked at every step that any node makes.

Election safety, log matching, leader completeness, state machine safety (Raft, figure 3), and what comes on top: commits and
terms never go back, an entry is committed only when it is on the disks of a majority, each entry is applied once
and in order, and equal entries make equal states.
"""

from collections.abc import Callable
from typing import Any, Final
from zlib import crc32

from raftq_cluster.backends.raft.commands import CONFIG, decode_members

DIGEST_EVERY: Final = 1_024  # entries between full digests, which take long


class Raft:
    """What is known of one cluster over all its lives. ``blame`` takes a sentence for each breach."""

    def __init__(self, blame: Callable[[str], None]) -> None:
        self._blame = blame
        self._leaders: dict[int, str] = {}  # term -> life
        self._entries: dict[
            tuple[int, int], tuple[int, int]
        ] = {}  # (index, term) -> (prev term, crc)
        self.committed: dict[int, tuple[int, int]] = {}  # index -> (term, crc)
        self._last_committed_in: dict[int, int] = {}  # term of the commit -> index
        self._member_lists: dict[int, Any] = {}  # index -> members
        self._states: dict[int, Any] = {}  # index -> what the state looked like
        self._digests: dict[int, str] = {}
        self.on_disk: Callable[[str, int, int], bool] = lambda _node, _index, _term: True
        self.digests_compared = 0

    # --- elections --------------------------------------------------------------------------------

    def in_term(self, life: str, before: int, term: int) -> None:
        if term < before:
            self._blame(f"{life} went back from term {before} to {term}")

    def leads(self, node: str, life: str, term: int, log: Any) -> None:
        """A leadership begins, or is seen for the first time."""
        del node
        other = self._leaders.setdefault(term, life)
        if other != life:
            self._blame(f"two leaders of term {term}: {other} and {life}")
        # A delayed candidate may lawfully win an old term: entries of earlier commits only.
        known = [index for when, index in self._last_committed_in.items() if when < term]
        if not known:
            return
        index = max(known)
        expected = self.committed[index][0]
        if index > log.last_index:
            self._blame(f"{life} leads term {term} without entry {index}, which is committed")
        elif index >= log.base_index and log.term_at(index) != expected:
            self._blame(f"{life} leads term {term} with another entry {index} than is committed")

    # --- the log ----------------------------------------------------------------------------------

    def written(self, life: str, index: int, term: int, prev_term: int, crc: int) -> None:
        known = self._entries.setdefault((index, term), (prev_term, crc))
        if known != (prev_term, crc):
            self._blame(f"{life} has another entry {index} of term {term} than others had")

    def forgets(self, life: str, index: int, end: int) -> None:
        self._blame(f"{life} starts without entry {index}, which was synced: its log ends at {end}")

    def truncates(self, life: str, index: int, log: Any, commit: int) -> None:
        if index <= commit:
            self._blame(f"{life} truncates its log from {index}, and {commit} is committed there")
        for gone in range(index, log.last_index + 1):
            known = self.committed.get(gone)
            if known is not None and known[0] == log.term_at(gone):
                self._blame(f"{life} truncates entry {gone}, which is committed")

    def resets(self, life: str, index: int, term: int, log: Any) -> None:
        """A log is emptied, for a snapshot of an entry."""
        if not log.base_index <= index <= log.last_index or log.term_at(index) != term:
            return
        for gone in range(index + 1, log.last_index + 1):
            known = self.committed.get(gone)
            if known is not None and known[0] == log.term_at(gone):
                self._blame(
                    f"{life} drops entry {gone}, which is committed, for a snapshot of {index}"
                )

    def goes_back(self, life: str, commit: int, index: int) -> None:
        self._blame(f"{life} installs a snapshot of entry {index}, and {commit} is committed there")

    def restored(self, life: str, index: int, members: Any) -> None:
        """A node goes on from a snapshot that has this member list."""
        if (
            not index
        ):  # the first start of a node, whose list is that with which it has formed or joined
            self._member_lists.setdefault(0, members)
            return
        lists = [(at, known) for at, known in self._member_lists.items() if at <= index]
        if lists and max(lists, key=lambda item: item[0])[1] != members:
            self._blame(f"{life} has a snapshot of entry {index} with other members than the log")

    def commits(self, probe: Any, before: int, commit: int) -> None:
        """A node takes entries for committed: those behind ``before``."""
        life, log = probe._life, probe.journal
        if commit < before:
            self._blame(f"{life} takes back commits: {before} to {commit}")
        for index in range(max(before, log.base_index) + 1, min(commit, log.last_index) + 1):
            term, data = log.entry(index)
            seen = (term, crc32(data))
            known = self.committed.setdefault(index, seen)
            if known != seen:
                self._blame(f"{life} commits another entry {index} than others have")
            elif known is seen:
                self._first_commit(probe, index, term)
                if data[0] == CONFIG:
                    self._member_lists[index] = decode_members(data[1:])
        if commit > log.last_index:
            self._blame(
                f"{life} takes {commit} for committed, and its log ends at {log.last_index}"
            )

    def _first_commit(self, probe: Any, index: int, term: int) -> None:
        now = probe.core.term
        self._last_committed_in[now] = max(index, self._last_committed_in.get(now, 0))
        voters = [member.id for member in probe.engine.members if member.voter]
        holders = [voter for voter in voters if self.on_disk(voter, index, term)]
        if 2 * len(holders) <= len(voters):
            self._blame(f"{probe._life} commits entry {index} of term {term},"
                        f" which is on the disks of {holders} only, of {voters}")  # fmt: skip

    # --- applying ---------------------------------------------------------------------------------

    def applies(self, life: str, before: int, index: int, crc: int) -> None:
        if index != before + 1:
            self._blame(f"{life} applies entry {index} after {before}")
        known = self.committed.get(index)
        if known is not None and known[1] != crc:
            self._blame(f"{life} applies another entry {index} than is committed")

    def applied(self, life: str, index: int, machine: Any) -> None:
        look = (machine.seq, machine.now_ms, len(machine.tasks), machine.value_bytes,
                len(machine.keys))  # fmt: skip
        known = self._states.setdefault(index, look)
        if known != look:
            self._blame(
                f"{life} has another state at entry {index} than others: {look}, not {known}"
            )
        if index % DIGEST_EVERY == 0:
            self.digest(life, index, machine)

    def digest(self, life: str, index: int, machine: Any) -> None:
        found = machine.digest()
        known = self._digests.setdefault(index, found)
        self.digests_compared += 1
        if known != found:
            self._blame(f"{life} has another digest at entry {index} than others")
