"""Groups of engines under faults at random: what was acknowledged stays, and all nodes agree.

Same seed, same run: time, network, disks and chance are the test's. A power cut loses everything that
no completed sync covers. ``RAFTQ_GROUP_SEEDS`` runs more seeds than the suite does.
"""

import os
from random import Random

import pytest
from tests.support.engine_group import EngineGroup
from tests.support.raft_operations import drop, put, take

from raftq_cluster.backends.raft import append_filter, consensus
from raftq_cluster.backends.raft.member_log import MemberLog
from raftq_cluster.backends.raft.pasts import Held, Pasts
from raftq_cluster.backends.raft.proposals import OwnSegments
from raftq_cluster.backends.raft.reads import Reads
from raftq_cluster.core.outcomes import Claimed, Modified

SEEDS = int(os.environ.get("RAFTQ_GROUP_SEEDS", "12"))
STEPS = 60
HEAL_S = 12.0


class Life:
    """One run: what happens, and what clients were told."""

    def __init__(self, seed, count):
        self.random = Random(seed)
        self.group = EngineGroup(count, compares=True)
        self.dead = {}
        self.number = 0
        self.inserted = {}  # id -> Told
        self.deleted = {}
        self.claimed = []
        self.pasts = Pasts({})  # what nodes have told that they hold
        self.doubted = []  # who would not be believed any more, although its disk is its own
        self.stale = []  # what a read did not show although it was acknowledged before

    def some(self):
        return self.random.choice(sorted(self.group.nodes))

    def acknowledged(self, told):
        return {
            id_ for id_, one in told.items() if one.calls and isinstance(one.outcomes[0], Modified)
        }

    def insert(self):
        for _ in range(self.random.randint(1, 4)):
            self.number += 1
            id_ = f"t{self.number}"
            self.inserted[id_] = self.group.submit(self.some(), put(id_))

    def claim(self):
        self.claimed.append(
            self.group.submit(self.some(), take(lease_ms=self.random.choice([200, 30_000])))
        )

    def delete(self):
        held = [told.outcomes[0].tasks for told in self.claimed
                if told.calls and isinstance(told.outcomes[0], Claimed)]  # fmt: skip
        tasks = [task for tasks in held for task in tasks if task.id not in self.deleted]
        if tasks:
            task = self.random.choice(tasks)
            self.deleted[task.id] = self.group.submit(self.some(), drop(task.id, task.version))

    def read(self):
        before = self.acknowledged(self.inserted) - set(self.deleted)
        node = self.group[self.some()]
        future = node.engine.confirm()

        def check(done):
            if done.cancelled() or done.exception() is not None:
                return
            missing = before - set(node.replica.machine.tasks) - set(self.deleted)
            if missing:
                self.stale.append((node.id, missing))

        future.add_done_callback(check)

    async def isolate(self):
        self.group.isolate(self.some())

    async def cut(self):
        one, other = self.random.sample(sorted(self.group.nodes), 2)
        self.group.cut(one, other)

    async def hold(self):
        one, other = self.random.sample(sorted(self.group.nodes), 2)
        self.group.hold(one, other)

    async def heal(self):
        for link in self.group._links.values():
            link.is_held = False
        self.group.heal()

    async def kill(self):
        if len(self.group.nodes) > 2:
            id_ = self.some()
            self.dead[id_] = await self.group.kill(id_)

    async def cut_all_power(self):
        for id_ in sorted(self.group.nodes):
            self.dead[id_] = await self.group.kill(id_)
        await self.restart()

    async def restart(self):
        while self.dead:
            id_, disk = self.dead.popitem()
            self.group.add(id_, disk)
        self.witness()

    async def slow_disk(self):
        node = self.group[self.some()]
        node.syncs_by_itself = not node.syncs_by_itself

    async def transfer(self):
        leader = self.group.leader
        if leader is not None and leader.engine.is_leader:
            heir = leader.engine.consensus.best_heir()
            if heir:
                leader.engine.transfer(heir)

    async def step(self):
        work = (self.insert, self.insert, self.claim, self.delete, self.read)
        for _ in range(self.random.randint(1, 3)):
            self.random.choice(work)()
        if self.random.random() < 0.4:
            faults = (self.isolate, self.cut, self.hold, self.heal, self.heal, self.kill,
                      self.restart, self.restart, self.slow_disk, self.transfer)  # fmt: skip
            await self.random.choice(faults)()
        elif self.random.random() < 0.03:
            await self.cut_all_power()
        await self.group.pass_s(self.random.choice([0.05, 0.1, 0.3, 0.7]))
        self.witness()

    def witness(self):
        for node in self.group.nodes.values():
            consensus = node.engine.consensus
            lost = self.pasts.what_is_lost(node.id, node.id, Held(*consensus.log_end()))
            if lost:
                self.doubted.append(lost)
            told = consensus.held()
            if told is not None:
                self.pasts.note(node.id, Held(*told))

    async def end(self):
        """Everything is well again: within a bound the cluster must be, too."""
        await self.heal()
        await self.restart()
        for node in self.group.nodes.values():
            node.syncs_by_itself = True
        await self.group.pass_s(HEAL_S)
        last = self.group.submit(self.some(), put("the last one"))
        await self.group.pass_s(1.0)
        assert isinstance(last.outcomes[0], Modified), "no progress after everything was healed"
        assert len(self.group.digests()) == 1
        for node in self.group.nodes.values():
            assert len(node.watch.verified) == len(self.group.nodes) - 1
        return set(self.group["n1"].replica.machine.tasks)

    def check(self, left):
        assert not self.stale, f"stale reads: {self.stale}"
        assert not self.doubted, f"taken for older copies: {self.doubted}"
        lost = self.acknowledged(self.inserted) - left - set(self.deleted)
        assert not lost, f"lost: {lost}"
        returned = self.acknowledged(self.deleted) & left
        assert not returned, f"came back: {returned}"
        assert left <= set(self.inserted) | {"the last one"}
        versions = [(task.id, task.version) for told in self.claimed if told.calls
                    and isinstance(told.outcomes[0], Claimed) for task in told.outcomes[0].tasks]  # fmt: skip
        assert len(versions) == len(set(versions)), "a version was claimed twice"
        told = [*self.inserted.values(), *self.deleted.values(), *self.claimed]
        assert all(len(one.calls) == 1 for one in told), "a caller was told twice, or never"
        for node in self.group.nodes.values():
            assert node.failures == []


async def live(seed, count):
    life = Life(seed, count)
    for _ in range(STEPS):
        await life.step()
    left = await life.end()
    life.check(left)
    life.group.stop()


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_what_was_acknowledged_stays_and_all_nodes_agree(seed, count):
    await live(seed, count)


def ack_before_the_sync(patch):
    patch.setattr(MemberLog, "durable_index", property(lambda self: self.last_index))


def read_without_a_round(patch):
    begin = Reads.begin_round

    def at_once(self, commit):
        begin(self, commit)
        self.confirm(self.round)

    patch.setattr(Reads, "begin_round", at_once)


def send_again_what_may_still_be_applied(patch):
    patch.setattr(OwnSegments, "send", lambda self, term, size: sending(self, term))

    def sending(self, term):
        lost = [item for item in self._sent.values() if item.sent_term < term]
        self._wait_again(lost)
        taken = list(self._waiting)
        self._waiting.clear()
        for segment in taken:
            segment.sent_term = term
            self._sent[segment.origin[1]] = segment
        return taken


def trust_the_commit_index_of_a_heartbeat(patch):
    judging = append_filter.judge
    patch.setattr(consensus, "judge", lambda log, commit, append: judging(
        log, commit, append)._replace(verified=log.last_index, next=0))  # fmt: skip


# Votes that leave before they are on disk are too rare for chance (none in 400 seeds): a directed script of
# test_engine_group.py is about them.
PLANTED = [
    ack_before_the_sync,
    read_without_a_round,
    send_again_what_may_still_be_applied,
    trust_the_commit_index_of_a_heartbeat,
]
PLANTED_SEEDS = 100


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
async def test_a_planted_bug_is_caught(plant, monkeypatch):
    plant(monkeypatch)
    for seed in range(PLANTED_SEEDS):
        try:
            await live(seed, 3)
        except AssertionError:
            return
    raise AssertionError(f"{plant.__name__} was not caught by {PLANTED_SEEDS} seeds")
