"""Bugs, each planted by changing a line or two of the node, and the run that catches it.

A checker that was never seen failing proves nothing. ``docs/guarantees.md`` has this table, and a test executes it: with
the bug the run breaks a promise, and without it the same run is clean.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple
from unittest import mock

from raftq_cluster.backends.raft import (
    append_filter,
    consensus,
    core_pysyncobj,
    forwarding,
    membership,
    recovery,
    snapshot_receiving,
    upkeep,
)
from raftq_cluster.backends.raft.commands import encode_base
from raftq_cluster.backends.raft.consensus import Consensus
from raftq_cluster.backends.raft.elections import Elections
from raftq_cluster.backends.raft.engine import Engine
from raftq_cluster.backends.raft.member_log import MemberLog
from raftq_cluster.backends.raft.proposals import ForeignSegments, OwnSegments
from raftq_cluster.backends.raft.reads import Reads
from raftq_cluster.backends.raft.replica import Replica
from raftq_cluster.backends.raft.storage.journal import Journal
from raftq_cluster.backends.raft.storage.snapshots import SnapshotWriter
from raftq_cluster.core.calendar import Calendar
from raftq_cluster.core.keys import KeyTable
from raftq_cluster.core.machine import Machine
from tests.simulation import scripts
from tests.simulation.options import Options
from tests.simulation.scripts import Script

Plant = Callable[[Callable[[Any, str, Any], None]], None]
"""Takes ``(object, attribute, value)``-wise patching."""


def ack_before_sync(patch: Any) -> None:
    patch(MemberLog, "durable_index", property(lambda self: self.last_index))


def votes_before_sync(patch: Any) -> None:
    patch(MemberLog, "vote_is_durable", property(lambda self: True))


def lead_before_the_vote_is_on_disk(patch: Any) -> None:
    begin = core_pysyncobj._begin_leadership
    patch(core_pysyncobj._Hooked, core_pysyncobj.OVERRIDES["on_become_leader"], begin)


def forget_the_vote(patch: Any) -> None:
    patch(MemberLog, "voted_for", property(lambda self: None))


def truncate_without_conflict(patch: Any) -> None:
    judge = append_filter.judge

    def trusting(log: Any, commit: int, append: Any) -> Any:
        verdict = judge(log, commit, append)
        if verdict.next or not append.rows or append.prev_index < log.base_index:
            return verdict
        return verdict._replace(
            prev_index=append.prev_index, prev_term=append.prev_term, rows=append.rows
        )

    patch(consensus, "judge", trusting)


def count_acks_of_older_terms(patch: Any) -> None:
    patch(Consensus, "_is_answer", lambda self, peer, term: bool(
        self.leading_term) and self.replication.of(peer) is not None)  # fmt: skip


def verify_what_was_not_compared(patch: Any) -> None:
    judge = append_filter.judge
    patch(consensus, "judge", lambda log, commit, append: judge(
        log, commit, append)._replace(verified=log.last_index, next=0))  # fmt: skip


def commit_what_was_not_verified(patch: Any) -> None:
    """The commit index of any append counts for the whole log, be it verified or not."""
    on_append = Consensus._on_append

    def trusting(self: Any, leader: str, append: Any) -> None:
        on_append(self, leader, append)
        if append.term == self.core.term:
            self._commit = max(self._commit, min(append.commit, self._log.last_index))

    patch(Consensus, "_on_append", trusting)


def apply_twice(patch: Any) -> None:
    apply = Replica._apply_segments

    def twice(self: Any, index: int, now_ms: int, seed: int, segments: Any, known: Any) -> None:
        if index % 40 == 0 and any(item is not None and item.is_own for item in known):
            segments, known = [*segments, *segments], [*known, *([None] * len(known))]
        apply(self, index, now_ms, seed, segments, known)

    patch(Replica, "_apply_segments", twice)


def count_a_voter_twice(patch: Any) -> None:
    def on_vote(self: Any, voter: str, vote: Any, core: Any) -> None:
        if core.role == "candidate" and vote.term == core.term:
            core.receive_vote(voter, vote.term)

    patch(Elections, "on_vote", on_vote)


def read_without_a_round(patch: Any) -> None:
    begin = Reads.begin_round

    def at_once(self: Any, commit: int) -> None:
        begin(self, commit)
        self.confirm(self.round)

    patch(Reads, "begin_round", at_once)


def read_before_it_is_applied(patch: Any) -> None:
    release = Reads.release
    patch(Reads, "release", lambda self, applied: release(self, 1 << 62))


def find_nothing_without_asking(patch: Any) -> None:
    patch(Engine, "is_sure", property(lambda self: not self._stopped))


def expire_by_the_local_clock(patch: Any) -> None:
    apply = Machine.apply

    def by_clock(self: Any, index: int, now_ms: int, seed: int, segments: Any) -> Any:
        clock = asyncio.get_running_loop().clock  # type: ignore[attr-defined]
        return apply(self, index, max(now_ms, clock.wall_ns() // 1_000_000), seed, segments)

    patch(Machine, "apply", by_clock)


def expire_early(patch: Any) -> None:
    arrivals = Calendar.arrivals
    patch(Calendar, "arrivals", lambda self, now_ms: arrivals(self, now_ms + 150))


def forget_keys_in_snapshots(patch: Any) -> None:
    for module in (recovery, snapshot_receiving):
        restore = module.restore

        def forgetful(records: Any, restore: Any = restore) -> Any:
            machine = restore(records)
            machine.keys = KeyTable()
            return machine

        patch(module, "restore", forgetful)


def pass_over_keys(patch: Any) -> None:
    patch(Machine, "_run_once", lambda self, handler, operation: handler(operation))


def members_of_now_in_snapshots(patch: Any) -> None:
    def of_now(members: Any, *rest: Any) -> bytes:
        engine = asyncio.get_running_loop().node.engine  # type: ignore[attr-defined]
        return encode_base(engine.members if engine is not None else members, *rest)

    patch(upkeep, "encode_base", of_now)


def forget_members_at_restart(patch: Any) -> None:
    init = MemberLog.__init__

    def from_snapshot(self: Any, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)
        self._lists = self._lists[:1]

    patch(MemberLog, "__init__", from_snapshot)


def lose_the_end_of_the_log(patch: Any) -> None:
    init = MemberLog.__init__

    def shorter(self: Any, log: Any, *arguments: Any, **named: Any) -> None:
        if log.last_index > log.base_index + 3:
            log.truncate_from(log.last_index - 1)
        init(self, log, *arguments, **named)

    patch(MemberLog, "__init__", shorter)


def install_what_is_older(patch: Any) -> None:
    install = Engine.install
    patch(Engine, "holds", lambda self, index, term: False)

    def always(self: Any, index: int, term: int, machine: Any, members: Any, *rest: Any) -> bool:
        if index > self._core.commit_index:
            return install(self, index, term, machine, members, *rest)
        self._disk.reset_to(index, term)
        self._replica.replace(machine, index, members)
        self._core.resume_at(index)
        return True

    patch(Engine, "install", always)


def cut_the_suffix_at_install(patch: Any) -> None:
    install = Engine.install
    patch(Engine, "holds", lambda self, index, term: index <= self._core.commit_index)

    def cutting(self: Any, index: int, term: int, machine: Any, members: Any, *rest: Any) -> bool:
        if index > self._core.commit_index:
            self._disk.reset_to(index, term)
        return install(self, index, term, machine, members, *rest)

    patch(Engine, "install", cutting)


def change_members_unguarded(patch: Any) -> None:
    patch(membership, "why_not", lambda current, proposed, view: None)
    patch(Engine, "config_index", property(lambda self: 0))


def log_a_segment_again(patch: Any) -> None:
    patch(ForeignSegments, "fresh", lambda self, process, rows: list(rows))


def send_again_what_may_be_logged(patch: Any) -> None:
    send = OwnSegments.send

    def again(self: Any, term: int, bytes_max: int) -> Any:
        self._wait_again([item for item in self._sent.values() if item.sent_term < term])
        return send(self, term, bytes_max)

    patch(OwnSegments, "send", again)


def call_unknown_not_done(patch: Any) -> None:
    patch(forwarding, "UNKNOWN", "unavailable")


def publish_a_snapshot_unsynced(patch: Any) -> None:
    def finish(self: Any) -> None:
        sync, sync_directory = self._file.sync, self._files.sync_directory
        self._file.sync = self._file.sync_data = lambda: None
        self._files.sync_directory = lambda path: None
        try:
            original(self)
        finally:
            self._file.sync, self._files.sync_directory = sync, sync_directory

    original = SnapshotWriter.finish
    patch(SnapshotWriter, "finish", finish)


def count_what_is_dropped_twice(patch: Any) -> None:
    drop_before = Journal.drop_before

    def drop(self: Any, index: int) -> None:
        awaited = list(self._awaited)
        drop_before(self, index)
        self._awaited[:] = awaited

    patch(Journal, "drop_before", drop)


class Bug(NamedTuple):
    """``caught`` is the run or, where chance meets it too seldom, the script that catches it."""

    what: str
    plant: Callable[[Any], None]
    caught: Options | Script


def _by(seed: int, nodes: int = 3, seconds: float = 14.0) -> Options:
    return Options(seed, nodes, seconds)


_ROWS: Final[tuple[tuple[str, Callable[[Any], None], Options | Script], ...]] = (
    ("what is written counts as on disk", ack_before_sync, _by(1)),
    ("votes leave before they are on disk", votes_before_sync, scripts.a_vote_waits_for_the_disk),
    ("a leadership begins before its vote is on disk", lead_before_the_vote_is_on_disk,
     scripts.a_leader_alone_waits_for_its_vote),
    ("a vote is forgotten at a restart", forget_the_vote, scripts.a_vote_is_given_once_in_a_term),
    ("a voter counts as often as its vote comes", count_a_voter_twice, scripts.a_voter_counts_once),
    ("acknowledgements of older terms count", count_acks_of_older_terms,
     scripts.an_old_answer_counts_for_nothing),
    ("an append truncates what does not conflict", truncate_without_conflict, _by(6)),
    ("a log counts as verified that was not compared", verify_what_was_not_compared, _by(1)),
    ("a commit index counts for what was not verified", commit_what_was_not_verified, _by(16)),
    ("an entry is applied twice on one node", apply_twice, _by(1)),
    ("a leader answers reads without asking whether it leads", read_without_a_round,
     scripts.a_leader_that_is_cut_off_answers_no_read),
    ("reads do not wait for what is committed", read_before_it_is_applied,
     scripts.a_read_waits_until_it_is_applied),
    ("a claim finds nothing by what one node knows", find_nothing_without_asking, _by(1)),
    ("each node ends leases by its own clock", expire_by_the_local_clock, _by(1)),
    ("leases end too early on all nodes", expire_early, _by(1)),
    ("a snapshot does not hold the keys", forget_keys_in_snapshots, _by(1)),
    ("keys are passed over", pass_over_keys, _by(1)),
    ("a snapshot holds the members of now", members_of_now_in_snapshots,
     scripts.a_snapshot_has_the_members_of_its_entry),
    ("a member list in the log is passed over at a restart", forget_members_at_restart,
     scripts.members_are_those_of_the_log),
    ("the last entries of the log are lost at a restart", lose_the_end_of_the_log, _by(3)),
    ("a snapshot is installed though it is older", install_what_is_older,
     scripts.an_older_snapshot_changes_nothing),
    ("an install drops what lies behind the snapshot", cut_the_suffix_at_install,
     scripts.an_install_keeps_what_is_behind_it),
    ("members change whatever is under way", change_members_unguarded,
     scripts.members_change_one_at_a_time),
    ("a forwarded segment is logged as often as it comes", log_a_segment_again,
     scripts.what_came_twice_is_done_once),
    ("a segment is sent to the next leader while the first may log it",
     send_again_what_may_be_logged,
     scripts.what_the_next_leader_has_is_done_once),
    ("what is unknown is told as not done", call_unknown_not_done,
     scripts.what_may_be_done_is_unknown),
    ("a snapshot is published before it is on disk", publish_a_snapshot_unsynced, _by(1)),
    ("log that a snapshot made superfluous counts as on disk twice", count_what_is_dropped_twice,
     scripts.what_is_dropped_counts_once),
)  # fmt: skip
BUGS: Final = {plant.__name__: Bug(what, plant, caught) for what, plant, caught in _ROWS}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Have the bug of this name in all nodes."""
    with ExitStack() as stack:

        def patch(target: Any, attribute: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(target, attribute, value))

        BUGS[name].plant(patch)
        yield
