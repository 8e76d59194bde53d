"""PySyncObj's Raft core behind an interface of ours: the only module that imports pysyncobj.

What is used of the library: the election trigger, the vote rules, the commit count and the step-down
timer. What is replaced, by overriding private methods of the pinned version, is named in ``OVERRIDES``
and ``FIELDS``: the log, the commit index (which waits for our disk), leadership (which waits for
our vote to be on disk), sending, applying, proposing, compaction. ``selftest.verify`` refuses to run on
a library whose sources differ from those that these hooks were written against.

It knows nothing of tasks, files or the event loop: ``Shell`` says what it asks of its owner.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TypeAlias

from pysyncobj import config, journal, node, poller, syncobj, transport
from pysyncobj.config import SyncObjConf
from pysyncobj.node import Node
from pysyncobj.syncobj import SyncObj
from pysyncobj.transport import Transport

from raftq_cluster.backends.raft.core_api import CANDIDATE, FOLLOWER, LEADER, Log, Shell, Timing
from raftq_cluster.backends.raft.selftest import Library
from raftq_cluster.backends.raft.storage.errors import StorageFullError

_ROLES: Final = (FOLLOWER, CANDIDATE, LEADER)  # in the order of the library's numbers
_LEADING: Final = _ROLES.index(LEADER)

# Every private name that is touched, once: ours -> the library's. Replaced, called, read or set:
OVERRIDES: Final = {
    "send_append_entries": "_SyncObj__sendAppendEntries",
    "may_elect": "_SyncObj__connectedToAnyone",
    "on_become_leader": "_SyncObj__onBecomeLeader",
    "apply_log_entries": "_SyncObj__applyLogEntries",
    "take_proposals": "_checkCommandsToApply",
    "try_log_compaction": "_SyncObj__tryLogCompaction",
    "generate_timeout": "_SyncObj__generateRaftTimeout",
}
METHODS: Final = {
    "receive": "_SyncObj__onMessageReceived",
    "set_term": "_SyncObj__setCurrentTerm",
    "set_state": "_SyncObj__setState",
}
FIELDS: Final = {
    "term": "_SyncObj__raftCurrentTerm",
    "state": "_SyncObj__raftState",
    "leader": "_SyncObj__raftLeader",
    "commit_index": "_SyncObj__raftCommitIndex",
    "last_applied": "_SyncObj__raftLastApplied",
    "election_deadline": "_SyncObj__raftElectionDeadline",
    "next_append_time": "_SyncObj__newAppendEntriesTime",
    "noop_index": "_SyncObj__noopIDx",
    "serializer": "_SyncObj__serializer",
    "need_load_dump": "_SyncObj__needLoadDumpFile",
    "voters": "_SyncObj__otherNodes",
    "learners": "_SyncObj__readonlyNodes",
    "next_index": "_SyncObj__raftNextIndex",
    "match_index": "_SyncObj__raftMatchIndex",
    "last_response_time": "_SyncObj__lastResponseTime",
    "transfer_in_progress": "_SyncObj__transferInProgress",
}
GLOBALS: Final = ("createJournal", "createPoller", "monotonicTime")  # of pysyncobj.syncobj

_Entry: TypeAlias = tuple[bytes, int, int]  # (command, index, term): the library's form
_Row: TypeAlias = tuple[int, bytes]  # (term, command): ours
_PEER_TABLES: Final = ("next_index", "match_index", "last_response_time")
_NOOP: Final = b"\x01"  # what the library appends when a leadership begins


class RaftCore:
    """One node's Raft core. Single-threaded; time passes only in ``tick``.

    ``monotonic`` gives seconds, ``random`` a float in [0, 1): the core has no other time or chance.
    The log stands where the state machine does (at its base), or holds what follows.
    """

    def __init__(
        self,
        node_id: str,
        log: Log,
        shell: Shell,
        *,
        timing: Timing,
        monotonic: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._log = log
        self._monotonic = monotonic
        self._nodes: dict[str, Node] = {}  # the members in force, but for this one
        self._enter()
        with _Globals(_LogFace(log)):
            self._sync = _Hooked(node_id, shell, log, _conf(timing), random)

    def tick(self) -> None:
        """Run the election timer, count commits, step down without a majority, note heartbeats."""
        self._enter()
        self._sync.doTick(0)

    def set_members(self, voters: Iterable[str], learners: Iterable[str]) -> None:
        """Follow the members in force; this node itself is left out of both."""
        others, readers = ({Node(id_) for id_ in ids} for ids in (voters, learners))
        self._nodes = {node.id: node for node in others | readers}
        fields = {name: getattr(self._sync, FIELDS[name]) for name in _PEER_TABLES}
        first = {"next_index": self._log.last_index + 1, "match_index": 0}
        for name, table in fields.items():
            for peer in others | readers:
                table.setdefault(peer, first.get(name, self._monotonic()))
            for peer in table.keys() - others - readers:
                del table[peer]
        setattr(self._sync, FIELDS["voters"], others)
        setattr(self._sync, FIELDS["learners"], readers)

    # --- messages, each through the filters of their modules -----------------------------------

    def receive_append(
        self, leader: str, term: int, commit: int, prev: tuple[int, int], rows: Sequence[_Row]
    ) -> None:
        """Take ``rows`` of ``(term, command)``, all new or in conflict, behind ``prev``.

        ``commit`` is at most what this append verifies. Without rows it is a sign of life.
        """
        message = {"type": "append_entries", "term": term, "commit_index": commit}
        if rows:
            message["prevLogIdx"], message["prevLogTerm"] = prev
            first = prev[0] + 1
            message["entries"] = [
                (command, first + place, row_term) for place, (row_term, command) in enumerate(rows)
            ]
        self._receive(leader, message)

    def receive_ack(self, peer: str, match: int) -> None:
        """A member holds all up to ``match``, on disk, in this term."""
        node, matches = self._nodes[peer], _match_index(self._sync)
        matches[node] = max(matches[node], match)
        _last_response_time(self._sync)[node] = self._monotonic()

    def heard_from(self, peer: str) -> None:
        """A member has answered in this term."""
        _last_response_time(self._sync)[self._nodes[peer]] = self._monotonic()

    def receive_vote_request(
        self, candidate: str, term: int, last_index: int, last_term: int
    ) -> None:
        """Vote, or do not."""
        self._receive(candidate, {"type": "request_vote", "term": term,
                                  "last_log_index": last_index, "last_log_term": last_term})  # fmt: skip

    def receive_vote(self, voter: str, term: int) -> None:
        """Count a vote: the caller has seen to it that it is this voter's first in this term."""
        self._receive(voter, {"type": "response_vote", "term": term})

    def receive_timeout_now(self, leader: str, term: int) -> None:
        """The leader hands over to this node."""
        self._receive(leader, {"type": "timeout_now", "term": term})

    def _receive(self, peer: str, message: dict[str, Any]) -> None:
        self._enter()
        _receive(self._sync, self._nodes.get(peer) or Node(peer), message)

    # --- elections ----------------------------------------------------------------------------

    def step_down(self, term: int) -> None:
        """Follow nobody, in ``term`` if it is later than ours."""
        self._enter()
        if term > self.term:
            _set_term(self._sync, term, None)
        _set_state(self._sync, _ROLES.index(FOLLOWER))
        self.forget_leader()

    def forget_leader(self) -> None:
        """The leader is gone, as far as this node knows."""
        setattr(self._sync, FIELDS["leader"], None)

    def postpone_election(self, delay_s: float | None = None) -> None:
        """Let the election timeout begin anew; of this length if one is given."""
        delay_s = self._sync.generate_timeout() if delay_s is None else delay_s
        setattr(self._sync, FIELDS["election_deadline"], self._monotonic() + delay_s)

    def append(self, command: bytes) -> int:
        """Append a command to the leader's log and give its index; raises what the log raises."""
        assert self.role == LEADER
        return self._log.append(self.term, command)

    def finish_election(self) -> None:
        """Begin a leadership that waited for the vote to be on disk, if there is one."""
        self._enter()
        self._sync.finish_election()

    def elect_now(self) -> None:
        """Let the next tick stand for election without waiting for the timeout."""
        setattr(self._sync, FIELDS["election_deadline"], 0)

    def raise_commit(self, index: int) -> None:
        """All up to ``index`` is committed, and verified to be in this log."""
        if index > self._sync.commit_index:
            self._sync.set_commit_index(index)

    def note_applied(self, index: int) -> None:
        """Tell that the state machine stands at ``index``, at most the commit index."""
        setattr(self._sync, FIELDS["last_applied"], index)

    def resume_at(self, index: int) -> None:
        """Tell that the state machine stands at ``index``, which is committed."""
        setattr(self._sync, FIELDS["last_applied"], index)
        self._sync.commit_index = index  # whatever is known of the disk: a snapshot holds it

    def due_in_s(self) -> float:
        """Seconds until a tick has something to do by itself: an election, or a heartbeat."""
        due_of = _next_append_time if self.is_leader else _election_deadline
        return due_of(self._sync) - self._monotonic()

    def _enter(self) -> None:
        # One process may run several nodes, each with a clock of its own (tests do).
        syncobj.monotonicTime = self._monotonic

    @property
    def role(self) -> str:
        """``follower``, ``candidate`` or ``leader``."""
        return _ROLES[_state(self._sync)]

    @property
    def is_leader(self) -> bool:
        """Whether the role is that of a leader."""
        return _state(self._sync) == _LEADING

    @property
    def term(self) -> int:
        """The current term."""
        return _term(self._sync)

    @property
    def leader(self) -> str:
        """Id of the leader of this term, "" while none is known."""
        leader = _leader(self._sync)
        return "" if leader is None else leader.id

    @property
    def last_applied(self) -> int:
        """Index of the last applied entry."""
        return _last_applied(self._sync)

    @property
    def commit_index(self) -> int:
        """Index up to which entries are known to be committed, and on this disk."""
        return self._sync.commit_index

    @property
    def noop_index(self) -> int:
        """Index of the no-op that began the latest leadership of this node, 0 if there was none."""
        return _noop_index(self._sync) or 0


_state: Final[Callable[[Any], int]] = attrgetter(FIELDS["state"])
_term: Final[Callable[[Any], int]] = attrgetter(FIELDS["term"])
_leader: Final[Callable[[Any], Any]] = attrgetter(FIELDS["leader"])
_last_applied: Final[Callable[[Any], int]] = attrgetter(FIELDS["last_applied"])
_match_index: Final[Callable[[Any], dict[Node, int]]] = attrgetter(FIELDS["match_index"])
_last_response_time: Final[Callable[[Any], dict[Node, float]]] = attrgetter(
    FIELDS["last_response_time"]
)
_next_append_time: Final[Callable[[Any], float]] = attrgetter(FIELDS["next_append_time"])
_election_deadline: Final[Callable[[Any], float]] = attrgetter(FIELDS["election_deadline"])
_noop_index: Final[Callable[[Any], int | None]] = attrgetter(FIELDS["noop_index"])


class _Hooked(SyncObj):  # type: ignore[misc] # the library has no types
    """The library's node with the parts of ``OVERRIDES`` replaced (below the class)."""

    def __init__(
        self, node_id: str, shell: Shell, log: Log, conf: SyncObjConf, random: Callable[[], float]
    ) -> None:
        self.commit_index = 0
        self._shell = shell
        self._log = log
        self._random = random
        self._elected_term = 0  # of a won election whose vote is not on disk yet
        super().__init__(Node(node_id), [], conf, transport=_Exits(shell))
        setattr(self, FIELDS["serializer"], _Unreachable())
        setattr(self, FIELDS["need_load_dump"], False)

    def set_commit_index(self, index: int) -> None:
        """Take nothing for committed before it is on this disk; and commits are for good."""
        self.commit_index = max(self.commit_index, min(index, self._log.durable_index))

    def send_append_entries(self) -> None:
        due = syncobj.monotonicTime() + self.conf.appendEntriesPeriod
        setattr(self, FIELDS["next_append_time"], due)
        self._shell.heartbeat()

    def may_elect(self) -> bool:
        return not self._is_elected() and self._shell.may_elect()

    def on_become_leader(self) -> None:
        if not self._log.vote_is_durable:
            # A leader whose vote is lost in a power cut could lead the same term a second time.
            self._elected_term = _term(self)
            return
        self._elected_term = 0
        try:
            self._log.reserve(len(_NOOP), 1)
        except StorageFullError:
            if not getattr(self, FIELDS["voters"]):
                raise  # nobody else could lead
            return  # stays a candidate until its time is up
        _begin_leadership(self)

    def finish_election(self) -> None:
        """Begin the deferred leadership, if this node is still a candidate in that term."""
        if self._is_elected():
            self.on_become_leader()

    def _is_elected(self) -> bool:
        return self._elected_term == _term(self) and _ROLES[_state(self)] == CANDIDATE

    def apply_log_entries(self) -> bool:
        """Apply nothing: the owner applies, after it has sent what others wait for."""
        return False

    def take_proposals(self) -> None:
        """Propose nothing: the owner appends."""

    def try_log_compaction(self) -> None:
        """Compact nothing: the owner takes snapshots."""

    def generate_timeout(self) -> float:
        low, high = self.conf.raftMinTimeout, self.conf.raftMaxTimeout
        return float(low + (high - low) * self._random())


_begin_leadership: Final = getattr(SyncObj, OVERRIDES["on_become_leader"])
_receive: Final = getattr(SyncObj, METHODS["receive"])
_set_term: Final = getattr(SyncObj, METHODS["set_term"])
_set_state: Final = getattr(SyncObj, METHODS["set_state"])
for _ours, _theirs in OVERRIDES.items():
    setattr(_Hooked, _theirs, getattr(_Hooked, _ours))
# A data descriptor wins over the instance attribute that the library assigns.
setattr(
    _Hooked,
    FIELDS["commit_index"],
    property(lambda self: self.commit_index, _Hooked.set_commit_index),
)


class _LogFace(journal.Journal):  # type: ignore[misc] # the library has no types
    """Our log under the library's method names, by position: the base is entry 0."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def __len__(self) -> int:
        return self._log.last_index - self._log.base_index + 1

    def __getitem__(self, item: int | slice) -> _Entry | list[_Entry]:
        log = self._log
        if item == -1:
            return b"", log.last_index, log.last_term
        if item == 0:
            return b"", log.base_index, log.base_term
        assert isinstance(item, slice)
        start, stop, _ = item.indices(len(self))
        found = [(b"", log.base_index, log.base_term)] if start == 0 < stop else []
        first = log.base_index + max(start, 1)
        rows = log.entries(first, log.base_index + stop)
        return found + [(command, first + i, term) for i, (term, command) in enumerate(rows)]

    def add(self, command: bytes, index: int, term: int) -> None:
        assert index == self._log.last_index + 1
        self._log.append(term, command)

    def deleteEntriesFrom(self, position: int) -> None:  # noqa: N802 - the library's name
        self._log.truncate_from(self._log.base_index + position)

    def getRaftCommitIndex(self) -> int:  # noqa: N802 - the library's name
        return self._log.base_index

    def setRaftCommitIndex(self, index: int) -> None:  # noqa: N802 - the library's name
        """Keep nothing: Raft does not need it, and a kept one may promise what the disk lost."""

    def setCurrentTerm(self, term: int, voted_for: str | None) -> None:  # noqa: N802 - the library's
        self._log.set_vote(term, voted_for)

    def getCurrentTerm(self) -> int:  # noqa: N802 - the library's name
        return self._log.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802 - the library's name
        return self._log.voted_for


class _Exits(Transport):  # type: ignore[misc] # the library has no types
    """The library's only way out. Its own TCP transport unpickles what reaches it: never made here."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(None, None, [])
        self._shell = shell

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        kind = message["type"]
        if kind == "request_vote":
            self._shell.ask_vote(node.id, message["term"])
        elif kind == "response_vote":
            self._shell.grant_vote(node.id, message["term"])
        else:
            # Entries that pass the filter always fit; the owner acknowledges them when they are on disk.
            assert kind == "next_node_idx", kind
            assert message["success"], "the core refused entries that the filter let pass"
        return True


class _IdlePoller:
    """Stands in for the library's epoll: the event loop polls."""

    def poll(self, seconds: float) -> None:
        """Wait for nothing."""


class _Unreachable:
    """Stands in for the library's snapshot files, which lose data; nothing may reach it."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the library's serializer was asked for {name}")


class _Globals:
    """Give the library our log and poller while it constructs: it takes them from module globals."""

    def __init__(self, face: _LogFace) -> None:
        self._ours = {
            "createJournal": lambda _file: face,
            "createPoller": lambda _kind: _IdlePoller(),
        }
        self._theirs = {name: getattr(syncobj, name) for name in self._ours}

    def __enter__(self) -> None:
        vars(syncobj).update(self._ours)

    def __exit__(self, *_exception: object) -> None:
        vars(syncobj).update(self._theirs)


def _conf(timing: Timing) -> SyncObjConf:
    return SyncObjConf(
        autoTick=False,
        dynamicMembershipChange=False,
        commandsWaitLeader=False,
        raftMinTimeout=timing.election_min_s,
        raftMaxTimeout=timing.election_max_s,
        appendEntriesPeriod=timing.heartbeat_s,
        leaderFallbackTimeout=timing.step_down_s,
    )


def installed_library() -> Library:
    """Describe the library that would run."""
    used = (syncobj, journal, transport, node, config, poller)
    return Library(
        version=metadata.version("pysyncobj"),
        digests={module.__name__: _digest(module.__file__) for module in used},
        names=frozenset(dir(SyncObj)) | frozenset(SyncObj.__init__.__code__.co_names),
        module_names=frozenset(vars(syncobj)),
    )


def _digest(path: str | None) -> str:
    try:
        return hashlib.sha256(Path(path or "").read_bytes()).hexdigest()
    except OSError:
        return "unreadable"
