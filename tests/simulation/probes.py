"""What the simulation sees of a node from inside, without changing anything it does.

A ``Probe`` watches one life: its log as it is written and synced, its terms, commits and applied entries. What it
sees goes to the rules of ``checkers.raft_rules``. Durability is judged by the syncs of the virtual disk, not by
what the node believes.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final
from unittest import mock
from zlib import crc32

from raftq_cluster.backends.raft import (
    core_pysyncobj,
    snapshot_receiving,
    snapshot_sending,
    upkeep,
)
from raftq_cluster.backends.raft.running import Running
from raftq_cluster.core import digest
from tests.simulation.checkers.raft_rules import Raft
from tests.simulation.packing import Packing

if TYPE_CHECKING:
    from tests.simulation.node import SimNode


# Small portions, so that snapshots of some ten kilobytes are taken and sent in many steps.
PORTIONS: Final = (
    (upkeep, "SLICE_RECORDS", 9),
    (upkeep, "SYNC_BYTES", 12 << 10),
    (snapshot_receiving, "SYNC_BYTES", 12 << 10),
    (snapshot_sending, "CHUNK_BYTES", 3 << 10),
    (snapshot_sending, "WINDOW_BYTES", 9 << 10),
)


class Written:
    """The log on one machine's disk, over all lives: what is written, and up to where it is synced."""

    def __init__(self) -> None:
        self.base = 0
        self.last = 0
        self.durable = 0
        self.terms: dict[int, int] = {}
        self._marks: list[int] = []  # of syncs under way

    def append(self, index: int, term: int) -> None:
        self.terms[index] = term
        self.last = index

    def truncate_from(self, index: int) -> None:
        for gone in range(index, self.last + 1):
            self.terms.pop(gone, None)
        self.last = index - 1
        self.durable = min(self.durable, self.last)
        self._marks = [min(mark, self.last) for mark in self._marks]

    def reset(self, index: int) -> None:
        """A durable snapshot of ``index`` stands for everything up to there."""
        self.terms.clear()
        self.base = self.last = self.durable = index
        self._marks = [index for _ in self._marks]

    def begin_sync(self) -> None:
        self._marks.append(self.last)

    def end_sync(self, error: Exception | None) -> None:
        mark = self._marks.pop(0)
        if error is None:
            self.durable = max(self.durable, mark)

    def read_back(self, journal: Any) -> None:
        """A process has opened the log, and synced what it found."""
        self._marks.clear()
        self.base = journal.base_index
        self.last = self.durable = journal.last_index
        self.terms = {i: journal.term_at(i) for i in range(self.base + 1, self.last + 1)}

    def lacks(self, journal: Any) -> int:
        """The first entry that was synced and that a process does not find in the log it has opened; 0 if all are there."""
        for index in range(max(self.base, journal.base_index) + 1, self.durable + 1):
            if index > journal.last_index or journal.term_at(index) != self.terms.get(index):
                return index
        return self.durable if journal.last_index < self.durable else 0

    def has_on_disk(self, index: int, term: int) -> bool:
        return index <= self.base or (index <= self.durable and self.terms.get(index) == term)


class Probe:
    """One life of one node."""

    def __init__(self, node: "SimNode", running: Running, raft: Raft, written: Written) -> None:
        self.node = node
        self.running = running
        self.engine = engine = running.engine
        self.core = engine._core
        self.journal = running._files.store.journal
        self.written = written
        self._raft = raft
        self._life = node.process.name
        self._role = ""
        self._term = 0
        self._commit = self.core.commit_index
        if gone := written.lacks(self.journal):
            if node.is_damaged:
                node.on_lack(running)
            else:
                raft.forgets(self._life, gone, self.journal.last_index)
        written.read_back(self.journal)
        self._watch_log(engine._disk)
        self._watch_replica(running.replica)

    def _watch_log(self, disk: Any) -> None:
        journal, written, raft = self.journal, self.written, self._raft
        append, truncate_from, reset_to = disk.append, disk.truncate_from, disk.reset_to

        def watched_append(term: int, command: bytes) -> int:
            before = journal.last_term
            index = append(term, command)
            written.append(index, term)
            raft.written(self._life, index, term, before, crc32(command))
            return int(index)

        def watched_truncate(index: int) -> None:
            raft.truncates(self._life, index, journal, self.core.commit_index)
            truncate_from(index)
            written.truncate_from(index)

        def watched_reset(index: int, term: int) -> None:
            raft.resets(self._life, index, term, journal)
            reset_to(index, term)
            written.reset(index)

        disk.append, disk.truncate_from, disk.reset_to = (
            watched_append, watched_truncate, watched_reset,
        )  # fmt: skip

    def _watch_replica(self, replica: Any) -> None:
        apply, raft = replica.apply, self._raft

        def watched_apply(index: int, command: bytes) -> None:
            raft.applies(self._life, replica.index, index, crc32(command))
            apply(index, command)
            raft.applied(self._life, index, replica.machine)

        replace = replica.replace

        def watched_replace(machine: Any, index: int, members: Any, *rest: Any) -> None:
            self.node.cluster.coverage.counts["snapshots installed"] += 1
            if index <= self.core.commit_index:
                raft.goes_back(self._life, self.core.commit_index, index)
            raft.restored(self._life, index, members)
            replace(machine, index, members, *rest)

        raft.restored(self._life, replica.index, replica.members)
        replica.apply, replica.replace = watched_apply, watched_replace

    def look(self) -> None:
        """See what has changed in a turn of the process."""
        core, raft = self.core, self._raft
        role, term = core.role, core.term
        if (role, term) != (self._role, self._term):
            raft.in_term(self._life, self._term, term)
            if role == "leader":
                raft.leads(self.node.name, self._life, term, self.journal)
            self.node.cluster.world.note(f"{self.node.name} is {role} of term {term}")
            self._role, self._term = role, term
        commit = core.commit_index
        if commit != self._commit:
            raft.commits(self, self._commit, commit)
            self._commit = commit


class Probes:
    """The probes of all lives that are going on."""

    def __init__(self, raft: Raft) -> None:
        self._raft = raft
        self._probes: dict[str, Probe] = {}
        self.written: dict[str, Written] = {}

    def attach(self, node: "SimNode", running: Running) -> None:
        written = self.written.setdefault(node.name, Written())
        probe = Probe(node, running, self._raft, written)
        self._probes[node.name] = probe
        node.probe = probe

    def forget(self, node: "SimNode") -> None:
        self._probes.pop(node.name, None)

    def of(self, name: str) -> Probe | None:
        return self._probes.get(name)

    def watch_sync(self, node: "SimNode") -> Callable[[Exception | None], None]:
        """A sync of the node's log begins; what is given must be called at its end."""
        written = self.written.setdefault(node.name, Written())
        written.begin_sync()
        return written.end_sync


@contextmanager
def probing() -> Iterator[None]:
    """Have a probe in each node that starts in this simulation. Saves looking at the library anew."""
    library = core_pysyncobj.installed_library()
    serve = Running._serve

    async def watched(running: Running) -> None:
        node: Any = running._network.process.node  # type: ignore[attr-defined]
        node.cluster.probes.attach(node, running)
        await serve(running)

    with ExitStack() as stack:
        patch = mock.patch.object
        stack.enter_context(patch(Running, "_serve", watched))
        stack.enter_context(patch(core_pysyncobj, "installed_library", return_value=library))
        stack.enter_context(patch(upkeep, "gc"))  # what it would collect is the simulation's
        stack.enter_context(patch(digest, "packed", Packing().pack))
        for module, name, size in PORTIONS:
            stack.enter_context(patch(module, name, size))
        yield
