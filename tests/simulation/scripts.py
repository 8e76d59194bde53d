"""Directed runs for bugs that chance meets too seldom: a few steps by hand, in the order that matters.

Engines over a network and disks by hand (``tests.support.engine_group``). Each script gives one sentence if what must
not happen has happened, and "" if not.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from raftq_cluster.backends.raft.commands import CONFIG, Member, encode_members
from raftq_cluster.backends.raft.core_api import CANDIDATE, LEADER
from raftq_cluster.backends.raft.engine_api import MembersRefusedError
from raftq_cluster.backends.raft.messages import Ack, AskVote, PreVote, Vote
from raftq_cluster.core.machine import Machine
from raftq_cluster.core.outcomes import Modified
from tests.simulation.options import Options
from tests.simulation.simulation import CLIENTS_AFTER_S, Simulation, undisturbed
from tests.support.engine_group import EngineGroup
from tests.support.held_disk import LogEmptiedError
from tests.support.journal_node import JournalNode
from tests.support.raft_operations import put, take

Script = Callable[[], Coroutine[Any, Any, str] | str]


_LEARNER = Member("n4", "n4:1", voter=False, birth="b")


def play(script: Script) -> str:
    """Carry a script out."""
    told = script()
    return told if isinstance(told, str) else asyncio.run(told)


def _votes_to(group: EngineGroup, source: str, target: str) -> int:
    return sum(isinstance(message, Vote) for message in group.waiting(source, target))


def _list_of(members: tuple[Member, ...]) -> bytes:
    return bytes((CONFIG,)) + encode_members(members)


async def a_vote_waits_for_the_disk() -> str:
    """A node is asked for its vote, and its disk is slow."""
    group = EngineGroup(3)
    group.hold("n3", "n1")
    group["n3"].syncs_by_itself = False
    group.inject("n1", "n3", AskVote(5, 0, 0, False))
    await group.settle()
    votes = _votes_to(group, "n3", "n1")
    group.stop()
    return "a vote has left before it was on disk" if votes else ""


async def a_vote_is_given_once_in_a_term() -> str:
    """A node votes, loses its power, and is asked by another candidate of the same term."""
    group = EngineGroup(3)
    group.inject("n1", "n3", AskVote(5, 0, 0, False))
    await group.settle()
    group.add("n3", await group.kill("n3"))
    group.hold("n3", "n2")
    group.inject("n2", "n3", AskVote(5, 0, 0, False))
    await group.settle()
    votes = _votes_to(group, "n3", "n2")
    group.stop()
    return "a node has voted for two candidates of one term" if votes else ""


async def a_leader_alone_waits_for_its_vote() -> str:
    """A node that needs nobody's vote but its own, whose disk is slow."""
    group = EngineGroup(1)
    node = group["n1"]
    node.syncs_by_itself = False
    await group.pass_s(2.0)
    is_leading = node.role == LEADER and not node.disk.vote_is_durable
    group.stop()
    return "a node leads before its vote is on disk" if is_leading else ""


async def a_voter_counts_once() -> str:
    """One voter's vote comes five times, and nobody else's."""
    group = EngineGroup(5)
    await group.elect("n1")
    group.isolate("n5")
    core = group["n5"].engine.core
    await group.until(lambda: not group["n5"].engine.consensus.lives())
    core.elect_now()
    await group.pass_s(0.05)  # it asks for pre-votes
    for peer in ("n1", "n2"):
        group.inject(peer, "n5", PreVote(core.term + 1, core.term, True))
    await group.settle()
    assert core.role == CANDIDATE
    for _ in range(5):
        group.inject("n1", "n5", Vote(core.term))
    await group.settle()
    is_leading = group["n5"].role == LEADER
    group.stop()
    return "a node leads with two votes of five" if is_leading else ""


async def an_old_answer_counts_for_nothing() -> str:
    """Answers to an older leadership name entries of this one."""
    group = EngineGroup(5)
    await group.elect("n1")
    others = ("n2", "n3", "n4", "n5")
    for other in others:
        group.hold("n1", other)
    told = group.submit("n1", put("a"))
    await group.settle()
    term, last = group["n1"].engine.core.term, group["n1"].disk.last_index
    for other in others:
        group.inject(other, "n1", Ack(term - 1, 1, 0, last))
    await group.settle()
    is_told = bool(told.calls)
    group.stop()
    return "an entry that one disk of five has was acknowledged" if is_told else ""


async def members_change_one_at_a_time() -> str:
    """A leader that is cut off changes the members twice."""
    group = EngineGroup(3)
    engine = (await group.elect("n1")).engine
    group.isolate("n1")
    engine.propose(_list_of(group.members[:2]))
    try:
        engine.propose(_list_of(group.members[:1]))
    except MembersRefusedError:
        return ""
    finally:
        group.stop()
    return "members were changed while another change was not committed"


async def members_are_those_of_the_log() -> str:
    """A node restarts with a member list in its log that is not applied yet."""
    group = EngineGroup(3)
    engine = (await group.elect("n1")).engine
    engine.propose(_list_of((*group.members, _LEARNER)))
    await group.settle()
    again = group.add("n1", await group.kill("n1"))
    names = [member.id for member in again.engine.members]
    group.stop()
    return "" if "n4" in names else f"a node restarts with {names}, and its log has n4 too"


async def an_older_snapshot_changes_nothing() -> str:
    """A snapshot arrives of an entry that is committed."""
    group = EngineGroup(3)
    engine = (await group.elect("n1")).engine
    for name in ("a", "b", "c"):
        group.submit("n1", put(name))
        await group.settle()
    disk, last = group["n1"].disk, group["n1"].disk.last_index
    try:
        engine.install(2, disk.term_at(2), Machine(), group.members)
    except LogEmptiedError:
        return "a snapshot of entry 2 has emptied the log"
    finally:
        group.stop()
    return "" if disk.last_index == last else "the log has changed"


async def an_install_keeps_what_is_behind_it() -> str:
    """A snapshot arrives of an entry that is in the log, with others behind it."""
    group = EngineGroup(3)
    leader = await group.elect("n1")
    for follower in ("n2", "n3"):
        group.hold(follower, "n1")
    for place in range(2):
        group.submit("n1", *(put(f"{place}.{number}") for number in range(256)))
    await group.settle()
    node = group["n2"]
    last, index = node.disk.last_index, node.engine.core.commit_index + 1
    is_as_meant = last > index and leader.disk.last_index == last
    assert is_as_meant, (last, index)
    try:
        node.engine.install(index, node.disk.term_at(index), Machine(), group.members)
    except LogEmptiedError:
        return f"a snapshot of entry {index} has emptied the log, which had more"
    finally:
        group.stop()
    return "" if node.disk.last_index == last else "the log has changed"


async def a_leader_that_is_cut_off_answers_no_read() -> str:
    """A leader is asked for a read when it reaches nobody any more."""
    group = EngineGroup(3)
    leader = await group.elect("n1")
    group.isolate("n1")
    read = leader.engine.confirm()
    await group.pass_s(0.5)
    is_answered = read.done()
    group.stop()
    return "a leader that reaches nobody has answered a read" if is_answered else ""


async def a_read_waits_until_it_is_applied() -> str:
    """A follower is asked for a read, and has not heard yet of what is committed."""
    group = EngineGroup(3)
    await group.elect("n1")
    group.hold("n1", "n3")
    told = group.submit("n1", put("a"))
    await group.settle()
    link = group.link("n1", "n3")
    appends = link.frames.copy()
    link.frames.clear()
    read = group["n3"].engine.confirm()
    await group.settle()
    link.frames.rotate(-len(link.frames))
    await group.deliver("n1", "n3")  # the answer to its question, without the entries before
    is_stale = read.done() and not group["n3"].replica.machine.tasks
    is_as_meant = isinstance(told.outcomes[0], Modified) and bool(appends)
    group.stop()
    assert is_as_meant
    return "a read at a follower is answered before its entries are applied" if is_stale else ""


async def what_the_next_leader_has_is_done_once() -> str:
    """A leader dies that has committed what a follower forwarded, who has not heard of it."""
    group = EngineGroup(3)
    await group.elect("n1")
    group.hold("n1", "n2")
    told = group.submit("n2", take())
    group.submit("n1", put("a"), put("b"))
    await group.settle()
    group["n2"].engine.core.postpone_election(1e6)
    await group.kill("n1")
    group.submit("n2", put("c"))  # for the next leader
    await group.pass_s(2.0)
    claimed = [task for task in group["n3"].replica.machine.tasks.values() if task.claims]
    count = len(told.calls)
    group.stop()
    return "" if len(claimed) <= 1 and count == 1 else f"one claim has taken {len(claimed)} tasks"


async def what_came_twice_is_done_once() -> str:
    """A follower sends what it forwarded again, because a connection broke."""
    group = EngineGroup(3)
    await group.elect("n1")
    group.submit("n1", put("a"), put("b"))
    await group.settle()
    group.hold("n1", "n2")
    group.hold("n1", "n3")
    group.submit("n2", take())
    await group.settle()
    group.connect("n1", "n2")
    for follower in ("n2", "n3"):
        group.link("n1", follower).is_held = False
    await group.pass_s(1.0)
    claimed = [task for task in group["n1"].replica.machine.tasks.values() if task.claims]
    group.stop()
    return "" if len(claimed) == 1 else f"one claim has taken {len(claimed)} tasks"


async def what_may_be_done_is_unknown() -> str:
    """A leader that is cut off has an operation in its log; the others get it later all the same."""
    group = EngineGroup(3)
    leader = await group.elect("n1")
    for follower in ("n2", "n3"):
        group.hold(follower, "n1")
    told = group.submit("n1", put("a"))
    await group.settle()
    await group.pass_s(7.0)
    outcome: Any = told.outcomes[0]
    code, has_it = outcome.code, "a" in group["n2"].replica.machine.tasks
    is_as_meant = leader.disk.last_index > 1
    group.stop()
    assert is_as_meant
    return "" if code == "outcome_unknown" else f"what may be done ({has_it}) is called {code}"


def what_is_dropped_counts_once() -> str:
    """A sync is under way while a snapshot lets go of entries that it covers, and others follow."""
    node = JournalNode()
    node.append(b"a", b"b")
    number = node.numbers.last
    node.journal.begin_sync()
    node.append(b"c", b"d")
    node.journal.drop_before(3)
    node.journal.end_sync(number)
    count = node.journal.durable_index
    return "" if count == 2 else f"a sync of two entries has made {count} durable"


def a_snapshot_has_the_members_of_its_entry() -> str:
    """A leader that is cut off has a member list in its log, takes a snapshot, and restarts."""
    with undisturbed():
        return " ".join(_snapshot_of_a_leader_that_is_cut_off())


def _snapshot_of_a_leader_that_is_cut_off() -> list[str]:
    simulation = Simulation(Options(1, 3, 6.0, faults=(), clients=(0,)))
    cluster, world = simulation.cluster, simulation.world
    for node in cluster.nodes.values():
        node.start()
    client = simulation.clients[0]
    world.after_s(CLIENTS_AFTER_S, lambda: simulation.gateway.process.spawn(client.run))
    world.run_until(3.0)
    leader = cluster.leader
    assert leader is not None
    for other in cluster.nodes:
        cluster.fabric.cut(leader.name, other, is_reset=True)
    engine, upkeep = leader.engine, leader.running._upkeep
    upkeep._bounds = upkeep._bounds._replace(bytes_between_min=0)
    upkeep._last_bytes = 0
    leader.process.deliver(lambda: engine.propose(_list_of((*engine.members, _LEARNER))) and None)
    leader.process.deliver(upkeep.consider)
    world.run_until(3.3)
    leader.kill("killed")
    leader.start()
    world.run_until(3.6)
    return cluster.judge.sentences


SCRIPTS: tuple[Script, ...] = (
    a_vote_waits_for_the_disk,
    a_vote_is_given_once_in_a_term,
    a_leader_alone_waits_for_its_vote,
    a_voter_counts_once,
    an_old_answer_counts_for_nothing,
    members_change_one_at_a_time,
    members_are_those_of_the_log,
    an_older_snapshot_changes_nothing,
    an_install_keeps_what_is_behind_it,
    a_leader_that_is_cut_off_answers_no_read,
    a_read_waits_until_it_is_applied,
    what_the_next_leader_has_is_done_once,
    what_came_twice_is_done_once,
    what_may_be_done_is_unknown,
    what_is_dropped_counts_once,
    a_snapshot_has_the_members_of_its_entry,
)
